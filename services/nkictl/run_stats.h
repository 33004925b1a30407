// What a report says about one run, and about two of them, as numbers. Pure functions; any thread.
//
// A task counts as passed when more than half of its repeats passed; with one repeat that is the session
// itself.
#ifndef SERVICES_NKICTL_RUN_STATS_H_
#define SERVICES_NKICTL_RUN_STATS_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/nkictl/bench_stats.h"
#include "services/nkictl/run_file.h"

namespace nkiagent::nkictl {

// A share of tasks.
struct Share {
  int passed = 0;
  int tasks = 0;
};

// A verified kernel's latency beside its marks, in microseconds.
struct KernelLatency {
  std::string task_id;
  std::string level;
  double latency_us = 0;
  double fused_roofline_us = 0;  // 0: not known
  double op_by_op_us = 0;        // 0: not known
};

// The longest that the verification of a right kernel may take, by the benchmark's promise for its tasks
// (docs/benchmark.md).
inline constexpr double kMaxVerifySeconds = 3;

// What verify-service took for a kernel that it passed.
struct VerifyTime {
  std::string task_id;
  double seconds = 0;
};

// One task that did not pass in most of its repeats, by one of its sessions.
struct FailedTask {
  std::string task_id;
  std::string level;
  std::string category;
  std::string kind;     // "compile"
  std::string failure;  // "err_unsupported_memory"
  std::string message;
  std::string session_id;
  int turns = 0;
};

struct RunStats {
  std::string id, name, suite, suite_version, model, mode, state, public_key, created;
  int repeats = 1;
  int sessions = 0;  // that have ended
  int sessions_planned = 0;
  int passed_sessions = 0;
  Share all;
  std::map<std::string, Share> by_level;                       // "1", "2", "3", "unknown"
  std::map<std::string, Share> by_category;                    // "none" for tasks without one
  std::vector<Share> by_repeat;                                // sessions of each repeat
  std::map<int, int> success_turns;                            // verified in this turn: sessions
  std::map<std::string, std::map<std::string, int>> failures;  // class, then rule or reason: sessions
  std::map<std::string, int>
      errors_met;  // outcome of kernels that did not pass, in sessions of any end: kernels
  common::v1::Usage usage;
  double wall_seconds = 0;     // of the run, without pauses between processes
  double session_seconds = 0;  // summed over sessions
  double model_seconds = 0;
  double tool_seconds = 0;
  std::vector<double> session_times;
  std::vector<KernelLatency> latencies;
  std::vector<VerifyTime> verify_times;  // longest first
  std::vector<FailedTask> failed;
  std::vector<std::string> toolchains;  // each once, compilers then verifiers
  // By task id: its hash, and whether it passed.
  std::map<std::string, std::pair<std::string, bool>> outcomes;

  // Geometric mean of fused roofline / latency over verified kernels of a level (empty: all), and how many
  // those are.
  std::pair<double, int> RooflineShare(const std::string& level) const;
  // The same of op-by-op / latency.
  std::pair<double, int> OpByOpSpeedup(const std::string& level) const;
  // A quantile of the verification times, in seconds; 0 without any.
  double VerifySeconds(double quantile) const;
  // Those beyond kMaxVerifySeconds.
  std::vector<VerifyTime> SlowVerifications() const;
};

RunStats StatsOf(const RunData& data);

// Tasks that both runs have, by which of them passed.
struct Comparison {
  std::string a, b;
  int common = 0;
  int both = 0, only_a = 0, only_b = 0, neither = 0;
  double p_value = 1;  // exact McNemar, two-sided
};
// INVALID_ARGUMENT: they share no task, or a task of one id is another one there.
absl::StatusOr<Comparison> Compare(const RunStats& a, const RunStats& b);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_RUN_STATS_H_
