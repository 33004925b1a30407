#include "services/orchestrator/run_snapshot.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "services/orchestrator/proto_time.h"
#include "services/orchestrator/snapshot.h"

namespace nkiagent::orchestrator {
namespace {

using v1::RunEvent;

absl::Status NoSense(const RunEvent& event, absl::string_view why) {
  return absl::DataLossError(absl::StrCat("event ", event.sequence(), " of the run makes no sense: ", why));
}

// The counts in which a row of this task is counted: the run's, and its level's.
std::vector<v1::RunCounts*> CountsOf(const common::v1::Task& task, v1::Run* run) {
  std::vector<v1::RunCounts*> counts = {run->mutable_counts()};
  for (v1::LevelCounts& level : *run->mutable_levels()) {
    if (level.level() == task.level()) counts.push_back(level.mutable_counts());
  }
  return counts;
}

void ApplyCreated(const RunEvent& event, RunSnapshot* snapshot) {
  v1::Run& run = snapshot->run;
  run = event.created().run();
  auto spec = std::make_shared<v1::RunSpec>();
  spec->Swap(run.mutable_spec());
  *run.mutable_spec() = *spec;
  run.mutable_spec()->clear_tasks();
  snapshot->spec = std::move(spec);
  run.set_state(v1::RUN_STATE_RUNNING);
  *run.mutable_create_time() = event.time();
  const int repeats = std::max(1, snapshot->spec->repeats());
  snapshot->rows.assign(static_cast<size_t>(repeats) * snapshot->spec->tasks_size(), {});
  std::map<int, int> by_level;
  for (const common::v1::Task& task : snapshot->spec->tasks()) by_level[task.level()] += repeats;
  run.clear_levels();
  for (const auto& [level, total] : by_level) {
    v1::LevelCounts* counts = run.add_levels();
    counts->set_level(level);
    counts->mutable_counts()->set_total(total);
    counts->mutable_counts()->set_queued(total);
  }
  run.mutable_counts()->set_total(static_cast<int>(snapshot->rows.size()));
  run.mutable_counts()->set_queued(static_cast<int>(snapshot->rows.size()));
}

absl::Status ApplyStarted(const RunEvent& event, RunSnapshot* snapshot) {
  const int row = event.session_started().row();
  if (row < 0 || row >= static_cast<int>(snapshot->rows.size()) ||
      snapshot->rows[row].state != RunRow::State::kWaiting) {
    return NoSense(event, absl::StrCat("row ", row, " does not wait"));
  }
  snapshot->rows[row] = {RunRow::State::kRunning, event.session_started().session_id()};
  ++snapshot->running;
  while (snapshot->first_waiting < static_cast<int>(snapshot->rows.size()) &&
         snapshot->rows[snapshot->first_waiting].state != RunRow::State::kWaiting) {
    ++snapshot->first_waiting;
  }
  for (v1::RunCounts* counts : CountsOf(snapshot->TaskOf(row), &snapshot->run)) {
    counts->set_queued(counts->queued() - 1);
    counts->set_running(counts->running() + 1);
  }
  return absl::OkStatus();
}

absl::Status ApplySessionEnded(const RunEvent& event, RunSnapshot* snapshot) {
  const v1::RunSessionEnded& ended = event.session_ended();
  const int row = ended.row();
  if (row < 0 || row >= static_cast<int>(snapshot->rows.size()) ||
      snapshot->rows[row].state != RunRow::State::kRunning) {
    return NoSense(event, absl::StrCat("row ", row, " is not running"));
  }
  if (!IsEnded(ended.state())) return NoSense(event, "the session's state is not an end");
  snapshot->rows[row].state = RunRow::State::kEnded;
  --snapshot->running;
  AddUsage(ended.usage(), snapshot->run.mutable_usage());
  for (v1::RunCounts* counts : CountsOf(snapshot->TaskOf(row), &snapshot->run)) {
    counts->set_running(counts->running() - 1);
    if (ended.state() == v1::SESSION_STATE_PASSED) counts->set_passed(counts->passed() + 1);
    if (ended.state() == v1::SESSION_STATE_NOT_SOLVED) counts->set_not_solved(counts->not_solved() + 1);
    if (ended.state() == v1::SESSION_STATE_FAILED) counts->set_failed(counts->failed() + 1);
    if (ended.state() == v1::SESSION_STATE_CANCELLED) counts->set_cancelled(counts->cancelled() + 1);
  }
  return absl::OkStatus();
}

void CancelRest(v1::RunCounts* counts) {
  counts->set_cancelled(counts->cancelled() + counts->running() + counts->queued());
  counts->set_running(0);
  counts->set_queued(0);
}

void ApplyEnded(const RunEvent& event, v1::Run* run) {
  run->set_state(event.ended().state());
  run->set_message(event.ended().message());
  *run->mutable_end_time() = event.time();
  CancelRest(run->mutable_counts());
  for (v1::LevelCounts& level : *run->mutable_levels()) CancelRest(level.mutable_counts());
}

}  // namespace

bool RunSnapshot::Ended() const {
  return run.state() != v1::RUN_STATE_UNSPECIFIED && run.state() != v1::RUN_STATE_RUNNING;
}

v1::Run RunSnapshot::Full() const {
  v1::Run full = run;
  *full.mutable_spec() = *spec;
  return full;
}

absl::Status Apply(const RunEvent& event, RunSnapshot* snapshot) {
  if (event.sequence() != snapshot->last_sequence() + 1) {
    return NoSense(event, absl::StrCat("it follows event ", snapshot->last_sequence()));
  }
  const bool creates = event.event_case() == RunEvent::kCreated;
  if (creates != (event.sequence() == 1)) return NoSense(event, "only the first event creates");
  if (snapshot->Ended()) return NoSense(event, "the run has ended");
  switch (event.event_case()) {
    case RunEvent::kCreated:
      ApplyCreated(event, snapshot);
      break;
    case RunEvent::kSessionStarted:
      if (absl::Status status = ApplyStarted(event, snapshot); !status.ok()) return status;
      break;
    case RunEvent::kSessionEnded:
      if (absl::Status status = ApplySessionEnded(event, snapshot); !status.ok()) return status;
      break;
    case RunEvent::kResumed:
      break;
    case RunEvent::kEnded:
      ApplyEnded(event, &snapshot->run);
      break;
    case RunEvent::EVENT_NOT_SET:
      return NoSense(event, "it is of no known kind");
  }
  const absl::Time time = FromProto(event.time());
  // What lies before a resumption is the pause between two processes.
  if (!creates && !event.has_resumed() && time > snapshot->last_time) {
    SetDuration(FromProto(snapshot->run.active_time()) + (time - snapshot->last_time),
                snapshot->run.mutable_active_time());
  }
  snapshot->last_time = time;
  snapshot->run.set_last_sequence(event.sequence());
  *snapshot->run.mutable_update_time() = event.time();
  return absl::OkStatus();
}

storage::SessionIndex IndexOf(const RunSnapshot& snapshot) {
  storage::SessionIndex index;
  index.state = snapshot.run.state();
  index.open = !snapshot.Ended();
  index.model = snapshot.spec->model();
  index.group = snapshot.spec->name();
  index.summary = snapshot.run.SerializeAsString();
  return index;
}

NextRunStep NextStep(const RunSnapshot& snapshot, int concurrency) {
  NextRunStep step;
  if (snapshot.Ended()) return step;
  const int64_t cost = snapshot.run.usage().cost_micro_usd();
  const int64_t limit = snapshot.spec->max_cost_micro_usd();
  const bool all_begun = snapshot.first_waiting == static_cast<int>(snapshot.rows.size());
  const bool spent = limit > 0 && cost >= limit;
  if (snapshot.running == 0 && (all_begun || spent)) {
    step.end.emplace();
    step.end->set_state(all_begun ? v1::RUN_STATE_FINISHED : v1::RUN_STATE_BUDGET_EXHAUSTED);
    if (!all_begun) {
      step.end->set_message(
          absl::StrCat("sessions have cost ", cost, " of at most ", limit, " millionths of a dollar"));
    }
  } else if (!all_begun && !spent) {
    const int wanted = snapshot.spec->concurrency();
    if (snapshot.running < (wanted > 0 ? std::min(wanted, concurrency) : concurrency)) {
      step.start = snapshot.first_waiting;
    }
  }
  return step;
}

}  // namespace nkiagent::orchestrator
