#include "services/nkictl/connection.h"

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/channel.h"
#include "common/rpc/status.h"

namespace nkiagent::nkictl {
namespace {

// Longest wait for a running orchestrator to accept the connection.
constexpr absl::Duration kConnectTimeout = absl::Seconds(5);

}  // namespace

absl::Status Connection::Close(bool failed) {
  client.reset();
  if (cluster == nullptr) return absl::OkStatus();
  if (failed) {
    cluster->KeepFiles();
    fprintf(stderr, "logs of the services: %s/logs\n", cluster->work_dir().c_str());
  }
  absl::Status stopped = cluster->Stop();
  if (lock >= 0) close(std::exchange(lock, -1));
  return stopped;
}

absl::StatusOr<Connection> Connect(const Environment& environment, bool local) {
  Connection connection;
  rpc::ChannelOptions server = environment.server;
  if (server.target.empty() && local) {
    fprintf(stderr, "starting local services ...\n");
    absl::StatusOr<std::unique_ptr<LocalCluster>> cluster =
        LocalCluster::Start(environment.cluster, environment.interrupt->token());
    if (!cluster.ok()) return cluster.status();
    connection.cluster = *std::move(cluster);
    server.target = connection.cluster->target(Service::kOrchestrator);
  } else if (server.target.empty()) {
    server.target = kDefaultServer;
  }
  if (connection.cluster == nullptr) {
    absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = rpc::CreateChannel(server);
    if (!channel.ok()) return channel.status();
    if (!rpc::AwaitConnected(**channel, server.target, absl::Now() + kConnectTimeout).ok()) {
      return absl::UnavailableError(absl::StrCat("no orchestrator answers at ", server.target,
                                                 "; `nkictl up` starts one here, --server names another"));
    }
  }
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(server, environment.interrupt->token());
  if (!client.ok()) return client.status();
  connection.client = *std::move(client);
  return connection;
}

absl::StatusOr<Toolchain> StartToolchain(const Environment& environment, ClusterOptions options) {
  options.enabled = {true, true, false, false};
  Toolchain toolchain;
  absl::StatusOr<std::unique_ptr<LocalCluster>> cluster =
      LocalCluster::Start(options, environment.interrupt->token());
  if (!cluster.ok()) return cluster.status();
  toolchain.cluster = *std::move(cluster);
  orchestrator::BackendOptions backend_options;
  backend_options.compile.target = toolchain.cluster->target(Service::kCompile);
  backend_options.verify.target = toolchain.cluster->target(Service::kVerify);
  absl::StatusOr<std::unique_ptr<orchestrator::Backends>> backends =
      orchestrator::ConnectBackends(backend_options);
  if (!backends.ok()) return backends.status();
  toolchain.backends = *std::move(backends);
  return toolchain;
}

int Fail(const Environment& environment, const absl::Status& status) {
  if (environment.interrupt != nullptr && environment.interrupt->requested()) {
    fprintf(stderr, "interrupted\n");
    return kExitInterrupted;
  }
  const std::string code(rpc::CodeName(status.code()));
  const std::string message(status.message());
  if (environment.json) {
    const nlohmann::json error = {{"error", {{"code", code}, {"message", message}}}};
    printf("%s\n", error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  }
  fprintf(stderr, "nkictl: %s: %s\n", code.c_str(), message.c_str());
  return kExitFail;
}

}  // namespace nkiagent::nkictl
