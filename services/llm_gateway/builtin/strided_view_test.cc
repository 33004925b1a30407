#include "services/llm_gateway/builtin/strided_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nkiagent::builtin {
namespace {

using ::testing::ElementsAre;

TEST(Reshape, MergesAndSplitsContiguousAxes) {
  const std::optional<StridedView> merged = Reshape(ContiguousView({2, 3, 4}), {6, 4});
  ASSERT_TRUE(merged.has_value());
  EXPECT_TRUE(IsContiguous(*merged));
  const std::optional<StridedView> split = Reshape(*merged, {3, 2, 2, 2});
  ASSERT_TRUE(split.has_value());
  EXPECT_TRUE(IsContiguous(*split));
}

TEST(Reshape, SplitsATransposedView) {
  const StridedView transposed{0, {4, 6}, {1, 4}};
  const std::optional<StridedView> split = Reshape(transposed, {2, 2, 6});
  ASSERT_TRUE(split.has_value());
  EXPECT_THAT(split->strides, ElementsAre(2, 1, 4));
}

TEST(Reshape, NeedsACopyWhereStepsDiffer) {
  const StridedView transposed{0, {4, 6}, {1, 4}};
  EXPECT_FALSE(Reshape(transposed, {24}).has_value());
  EXPECT_FALSE(Reshape(ContiguousView({4, 6}), {5, 5}).has_value());
}

TEST(BroadcastTo, RepeatsByStrideZero) {
  const std::optional<StridedView> wide = BroadcastTo(ContiguousView({3, 1}), {2, 3, 5});
  ASSERT_TRUE(wide.has_value());
  EXPECT_THAT(wide->strides, ElementsAre(0, 1, 0));
  EXPECT_FALSE(BroadcastTo(ContiguousView({3}), {2}).has_value());
  EXPECT_FALSE(BroadcastTo(ContiguousView({2, 2}), {2}).has_value());
}

TEST(Refine, FindsTheCommonAxes) {
  const std::optional<Refinement> r = Refine({6, 4}, {2, 3, 4});
  ASSERT_TRUE(r.has_value());
  EXPECT_THAT(r->dims, ElementsAre(2, 3, 4));
  EXPECT_THAT(r->pieces_a[0], ElementsAre(2, 3));
}

TEST(Refine, DropsAxesOfSizeOne) {
  const std::optional<Refinement> r = Refine({1, 6, 1}, {6});
  ASSERT_TRUE(r.has_value());
  EXPECT_THAT(r->dims, ElementsAre(6));
  EXPECT_THAT(r->pieces_a[0], ElementsAre());
}

TEST(Refine, RefusesCrossingBoundaries) {
  EXPECT_FALSE(Refine({2, 3}, {3, 2}).has_value());
  EXPECT_FALSE(Refine({2, 3}, {7}).has_value());
}

TEST(StridedViewTest, ReadingThroughACopyOfAView) {
  // A (2, 3, 4) copy of a permuted tensor, read with its last two axes exchanged.
  const StridedView permuted{5, {2, 3, 4}, {4, 8, 1}};
  const StridedView turned{12, {4, 3}, {1, 4}};
  const std::optional<StridedView> view = Through(turned, {2, 3, 4}, permuted);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(*view, (StridedView{9, {4, 3}, {1, 8}}));
}

TEST(StridedViewTest, AnAxisOverTwoAxesOfACopyHasToBeCut) {
  // Six heads that are three, each repeated twice.
  const StridedView repeated{0, {3, 2, 4}, {4, 0, 1}};
  const StridedView heads{0, {6, 4}, {4, 1}};
  std::optional<AxisCut> cut;
  EXPECT_FALSE(Through(heads, {3, 2, 4}, repeated, &cut).has_value());
  ASSERT_TRUE(cut.has_value());
  EXPECT_EQ(cut->axis, 0u);
  EXPECT_EQ(cut->inner, 2);
  const std::optional<StridedView> view = Through({0, {3, 2, 4}, {8, 4, 1}}, {3, 2, 4}, repeated);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->strides, (Dims{4, 0, 1}));
}

}  // namespace
}  // namespace nkiagent::builtin
