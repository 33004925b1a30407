// The element types held against their definitions: every code of the small types, and every rounding
// decision between two neighbours.
#include "common/nki/exec/dtype_convert.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace nkiagent::nki::exec {
namespace {

using isa::DType;

struct Format {
  DType dtype;
  int exponent_bits;
  int mantissa_bits;
};

std::ostream& operator<<(std::ostream& os, const Format& f) { return os << isa::Name(f.dtype); }

// The value of a code by the definition of an IEEE-like format.
double Decode(const Format& f, uint32_t code) {
  const int bias = (1 << (f.exponent_bits - 1)) - 1;
  const uint32_t mantissa = code & ((1u << f.mantissa_bits) - 1u);
  const uint32_t exponent = (code >> f.mantissa_bits) & ((1u << f.exponent_bits) - 1u);
  const double sign = (code >> (f.mantissa_bits + f.exponent_bits)) & 1u ? -1.0 : 1.0;
  if (exponent == (1u << f.exponent_bits) - 1u) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  const double fraction = std::ldexp(mantissa, -f.mantissa_bits);
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias);
  return sign * std::ldexp(1.0 + fraction, static_cast<int>(exponent) - bias);
}

uint32_t Store(DType dtype, float v) {
  std::byte bytes[4] = {};
  StoreFloat(dtype, bytes, v);
  uint32_t code = 0;
  std::memcpy(&code, bytes, sizeof(code));
  return code;
}

class SmallFloat : public ::testing::TestWithParam<Format> {};

TEST_P(SmallFloat, EveryCodeIsReadByDefinitionAndWrittenBack) {
  const Format& f = GetParam();
  const uint32_t codes = 1u << (1 + f.exponent_bits + f.mantissa_bits);
  for (uint32_t code = 0; code < codes; ++code) {
    std::byte bytes[4];
    std::memcpy(bytes, &code, sizeof(code));
    const float got = LoadFloat(f.dtype, bytes);
    const double want = Decode(f, code);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got)) << code;
      ASSERT_TRUE(std::isnan(Decode(f, Store(f.dtype, got)))) << code;
      continue;
    }
    ASSERT_EQ(static_cast<double>(got), want) << code;
    ASSERT_EQ(Store(f.dtype, got), code);
  }
}

TEST_P(SmallFloat, RoundsToNearestEvenBetweenNeighbours) {
  const Format& f = GetParam();
  const uint32_t infinity = ((1u << f.exponent_bits) - 1u) << f.mantissa_bits;
  const uint32_t sign = 1u << (f.exponent_bits + f.mantissa_bits);
  // Midway above the largest bfloat16 there is no fp32 value.
  const uint32_t end = f.dtype == DType::kBFloat16 ? infinity - 1 : infinity;
  for (uint32_t code = 0; code < end; ++code) {
    const double low = Decode(f, code);
    // Beyond the largest finite value the next step would be as wide as the last.
    const double high = code + 1 < infinity ? Decode(f, code + 1) : low + (low - Decode(f, code - 1));
    const auto middle = static_cast<float>((low + high) / 2);
    const uint32_t even = code % 2 == 0 ? code : code + 1;
    ASSERT_EQ(Store(f.dtype, middle), even) << code;
    ASSERT_EQ(Store(f.dtype, -middle), even | sign) << code;
    ASSERT_EQ(Store(f.dtype, std::nextafterf(middle, 0.0f)), code);
    ASSERT_EQ(Store(f.dtype, std::nextafterf(middle, std::numeric_limits<float>::infinity())), code + 1);
  }
  ASSERT_EQ(Store(f.dtype, std::numeric_limits<float>::infinity()), infinity);
  ASSERT_EQ(Store(f.dtype, std::numeric_limits<float>::max()), infinity);
}

INSTANTIATE_TEST_SUITE_P(Formats, SmallFloat,
                         ::testing::Values(Format{DType::kBFloat16, 8, 7}, Format{DType::kFloat16, 5, 10},
                                           Format{DType::kFloat8E4M3, 4, 3},
                                           Format{DType::kFloat8E5M2, 5, 2}),
                         [](const auto& param) { return std::string(isa::Name(param.param.dtype)); });

TEST(DtypeConvert, LargestFiniteValues) {
  EXPECT_EQ(FromFloat8E4M3(ToFloat8E4M3(240.0f)), 240.0f);
  EXPECT_TRUE(std::isinf(FromFloat8E4M3(ToFloat8E4M3(248.0f))));
  EXPECT_EQ(FromFloat8E5M2(ToFloat8E5M2(57344.0f)), 57344.0f);
  EXPECT_TRUE(std::isinf(FromFloat8E5M2(ToFloat8E5M2(61440.0f))));
  EXPECT_EQ(FromFloat16(ToFloat16(65519.0f)), 65504.0f);
}

TEST(DtypeConvert, TFloat32KeepsTenMantissaBits) {
  EXPECT_EQ(ToTFloat32(1.0f + 0x1p-11f), 1.0f);                     // halfway, down to even
  EXPECT_EQ(ToTFloat32(1.0f + 3 * 0x1p-11f), 1.0f + 2 * 0x1p-10f);  // halfway, up to even
  EXPECT_EQ(ToTFloat32(-1.0f - 0x1.8p-11f), -1.0f - 0x1p-10f);
  EXPECT_TRUE(std::isnan(ToTFloat32(FloatOf(0x7F800001u))));
  EXPECT_TRUE(std::isinf(ToTFloat32(std::numeric_limits<float>::max())));
}

TEST(DtypeConvert, IntegersRoundToEvenAndSaturate) {
  EXPECT_EQ(ToInt32(2.5f), 2);
  EXPECT_EQ(ToInt32(3.5f), 4);
  EXPECT_EQ(ToInt32(-2.5f), -2);
  EXPECT_EQ(ToInt32(3e9f), INT32_MAX);
  EXPECT_EQ(ToInt32(-3e9f), INT32_MIN);
  EXPECT_EQ(ToInt32(std::nanf("")), 0);
  EXPECT_EQ(ToUInt32(-1.0f), 0u);
  EXPECT_EQ(ToUInt32(4294967040.0f), 4294967040u);
  EXPECT_EQ(ToUInt32(5e9f), UINT32_MAX);
  EXPECT_EQ(ToUInt8(255.5f), 255);
  EXPECT_EQ(ToUInt8(254.5f), 254);
  EXPECT_EQ(ToInt8(-128.6f), -128);
  EXPECT_EQ(ToInt16(32767.6f), 32767);
  EXPECT_EQ(ToUInt16(-0.4f), 0);
  EXPECT_EQ(ToBool(0.25f), 1);
  EXPECT_EQ(ToBool(-0.0f), 0);
}

TEST(DtypeConvert, IntegerValuesAreExact) {
  std::byte bytes[4];
  StoreSaturated(DType::kInt32, bytes, 2147483647);
  EXPECT_EQ(LoadInt(DType::kInt32, bytes), 2147483647);
  StoreSaturated(DType::kInt16, bytes, 70000);
  EXPECT_EQ(LoadInt(DType::kInt16, bytes), 32767);
  StoreBits(DType::kInt16, bytes, 70000);
  EXPECT_EQ(LoadInt(DType::kInt16, bytes), 70000 - 65536);
  StoreSaturated(DType::kUInt32, bytes, -5);
  EXPECT_EQ(LoadInt(DType::kUInt32, bytes), 0);
}

}  // namespace
}  // namespace nkiagent::nki::exec
