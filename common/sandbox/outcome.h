// How a child ended. An outcome is an answer about untrusted code; absl::Status is for "no answer could be
// had".
#ifndef NKIAGENT_COMMON_SANDBOX_OUTCOME_H_
#define NKIAGENT_COMMON_SANDBOX_OUTCOME_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/sandbox/limits.h"

namespace nkiagent::sandbox {

enum class OutcomeKind {
  kOk,               // Replied: `reply` is the handler's answer.
  kException,        // The handler threw something that it should have handled: `reply` is the error's text.
  kWallTimeout,      // Killed at the request's wall limit.
  kCpuLimit,         // Killed at RLIMIT_CPU.
  kMemoryLimit,      // An allocation failed under RLIMIT_AS and nobody handled it.
  kCrashed,          // Died of `signal`.
  kExited,           // Exited with `exit_code` before replying.
  kOutputFlood,      // Wrote more than Limits::output_bytes to stdout and stderr.
  kPolicyViolation,  // Made a system call that its policy forbids: see `detail`.
};

// "ok", "wall_timeout" …: label values for metrics.
absl::string_view OutcomeKindName(OutcomeKind kind);

struct Outcome {
  OutcomeKind kind = OutcomeKind::kOk;
  // One sentence for a reader that names the limit or the call.
  std::string detail;
  std::string reply;
  int signal = 0;
  int exit_code = 0;
  // The first and the last 64 KiB of what the child wrote to stdout and stderr, with a line in between that
  // says how much was left out. Any bytes; not necessarily UTF-8.
  std::string output;
  uint64_t output_bytes = 0;  // Written in all.
  absl::Duration wall_time;   // From the request's arrival at the parent to the child's end.
  absl::Duration cpu_time;
  uint64_t peak_memory_bytes = 0;  // Largest resident set; pages shared with the parent count.

  bool ok() const { return kind == OutcomeKind::kOk; }
};

// What the parent kills a child for.
enum class KillReason : uint32_t { kNone = 0, kWallLimit = 1, kCancelled = 2, kOutputFlood = 3 };

// What the parent saw of a child's end, and what the child itself recorded in the reply's header.
struct ExitFacts {
  int wait_status = 0;  // As from waitpid(2).
  KillReason kill_reason = KillReason::kNone;
  absl::Duration cpu_time;
  uint32_t reply_state = 0;      // ReplyState
  uint32_t recorded_signal = 0;  // From the child's handler of SIGSYS or SIGABRT; 0 if neither came.
  int32_t recorded_syscall = -1;
};

// Fills kind, detail, signal and exit_code. The strongest evidence wins: what the parent did, then what the
// kernel reported, then what the child claims.
void Classify(const ExitFacts& facts, const Limits& limits, absl::Duration wall_limit, Outcome& outcome);

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_OUTCOME_H_
