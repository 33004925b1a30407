#include "common/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/credentials.h"

namespace nkiagent::rpc {
namespace {

// Calls that ignore their cancellation this long are left behind.
constexpr std::chrono::seconds kCancelGrace(5);

// Streams see that the runtime drains; this is what they have to say goodbye.
constexpr absl::Duration kStreamGrace = absl::Milliseconds(250);

// Readable once a signal or RequestStop() asks to stop. One for the process, since signals are.
int StopEvent() {
  static const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return event;
}

void NotifyStopEvent() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(StopEvent(), &one, sizeof(one));
}

volatile std::sig_atomic_t draining_for_signal = 0;

void OnStopSignal(int) {
  const int saved_errno = errno;
  if (draining_for_signal != 0) _exit(1);
  draining_for_signal = 1;
  NotifyStopEvent();
  errno = saved_errno;
}

// Handlers rather than a blocked mask: children that we start inherit a mask, but not handlers.
void InstallSignalHandlers() {
  StopEvent();  // made here, not in a handler
  struct sigaction action = {};
  action.sa_handler = OnStopSignal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a child that dies under our pen is an EPIPE, not our death
}

}  // namespace

void ServerOptions::Declare(config::OptionSet& set) {
  set.Add("address", &address, "Address to bind.");
  set.Add("port", &port, "Port to serve gRPC on; 0 picks a free one.").Range(0, 65535);
  set.Add("metrics_address", &metrics_address, "Address of the Prometheus endpoint.");
  set.Add("metrics_port", &metrics_port, "Port of the Prometheus endpoint; 0 picks a free one, -1 none.")
      .Range(-1, 65535);
  set.Add("port_file", &port_file, "JSON file with the bound ports, written once serving.");
  set.Add("max_message_bytes", &max_message_bytes, "Largest gRPC message.").Range(1 << 20, 1 << 30);
  set.Add("grpc_memory_bytes", &grpc_memory_bytes, "Memory for gRPC's buffers.").Range(16 << 20, 1e12);
  set.Add("tls_cert_file", &tls_cert_file, "PEM file of the server's certificate; turns TLS on.");
  set.Add("tls_key_file", &tls_key_file, "PEM file of the server's key.");
  set.Add("tls_client_ca_file", &tls_client_ca_file, "PEM file of the CA that clients must show (mTLS).");
  set.Add("auth_token_file", &auth_token_file, "File with the bearer token that calls must carry.");
  set.Add("reflection", &reflection, "Serve gRPC reflection.");
  set.Add("drain_deadline", &drain_deadline, "On SIGTERM, how long calls may go on.").Range(0, 3600);
  set.Add("log_level", &log_level, "Least level that is logged.").OneOf({"debug", "info", "warn", "error"});
  set.Add("log_format", &log_format, "Form of log lines.").OneOf({"text", "json"});
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Runtime& runtime,
                                                      std::vector<Entry> entries) {
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials =
      MakeServerCredentials({options.address, options.tls_cert_file, options.tls_key_file,
                             options.tls_client_ca_file, options.auth_token_file});
  if (!credentials.ok()) return credentials.status();

  grpc::EnableDefaultHealthCheckService(true);
  if (options.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota(options.name);
  quota.Resize(static_cast<size_t>(options.grpc_memory_bytes.value));
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes.value));
  builder.SetMaxSendMessageSize(static_cast<int>(options.max_message_bytes.value));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a taken port is an error, not a share
  int port = 0;
  builder.AddListeningPort(absl::StrCat(options.address, ":", options.port), *credentials, &port);
  for (const Entry& entry : entries) builder.RegisterService(entry.service);

  std::unique_ptr<Server> server(new Server(options, runtime));
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat(options.name, " can't serve on ", options.address, ":",
                                               options.port, " (is the port taken?)"));
  }
  server->port_ = port;
  server->entries_ = std::move(entries);
  if (options.metrics_port >= 0) {
    const absl::Status exposed =
        runtime.metrics().Expose({.address = options.metrics_address, .port = options.metrics_port});
    if (!exposed.ok()) return exposed;
  }
  InstallSignalHandlers();
  for (const Entry& entry : server->entries_) server->SetServing(entry.full_name, true);
  const absl::Status written = server->WritePortFile();
  if (!written.ok()) return written;
  Logger::Get().Info("serving",
                     {{"grpc", server->Target()},
                      {"metrics", absl::StrCat(options.metrics_address, ":", runtime.metrics().port())},
                      {"tls", !options.tls_cert_file.empty()},
                      {"token", !options.auth_token_file.empty()},
                      {"pid", getpid()}});
  return server;
}

Server::~Server() {
  if (server_ != nullptr) Drain();
}

std::string Server::Target() const { return absl::StrCat(options_.address, ":", port_); }

absl::Status Server::WritePortFile() const {
  if (options_.port_file.empty()) return absl::OkStatus();
  nlohmann::ordered_json json = {{"grpc", Target()}};
  if (options_.metrics_port >= 0) {
    json["metrics"] = absl::StrCat(options_.metrics_address, ":", runtime_.metrics().port());
  }
  json["pid"] = getpid();
  const std::string temporary = absl::StrCat(options_.port_file, ".", getpid());
  std::ofstream(temporary) << json.dump() << "\n";
  if (std::rename(temporary.c_str(), options_.port_file.c_str()) != 0) {
    return absl::UnavailableError(absl::StrCat("port_file ", options_.port_file, " can't be written"));
  }
  return absl::OkStatus();
}

void Server::SetServing(const std::string& full_name, bool serving) {
  if (runtime_.draining().stop_requested()) return;
  server_->GetHealthCheckService()->SetServingStatus(full_name, serving);
}

void Server::RequestStop() { NotifyStopEvent(); }

int Server::Wait() {
  pollfd event{.fd = StopEvent(), .events = POLLIN, .revents = 0};
  while (poll(&event, 1, -1) < 0 && errno == EINTR) {
  }
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t consumed = read(StopEvent(), &count, sizeof(count));
  return Drain() ? 0 : 1;
}

bool Server::Drain() {
  std::call_once(drain_once_, [this] {
    Logger::Get().Info("draining", {{"deadline_s", absl::ToDoubleSeconds(options_.drain_deadline)}});
    server_->GetHealthCheckService()->SetServingStatus(false);
    runtime_.StartDraining();
    const absl::Time limit = absl::Now() + options_.drain_deadline;
    // gRPC's own shutdown waits for idle clients to answer a ping, which they may take seconds for. So the
    // calls are awaited here, and gRPC gets only as long as streams need to end themselves.
    runtime_.AwaitIdle(limit);
    const auto deadline = absl::ToChronoTime(std::min(limit, absl::Now() + kStreamGrace));
    std::promise<void> done;
    std::future<void> ended = done.get_future();
    std::thread shutdown([this, deadline, done = std::move(done)]() mutable {
      server_->Shutdown(deadline);
      done.set_value();
    });
    drained_ = ended.wait_until(deadline + kCancelGrace) == std::future_status::ready;
    if (drained_) {
      shutdown.join();
      Logger::Get().Info("drained");
      return;
    }
    // Handlers that hang still use the runtime and the services, so nothing can be torn down beneath them.
    Logger::Get().Error("calls ignored their cancellation; exiting without them");
    std::_Exit(1);
  });
  return drained_;
}

int FailStart(const absl::Status& status) {
  std::cerr << "can't start: " << status.message() << "\n";
  return 1;
}

}  // namespace nkiagent::rpc
