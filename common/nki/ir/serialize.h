// Programs as bytes: the form in which they leave the process that traced them.
//
// Layout: the four bytes "NKIP", a format version, then the fields of Program in declaration order; integers
// as zigzag LEB128 varints, doubles as eight little-endian bytes, vectors and strings with their count in
// front.
#ifndef NKIAGENT_COMMON_NKI_IR_SERIALIZE_H_
#define NKIAGENT_COMMON_NKI_IR_SERIALIZE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::ir {

// Raised whenever the layout or the meaning of a field changes; Parse accepts this version only.
inline constexpr int kFormatVersion = 1;

// Larger inputs are refused before anything is read.
inline constexpr size_t kMaxProgramBytes = size_t{64} << 20;

std::string Serialize(const Program& program);

// Reads and validates (validate.h). Any input is safe: INVALID_ARGUMENT names the byte offset or the rule
// broken. Memory used is bounded by a small multiple of the input's size.
absl::StatusOr<Program> Parse(absl::string_view bytes);

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_SERIALIZE_H_
