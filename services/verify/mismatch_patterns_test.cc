#include "services/verify/mismatch_patterns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "services/verify/compare.h"

namespace nkiagent::verify {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Dims = std::vector<int64_t>;

std::vector<float> RandomTensor(const Dims& dims) {
  int64_t total = 1;
  for (const int64_t extent : dims) total *= extent;
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(total));
  for (float& value : values) value = normal(generator);
  return values;
}

std::vector<MismatchPattern> Find(const Dims& dims, const std::vector<float>& expected,
                                  const std::vector<float>& actual) {
  const auto bytes = [](const std::vector<float>& values) {
    return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values.data()),
                               values.size() * sizeof(float));
  };
  const Comparison comparison =
      Compare(nki::isa::DType::kFloat32, bytes(expected), bytes(actual), 1e-3, 1e-3);
  return FindMismatchPatterns({.type = nki::isa::DType::kFloat32,
                               .dims = dims,
                               .expected = bytes(expected),
                               .actual = bytes(actual),
                               .atol = 1e-3,
                               .rtol = 1e-3,
                               .mismatched = comparison.mismatched});
}

// The actual tensor, element by element from place and expected value.
std::vector<MismatchPattern> FindChanged(
    const Dims& dims, const std::function<float(const std::vector<int64_t>& place, float expected)>& change) {
  const std::vector<float> expected = RandomTensor(dims);
  std::vector<float> actual = expected;
  for (size_t i = 0; i < actual.size(); ++i)
    actual[i] = change(Unravel(static_cast<int64_t>(i), dims), expected[i]);
  return Find(dims, expected, actual);
}

TEST(MismatchPatterns, NothingToSayOfEqualTensors) {
  EXPECT_THAT(FindChanged({8, 8}, [](const auto&, float e) { return e; }), IsEmpty());
}

TEST(MismatchPatterns, NothingToSayOfNoise) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  EXPECT_THAT(FindChanged({64, 64}, [&](const auto&, float) { return normal(generator); }), IsEmpty());
}

TEST(MismatchPatterns, AWrongTailIsAnUnfinishedTile) {
  const auto patterns =
      FindChanged({140, 32}, [](const auto& place, float e) { return place[0] >= 128 ? e + 1 : e; });
  ASSERT_EQ(patterns.size(), 2);
  EXPECT_EQ(patterns[0].kind, PatternKind::kRegion);
  EXPECT_EQ(patterns[0].axis, 0);
  EXPECT_EQ(patterns[0].first, 128);
  EXPECT_EQ(patterns[0].last, 139);
  EXPECT_THAT(patterns[0].text, HasSubstr("partial tile"));
  EXPECT_EQ(patterns[1].kind, PatternKind::kOffset);
  EXPECT_NEAR(patterns[1].offset, 1, 1e-5);
}

TEST(MismatchPatterns, APeriodIsNamed) {
  const auto patterns =
      FindChanged({16, 64}, [](const auto& place, float e) { return place[1] % 4 == 3 ? -e : e; });
  ASSERT_EQ(patterns.size(), 2);
  EXPECT_THAT(patterns[0].text, HasSubstr("3 modulo 4"));
  EXPECT_EQ(patterns[1].kind, PatternKind::kSign);
}

TEST(MismatchPatterns, ScaleNamesTheExtentItComesFrom) {
  const auto patterns = FindChanged({32, 96}, [](const auto&, float e) { return e * 96; });
  ASSERT_EQ(patterns.size(), 1);
  EXPECT_EQ(patterns[0].kind, PatternKind::kScale);
  EXPECT_NEAR(patterns[0].factor, 96, 0.01);
  EXPECT_THAT(patterns[0].text, HasSubstr("the extent of axis 1"));
}

TEST(MismatchPatterns, ZerosAreAResultThatWasNeverComputed) {
  const auto patterns = FindChanged({32, 32}, [](const auto&, float) { return 0.0F; });
  ASSERT_EQ(patterns.size(), 1);
  EXPECT_EQ(patterns[0].kind, PatternKind::kConstant);
  EXPECT_THAT(patterns[0].text, HasSubstr("every wrong element is 0"));
}

