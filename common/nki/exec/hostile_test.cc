// Programs with flipped bytes that still validate: whatever they do, Execute answers, and touches no memory
// but its own (the asan preset watches).
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "common/nki/exec/bench/bench_programs.h"
#include "common/nki/exec/testing/random_program.h"
#include "common/nki/exec/testing/run_program.h"
#include "common/nki/ir/print.h"
#include "common/nki/ir/serialize.h"
#include "common/nki/ir/validate.h"
#include "gtest/gtest.h"
#include "tests/fuzz/mutate.h"

namespace nkiagent::nki::exec {
namespace {

using testing::HostTensor;
using testing::RunProgram;
using testing::RunResult;

constexpr int kRounds = 20000;
constexpr int64_t kMaxTensorBytes = 1 << 20;

bool IsSmall(const ir::Program& p) {
  return std::all_of(p.tensors.begin(), p.tensors.end(), [](const ir::Tensor& t) {
    return t.ElementCount() * isa::SizeOf(t.dtype) <= kMaxTensorBytes;
  });
}

TEST(Hostile, ValidatedProgramsWithFlippedBytesAlwaysGetAnAnswer) {
  std::mt19937_64 rng(42);
  int executed = 0, completed = 0, faulted = 0, refused = 0;
  std::vector<std::string> seeds;
  for (int op = 0; op < isa::kOpcodeCount; ++op) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      seeds.push_back(
          ir::Serialize(testing::MakeRandomProgram(static_cast<isa::Opcode>(op), seed + 1000).program));
    }
  }
  seeds.push_back(ir::Serialize(SoftmaxProgram(200, 40)));
  for (int round = 0; round < kRounds; ++round) {
    std::string bytes = seeds[rng() % seeds.size()];
    const size_t flips = 1 + rng() % 4;
    for (size_t k = 0; k < flips; ++k) {
      char& c = bytes[rng() % bytes.size()];
      // Small changes keep more programs valid than arbitrary bytes do.
      c = rng() % 2 == 0 ? static_cast<char>(rng()) : static_cast<char>(c + (rng() % 2 == 0 ? 2 : -2));
    }
    const absl::StatusOr<ir::Program> p = ir::Parse(bytes);
    if (!p.ok() || !IsSmall(*p)) continue;
    ++executed;
    std::vector<HostTensor> inputs;
    for (const ir::TensorId id : p->inputs) {
      const ir::Tensor& t = p->tensors[static_cast<size_t>(id)];
      inputs.push_back(HostTensor::Random(t.dtype, t.shape, rng(), -40.0f, 40.0f));
    }
    ExecOptions options;
    options.threads = 1 + round % 2;
    options.max_bytes = 64 << 20;
    options.deadline = absl::Now() + absl::Milliseconds(30);
    const absl::StatusOr<RunResult> r = RunProgram(*p, inputs, options);
    if (!r.ok()) {
      ++refused;
      EXPECT_TRUE(r.status().code() == absl::StatusCode::kInvalidArgument ||
                  r.status().code() == absl::StatusCode::kDeadlineExceeded ||
                  r.status().code() == absl::StatusCode::kResourceExhausted)
          << r.status();
    } else if (r->report.completed) {
      ++completed;
    } else {
      ++faulted;
      ASSERT_FALSE(r->report.diagnostics.empty());
      EXPECT_EQ(r->report.diagnostics[0].severity, Severity::kError);
    }
  }
  EXPECT_GT(executed, kRounds / 20);
  EXPECT_GT(completed, 0);
  EXPECT_GT(faulted, 0);
  EXPECT_GT(refused, 0);
}

// Programs changed as programs, which stay valid far more often: the fast way and the definition agree on
// whether there is an answer, what is wrong, and what was never written.
TEST(Hostile, MutatedProgramsEndAlikeFastAndByDefinition) {
  constexpr int kPrograms = 1200;
  fuzz::Rng rng(7);
  int compared = 0, faulted = 0;
  for (int round = 0; round < kPrograms; ++round) {
    ir::Program program =
        testing::MakeRandomProgram(static_cast<isa::Opcode>(rng() % isa::kOpcodeCount), rng() % 50).program;
    for (uint64_t n = 1 + rng() % 4; n > 0; --n) fuzz::Mutate(&program, rng);
    if (!ir::Validate(program).ok() || !IsSmall(program)) continue;
    std::vector<HostTensor> inputs;
    for (const ir::TensorId id : program.inputs) {
      const ir::Tensor& t = program.tensors[static_cast<size_t>(id)];
      inputs.push_back(HostTensor::Random(t.dtype, t.shape, rng(), -9.0f, 9.0f));
    }
    ExecOptions options;
    options.max_bytes = 64 << 20;
    options.deadline = absl::Now() + absl::Seconds(2);
    options.threads = 1 + round % 2;
    const auto fast = RunProgram(program, inputs, options, Mode::kFast);
    const auto slow = RunProgram(program, inputs, options, Mode::kReference);
    if (!fast.ok() || !slow.ok()) continue;  // memory and time are not alike
    ++compared;
    const std::string text = ir::ToString(program);
    ASSERT_EQ(fast->report.completed, slow->report.completed) << "round " << round << "\n" << text;
    if (!slow->report.completed) {
      ++faulted;
      EXPECT_EQ(fast->report.diagnostics[0].rule, slow->report.diagnostics[0].rule) << text;
      EXPECT_EQ(fast->report.diagnostics[0].line, slow->report.diagnostics[0].line) << text;
      continue;
    }
    for (size_t i = 0; i < slow->report.outputs.size(); ++i) {
      EXPECT_EQ(fast->report.outputs[i].unwritten_elements, slow->report.outputs[i].unwritten_elements)
          << text;
    }
  }
  EXPECT_GT(compared, kPrograms / 6);
  EXPECT_GT(faulted, 0);
}

}  // namespace
}  // namespace nkiagent::nki::exec
