// All benchmark runs of one process. A run is a log of its own in a store of runs; its sessions are ordinary
// sessions, worked on by SessionManager. One thread drives all open runs: it starts the sessions of each, up
// to the run's concurrency, and stores a signed record of each that has ended.
//
// A session's request id is fixed by run and row, so whatever instruction a process dies at, the next one
// finds the sessions that were stored, goes on with those that have not ended, and repeats none.
//
// Thread safe.
#ifndef SERVICES_ORCHESTRATOR_RUN_MANAGER_H_
#define SERVICES_ORCHESTRATOR_RUN_MANAGER_H_

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/storage/event_store.h"
#include "common/storage/signing_key.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.pb.h"
#include "services/orchestrator/event_log.h"
#include "services/orchestrator/orchestrator_metrics.h"
#include "services/orchestrator/run_snapshot.h"
#include "services/orchestrator/session_manager.h"
#include "services/orchestrator/watch_hub.h"

namespace nkiagent::orchestrator {

struct RunManagerOptions {
  // Sessions of one run at once: what SessionManager works on at once.
  int max_concurrency = 4;
  // Runs that may be open; beyond it CreateRun says RESOURCE_EXHAUSTED.
  int max_open_runs = 16;
  int max_watchers = 256;
  absl::Duration lease = absl::Seconds(30);
  // How often the thread looks for runs of dead processes and for sessions that others ended.
  absl::Duration interval = absl::Seconds(2);
  RequestLimits limits;
};

class RunManager {
 public:
  // The arguments outlive the manager. `runs` is the store of runs, `sessions` the one of `manager`.
  RunManager(const RunManagerOptions& options, storage::EventStore& runs, storage::EventStore& sessions,
             SessionManager& manager, const storage::SigningKey& key, OrchestratorMetrics& metrics);
  // Drains.
  ~RunManager();

  // Starts driving, first what an earlier process left.
  void Start();
  // Starts no more sessions. Idempotent. To be called before the session manager's.
  void Drain();
  // A session of a run has ended: look at it.
  void SessionEnded();

  // The calls of orchestrator_service.proto.
  absl::StatusOr<v1::Run> Create(const v1::CreateRunRequest& request);
  absl::StatusOr<v1::Run> Get(const std::string& run_id);
  absl::StatusOr<v1::ListRunsResponse> List(const v1::ListRunsRequest& request);
  absl::StatusOr<v1::Run> Cancel(const std::string& run_id, const std::string& reason);

  // For watchers: as SessionManager's.
  absl::StatusOr<EventBatch<v1::RunEvent>> ReadEvents(const std::string& run_id, int64_t from_sequence);
  absl::StatusOr<WatchHub::Subscription> Watch(const std::string& run_id, std::function<void()> changed);
  void WakeWatchers() { hub_.NotifyAll(); }

 private:
  // An open run that this process drives.
  struct Driven {
    std::mutex mutex;  // of the snapshot, and of storing what extends it
    RunSnapshot snapshot;
    bool cancelling = false;  // start nothing more
  };

  void Work();
  absl::Status ClaimRuns();
  // Does all there is to do for a run now. False when it is to be driven no more.
  bool Drive(const std::string& run_id, Driven& run);
  absl::Status CollectEnded(const std::string& run_id, Driven& run);
  absl::Status StartMore(const std::string& run_id, Driven& run);
  absl::StatusOr<v1::RunEvent> EndedEvent(const RunSnapshot& snapshot, const std::string& run_id, int row);
  // Stores an event; call with the run's mutex held.
  absl::Status Store(const std::string& run_id, v1::RunEvent event, Driven& run);
  std::shared_ptr<Driven> Find(const std::string& run_id);
  void Forget(const std::string& run_id);
  void Wake();

  const RunManagerOptions options_;
  storage::EventStore& runs_;
  storage::EventStore& sessions_;
  SessionManager& manager_;
  const storage::SigningKey& key_;
  OrchestratorMetrics& metrics_;
  const std::string owner_;
  WatchHub hub_;

  std::stop_source draining_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool dirty_ = true;
  std::map<std::string, std::shared_ptr<Driven>> driven_;
  std::jthread thread_;  // last: it uses the above
};

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_RUN_MANAGER_H_
