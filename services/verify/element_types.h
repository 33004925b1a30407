// Element types between the contract's names, the toolchain's, and numbers.
#ifndef SERVICES_VERIFY_ELEMENT_TYPES_H_
#define SERVICES_VERIFY_ELEMENT_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/nki/isa/types.h"
#include "nkiagent/common/v1/tensor.pb.h"

namespace nkiagent::verify {

// The contract's type for a name such as "float32" or "int64"; unspecified if there is none.
common::v1::DataType DataTypeFromName(absl::string_view name);

// The type at the kernel boundary as the toolchain knows it; nothing for types that don't cross it (int64,
// bool).
std::optional<nki::isa::DType> ToIsa(common::v1::DataType type);
// The contract's type; bool is DATA_TYPE_UINT8, as it is at the kernel boundary.
common::v1::DataType FromIsa(nki::isa::DType type);

// Elements of a shape; -1 if an extent is below 1 or the product passes 2^40.
int64_t ElementCount(absl::Span<const int64_t> dims);

// "float32[128, 512]".
std::string Describe(common::v1::DataType type, absl::Span<const int64_t> dims);

// Decodes `count` little-endian elements into doubles, exactly. bfloat16, float16 and the fp8 formats
// included.
void DecodeElements(nki::isa::DType type, const uint8_t* bytes, size_t count, double* out);

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_ELEMENT_TYPES_H_
