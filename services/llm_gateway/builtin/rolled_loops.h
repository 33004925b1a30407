// Finds the loops that torch.export has unrolled, and rolls them up again.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_ROLLED_LOOPS_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_ROLLED_LOOPS_H_

#include "services/llm_gateway/builtin/program.h"

namespace nkiagent::builtin {

// Steps h = a[t] * h + b[t], for t = 0, 1, …, become one scan over a last axis of steps, if every step reads
// the same tensors one place further, or what the same elementwise operations make of such; and copies that
// write the pieces of a tensor in even steps become one. Operations that are left without a reader stay.
void RollLoops(Program* program);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_ROLLED_LOOPS_H_
