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
#include "common/nki/ir/serialize.h"
#include "gtest/gtest.h"

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

}  // namespace
}  // namespace nkiagent::nki::exec
