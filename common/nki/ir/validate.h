// Structural soundness of a program: what must hold before anyone may index with its numbers.
#ifndef NKIAGENT_COMMON_NKI_IR_VALIDATE_H_
#define NKIAGENT_COMMON_NKI_IR_VALIDATE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::ir {

// Numbers beyond these are refused; with them no address computation can overflow 64 bits.
inline constexpr int64_t kMaxTensorElements = int64_t{1} << 32;
inline constexpr int64_t kMaxMagnitude = int64_t{1} << 40;  // of constants, coefficients, trip counts
inline constexpr int kMaxTensorRank = 8;
inline constexpr size_t kMaxLoopDepth = 64;
inline constexpr int kMaxTileRank = 8;
inline constexpr int kMaxSymbols = 65536;
inline constexpr int kMaxTensors = 262144;

// OK if and only if:
//  - ids are in range; symbols of an access are loops that enclose the instruction or derived from such; a
//  tensor is
//    used only inside its scope; views have a base with as many elements, the same dtype and buffer;
//  - every operand list has the length and kinds its row demands, and each access one index for each tensor
//  axis;
//  - on-chip tiles have rank >= 2... their partition axis indexed by tile dimension 0 alone with coefficient
//  0 or 1;
//  - inputs, outputs, constants and the grid agree with the tensors and the kSpmd loops;
//  - attributes an executor indexes with (axes, list) are in range.
// It does not judge NKI rules (check/) nor whether addresses lie inside their tensor at run time: the
// executor masks and bounds-checks addresses itself. INVALID_ARGUMENT names the tensor, loop or instruction
// (with its line) at fault.
absl::Status Validate(const Program& program);

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_VALIDATE_H_
