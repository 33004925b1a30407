// The element types' rounding, one value at a time: how the engines read and write memory.
//
// Reading gives fp32, exact for every type except 32-bit integers beyond 2^24 (rounded to nearest even).
// Writing rounds once: floating types to nearest even, with gradual underflow and overflow to infinity;
// integers to nearest even, saturating, NaN to 0; bool to value != 0.
//
// float8_e4m3 and float8_e5m2 follow the IEEE scheme (largest finite values 240 and 57344, infinities, NaNs):
// nki.language has a separate float8_e4m3fn for the variant without infinities (SDK 2.29 and later).
//
// Everything here is forced inline: the vector kernels compile it for several instruction sets.
#ifndef NKIAGENT_COMMON_NKI_EXEC_DTYPE_CONVERT_H_
#define NKIAGENT_COMMON_NKI_EXEC_DTYPE_CONVERT_H_

#include <cstddef>
#include <cstdint>

#include "common/nki/isa/types.h"

#define NKI_EXEC_INLINE [[gnu::always_inline]] inline

namespace nkiagent::nki::exec {

NKI_EXEC_INLINE uint32_t BitsOf(float f) { return __builtin_bit_cast(uint32_t, f); }
NKI_EXEC_INLINE float FloatOf(uint32_t bits) { return __builtin_bit_cast(float, bits); }

// ---- Floating types from and to fp32

NKI_EXEC_INLINE float FromBFloat16(uint16_t v) { return FloatOf(static_cast<uint32_t>(v) << 16); }

NKI_EXEC_INLINE uint16_t ToBFloat16(float f) {
  const uint32_t bits = BitsOf(f);
  const uint32_t rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
  const uint32_t nan = bits | 0x400000u;  // quiet, and never turned into infinity by dropping low bits
  return static_cast<uint16_t>(((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded) >> 16);
}

// fp32 with the mantissa rounded to 10 bits.
NKI_EXEC_INLINE float ToTFloat32(float f) {
  const uint32_t bits = BitsOf(f);
  const uint32_t rounded = (bits + 0xFFFu + ((bits >> 13) & 1u)) & ~0x1FFFu;
  return FloatOf((bits & 0x7F800000u) == 0x7F800000u ? bits : rounded);
}

// IEEE-like binary formats with kExponent + kMantissa + 1 bits.
template <int kExponent, int kMantissa>
NKI_EXEC_INLINE uint32_t ToSmallFloat(float f) {
  constexpr int kBias = (1 << (kExponent - 1)) - 1;
  constexpr int kShift = 23 - kMantissa;
  constexpr uint32_t kInfinity = ((1u << kExponent) - 1u) << kMantissa;
  constexpr uint32_t kMinNormal = static_cast<uint32_t>(127 - kBias + 1) << 23;
  // At or above this the exponent is all ones before rounding.
  constexpr uint32_t kOverflow = static_cast<uint32_t>(127 + kBias + 1) << 23;
  // Adding it aligns a subnormal's last bit with bit 0, so that the addition rounds.
  constexpr uint32_t kMagic = static_cast<uint32_t>(127 - kBias + 1 + kShift) << 23;
  const uint32_t bits = BitsOf(f);
  const uint32_t sign = (bits & 0x80000000u) >> (31 - kExponent - kMantissa);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  const uint32_t odd = (magnitude >> kShift) & 1u;
  const uint32_t normal =
      (magnitude - (static_cast<uint32_t>(127 - kBias) << 23) + (1u << (kShift - 1)) - 1u + odd) >> kShift;
  const uint32_t subnormal = BitsOf(FloatOf(magnitude) + FloatOf(kMagic)) - kMagic;
  const uint32_t special = magnitude > 0x7F800000u ? (kInfinity | (1u << (kMantissa - 1))) : kInfinity;
  const uint32_t finite = magnitude < kMinNormal ? subnormal : normal;
  return sign | (magnitude >= kOverflow ? special : finite);
}

template <int kExponent, int kMantissa>
NKI_EXEC_INLINE float FromSmallFloat(uint32_t v) {
  constexpr int kBias = (1 << (kExponent - 1)) - 1;
  constexpr int kShift = 23 - kMantissa;
  constexpr uint32_t kExponentMask = ((1u << kExponent) - 1u) << 23;
  const uint32_t sign = (v << (31 - kExponent - kMantissa)) & 0x80000000u;
  const uint32_t magnitude = (v & ((1u << (kExponent + kMantissa)) - 1u)) << kShift;
  const uint32_t exponent = magnitude & kExponentMask;
  const uint32_t normal = magnitude + (static_cast<uint32_t>(127 - kBias) << 23);
  const uint32_t special = magnitude | 0x7F800000u;
  // A subnormal is a normal number of the next exponent without its leading one.
  constexpr uint32_t kOne = static_cast<uint32_t>(127 - kBias + 1) << 23;
  const uint32_t subnormal = BitsOf(FloatOf(magnitude + kOne) - FloatOf(kOne));
  const uint32_t finite = exponent == 0 ? subnormal : normal;
  return FloatOf(sign | (exponent == kExponentMask ? special : finite));
}

NKI_EXEC_INLINE float FromFloat16(uint16_t v) { return FromSmallFloat<5, 10>(v); }
NKI_EXEC_INLINE uint16_t ToFloat16(float f) { return static_cast<uint16_t>(ToSmallFloat<5, 10>(f)); }
NKI_EXEC_INLINE float FromFloat8E4M3(uint8_t v) { return FromSmallFloat<4, 3>(v); }
NKI_EXEC_INLINE uint8_t ToFloat8E4M3(float f) { return static_cast<uint8_t>(ToSmallFloat<4, 3>(f)); }
NKI_EXEC_INLINE float FromFloat8E5M2(uint8_t v) { return FromSmallFloat<5, 2>(v); }
NKI_EXEC_INLINE uint8_t ToFloat8E5M2(float f) { return static_cast<uint8_t>(ToSmallFloat<5, 2>(f)); }

// ---- Integers from fp32

// Round to nearest even. Beyond 2^23 every float is an integer already.
NKI_EXEC_INLINE float RoundToEven(float f) {
  const float magnitude = FloatOf(BitsOf(f) & 0x7FFFFFFFu);
  const float rounded = FloatOf(BitsOf((magnitude + 8388608.0f) - 8388608.0f) | (BitsOf(f) & 0x80000000u));
  return magnitude < 8388608.0f ? rounded : f;
}

NKI_EXEC_INLINE int32_t ToInt32(float f) {
  const float r = RoundToEven(f);
  const float safe = r >= -2147483648.0f && r < 2147483648.0f ? r : 0.0f;
  const int32_t inside = static_cast<int32_t>(safe);
  return r >= 2147483648.0f ? INT32_MAX : (r < -2147483648.0f ? INT32_MIN : inside);
}

NKI_EXEC_INLINE uint32_t ToUInt32(float f) {
  const float r = RoundToEven(f);
  const float safe = r >= 0.0f && r < 4294967296.0f ? r : 0.0f;
  const uint32_t inside = static_cast<uint32_t>(safe);
  return r >= 4294967296.0f ? UINT32_MAX : inside;
}

NKI_EXEC_INLINE int32_t ClampInt(float f, int32_t lo, int32_t hi) {
  const int32_t v = ToInt32(f);
  return v < lo ? lo : (v > hi ? hi : v);
}
NKI_EXEC_INLINE int16_t ToInt16(float f) { return static_cast<int16_t>(ClampInt(f, INT16_MIN, INT16_MAX)); }
NKI_EXEC_INLINE int8_t ToInt8(float f) { return static_cast<int8_t>(ClampInt(f, INT8_MIN, INT8_MAX)); }
NKI_EXEC_INLINE uint16_t ToUInt16(float f) { return static_cast<uint16_t>(ClampInt(f, 0, UINT16_MAX)); }
NKI_EXEC_INLINE uint8_t ToUInt8(float f) { return static_cast<uint8_t>(ClampInt(f, 0, UINT8_MAX)); }
NKI_EXEC_INLINE uint8_t ToBool(float f) { return f != 0.0f ? 1 : 0; }

// ---- By type. `p` points at one element, of any alignment.

// The element as the engines read it.
float LoadFloat(isa::DType dtype, const std::byte* p);
// A constant of a program as an integer: rounded, kept within the 32-bit types (signed and unsigned), NaN as
// 0.
int64_t IntOfConstant(double value);
// Writes `value` with the type's rounding.
void StoreFloat(isa::DType dtype, std::byte* p, float value);

// The element as an exact integer: integers and bool as they are, floats rounded to nearest even and
// saturated to int32. Used by bitwise operators, run-time indices and integer copies.
int64_t LoadInt(isa::DType dtype, const std::byte* p);
// Integers: the low bits of `value`. Floats: its value, rounded. Bool: value != 0.
void StoreBits(isa::DType dtype, std::byte* p, int64_t value);
// Integers: `value` saturated. Otherwise as StoreBits.
void StoreSaturated(isa::DType dtype, std::byte* p, int64_t value);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_DTYPE_CONVERT_H_
