#include "common/nki/exec/dtype_convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace nkiagent::nki::exec {
namespace {

template <typename T>
T Read(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof(T));
  return v;
}

template <typename T>
void Write(std::byte* p, T v) {
  std::memcpy(p, &v, sizeof(T));
}

template <typename T>
void WriteSaturated(std::byte* p, int64_t v) {
  v = std::clamp<int64_t>(v, std::numeric_limits<T>::min(), std::numeric_limits<T>::max());
  Write(p, static_cast<T>(v));
}

}  // namespace

using isa::DType;

float LoadFloat(DType dtype, const std::byte* p) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kTFloat32:
      return Read<float>(p);
    case DType::kBFloat16:
      return FromBFloat16(Read<uint16_t>(p));
    case DType::kFloat16:
      return FromFloat16(Read<uint16_t>(p));
    case DType::kFloat8E4M3:
      return FromFloat8E4M3(Read<uint8_t>(p));
    case DType::kFloat8E5M2:
      return FromFloat8E5M2(Read<uint8_t>(p));
    case DType::kInt32:
      return static_cast<float>(Read<int32_t>(p));
    case DType::kInt16:
      return static_cast<float>(Read<int16_t>(p));
    case DType::kInt8:
      return static_cast<float>(Read<int8_t>(p));
    case DType::kUInt32:
      return static_cast<float>(Read<uint32_t>(p));
    case DType::kUInt16:
      return static_cast<float>(Read<uint16_t>(p));
    case DType::kUInt8:
      return static_cast<float>(Read<uint8_t>(p));
    case DType::kBool:
      return Read<uint8_t>(p) != 0 ? 1.0f : 0.0f;
  }
  return 0.0f;
}

int64_t IntOfConstant(double value) {
  if (std::isnan(value)) return 0;
  return std::llrint(std::clamp(value, -2147483648.0, 4294967295.0));
}

void StoreFloat(DType dtype, std::byte* p, float value) {
  switch (dtype) {
    case DType::kFloat32:
      return Write(p, value);
    case DType::kTFloat32:
      return Write(p, ToTFloat32(value));
    case DType::kBFloat16:
      return Write(p, ToBFloat16(value));
    case DType::kFloat16:
      return Write(p, ToFloat16(value));
    case DType::kFloat8E4M3:
      return Write(p, ToFloat8E4M3(value));
    case DType::kFloat8E5M2:
      return Write(p, ToFloat8E5M2(value));
    case DType::kInt32:
      return Write(p, ToInt32(value));
    case DType::kInt16:
      return Write(p, ToInt16(value));
    case DType::kInt8:
      return Write(p, ToInt8(value));
    case DType::kUInt32:
      return Write(p, ToUInt32(value));
    case DType::kUInt16:
      return Write(p, ToUInt16(value));
    case DType::kUInt8:
      return Write(p, ToUInt8(value));
    case DType::kBool:
      return Write(p, ToBool(value));
  }
}

int64_t LoadInt(DType dtype, const std::byte* p) {
  switch (dtype) {
    case DType::kInt32:
      return Read<int32_t>(p);
    case DType::kInt16:
      return Read<int16_t>(p);
    case DType::kInt8:
      return Read<int8_t>(p);
    case DType::kUInt32:
      return Read<uint32_t>(p);
    case DType::kUInt16:
      return Read<uint16_t>(p);
    case DType::kUInt8:
      return Read<uint8_t>(p);
    case DType::kBool:
      return Read<uint8_t>(p) != 0 ? 1 : 0;
    default:
      return ToInt32(LoadFloat(dtype, p));
  }
}

void StoreBits(DType dtype, std::byte* p, int64_t value) {
  switch (dtype) {
    case DType::kInt32:
    case DType::kUInt32:
      return Write(p, static_cast<uint32_t>(value));
    case DType::kInt16:
    case DType::kUInt16:
      return Write(p, static_cast<uint16_t>(value));
    case DType::kInt8:
    case DType::kUInt8:
      return Write(p, static_cast<uint8_t>(value));
    case DType::kBool:
      return Write(p, static_cast<uint8_t>(value != 0));
    default:
      return StoreFloat(dtype, p, static_cast<float>(value));
  }
}

void StoreSaturated(DType dtype, std::byte* p, int64_t value) {
  switch (dtype) {
    case DType::kInt32:
      return WriteSaturated<int32_t>(p, value);
    case DType::kInt16:
      return WriteSaturated<int16_t>(p, value);
    case DType::kInt8:
      return WriteSaturated<int8_t>(p, value);
    case DType::kUInt32:
      return WriteSaturated<uint32_t>(p, value);
    case DType::kUInt16:
      return WriteSaturated<uint16_t>(p, value);
    case DType::kUInt8:
      return WriteSaturated<uint8_t>(p, value);
    default:
      return StoreBits(dtype, p, value);
  }
}

}  // namespace nkiagent::nki::exec