TEST(MismatchPatterns, FindsShiftsAlongAnyAxis) {
  const Dims dims = {6, 40, 24};
  const std::vector<float> expected = RandomTensor(dims);
  for (const auto& [axis, stride, shift] :
       {std::tuple{0, 960, 2}, std::tuple{1, 24, -3}, std::tuple{2, 1, 1}}) {
    std::vector<float> actual = expected;
    for (size_t i = 0; i < actual.size(); ++i) {
      const int64_t place = Unravel(static_cast<int64_t>(i), dims)[static_cast<size_t>(axis)] + shift;
      if (place >= 0 && place < dims[static_cast<size_t>(axis)])
        actual[i] = expected[i + static_cast<size_t>(shift * stride)];
    }
    const auto patterns = Find(dims, expected, actual);
    ASSERT_FALSE(patterns.empty());
    EXPECT_EQ(patterns.back().kind, PatternKind::kShift) << axis;
    EXPECT_EQ(patterns.back().axis, axis);
    EXPECT_EQ(patterns.back().shift, shift);
  }
}

TEST(MismatchPatterns, ATileInItsNeighboursPlace) {
  const Dims dims = {256, 16};
  const std::vector<float> expected = RandomTensor(dims);
  std::vector<float> actual = expected;
  std::copy(expected.begin(), expected.begin() + 128 * 16, actual.begin() + 128 * 16);
  const auto patterns = Find(dims, expected, actual);
  ASSERT_EQ(patterns.size(), 2);
  EXPECT_EQ(patterns[1].shift, -128);
  EXPECT_THAT(patterns[1].text, HasSubstr("neighbour"));
}

TEST(MismatchPatterns, FindsAMissingTranspose) {
  for (const Dims& dims : {Dims{24, 24}, Dims{3, 10, 24}}) {
    const std::vector<float> expected = RandomTensor(dims);
    std::vector<float> actual;
    // Elements in the order of the last two axes swapped.
    const auto batch = dims.size() == 3 ? dims[0] : 1;
    const auto rows = dims[dims.size() - 2];
    const auto cols = dims.back();
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t c = 0; c < cols; ++c)
        for (int64_t r = 0; r < rows; ++r)
          actual.push_back(expected[static_cast<size_t>((b * rows + r) * cols + c)]);
    const auto patterns = Find(dims, expected, actual);
    ASSERT_FALSE(patterns.empty());
    EXPECT_EQ(patterns.back().kind, PatternKind::kTranspose);
  }
}

TEST(MismatchPatterns, RowsWithAFactorOrSummandOfTheirOwn) {
  const auto scaled = FindChanged(
      {32, 64}, [](const auto& place, float e) { return e * (1.5F + 0.1F * static_cast<float>(place[0])); });
  ASSERT_EQ(scaled.size(), 1);
  EXPECT_EQ(scaled[0].kind, PatternKind::kRowScale);
  const auto moved = FindChanged(
      {32, 64}, [](const auto& place, float e) { return e + 1.5F + 0.1F * static_cast<float>(place[0]); });
  ASSERT_EQ(moved.size(), 1);
  EXPECT_EQ(moved[0].kind, PatternKind::kRowOffset);
}

TEST(MismatchPatterns, ErrorsOf16BitArithmetic) {
  const auto patterns = FindChanged({64, 64}, [](const auto& place, float e) {
    return e * (1 + ((place[0] + place[1]) % 2 == 0 ? 1 : -1) * 0.004F) + (e > 0 ? 0.001F : -0.001F);
  });
  ASSERT_EQ(patterns.size(), 1);
  EXPECT_EQ(patterns[0].kind, PatternKind::kPrecision);
}

TEST(MismatchPatterns, NanIsAPlaceWithoutARelation) {
  const auto patterns = FindChanged({16, 16}, [](const auto& place, float e) {
    return place[0] == 5 ? std::numeric_limits<float>::quiet_NaN() : e;
  });
  ASSERT_EQ(patterns.size(), 1);
  EXPECT_EQ(patterns[0].text, "axis 0 (16 long): only index 5 is wrong");
}

}  // namespace
}  // namespace nkiagent::verify
