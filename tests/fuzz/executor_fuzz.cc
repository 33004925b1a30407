// A valid program, however hostile, is executed to an answer or a status, touching no memory but its own; the
// fast way and the definition agree on whether it completes and what is wrong with it.
#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/nki/exec/execute.h"
#include "common/nki/exec/testing/run_program.h"
#include "common/nki/ir/serialize.h"

namespace {

namespace exec = nkiagent::nki::exec;
namespace ir = nkiagent::nki::ir;

// Small, so that many programs run in a second.
constexpr int64_t kMaxTensorBytes = 1 << 16;
constexpr size_t kMaxTensors = 64;
constexpr int64_t kMaxBytes = 16 << 20;
constexpr absl::Duration kDeadline = absl::Milliseconds(20);
// Processor time that an execution may take until it sees that its deadline has passed: sanitized code. Not a
// time on the wall: other processes may have the machine.
constexpr double kMaxSeconds = 2.0;

double ProcessorSeconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

bool HasRunTimeIndex(const ir::Program& p) {
  bool has = false;
  ir::ForEachInstr(p.body, [&](const ir::Instr& instr, auto) {
    has |= instr.op == nkiagent::nki::isa::Opcode::kLocalGather;
    for (const auto* operands : {&instr.dst, &instr.src}) {
      for (const ir::Operand& o : *operands) {
        const auto* access = std::get_if<ir::Access>(&o);
        has |= access != nullptr && access->indirect_axis >= 0;
      }
    }
  });
  return has;
}

bool IsSmall(const ir::Program& p) {
  return p.tensors.size() <= kMaxTensors &&
         std::all_of(p.tensors.begin(), p.tensors.end(), [](const ir::Tensor& t) {
           return t.ElementCount() * nkiagent::nki::isa::SizeOf(t.dtype) <= kMaxTensorBytes;
         });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto program = ir::Parse({reinterpret_cast<const char*>(data), size});
  if (!program.ok() || !IsSmall(*program)) return 0;
  std::vector<exec::testing::HostTensor> inputs;
  uint64_t seed = size;
  for (const ir::TensorId id : program->inputs) {
    const ir::Tensor& t = program->tensors[static_cast<size_t>(id)];
    inputs.push_back(exec::testing::HostTensor::Random(t.dtype, t.shape, ++seed, -40.0f, 40.0f));
  }
  exec::ExecOptions options;
  options.max_bytes = kMaxBytes;
  std::vector<std::string> verdicts;
  for (const exec::Mode mode : {exec::Mode::kFast, exec::Mode::kReference}) {
    options.threads = mode == exec::Mode::kFast ? 1 + static_cast<int>(size % 2) : 1;
    options.deadline = absl::Now() + kDeadline;
    const double start = ProcessorSeconds();
    const auto result = exec::testing::RunProgram(*program, inputs, options, mode);
    if (ProcessorSeconds() - start > kMaxSeconds) std::abort();
    if (!result.ok()) {
      const absl::StatusCode code = result.status().code();
      if (code != absl::StatusCode::kInvalidArgument && code != absl::StatusCode::kDeadlineExceeded &&
          code != absl::StatusCode::kResourceExhausted) {
        std::abort();
      }
      continue;  // time and memory are not alike
    }
    std::string& verdict = verdicts.emplace_back();
    if (result->report.completed) continue;
    if (result->report.diagnostics.empty()) std::abort();
    const nkiagent::nki::Diagnostic& first = result->report.diagnostics.front();
    verdict = first.rule + ":" + std::to_string(first.line);
  }
  // Where numbers decide places, rounding may.
  if (verdicts.size() == 2 && !HasRunTimeIndex(*program) && verdicts[0] != verdicts[1]) std::abort();
  return 0;
}
