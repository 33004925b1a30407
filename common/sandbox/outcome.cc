#include "common/sandbox/outcome.h"

#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/sandbox/wire.h"

namespace nkiagent::sandbox {
namespace {

std::string SyscallName(int number) {
  char* name = number < 0 ? nullptr : seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
  std::string result = name != nullptr ? std::string(name) : absl::StrCat("system call ", number);
  free(name);
  return result;
}

std::string Mebibytes(uint64_t bytes) {
  return absl::StrFormat("%.0f MiB", static_cast<double>(bytes) / (1 << 20));
}

void SetCrash(int signal, Outcome& outcome) {
  const char* name = sigabbrev_np(signal);
  outcome.kind = OutcomeKind::kCrashed;
  outcome.signal = signal;
  outcome.detail = absl::StrCat("killed by SIG", name != nullptr ? name : absl::StrCat(signal), " (",
                                strsignal(signal), ")");
}

}  // namespace

absl::string_view OutcomeKindName(OutcomeKind kind) {
  switch (kind) {
    case OutcomeKind::kOk:
      return "ok";
    case OutcomeKind::kException:
      return "exception";
    case OutcomeKind::kWallTimeout:
      return "wall_timeout";
    case OutcomeKind::kCpuLimit:
      return "cpu_limit";
    case OutcomeKind::kMemoryLimit:
      return "memory_limit";
    case OutcomeKind::kCrashed:
      return "crashed";
    case OutcomeKind::kExited:
      return "exited";
    case OutcomeKind::kOutputFlood:
      return "output_flood";
    case OutcomeKind::kPolicyViolation:
      return "policy_violation";
  }
  return "unknown";
}

void Classify(const ExitFacts& facts, const Limits& limits, absl::Duration wall_limit, Outcome& outcome) {
  if (facts.kill_reason == KillReason::kWallLimit) {
    outcome.kind = OutcomeKind::kWallTimeout;
    outcome.detail = absl::StrCat("wall limit ", absl::FormatDuration(wall_limit), " passed");
    return;
  }
  if (facts.kill_reason == KillReason::kOutputFlood) {
    outcome.kind = OutcomeKind::kOutputFlood;
    outcome.detail = absl::StrCat("wrote more than ", Mebibytes(limits.output_bytes), " of output");
    return;
  }
  const int signal = WIFSIGNALED(facts.wait_status) ? WTERMSIG(facts.wait_status) : 0;
  // The child's handler tells. A child that replaced it is killed at the hard limit; the kernel counts in
  // ticks there and precisely in what it reports, so on a busy machine the two differ.
  if (facts.recorded_signal == SIGXCPU || signal == SIGXCPU ||
      (signal == SIGKILL && facts.cpu_time >= absl::Seconds(limits.cpu_seconds) / 2)) {
    outcome.kind = OutcomeKind::kCpuLimit;
    outcome.detail = absl::StrCat("CPU limit ", limits.cpu_seconds, " s passed");
    return;
  }
  if (facts.recorded_signal == SIGSYS || signal == SIGSYS) {
    outcome.kind = OutcomeKind::kPolicyViolation;
    outcome.signal = SIGSYS;
    outcome.detail =
        facts.recorded_signal == SIGSYS
            ? absl::StrCat("called ", SyscallName(facts.recorded_syscall), ", which is not allowed")
            : "made a system call that is not allowed";
    return;
  }
  if (signal != 0) {
    SetCrash(signal, outcome);
    return;
  }
  if (facts.recorded_signal != 0) {
    SetCrash(static_cast<int>(facts.recorded_signal), outcome);
    return;
  }
  const int exit_code = WEXITSTATUS(facts.wait_status);
  switch (static_cast<ReplyState>(facts.reply_state)) {
    case ReplyState::kOk:
      outcome.kind = OutcomeKind::kOk;
      return;
    case ReplyState::kException:
      outcome.kind = OutcomeKind::kException;
      outcome.detail = "the handler failed";
      return;
    case ReplyState::kMemory:
      outcome.kind = OutcomeKind::kMemoryLimit;
      outcome.detail =
          absl::StrCat("memory limit ", Mebibytes(limits.address_space_bytes), " of address space");
      return;
    case ReplyState::kNone:
      break;
  }
  outcome.kind = OutcomeKind::kExited;
  outcome.exit_code = exit_code;
  outcome.detail = absl::StrCat("exited with code ", exit_code, " before replying");
}

}  // namespace nkiagent::sandbox
