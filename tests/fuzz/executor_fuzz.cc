// A valid program, however hostile, is executed to an answer or a status, touching no memory but its own.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
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
// How long after its deadline an execution may answer: sanitized code on a busy machine.
constexpr absl::Duration kPatience = absl::Seconds(5);

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
  for (const exec::Mode mode : {exec::Mode::kFast, exec::Mode::kReference}) {
    options.threads = mode == exec::Mode::kFast ? 1 + static_cast<int>(size % 2) : 1;
    options.deadline = absl::Now() + kDeadline;
    const auto result = exec::testing::RunProgram(*program, inputs, options, mode);
    if (absl::Now() > options.deadline + kPatience) std::abort();
    if (!result.ok()) {
      const absl::StatusCode code = result.status().code();
      if (code != absl::StatusCode::kInvalidArgument && code != absl::StatusCode::kDeadlineExceeded &&
          code != absl::StatusCode::kResourceExhausted) {
        std::abort();
      }
    } else if (!result->report.completed && result->report.diagnostics.empty()) {
      std::abort();
    }
  }
  return 0;
}
