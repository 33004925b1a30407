// Where a benchmark run stands: the fold of its events, and nothing else. The tasks themselves are shared
// between copies.
//
// A value; not thread safe.
#ifndef SERVICES_ORCHESTRATOR_RUN_SNAPSHOT_H_
#define SERVICES_ORCHESTRATOR_RUN_SNAPSHOT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/storage/event_store.h"
#include "nkiagent/orchestrator/v1/run.pb.h"

namespace nkiagent::orchestrator {

// One session of a run: a task in one of its repeats.
struct RunRow {
  enum class State { kWaiting, kRunning, kEnded };
  State state = State::kWaiting;
  std::string session_id;  // once it runs
};

struct RunSnapshot {
  v1::Run run;  // without the tasks
  std::shared_ptr<const v1::RunSpec> spec = std::make_shared<v1::RunSpec>();
  std::vector<RunRow> rows;
  int64_t running = 0;
  int first_waiting = 0;  // no row before it waits
  absl::Time last_time = absl::InfinitePast();

  int64_t last_sequence() const { return run.last_sequence(); }
  bool Ended() const;
  const common::v1::Task& TaskOf(int row) const { return spec->tasks(row % spec->tasks_size()); }
  int RepeatOf(int row) const { return 1 + row / spec->tasks_size(); }
  // The run with its tasks, as GetRun shows it.
  v1::Run Full() const;
};

// Extends the snapshot by one event. DATA_LOSS: the event is not the next one, or makes no sense there; the
// snapshot is then unchanged.
absl::Status Apply(const v1::RunEvent& event, RunSnapshot* snapshot);

// What the store's index says of a run.
storage::SessionIndex IndexOf(const RunSnapshot& snapshot);

// What a run does next, if anything but waiting for its sessions: starts the session of a row, or ends.
struct NextRunStep {
  std::optional<int> start;
  std::optional<v1::RunEnded> end;
};
// `concurrency`: most sessions at once, if the spec allows more or names none.
NextRunStep NextStep(const RunSnapshot& snapshot, int concurrency);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_RUN_SNAPSHOT_H_
