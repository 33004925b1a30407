#include "services/worker/parent_monitor.h"

#include <unistd.h>

#include <chrono>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/logging.h"

namespace nkiagent::worker {
namespace {

constexpr std::chrono::seconds kPeriod(1);

double ResidentBytesOf(pid_t pid) {
  std::ifstream statm(absl::StrCat("/proc/", pid, "/statm"));
  int64_t total = 0, resident = 0;
  if (!(statm >> total >> resident)) return 0;
  return static_cast<double>(resident * sysconf(_SC_PAGESIZE));
}

}  // namespace

ParentMonitor::ParentMonitor(std::vector<Parent> parents, rpc::Server& server, metrics::Metrics& metrics,
                             std::string service)
    : parents_(std::move(parents)),
      server_(server),
      service_(std::move(service)),
      level_(metrics.Gauge("sandbox_level", "Isolation of workers: 1 rlimits, 2 seccomp, 3 namespaces.")),
      running_(metrics.Gauge("workers_running", "Children that serve a request now.")),
      waiting_(metrics.Gauge("workers_waiting", "Requests that wait for a child.")),
      restarts_(metrics.Gauge("worker_parent_restarts", "Times the warm parent died and was started again.")),
      memory_(metrics.Gauge("worker_parent_memory_bytes", "Resident set size of the warm parent.")) {
  for (const Parent& parent : parents_) {
    const sandbox::ParentHealth health = parent.parent->Health();
    const std::string level(sandbox::LevelName(health.level));
    server_.SetServing(absl::StrCat("sandbox.", level), true);
    rpc::Logger::Get("worker").Info(
        "warm parent serves",
        {{"role", parent.name}, {"sandbox", level}, {"pid", health.pid}, {"detail", health.detail}});
  }
  Look();
  thread_ = std::jthread([this](const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      wake_.wait_for(lock, stop, kPeriod, [] { return false; });
      if (!stop.stop_requested()) Look();
    }
  });
}

ParentMonitor::~ParentMonitor() = default;

void ParentMonitor::Look() {
  bool all_serve = true;
  for (const Parent& parent : parents_) {
    const sandbox::ParentHealth health = parent.parent->Health();
    const std::map<std::string, std::string> labels = {{"parent", parent.name}};
    level_.Add(labels).Set(static_cast<double>(health.level));
    running_.Add(labels).Set(health.running_children);
    waiting_.Add(labels).Set(health.waiting_calls);
    restarts_.Add(labels).Set(health.restarts);
    memory_.Add(labels).Set(ResidentBytesOf(health.pid));
    if (!health.serving && serving_) {
      rpc::Logger::Get("worker").Error("warm parent does not serve",
                                       {{"role", parent.name}, {"detail", health.detail}});
    }
    all_serve &= health.serving;
  }
  if (all_serve != serving_) server_.SetServing(service_, all_serve);
  serving_ = all_serve;
}

}  // namespace nkiagent::worker
