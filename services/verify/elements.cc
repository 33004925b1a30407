#include "services/verify/elements.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/contract/element_types.h"
#include "common/nki/exec/dtype_convert.h"

namespace nkiagent::verify {
namespace {

using common::v1::DataType;
using nki::isa::DType;

uint16_t Load16(const uint8_t* bytes, size_t i) {
  uint16_t bits;
  memcpy(&bits, bytes + 2 * i, sizeof(bits));
  return bits;
}

template <typename T>
void Convert(const uint8_t* bytes, size_t count, double* out) {
  for (size_t i = 0; i < count; ++i) {
    T value;
    memcpy(&value, bytes + i * sizeof(T), sizeof(T));
    out[i] = static_cast<double>(value);
  }
}

}  // namespace

int64_t ElementCount(absl::Span<const int64_t> dims) {
  constexpr int64_t kMax = int64_t{1} << 40;
  int64_t count = 1;
  for (const int64_t extent : dims) {
    if (extent < 1 || extent > kMax / count) return -1;
    count *= extent;
  }
  return count;
}

std::string Describe(DataType type, absl::Span<const int64_t> dims) {
  const absl::string_view name = contract::NameOf(type);
  return absl::StrCat(name.empty() ? "unspecified" : name, "[", absl::StrJoin(dims, ", "), "]");
}

void DecodeElements(DType type, const uint8_t* bytes, size_t count, double* out) {
  switch (type) {
    case DType::kFloat32:
    case DType::kTFloat32:
      return Convert<float>(bytes, count, out);
    case DType::kBFloat16:
      for (size_t i = 0; i < count; ++i) out[i] = nki::exec::FromBFloat16(Load16(bytes, i));
      return;
    case DType::kFloat16:
      for (size_t i = 0; i < count; ++i) out[i] = nki::exec::FromFloat16(Load16(bytes, i));
      return;
    case DType::kFloat8E4M3:
      for (size_t i = 0; i < count; ++i) out[i] = nki::exec::FromFloat8E4M3(bytes[i]);
      return;
    case DType::kFloat8E5M2:
      for (size_t i = 0; i < count; ++i) out[i] = nki::exec::FromFloat8E5M2(bytes[i]);
      return;
    case DType::kInt32:
      return Convert<int32_t>(bytes, count, out);
    case DType::kInt16:
      return Convert<int16_t>(bytes, count, out);
    case DType::kInt8:
      return Convert<int8_t>(bytes, count, out);
    case DType::kUInt32:
      return Convert<uint32_t>(bytes, count, out);
    case DType::kUInt16:
      return Convert<uint16_t>(bytes, count, out);
    case DType::kUInt8:
    case DType::kBool:
      return Convert<uint8_t>(bytes, count, out);
  }
}

}  // namespace nkiagent::verify
