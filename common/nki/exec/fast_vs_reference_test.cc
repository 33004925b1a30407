// The fast paths against the definition, on random programs of every instruction.
#include <cmath>
#include <string>
#include <vector>

#include "common/nki/exec/testing/random_program.h"
#include "common/nki/exec/testing/run_program.h"
#include "common/nki/ir/print.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::exec {
namespace {

using isa::DType;
using isa::Opcode;
using testing::RandomProgram;
using testing::RunProgram;
using testing::RunResult;

// Programs for each instruction.
constexpr uint64_t kPrograms = 40;

// How far two results may be apart when sums were taken in another order and then rounded to the dtype.
float Tolerance(DType dtype, float magnitude) {
  switch (dtype) {
    case DType::kFloat32:
      return 2e-5f * (1.0f + magnitude);
    case DType::kTFloat32:
    case DType::kFloat16:
      return 2e-3f * (0.01f + magnitude);
    case DType::kBFloat16:
      return 1.6e-2f * (0.01f + magnitude);
    case DType::kFloat8E4M3:
      return 0.13f * (0.02f + magnitude);
    case DType::kFloat8E5M2:
      return 0.26f * (0.02f + magnitude);
    default:
      return 1.0f + 1e-5f * magnitude;
  }
}

bool Close(DType dtype, float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b || std::fabs(a - b) <= Tolerance(dtype, std::fabs(b));
}

class EveryInstruction : public ::testing::TestWithParam<int> {};

TEST_P(EveryInstruction, FastEqualsReference) {
  const auto op = static_cast<Opcode>(GetParam());
  int completed = 0, faulted = 0;
  for (uint64_t seed = 0; seed < kPrograms; ++seed) {
    const RandomProgram random = testing::MakeRandomProgram(op, seed);
    const std::string text = ir::ToString(random.program);
    ExecOptions options;
    options.threads = seed % 4 == 0 ? 2 : 1;
    const absl::StatusOr<RunResult> want =
        RunProgram(random.program, random.inputs, options, Mode::kReference);
    const absl::StatusOr<RunResult> got = RunProgram(random.program, random.inputs, options, Mode::kFast);
    ASSERT_TRUE(want.ok()) << want.status() << " seed " << seed << "\n" << text;
    ASSERT_TRUE(got.ok()) << got.status() << " seed " << seed << "\n" << text;
    ASSERT_EQ(got->report.completed, want->report.completed) << "seed " << seed << "\n" << text;
    if (!want->report.completed) {
      ++faulted;
      ASSERT_EQ(got->report.diagnostics[0].rule, want->report.diagnostics[0].rule);
      ASSERT_EQ(got->report.diagnostics[0].line, want->report.diagnostics[0].line);
      continue;
    }
    ++completed;
    for (size_t i = 0; i < want->outputs.size(); ++i) {
      ASSERT_EQ(got->report.outputs[i].unwritten_elements, want->report.outputs[i].unwritten_elements)
          << "seed " << seed << "\n"
          << text;
      ASSERT_EQ(got->report.outputs[i].first_unwritten, want->report.outputs[i].first_unwritten);
      const std::vector<float> a = got->outputs[i].Floats(), b = want->outputs[i].Floats();
      for (size_t k = 0; k < a.size(); ++k) {
        ASSERT_TRUE(Close(want->outputs[i].dtype(), a[k], b[k]))
            << "output " << i << " element " << k << ": " << a[k] << ", reference " << b[k] << ", seed "
            << seed << "\n"
            << text;
      }
    }
  }
  // The generator makes both kinds, and mostly programs that run to their end.
  EXPECT_GT(completed, static_cast<int>(kPrograms) / 3);
  EXPECT_GT(faulted, 0);
}

INSTANTIATE_TEST_SUITE_P(Table, EveryInstruction, ::testing::Range(0, isa::kOpcodeCount),
                         [](const ::testing::TestParamInfo<int>& param) {
                           return std::string(isa::RowOf(static_cast<Opcode>(param.param)).name);
                         });

}  // namespace
}  // namespace nkiagent::nki::exec
