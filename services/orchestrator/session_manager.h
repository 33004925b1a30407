// All sessions of one process: takes tasks in, works on a bounded number at once, lets them be read, watched
// and ended.
//
// The store is the queue: worker threads claim open sessions from it, oldest first, under a lease that is
// renewed while the process lives. So a submitted session needs nothing but the store to be worked on after a
// restart, and a process that shares the store takes over the sessions of one that died.
//
// Thread safe.
#ifndef SERVICES_ORCHESTRATOR_SESSION_MANAGER_H_
#define SERVICES_ORCHESTRATOR_SESSION_MANAGER_H_

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/storage/event_store.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.pb.h"
#include "services/orchestrator/backends.h"
#include "services/orchestrator/event_log.h"
#include "services/orchestrator/orchestrator_metrics.h"
#include "services/orchestrator/requests.h"
#include "services/orchestrator/session_log.h"
#include "services/orchestrator/watch_hub.h"

namespace nkiagent::orchestrator {

struct ManagerOptions {
  // Sessions at work at once, a thread each; the threads mostly wait for other services.
  int max_running = 4;
  // Sessions that may wait; beyond it SubmitTask says RESOURCE_EXHAUSTED.
  int max_queued = 256;
  // WatchSession streams.
  int max_watchers = 256;
  // A lease outlives its process by this much at most before another process takes over.
  absl::Duration lease = absl::Seconds(30);
  // How often idle workers look for sessions of dead processes; submissions wake them at once.
  absl::Duration claim_interval = absl::Seconds(2);
  // Pause before a session is tried again whose events could not be stored.
  absl::Duration store_retry_pause = absl::Seconds(5);
  RequestLimits limits;
  // Told that a session of a run has ended, from the thread that stored it; must be quick.
  std::function<void(const std::string& run_id)> run_session_ended;
};

class SessionManager {
 public:
  // The arguments outlive the manager.
  SessionManager(const ManagerOptions& options, storage::EventStore& store, Backends& backends,
                 OrchestratorMetrics& metrics);
  // Drains.
  ~SessionManager();

  // Starts working, first on what an earlier process left.
  void Start();
  // Takes nothing new up and interrupts what runs; interrupted sessions go on in the next process.
  // Idempotent.
  void Drain();

  // The calls of orchestrator_service.proto.
  absl::StatusOr<v1::Session> Submit(const v1::SubmitTaskRequest& request, const std::string& run_id = "");
  absl::StatusOr<v1::Session> Get(const std::string& session_id);
  absl::StatusOr<v1::ListSessionsResponse> List(const v1::ListSessionsRequest& request);
  absl::StatusOr<v1::Session> Cancel(const std::string& session_id, const std::string& reason);
  absl::StatusOr<v1::PromptBuilt> RenderPrompt(const rpc::CallContext& call,
                                               const v1::RenderPromptRequest& request);

  absl::StatusOr<EventBatch<v1::SessionEvent>> ReadEvents(const std::string& session_id,
                                                          int64_t from_sequence);
  absl::StatusOr<WatchHub::Subscription> Watch(const std::string& session_id, std::function<void()> changed);
  // Wakes all watchers, so that they see that the service drains.
  void WakeWatchers() { hub_.NotifyAll(); }

 private:
  struct Running {
    std::shared_ptr<SessionLog> log;  // empty until its events are read
    std::stop_source stop;
  };

  void Work();
  void RunOne(const std::string& session_id);
  void RenewLeases();
  SessionLog::Observer ObserverFor(const std::string& session_id);
  void UpdateGauges();
  // Waits until `wake` is true, the interval has passed or the manager drains.
  template <class Predicate>
  void Wait(absl::Duration interval, const Predicate& wake);

  const ManagerOptions options_;
  storage::EventStore& store_;
  Backends& backends_;
  OrchestratorMetrics& metrics_;
  const std::string owner_;  // this process, in the store's leases
  WatchHub hub_;

  std::stop_source draining_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  int64_t submissions_ = 0;  // counts up; a worker that saw an older number looks again
  std::map<std::string, Running> running_;
  std::vector<std::jthread> threads_;  // last: they use the above
};

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_SESSION_MANAGER_H_
