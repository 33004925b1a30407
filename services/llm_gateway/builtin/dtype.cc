#include "services/llm_gateway/builtin/dtype.h"

#include <array>

namespace nkiagent::builtin {
namespace {

struct Row {
  DType dtype;
  absl::string_view name;
  absl::string_view nki_name;
  int64_t bytes;
};

constexpr std::array<Row, 10> kRows = {{
    {DType::kFloat32, "float32", "float32", 4},
    {DType::kBFloat16, "bfloat16", "bfloat16", 2},
    {DType::kFloat16, "float16", "float16", 2},
    {DType::kInt64, "int64", "int32", 4},
    {DType::kInt32, "int32", "int32", 4},
    {DType::kInt16, "int16", "int16", 2},
    {DType::kInt8, "int8", "int8", 1},
    {DType::kUInt8, "uint8", "uint8", 1},
    {DType::kBool, "bool", "uint8", 1},
    {DType::kFloat8E5M2, "float8_e5m2", "float8_e5m2", 1},
}};

const Row& RowOf(DType dtype) { return kRows[static_cast<size_t>(dtype)]; }

}  // namespace

std::optional<DType> ParseDType(absl::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  // No engine has float64. Arguments and results of that type are refused before; between them float32 has to
  // do.
  if (name == "float64") return DType::kFloat32;
  return std::nullopt;
}

absl::string_view DTypeName(DType dtype) { return RowOf(dtype).name; }

absl::string_view NkiDTypeName(DType dtype) { return RowOf(dtype).nki_name; }

int64_t DTypeBytes(DType dtype) { return RowOf(dtype).bytes; }

bool IsFloat(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16 ||
         dtype == DType::kFloat8E5M2;
}

}  // namespace nkiagent::builtin
