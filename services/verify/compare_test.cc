#include "services/verify/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace nkiagent::verify {
namespace {

using nki::isa::DType;
using ::testing::ElementsAre;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

template <typename T>
Comparison CompareAs(DType type, const std::vector<T>& expected, const std::vector<T>& actual,
                     double atol = 1e-3, double rtol = 1e-3) {
  const auto bytes = [](const std::vector<T>& values) {
    return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T));
  };
  return Compare(type, bytes(expected), bytes(actual), atol, rtol);
}

Comparison CompareFloats(const std::vector<float>& expected, const std::vector<float>& actual,
                         double atol = 1e-3, double rtol = 1e-3) {
  return CompareAs(DType::kFloat32, expected, actual, atol, rtol);
}

TEST(Compare, EqualTensorsPass) {
  const Comparison result = CompareFloats({1, -2, 0}, {1, -2, 0});
  EXPECT_TRUE(result.within_tolerance);
  EXPECT_EQ(result.total, 3);
  EXPECT_EQ(result.max_abs_error, 0);
  EXPECT_FALSE(result.first.has_value());
}

TEST(Compare, NanPassesOnlyWhereItIsExpectedAndOnlyIfAskedFor) {
  const auto compare = [](const std::vector<float>& expected, const std::vector<float>& actual) {
    const auto bytes = [](const std::vector<float>& v) {
      return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(v.data()), v.size() * sizeof(float));
    };
    return Compare(DType::kFloat32, bytes(expected), bytes(actual), 1e-3, 1e-3,
                   NanRule::kPassesWhereExpected);
  };
  EXPECT_TRUE(compare({1, kNan, kInf}, {1, kNan, kInf}).within_tolerance);
  EXPECT_FALSE(CompareFloats({1, kNan, kInf}, {1, kNan, kInf}).within_tolerance);
  EXPECT_EQ(compare({1, kNan, 2}, {1, 3, kNan}).mismatched, 2);
  EXPECT_EQ(compare({kInf, kNan}, {-kInf, kInf}).mismatched, 2);
}

TEST(Compare, TheBoundIsAtolPlusRtolTimesExpected) {
  // 0.25 and 0.125 are exact in binary: the bound at expected 8 is 0.25 + 0.125 * 8 = 1.25.
  EXPECT_TRUE(CompareFloats({8}, {9.25F}, 0.25, 0.125).within_tolerance);
  EXPECT_TRUE(CompareFloats({-8}, {-9.25F}, 0.25, 0.125).within_tolerance);
  EXPECT_FALSE(CompareFloats({8}, {9.5F}, 0.25, 0.125).within_tolerance);
  // Relative to the expected value, not to the actual one.
  EXPECT_FALSE(CompareFloats({8}, {9.25F}, 0, 0.125).within_tolerance);
  EXPECT_TRUE(CompareFloats({9.25F}, {8.25F}, 0, 0.125).within_tolerance);
}

TEST(Compare, NanNeverPasses) {
  for (const auto& [expected, actual] :
       {std::pair{kNan, kNan}, std::pair{kNan, 1.0F}, std::pair{1.0F, kNan}}) {
    EXPECT_FALSE(CompareFloats({expected}, {actual}, 1e30, 1e30).within_tolerance);
  }
  const Comparison result = CompareFloats({1, kNan, kNan}, {kNan, kNan, 1});
  EXPECT_EQ(result.actual_nan, 2);
  EXPECT_EQ(result.expected_nan, 2);
  EXPECT_EQ(result.mismatched, 3);
  EXPECT_EQ(result.first->abs_error, std::numeric_limits<double>::infinity());
}

TEST(Compare, InfinityPassesOnlyWithTheSameSign) {
  EXPECT_TRUE(CompareFloats({kInf, -kInf}, {kInf, -kInf}).within_tolerance);
  EXPECT_FALSE(CompareFloats({kInf}, {-kInf}).within_tolerance);
  // rtol * infinity would let anything pass.
  EXPECT_FALSE(CompareFloats({kInf}, {1}).within_tolerance);
  EXPECT_FALSE(CompareFloats({1}, {kInf}).within_tolerance);
  EXPECT_FALSE(CompareFloats({kInf}, {std::numeric_limits<float>::max()}).within_tolerance);
  const Comparison result = CompareFloats({kInf, 1}, {kInf, kInf});
  EXPECT_EQ(result.actual_inf, 2);
  EXPECT_EQ(result.expected_inf, 1);
  EXPECT_EQ(result.mismatched, 1);
}

TEST(Compare, TellsFirstWorstAndErrors) {
  const Comparison result = CompareFloats({1, 2, 4, 0}, {1, 3, 0, 0.5F});
  EXPECT_EQ(result.mismatched, 3);
  EXPECT_EQ(result.first->index, 1);
  EXPECT_EQ(result.first->expected, 2);
  EXPECT_EQ(result.first->actual, 3);
  EXPECT_EQ(result.worst->index, 2);
  EXPECT_EQ(result.worst->abs_error, 4);
  EXPECT_EQ(result.max_abs_error, 4);
  EXPECT_EQ(result.max_rel_error, 1);  // At index 2; expected 0 has no relative error.
  ASSERT_EQ(result.samples.size(), 1u);
  EXPECT_EQ(result.samples[0].index, 3);
}

