#include "services/nkictl/run_stats.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/nkictl/text.h"
#include "services/orchestrator/snapshot.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::ResultRecord;

std::string LevelName(int level) { return level >= 1 && level <= 3 ? absl::StrCat(level) : "unknown"; }

std::string CategoryName(const common::v1::Task& task) {
  const auto category = task.labels().find("category");
  return category == task.labels().end() || category->second.empty() ? "none" : category->second;
}

std::string ToolchainName(const common::v1::ToolchainVersion& version) {
  std::string name = version.version();
  if (!version.commit().empty()) absl::StrAppend(&name, " commit ", version.commit());
  if (!version.table_version().empty()) absl::StrAppend(&name, " table ", version.table_version());
  if (!version.torch_version().empty()) absl::StrAppend(&name, " torch ", version.torch_version());
  if (!version.backend().empty()) absl::StrAppend(&name, " (", version.backend(), ")");
  return name;
}

void AddToolchain(const char* part, const common::v1::ToolchainVersion& version,
                  std::vector<std::string>* names) {
  if (version.version().empty()) return;
  const std::string name = absl::StrCat(part, " ", ToolchainName(version));
  if (std::find(names->begin(), names->end(), name) == names->end()) names->push_back(name);
}

void AddFailure(const ResultRecord& record, RunStats* stats) {
  const std::string kind =
      EnumText(orchestrator::v1::FailureClass_Name(record.failure_class()), "FAILURE_CLASS_");
  ++stats->failures[kind][record.failure().empty() ? "-" : record.failure()];
}

void AddRow(const RunRowData& row, const RunData& data, RunStats* stats) {
  const ResultRecord& record = row.record;
  ++stats->sessions;
  stats->passed_sessions += record.passed() ? 1 : 0;
  if (record.repeat() >= 1 && record.repeat() <= static_cast<int>(stats->by_repeat.size())) {
    Share& share = stats->by_repeat[record.repeat() - 1];
    ++share.tasks;
    share.passed += record.passed() ? 1 : 0;
  }
  orchestrator::AddUsage(record.usage(), &stats->usage);
  const double seconds = ToSeconds(record.wall_time());
  stats->session_seconds += seconds;
  stats->session_times.push_back(seconds);
  stats->model_seconds += ToSeconds(record.model_time());
  stats->tool_seconds += ToSeconds(record.tool_time());
  for (const orchestrator::v1::Attempt& attempt : record.attempts()) {
    if (attempt.outcome() != "passed") ++stats->errors_met[attempt.outcome()];
  }
  AddToolchain("compiler", record.compiler(), &stats->toolchains);
  AddToolchain("verifier", record.verifier(), &stats->toolchains);
  if (!record.passed()) return AddFailure(record, stats);
  ++stats->success_turns[record.turn_of_success()];
  if (record.has_verify_time())
    stats->verify_times.push_back({record.task_id(), ToSeconds(record.verify_time())});
  if (record.latency_us() > 0) {
    stats->latencies.push_back({record.task_id(), LevelName(data.TaskOf(record.row()).level()),
                                record.latency_us(), record.fused_roofline_us(), record.op_by_op_us()});
  }
}

std::pair<double, int> MeanRatio(const std::vector<KernelLatency>& latencies, const std::string& level,
                                 double KernelLatency::*mark) {
  std::vector<double> ratios;
  for (const KernelLatency& latency : latencies) {
    if ((level.empty() || latency.level == level) && latency.*mark > 0)
      ratios.push_back(latency.*mark / latency.latency_us);
  }
  return {GeometricMean(ratios), static_cast<int>(ratios.size())};
}

}  // namespace

std::pair<double, int> RunStats::RooflineShare(const std::string& level) const {
  return MeanRatio(latencies, level, &KernelLatency::fused_roofline_us);
}

std::pair<double, int> RunStats::OpByOpSpeedup(const std::string& level) const {
  return MeanRatio(latencies, level, &KernelLatency::op_by_op_us);
}

double RunStats::VerifySeconds(double quantile) const {
  std::vector<double> seconds;
  for (const VerifyTime& time : verify_times) seconds.push_back(time.seconds);
  return Quantile(std::move(seconds), quantile);
}

