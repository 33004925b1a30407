// The fast form of each instruction: a table by opcode, compared with the reference in property tests.
#ifndef NKIAGENT_COMMON_NKI_EXEC_FAST_H_
#define NKIAGENT_COMMON_NKI_EXEC_FAST_H_

#include "common/nki/exec/plan.h"

namespace nkiagent::nki::exec {

// The function that executes `plan`, or null if the reference has to.
FastFn FastFor(const InstrPlan& plan);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_FAST_H_
