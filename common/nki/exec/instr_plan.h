// One instruction as strides over its iteration space.
#ifndef NKIAGENT_COMMON_NKI_EXEC_INSTR_PLAN_H_
#define NKIAGENT_COMMON_NKI_EXEC_INSTR_PLAN_H_

#include "absl/types/span.h"
#include "common/nki/exec/plan.h"
#include "common/nki/exec/ranges.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

// The plan of `instr`, which passed CheckOperandShapes. `fast` is null if the instruction has no fast form or
// its operands defeat it (run-time indices, expressions that may overflow).
//
// The iteration space is dst's shape for element-wise instructions, [P, 1] sources having stride 0 along free
// dimensions, and data's shape for nc_transpose. In all other instructions, and for reduce_res, each operand
// keeps its own tile dimensions and masks; `space` then only measures the work.
InstrPlan MakeInstrPlan(const ir::Program& program, const ir::Instr& instr,
                        absl::Span<const WideRange> symbols);

// The row-major place of the access in its tensor, over the access's own tile dimensions. False if it can
// overflow.
bool FlatOffset(const ir::Program& program, const ir::Access& access, absl::Span<const WideRange> symbols,
                ir::Affine* flat);

// Whether every index of the access lies inside its axis for all iterations and positions, masks aside.
bool ProvenInBounds(const ir::Program& program, const ir::Access& access,
                    absl::Span<const WideRange> symbols);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_INSTR_PLAN_H_
