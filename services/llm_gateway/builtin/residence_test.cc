#include "services/llm_gateway/builtin/residence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nkiagent::builtin {
namespace {

using ::testing::ElementsAre;

// 200 rows of 96 elements, on partitions by 100.
constexpr int64_t kElements = 200 * 96;
const Residence kRows = {96, 200, 100, {}};

TEST(Place, FindsTilesOfRowsSideBySide) {
  const auto placed = Place(kRows, kElements, {0, {96, 100}, {{1, 96}, {9600, 2}}});
  ASSERT_TRUE(placed.has_value());
  EXPECT_EQ(placed->offset, 0);
  EXPECT_THAT(placed->strides, ElementsAre(1, 96));
  EXPECT_EQ(ElementsPerPartition(kRows, kElements), 192);
}

TEST(Place, FindsAPartOfEachRow) {
  const auto placed = Place(kRows, kElements, {32, {96, 100}, {{1, 32}, {9600, 2}}});
  ASSERT_TRUE(placed.has_value());
  EXPECT_EQ(placed->offset, 32);
}

TEST(Place, RefusesWhatIsCutOtherwise) {
  EXPECT_FALSE(Place(kRows, kElements, {0, {96, 50}, {{1, 96}, {4800, 4}}}));     // smaller tiles
  EXPECT_FALSE(Place(kRows, kElements, {0, {1, 96}, {{96, 200}}}));               // columns on partitions
  EXPECT_FALSE(Place(kRows, kElements, {0, {192, 100}, {{1, 96}}}));              // every other row
  EXPECT_FALSE(Place(kRows, kElements, {96, {96, 100}, {{1, 96}}}));              // from the second row on
  EXPECT_FALSE(Place(kRows, kElements, {95, {96, 100}, {{-1, 96}, {9600, 2}}}));  // backwards
  EXPECT_FALSE(Place(kRows, kElements, {64, {96, 100}, {{1, 64}}}));              // into the next row
  EXPECT_FALSE(Place(kRows, kElements, {0, {96, 100}, {{1, 96}, {9600, 3}}}));    // beyond the last tile
}

TEST(Place, CountsTilesOfARaggedAxisApart) {
  // 3 matrices of 131 rows of 8, on partitions by 66: two tiles for each matrix.
  const Residence ragged = {8, 131, 66, {}};
  const auto placed = Place(ragged, 3 * 131 * 8, {0, {8, 66}, {{131 * 8, 3}, {1, 8}, {66 * 8, 2}}});
  ASSERT_TRUE(placed.has_value());
  EXPECT_THAT(placed->strides, ElementsAre(16, 1, 8));
  EXPECT_EQ(ElementsPerPartition(ragged, 3 * 131 * 8), 48);
}

TEST(Place, ReadsOneRowForAllPartitions) {
  const Residence vector = {96, 1, 1, {}};
  EXPECT_TRUE(Place(vector, 96, {0, {0, 128}, {{1, 96}}}).has_value());
}

TEST(ShapeFor, HasAnAxisForEachLoop) {
  const TileSteps steps = {0, {96, 100}, {{1, 96}, {9600, 2}}};
  EXPECT_THAT(ShapeFor(192, {steps}, {*Place(kRows, kElements, steps)}), ElementsAre(2, 96));
  // Halves of rows, and rows as a whole.
  const TileSteps halves = {0, {96, 100}, {{48, 2}, {1, 48}, {9600, 2}}};
  EXPECT_THAT(
      ShapeFor(192, {halves, steps}, {*Place(kRows, kElements, halves), *Place(kRows, kElements, steps)}),
      ElementsAre(192));
}

}  // namespace
}  // namespace nkiagent::builtin
