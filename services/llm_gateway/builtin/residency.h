// Which values stay in SBUF between stages.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_RESIDENCY_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_RESIDENCY_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "services/llm_gateway/builtin/plan.h"
#include "services/llm_gateway/builtin/residence.h"

namespace nkiagent::builtin {

// Bytes of each partition (176 KiB are usable, aws-neuron-sdk v2.24.0, nki/compiler/sbuf.py) that values may
// take while they wait for their readers. The rest is for the tiles that stages work on.
inline constexpr int64_t kResidentBytes = 96 << 10;

// A value that one stage hands to others, told without regard to how these are tiled. Accesses are named by
// operation and operand, -1 for a result.
struct Handover {
  struct Reader {
    size_t stage = 0;
    int op = -1, operand = -1;
  };
  size_t stage = 0;  // that makes it
  int op = -1;
  std::vector<Reader> readers;
  bool is_result = false;  // of the kernel, so that it is stored in any case
};

// By value; none for those that no single stage makes, or that can't stay in SBUF whatever the tiles.
std::vector<std::optional<Handover>> FindHandovers(const KernelPlan& plan);

// Settles KernelPlan::residences of a plan whose stages are tiled, and marks the accesses that go there. A
// value all of whose readers agree with the tiles that its stage makes no longer lies in HBM; one of which
// only some do lies in both. Greedy by size, under kResidentBytes at every stage.
void ChooseResidences(KernelPlan* plan);

// How a value would lie in SBUF if its stage keeps the tiles it makes. None if these don't make up the value.
std::optional<Residence> ResidenceAsStored(const Program& program, const Dims& dims,
                                           const AxisTiling& partition, const AxisTiling& free,
                                           const Access& store);

// Whether the access goes to other partitions than a stage's tiles have, since rows take several of them.
bool IsSpread(const StagePlan& stage, const Access& access);

// Whether the tiles of a stage find what they read in such a residence, and if so, whether they are turned.
std::optional<bool> ReadsOnChip(const Program& program, const StagePlan& stage, const Residence& residence,
                                const Access& read);

// Null if the stage has no such access.
const Access* FindAccess(const Iteration& iteration, int op, int operand);

// The steps of an access by the tiles of a stage: over the axes of the iteration (of size `dims`) but the
// partition axis, in order, then over tiles of rows.
TileSteps StageSteps(const Dims& dims, const AxisTiling& partition, const AxisTiling& free,
                     const Access& access);
inline TileSteps StageSteps(const StagePlan& plan, const Access& access) {
  return StageSteps(plan.iteration.dims, plan.partition, plan.free, access);
}

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

// Bytes of each partition that a value takes in a residence.
int64_t ResidentBytes(const Program& program, int value, const Residence& residence);
int64_t ResidentBytes(const KernelPlan& plan, int value);  // in its own; 0 without one

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_RESIDENCY_H_
