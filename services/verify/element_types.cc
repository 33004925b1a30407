#include "services/verify/element_types.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nki/exec/dtype_convert.h"

namespace nkiagent::verify {
namespace {

using common::v1::DataType;
using nki::isa::DType;

struct Row {
  absl::string_view name;  // As torch and NumPy spell it.
  DataType contract;
  std::optional<DType> isa;
};

const Row kRows[] = {
    {"float32", common::v1::DATA_TYPE_FLOAT32, DType::kFloat32},
    {"tfloat32", common::v1::DATA_TYPE_TFLOAT32, DType::kTFloat32},
    {"bfloat16", common::v1::DATA_TYPE_BFLOAT16, DType::kBFloat16},
    {"float16", common::v1::DATA_TYPE_FLOAT16, DType::kFloat16},
    {"float8_e4m3", common::v1::DATA_TYPE_FLOAT8_E4M3, DType::kFloat8E4M3},
    {"float8_e5m2", common::v1::DATA_TYPE_FLOAT8_E5M2, DType::kFloat8E5M2},
    {"int8", common::v1::DATA_TYPE_INT8, DType::kInt8},
    {"int16", common::v1::DATA_TYPE_INT16, DType::kInt16},
    {"int32", common::v1::DATA_TYPE_INT32, DType::kInt32},
    {"uint8", common::v1::DATA_TYPE_UINT8, DType::kUInt8},
    {"uint16", common::v1::DATA_TYPE_UINT16, DType::kUInt16},
    {"uint32", common::v1::DATA_TYPE_UINT32, DType::kUInt32},
    {"bool", common::v1::DATA_TYPE_BOOL, std::nullopt},
    {"int64", common::v1::DATA_TYPE_INT64, std::nullopt},
};

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

DataType DataTypeFromName(absl::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.contract;
  }
  return common::v1::DATA_TYPE_UNSPECIFIED;
}

std::optional<DType> ToIsa(DataType type) {
  for (const Row& row : kRows) {
    if (row.contract == type) return row.isa;
  }
  return std::nullopt;
}

DataType FromIsa(DType type) {
  if (type == DType::kBool) return common::v1::DATA_TYPE_UINT8;
  for (const Row& row : kRows) {
    if (row.isa == type) return row.contract;
  }
  return common::v1::DATA_TYPE_UNSPECIFIED;
}

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
  absl::string_view name = "unspecified";
  for (const Row& row : kRows) {
    if (row.contract == type) name = row.name;
  }
  return absl::StrCat(name, "[", absl::StrJoin(dims, ", "), "]");
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
