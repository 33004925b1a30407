// Element types by name, in the contract, and in the toolchain.
#ifndef COMMON_CONTRACT_ELEMENT_TYPES_H_
#define COMMON_CONTRACT_ELEMENT_TYPES_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "common/nki/isa/types.h"
#include "nkiagent/common/v1/tensor.pb.h"

namespace nkiagent::contract {

// The contract's type for a name such as "float32" or "int64"; unspecified if there is none.
common::v1::DataType DataTypeFromName(absl::string_view name);
// The name of a type; empty for none.
absl::string_view NameOf(common::v1::DataType type);

// The type at the kernel boundary as the toolchain knows it; nothing for types that don't cross it (int64,
// bool: tensor.proto says as what they travel).
std::optional<nki::isa::DType> ToIsa(common::v1::DataType type);
// The contract's type.
common::v1::DataType FromIsa(nki::isa::DType type);

}  // namespace nkiagent::contract

#endif  // COMMON_CONTRACT_ELEMENT_TYPES_H_
