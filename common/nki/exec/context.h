// What one thread needs to execute instructions: the program, where its tensors are, the values of its
// symbols, and where to tell what went wrong.
#ifndef NKIAGENT_COMMON_NKI_EXEC_CONTEXT_H_
#define NKIAGENT_COMMON_NKI_EXEC_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/nki/diagnostic.h"
#include "common/nki/exec/findings.h"
#include "common/nki/exec/memory.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

// Shared by all threads of one execution.
struct Shared {
  Shared(const ir::Program& p, int64_t max_bytes, absl::Time until, const std::atomic<bool>* cancel,
         uint64_t s)
      : program(p), budget(max_bytes), deadline(until), cancelled(cancel), seed(s) {}

  // Whether the deadline passed or the caller cancelled. Thread-safe.
  bool Expired() const {
    return (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) ||
           (deadline != absl::InfiniteFuture() && absl::Now() > deadline);
  }

  const ir::Program& program;
  Budget budget;
  Findings findings;
  const absl::Time deadline;
  const std::atomic<bool>* const cancelled;
  const uint64_t seed;
};

// Accumulators that keep their values between instructions, one for each partition.
struct Registers {
  std::vector<float> scalar;  // activation
  std::vector<float> vector;  // range_select
  friend bool operator==(const Registers&, const Registers&) = default;
};

// One thread's view of the execution. Instruction functions return false after setting `fault` or `status`.
struct Context {
  explicit Context(Shared* s) : shared(s), pool(&s->budget) {}

  Shared* const shared;
  BlockPool pool;
  std::vector<Storage> tensors;     // by TensorId; views carry their base's storage
  std::vector<int64_t> symbols;     // by SymbolId
  std::vector<ir::SymbolId> loops;  // symbols of the loops being executed, outermost first
  Registers registers;
  std::optional<Diagnostic> fault;  // the kernel is wrong
  int64_t fault_element = 0;        // ExecReport::fault_element
  int64_t fault_elements = 0;       // ExecReport::fault_elements
  absl::Status status;              // no answer can be had
  int64_t instructions = 0;
  int64_t work = 0;  // since the clock was last looked at

  const ir::Program& program() const { return shared->program; }

  // Accounts for `elements` of work; now and then looks at the clock and the cancel flag.
  bool Poll(int64_t elements) {
    work += elements;
    return work < kWorkPerPoll || PollNow();
  }
  bool PollNow() {
    work = 0;
    if (shared->cancelled != nullptr && shared->cancelled->load(std::memory_order_relaxed)) {
      status = absl::CancelledError("execution cancelled");
      return false;
    }
    if (shared->deadline != absl::InfiniteFuture() && absl::Now() > shared->deadline) {
      status = absl::DeadlineExceededError("execution passed its deadline");
      return false;
    }
    return true;
  }

  // Elements of simple work between two looks at the clock: well under a millisecond.
  static constexpr int64_t kWorkPerPoll = 1 << 18;
};

// Warnings of ExecReport::diagnostics.
inline constexpr char kReadOfUnwrittenMemory[] = "read_of_unwritten_memory";
inline constexpr char kActivationInputOutOfRange[] = "activation_input_out_of_range";
void WarnUndefinedRead(Context& context, const ir::Instr& instr, ir::TensorId tensor);
void WarnActivationRange(Context& context, const ir::Instr& instr, float input);

// The stream of random numbers of this execution of `instr`: differs between instructions, loop iterations
// and ExecOptions::seed.
uint64_t RandomStreamOf(const Context& context, const ir::Instr& instr);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_CONTEXT_H_
