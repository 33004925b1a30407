// nkictl up: the four services in the foreground.
#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/connection.h"
#include "services/nkictl/text.h"

namespace nkiagent::nkictl {
namespace {

// Those of the services' own defaults, in the order of kServices.
constexpr std::array<int, 4> kUpPorts = {7601, 7602, 7603, 7600};
constexpr std::array<int, 4> kUpMetricsPorts = {7611, 7612, 7613, 7610};

int Up(const Environment& environment, bool any_port) {
  ClusterOptions options = environment.cluster;
  if (!any_port) {
    options.ports = kUpPorts;
    options.metrics_ports = kUpMetricsPorts;
  }
  absl::StatusOr<std::unique_ptr<LocalCluster>> cluster =
      LocalCluster::Start(options, environment.interrupt->token());
  if (!cluster.ok()) return Fail(environment, cluster.status());
  std::vector<std::vector<std::string>> rows;
  nlohmann::json services = nlohmann::json::object();
  for (const Service service : kServices) {
    const std::string metrics = absl::StrCat("http://", (*cluster)->metrics_target(service), "/metrics");
    rows.push_back(
        {ServiceName(service), (*cluster)->target(service), metrics, (*cluster)->log_path(service)});
    services[ServiceName(service)] = {{"grpc", (*cluster)->target(service)},
                                      {"metrics", metrics},
                                      {"pid", (*cluster)->pid(service)},
                                      {"log", (*cluster)->log_path(service)}};
  }
  Print(environment.json
            ? absl::StrCat(nlohmann::json{{"services", services}}.dump(), "\n")
            : absl::StrCat(Table({"service", "grpc", "metrics", "log"}, rows), "Ctrl-C drains\n"));
  std::string ended;
  // A child's end can't wake this thread: SIGCHLD would be one more signal to mask in every library's thread.
  while (!environment.interrupt->requested() && ended.empty()) {
    absl::SleepFor(absl::Milliseconds(100));
    ended = (*cluster)->EndedService();
  }
  const absl::Status stopped = (*cluster)->Stop();
  if (!ended.empty()) {
    fprintf(stderr, "nkictl: %s ended by itself; logs are in %s/logs\n", ended.c_str(),
            (*cluster)->work_dir().c_str());
    return kExitFail;
  }
  if (!stopped.ok()) fprintf(stderr, "nkictl: %s\n", std::string(stopped.message()).c_str());
  return stopped.ok() ? kExitPass : kExitFail;
}

}  // namespace

void AddUp(CLI::App* app, Verb* verb) {
  auto any_port = std::make_shared<bool>(false);
  CLI::App* up = app->add_subcommand("up", "Run the four services here until Ctrl-C");
  up->add_flag("--any-port", *any_port, "Free ports instead of 7600 to 7603 and 7610 to 7613");
  up->callback([=] { *verb = [=](const Environment& e) { return Up(e, *any_port); }; });
}

}  // namespace nkiagent::nkictl
