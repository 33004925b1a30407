#include "services/llm_gateway/builtin/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "services/llm_gateway/builtin/strided_view.h"

namespace nkiagent::builtin {
namespace {

using ::testing::ElementsAre;

// Calls `visit` with every index of `extents`.
template <typename Visit>
void ForEachIndex(const Dims& extents, Visit visit) {
  Dims index(extents.size(), 0);
  const int64_t total = ElementCount(extents);
  for (int64_t n = 0; n < total; ++n) {
    visit(index);
    for (size_t i = extents.size(); i-- > 0;) {
      if (++index[i] < extents[i]) break;
      index[i] = 0;
    }
  }
}

int64_t ElementOf(const HbmIndex& hbm, const Dims& index) {
  const Dims strides = ContiguousStrides(hbm.shape);
  int64_t element = 0;
  for (size_t a = 0; a < hbm.subscripts.size(); ++a) {
    int64_t at = hbm.subscripts[a].constant;
    for (const auto& [axis, coefficient] : hbm.subscripts[a].terms) at += coefficient * index[axis];
    EXPECT_GE(at, 0);
    EXPECT_LT(at, hbm.shape[a]);
    element += at * strides[a];
  }
  return element;
}

void ExpectSameElements(const Dims& tensor, const StridedView& view) {
  const std::optional<HbmIndex> hbm = IndexOf(tensor, view.offset, view.strides, view.dims);
  ASSERT_TRUE(hbm.has_value());
  EXPECT_EQ(ElementCount(hbm->shape), ElementCount(tensor));
  ForEachIndex(view.dims, [&](const Dims& index) {
    int64_t element = view.offset;
    for (size_t i = 0; i < index.size(); ++i) element += index[i] * view.strides[i];
    EXPECT_EQ(ElementOf(*hbm, index), element);
  });
}

TEST(IndexOf, KeepsTheShapeOfAPlainAccess) {
  const std::optional<HbmIndex> hbm = IndexOf({6, 8}, 0, {8, 1}, {6, 8});
  ASSERT_TRUE(hbm.has_value());
  EXPECT_THAT(hbm->shape, ElementsAre(6, 8));
}

TEST(IndexOf, MergesAxesThatTheAccessDoesNotTellApart) {
  const std::optional<HbmIndex> hbm = IndexOf({2, 3, 8}, 0, {8, 1}, {6, 8});
  ASSERT_TRUE(hbm.has_value());
  EXPECT_THAT(hbm->shape, ElementsAre(6, 8));
}

TEST(IndexOf, TellsStepsOverOddAxes) {
  ExpectSameElements({7}, {0, {4}, {2}});
  ExpectSameElements({5, 7}, {1, {5, 3}, {7, 2}});
  ExpectSameElements({9, 4}, {4, {4, 4}, {8, 1}});
}

// Rows 4 to 17 of 21 that lie in blocks of 7, as two halves.
TEST(IndexOf, TellsWindowsThatBeginInsideABlock) {
  ExpectSameElements({3, 7, 5}, {20, {2, 7, 5}, {35, 5, 1}});
}

TEST(IndexOf, RefusesWhatLeavesTheTensor) {
  EXPECT_FALSE(IndexOf({8}, 0, {-1}, {8}).has_value());
  EXPECT_FALSE(IndexOf({8}, 1, {1}, {8}).has_value());
}

// Views that arise from permutations, slices, splits and broadcasts of random shapes.
TEST(IndexOf, TellsRandomViews) {
  std::mt19937 random(1);
  const auto pick = [&random](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  for (int round = 0; round < 500; ++round) {
    Dims dims(static_cast<size_t>(pick(1, 4)));
    for (int64_t& d : dims) d = pick(1, 7);
    StridedView view = ContiguousView(dims);
    for (size_t i = 0; i < dims.size(); ++i) {
      const size_t j = static_cast<size_t>(pick(0, static_cast<int64_t>(dims.size()) - 1));
      std::swap(view.dims[i], view.dims[j]);
      std::swap(view.strides[i], view.strides[j]);
      const int64_t start = pick(0, view.dims[i] - 1), step = pick(1, 2);
      view.offset += start * view.strides[i];
      view.dims[i] = (view.dims[i] - start + step - 1) / step;
      view.strides[i] *= step;
    }
    if (round % 3 == 0) {
      view.dims.insert(view.dims.begin(), 3);
      view.strides.insert(view.strides.begin(), 0);
    }
    SCOPED_TRACE(round);
    ExpectSameElements(dims, view);
  }
}

}  // namespace
}  // namespace nkiagent::builtin
