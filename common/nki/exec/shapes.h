// Whether the operands of an instruction fit each other: what an executor must know before it may index one
// tile by another's position. ir::Validate leaves this open.
#ifndef NKIAGENT_COMMON_NKI_EXEC_SHAPES_H_
#define NKIAGENT_COMMON_NKI_EXEC_SHAPES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

// INVALID_ARGUMENT naming the line, the operand and both shapes; also for operators an instruction can't have
// (bitwise mixed with arithmetic, a reduction by a non-reducible operator). `instr` is structurally valid.
absl::Status CheckOperandShapes(const ir::Instr& instr);

// Elements of a shape, and of its dimensions from `first` on.
int64_t Count(absl::Span<const int64_t> shape, size_t first = 0);

// The operand as an access; null if it is absent or a constant.
const ir::Access* AccessOf(const ir::Operand& operand);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_SHAPES_H_
