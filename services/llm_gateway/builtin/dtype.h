// Element types that reference graphs and NKI kernels share.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_DTYPE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_DTYPE_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace nkiagent::builtin {

enum class DType { kFloat32, kBFloat16, kFloat16, kInt64, kInt32, kInt16, kInt8, kUInt8, kBool, kFloat8E5M2 };

// The type that `name` ("float32", "bool", …) stands for in a graph text; none for types that no kernel
// takes.
std::optional<DType> ParseDType(absl::string_view name);

// Name in a graph text.
absl::string_view DTypeName(DType dtype);

// The type as a kernel sees it, in nl's spelling: int64 becomes int32 and bool uint8 at the kernel's
// boundary.
absl::string_view NkiDTypeName(DType dtype);

// Bytes of one element on chip.
int64_t DTypeBytes(DType dtype);

bool IsFloat(DType dtype);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_DTYPE_H_