TEST(Compare, ErrorsOfPassingElementsCountToo) {
  const Comparison result = CompareFloats({2, 100}, {2.0009765625F, 100}, 1e-2, 0);
  EXPECT_TRUE(result.within_tolerance);
  EXPECT_EQ(result.max_abs_error, 0.0009765625);
  EXPECT_EQ(result.max_rel_error, 0.00048828125);
}

TEST(Compare, OneWrongElementIsFoundWhereverItIs) {
  constexpr size_t kSize = 5000;
  const std::vector<float> expected(kSize, 1.0F);
  for (size_t wrong : {size_t{0}, size_t{1023}, size_t{1024}, size_t{2047}, size_t{4999}}) {
    for (float value : {2.0F, kNan, kInf, -kInf}) {
      std::vector<float> actual = expected;
      actual[wrong] = value;
      const Comparison result = CompareFloats(expected, actual);
      EXPECT_EQ(result.mismatched, 1) << wrong << " " << value;
      EXPECT_EQ(result.first->index, static_cast<int64_t>(wrong));
    }
  }
}

TEST(Compare, SamplesAreBoundedOrderedAndSpread) {
  const std::vector<float> expected(100'000, 0.0F);
  const std::vector<float> actual(100'000, 1.0F);
  const Comparison result = CompareFloats(expected, actual);
  EXPECT_EQ(result.mismatched, 100'000);
  ASSERT_EQ(result.samples.size(), kMaxSamples);
  for (size_t i = 1; i < result.samples.size(); ++i) {
    EXPECT_LT(result.samples[i - 1].index, result.samples[i].index);
  }
  EXPECT_LT(result.samples.front().index, 20'000);
  EXPECT_GT(result.samples.back().index, 60'000);
}

TEST(Compare, IntegersUseTheSameBound) {
  EXPECT_TRUE(CompareAs<int32_t>(DType::kInt32, {1'000'000}, {1'001'000}).within_tolerance);
  EXPECT_FALSE(CompareAs<int32_t>(DType::kInt32, {1'000'000}, {1'001'001}).within_tolerance);
  EXPECT_FALSE(CompareAs<int32_t>(DType::kInt32, {INT32_MIN}, {INT32_MAX}).within_tolerance);
  EXPECT_EQ(CompareAs<int32_t>(DType::kInt32, {INT32_MIN}, {INT32_MAX}).max_abs_error, 4294967295.0);
  EXPECT_FALSE(CompareAs<uint8_t>(DType::kUInt8, {0, 255}, {255, 0}).within_tolerance);
  EXPECT_FALSE(CompareAs<int8_t>(DType::kInt8, {-128}, {127}).within_tolerance);
}

TEST(Compare, DecodesHalfPrecisionExactly) {
  // Pairs of (bits, value): bfloat16, float16 with a subnormal, fp8.
  const Comparison bf16 = CompareAs<uint16_t>(DType::kBFloat16, {0x3f80, 0x4049}, {0x3f80, 0xc049}, 0, 0);
  EXPECT_EQ(bf16.first->expected, 3.140625);
  EXPECT_EQ(bf16.first->actual, -3.140625);
  const Comparison fp16 = CompareAs<uint16_t>(DType::kFloat16, {0x3c00, 0x0001, 0x7bff}, {0, 0, 0}, 0, 0);
  EXPECT_EQ(fp16.mismatched, 3);
  EXPECT_EQ(fp16.first->expected, 1.0);
  EXPECT_EQ(fp16.samples[0].expected, std::ldexp(1.0, -24));
  EXPECT_EQ(fp16.worst->expected, 65504.0);
  EXPECT_EQ(CompareAs<uint16_t>(DType::kFloat16, {0x7c00, 0xfc00}, {0x7c00, 0xfc00}).mismatched, 0);
  EXPECT_EQ(CompareAs<uint16_t>(DType::kFloat16, {0x7e00}, {0x7e00}).mismatched, 1);
  const Comparison e5m2 = CompareAs<uint8_t>(DType::kFloat8E5M2, {0x3c, 0x7b}, {0, 0}, 0, 0);
  EXPECT_EQ(e5m2.first->expected, 1.0);
  EXPECT_EQ(e5m2.worst->expected, 57344.0);
  EXPECT_EQ(CompareAs<uint8_t>(DType::kFloat8E4M3, {0x38}, {0}, 0, 0).first->expected, 1.0);
}

TEST(Compare, SignedZerosAreEqual) { EXPECT_EQ(CompareFloats({0.0F}, {-0.0F}, 0, 0).mismatched, 0); }

TEST(Unravel, GivesOneIndexForEachDimension) {
  EXPECT_THAT(Unravel(0, {2, 3, 4}), ElementsAre(0, 0, 0));
  EXPECT_THAT(Unravel(23, {2, 3, 4}), ElementsAre(1, 2, 3));
  EXPECT_THAT(Unravel(7, {10}), ElementsAre(7));
}

}  // namespace
}  // namespace nkiagent::verify
