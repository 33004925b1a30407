#include "services/llm_gateway/builtin/window.h"

#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace nkiagent::builtin {
namespace {

// What each output meets: (output, input position, tap), padding included.
using Meetings = std::set<std::tuple<int64_t, int64_t, int64_t>>;

Meetings Of(const StackedAxis& axis) {
  Meetings meetings;
  for (const Phase& p : axis.reads.phases) {
    for (int64_t q = 0; q < p.count; ++q) {
      for (int64_t j = 0; j < p.taps; ++j) {
        for (int64_t d = 0; d < axis.stack.count; ++d) {
          const int64_t tap = p.first_tap + j * p.tap_step + d * axis.stack.tap_step - axis.padding;
          if (tap < 0 || tap >= axis.reads.kernel) continue;  // zeros
          meetings.emplace(p.start + q * axis.reads.output_step,
                           q * axis.reads.input_step + p.origin + j * p.origin_step + d * axis.stack.step,
                           tap);
        }
      }
    }
  }
  return meetings;
}

TEST(StackTapsTest, SlidingWindowsMeetTheSameTapsHoweverManyAreStacked) {
  const WindowAxis axis = SlidingAxis(/*input=*/31, /*kernel=*/5, /*output=*/14, /*stride=*/2, /*padding=*/3,
                                      /*dilation=*/2);
  EXPECT_EQ(FullStack(axis), 5);
  for (int64_t count = 2; count <= 5; ++count) {
    const StackedAxis stacked = StackTaps(axis, count);
    EXPECT_EQ(Of(stacked), Of(StackTaps(axis, 1))) << count;
    EXPECT_EQ(stacked.stack.count * stacked.reads.phases[0].taps, stacked.taps) << count;
  }
}

TEST(StackTapsTest, PhasesOfATransposedConvolutionShareTheirCopies) {
  for (const auto& [stride, kernel, padding, dilation] :
       std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t>>{
           {2, 3, 1, 1}, {2, 4, 1, 1}, {3, 5, 2, 1}, {1, 3, 0, 2}, {2, 3, 0, 2}, {3, 2, 0, 1}}) {
    const WindowAxis axis = TransposedAxis(/*input=*/9, kernel, /*output=*/20, stride, padding, dilation);
    const int64_t full = FullStack(axis);
    ASSERT_GT(full, 0);
    const StackedAxis stacked = StackTaps(axis, full);
    EXPECT_EQ(Of(stacked), Of(StackTaps(axis, 1))) << stride << " " << kernel;
    for (const Phase& phase : stacked.reads.phases) EXPECT_LE(phase.taps, 1);
  }
}

TEST(ResampledAxisTest, OutputsThatRepeatMakeAPhase) {
  std::vector<std::vector<ResampleTap>> outputs = {{{0, 1}}};
  for (int64_t o = 1; o < 19; ++o) {
    const int64_t at = (o - 1) / 2;
    const double part = o % 2 == 1 ? 0.25 : 0.75;
    outputs.push_back({{at, 1 - part}, {at + 1, part}});
  }
  outputs.push_back({{9, 1}});
  const std::optional<WindowAxis> axis = ResampledAxis(10, outputs, 4);
  ASSERT_TRUE(axis.has_value());
  EXPECT_EQ(axis->output_step, 2);
  EXPECT_EQ(axis->phases.size(), 4U);  // two at the edges, two between
  EXPECT_EQ(axis->phases[1].count, 9);
  EXPECT_FALSE(ResampledAxis(10, outputs, 3).has_value());
}

}  // namespace
}  // namespace nkiagent::builtin
