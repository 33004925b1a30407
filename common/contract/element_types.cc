#include "common/contract/element_types.h"

namespace nkiagent::contract {
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

}  // namespace

DataType DataTypeFromName(absl::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.contract;
  }
  return common::v1::DATA_TYPE_UNSPECIFIED;
}

absl::string_view NameOf(DataType type) {
  for (const Row& row : kRows) {
    if (row.contract == type) return row.name;
  }
  return "";
}

std::optional<DType> ToIsa(DataType type) {
  for (const Row& row : kRows) {
    if (row.contract == type) return row.isa;
  }
  return std::nullopt;
}

DataType FromIsa(DType type) {
  if (type == DType::kBool) return common::v1::DATA_TYPE_BOOL;
  for (const Row& row : kRows) {
    if (row.isa == type) return row.contract;
  }
  return common::v1::DATA_TYPE_UNSPECIFIED;
}

}  // namespace nkiagent::contract