std::vector<VerifyTime> RunStats::SlowVerifications() const {
  std::vector<VerifyTime> slow;
  for (const VerifyTime& time : verify_times) {
    if (time.seconds > kMaxVerifySeconds) slow.push_back(time);
  }
  return slow;
}

RunStats StatsOf(const RunData& data) {
  const orchestrator::v1::RunSpec& spec = data.run.spec();
  RunStats stats;
  stats.id = data.run.id();
  stats.name = spec.name();
  stats.suite = spec.suite();
  stats.suite_version = spec.suite_version();
  stats.model = spec.model();
  stats.mode = EnumText(orchestrator::v1::Mode_Name(spec.mode()), "MODE_");
  std::replace(stats.mode.begin(), stats.mode.end(), ' ', '-');
  stats.state = EnumText(orchestrator::v1::RunState_Name(data.run.state()), "RUN_STATE_");
  stats.public_key = data.run.public_key();
  stats.created = Time(data.run.create_time());
  stats.repeats = std::max(1, spec.repeats());
  stats.sessions_planned = stats.repeats * spec.tasks_size();
  stats.by_repeat.resize(stats.repeats);
  stats.wall_seconds = ToSeconds(data.run.active_time());

  std::map<std::string, std::vector<const ResultRecord*>> by_task;
  for (const RunRowData& row : data.rows) {
    AddRow(row, data, &stats);
    by_task[row.record.task_id()].push_back(&row.record);
  }
  std::stable_sort(stats.verify_times.begin(), stats.verify_times.end(),
                   [](const VerifyTime& a, const VerifyTime& b) { return a.seconds > b.seconds; });
  for (const common::v1::Task& task : spec.tasks()) {
    const std::vector<const ResultRecord*>& records = by_task[task.id()];
    const auto solved = std::count_if(records.begin(), records.end(),
                                      [](const ResultRecord* record) { return record->passed(); });
    const bool passed = 2 * solved > stats.repeats;
    std::string hash;
    for (const ResultRecord* record : records) {
      if (!record->task_hash().empty()) hash = record->task_hash();
    }
    stats.outcomes[task.id()] = {hash, passed};
    for (Share* share :
         {&stats.all, &stats.by_level[LevelName(task.level())], &stats.by_category[CategoryName(task)]}) {
      ++share->tasks;
      share->passed += passed ? 1 : 0;
    }
    if (passed) continue;
    const auto failed = std::find_if(records.begin(), records.end(),
                                     [](const ResultRecord* record) { return !record->passed(); });
    if (failed == records.end()) continue;
    stats.failed.push_back(
        {task.id(), LevelName(task.level()), CategoryName(task),
         EnumText(orchestrator::v1::FailureClass_Name((*failed)->failure_class()), "FAILURE_CLASS_"),
         (*failed)->failure(), (*failed)->message(), (*failed)->session_id(), (*failed)->turns_used()});
  }
  return stats;
}

absl::StatusOr<Comparison> Compare(const RunStats& a, const RunStats& b) {
  Comparison comparison{a.name, b.name};
  for (const auto& [id, outcome] : a.outcomes) {
    const auto other = b.outcomes.find(id);
    if (other == b.outcomes.end()) continue;
    const std::string& theirs = other->second.first;
    if (!outcome.first.empty() && !theirs.empty() && outcome.first != theirs) {
      return absl::InvalidArgumentError(absl::StrCat("runs ", a.name, " and ", b.name,
                                                     " can't be compared: task ", id,
                                                     " is another one in each (their hashes differ)"));
    }
    ++comparison.common;
    if (outcome.second && other->second.second) ++comparison.both;
    if (outcome.second && !other->second.second) ++comparison.only_a;
    if (!outcome.second && other->second.second) ++comparison.only_b;
    if (!outcome.second && !other->second.second) ++comparison.neither;
  }
  if (comparison.common == 0)
    return absl::InvalidArgumentError(
        absl::StrCat("runs ", a.name, " and ", b.name, " have no task in common"));
  comparison.p_value = McNemarExact(comparison.only_a, comparison.only_b);
  return comparison;
}

}  // namespace nkiagent::nkictl
