// Which values stay in SBUF between stages.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_RESIDENCY_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_RESIDENCY_H_

#include "services/llm_gateway/builtin/plan.h"
#include "services/llm_gateway/builtin/residence.h"

namespace nkiagent::builtin {

// Bytes of each partition (176 KiB are usable, aws-neuron-sdk v2.24.0, nki/compiler/sbuf.py) that values may
// take while they wait for their readers. The rest is for the tiles that stages work on.
inline constexpr int64_t kResidentBytes = 96 << 10;

// Settles KernelPlan::residences of a plan whose stages are tiled, and marks the accesses that go there. A
// value all of whose readers agree with the tiles that its stage makes no longer lies in HBM; one of which
// only some do lies in both. Greedy by size, under kResidentBytes at every stage.
void ChooseResidences(KernelPlan* plan);

// The steps of an access by the tiles of a stage: over the axes of the iteration but the partition axis, in
// order, then over tiles of rows.
TileSteps StageSteps(const StagePlan& plan, const Access& access);

// The lines of a matmul's operand that the Tensor engine takes from one tile, and the steps of the operand.
// Turned: lines on partitions; over the axes of the iteration but that of the lines, over blocks of lines,
// over the contraction. Otherwise: the contraction on partitions; over the axes but that of the lines, over
// tiles of the contraction, over lines.
struct OperandSteps {
  int line_axis = -1;  // of the iteration
  int64_t block = 1;
  bool even_blocks = true;  // a block never reaches from one tile of lines into the next
  TileSteps steps;
};
OperandSteps MatmulSteps(const Program& program, const StagePlan& plan, const Access& access, bool turned);

// Stages during which a value is in SBUF, from the one that makes it to its last reader there.
struct Lifetime {
  size_t first = 0, last = 0;
};
Lifetime LifetimeOf(const KernelPlan& plan, int value);

// Bytes of each partition that the value takes.
int64_t ResidentBytes(const KernelPlan& plan, int value);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_RESIDENCY_H_
