// Tells the world how a service's warm parents are: the health of the gRPC service, and gauges.
#ifndef SERVICES_WORKER_PARENT_MONITOR_H_
#define SERVICES_WORKER_PARENT_MONITOR_H_

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/metrics/metrics.h"
#include "common/rpc/server.h"
#include "common/sandbox/warm_parent.h"

namespace nkiagent::worker {

// Looks once a second, and once before the constructor returns. The gRPC service is SERVING while every
// parent serves. The isolation level is in the health service too, as an entry named "sandbox.<level>"
// ("sandbox.namespaces"), and in the gauges nkiagent_<service>_sandbox_level (1 rlimits, 2 seccomp, 3
// namespaces), _workers_running, _workers_waiting, _worker_parent_restarts and _worker_parent_memory_bytes,
// each by parent.
class ParentMonitor {
 public:
  struct Parent {
    std::string name;
    const sandbox::WarmParent* parent;
  };

  // All outlive the monitor. `service` is the full gRPC name.
  ParentMonitor(std::vector<Parent> parents, rpc::Server& server, metrics::Metrics& metrics,
                std::string service);
  ~ParentMonitor();
  ParentMonitor(const ParentMonitor&) = delete;
  ParentMonitor& operator=(const ParentMonitor&) = delete;

 private:
  void Look();

  const std::vector<Parent> parents_;
  rpc::Server& server_;
  const std::string service_;
  prometheus::Family<prometheus::Gauge>& level_;
  prometheus::Family<prometheus::Gauge>& running_;
  prometheus::Family<prometheus::Gauge>& waiting_;
  prometheus::Family<prometheus::Gauge>& restarts_;
  prometheus::Family<prometheus::Gauge>& memory_;
  bool serving_ = true;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace nkiagent::worker

#endif  // SERVICES_WORKER_PARENT_MONITOR_H_
