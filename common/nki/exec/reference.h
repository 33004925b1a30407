// The definition of every instruction: element by element, in the order of the text in common/nki/README.md,
// with no thought of speed. The fast paths are compared with it, and hand over to it what they don't cover.
#ifndef NKIAGENT_COMMON_NKI_EXEC_REFERENCE_H_
#define NKIAGENT_COMMON_NKI_EXEC_REFERENCE_H_

#include "common/nki/exec/context.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

// Executes one instruction whose operands passed CheckOperandShapes. False after setting context.fault or
// context.status; a faulting instruction has not written to the destination at fault.
bool ReferenceInstr(Context& context, const ir::Instr& instr);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_REFERENCE_H_
