// Instructions that compute the same in every iteration of a loop. The SDK's compiler moves them out of it:
// the published time of the second mamba kernel (aws-neuron-sdk v2.24.0,
// general/nki/tutorials/fused_mamba.rst) leaves no room for its invariant product in the inner loop. Loads
// stay where they are. Internal to common/nki/timing.
#ifndef NKIAGENT_COMMON_NKI_TIMING_INVARIANT_H_
#define NKIAGENT_COMMON_NKI_TIMING_INVARIANT_H_

#include <vector>

#include "common/nki/ir/program.h"

namespace nkiagent::nki::timing {

// For each instruction in program order, out of how many of its innermost loops it moves.
std::vector<int> HoistDepths(const ir::Program& program);

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_INVARIANT_H_
