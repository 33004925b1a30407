// Execute: what a program computes, on the CPU. No Python, no files, no processes; safe for hostile programs.
//
// Contract. The program must be validated (ir/validate.h). Whatever it then does - an address outside its
// tensor, a run-time index out of range, a loop without end - ends as an answer or a status, never as a read
// or write outside a tensor. Views must not overlap each other and must stay valid during the call. Execute
// is thread-safe; each call uses its own threads.
//
// Numerics (common/nki/README.md): operands are read as fp32, computed in fp32, rounded once when written
// (dtype_convert.h); matmul sums in fp32 through OpenBLAS; sums over a free axis may be reassociated.
// Undefined memory (fresh tensors, output elements never written) reads as NaN in floating types and as a
// fixed pattern in integers, so that a result that depends on it can't agree with a reference by luck.
//
// The process should set OPENBLAS_NUM_THREADS=1 before it starts: OpenBLAS otherwise makes its own threads
// when it is loaded, which this library never uses.
#ifndef NKIAGENT_COMMON_NKI_EXEC_EXECUTE_H_
#define NKIAGENT_COMMON_NKI_EXEC_EXECUTE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/nki/diagnostic.h"
#include "common/nki/ir/program.h"
#include "common/nki/isa/types.h"

namespace nkiagent::nki::exec {

// One kernel argument, in the order of Program::inputs. Row-major, exactly product(shape) * SizeOf(dtype)
// bytes, dtype and shape equal to the program's tensor. Only read.
struct InputView {
  absl::Span<const std::byte> bytes;
  isa::DType dtype = isa::DType::kFloat32;
  std::vector<int64_t> shape;
};

// One returned tensor, in the order of Program::outputs. If the program's output is also an input (an
// in-place argument), the output starts with that input's contents.
struct OutputView {
  absl::Span<std::byte> bytes;
  isa::DType dtype = isa::DType::kFloat32;
  std::vector<int64_t> shape;
};

struct ExecOptions {
  // Threads that work on the program, the caller's included; at least 1.
  int threads = 2;
  // Checked at least every few milliseconds of work.
  absl::Time deadline = absl::InfiniteFuture();
  // Limit for everything that the execution allocates in proportion to the program's tensors: HBM and on-chip
  // tensors that the kernel creates, scratch tiles, bitmaps. Inputs and outputs are the caller's.
  int64_t max_bytes = int64_t{2} << 30;
  // Set to true by another thread to end the execution early; may be null.
  const std::atomic<bool>* cancelled = nullptr;
  // Fills OutputReport. Costs one bit for each output element.
  bool track_unwritten = true;
  // Mixed into the seeds of rng and dropout. Equal seeds give equal numbers, whatever the number of threads.
  uint64_t seed = 0;
};

struct OutputReport {
  // Elements that no instruction wrote. For an in-place argument the input's contents do not count as
  // written.
  int64_t unwritten_elements = 0;
  // Row-major position of the first of them; -1 if there is none.
  int64_t first_unwritten = -1;
};

struct ExecReport {
  // False if a run-time fault ended the execution; the first error among `diagnostics` names its line.
  // Outputs then hold what had been written until then.
  bool completed = false;
  // Where a run-time index led when it left its tensor: the row-major place asked for, which may be negative,
  // and the tensor's number of elements. Both 0 unless that is the fault.
  int64_t fault_element = 0;
  int64_t fault_elements = 0;
  // One for each output; empty unless track_unwritten and completed.
  std::vector<OutputReport> outputs;
  int64_t instructions = 0;  // executed, loops counted out
  int64_t peak_bytes = 0;    // most memory held at one time, as counted against max_bytes
  // Run-time findings, at most kMaxDiagnostics, one for each rule and source line:
  //   error   err_tensor_access_out_of_bound   an index outside its axis, run-time indices included
  //   warning read_of_unwritten_memory         an operand held elements that nothing had written
  //   warning activation_input_out_of_range    an input outside the range the Scalar engine accepts
  std::vector<Diagnostic> diagnostics;
};
inline constexpr int kMaxDiagnostics = 32;

// Runs the program. Errors mean that there is no answer:
//   INVALID_ARGUMENT    views do not fit the program, or operand shapes of an instruction contradict each
//   other
//                       (the message names the line)
//   DEADLINE_EXCEEDED   options.deadline passed
//   CANCELLED           *options.cancelled became true
//   RESOURCE_EXHAUSTED  max_bytes would be exceeded, or the machine has no more memory
absl::StatusOr<ExecReport> Execute(const ir::Program& program, absl::Span<const InputView> inputs,
                                   absl::Span<const OutputView> outputs, const ExecOptions& options);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_EXECUTE_H_
