// What the stages around one make of the values they share with it, so that it can cut them alike.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_NEIGHBOURS_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_NEIGHBOURS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "services/llm_gateway/builtin/plan.h"
#include "services/llm_gateway/builtin/residency.h"

namespace nkiagent::builtin {

// Nanoseconds that a value costs on its way through HBM from one stage to another: twice the latency of a DMA
// (common/nki/timing/machine.h), beside what is moved.
inline constexpr double kHandoverNs = 4000;

class Neighbours {
 public:
  // The others as `plan` has them now. Plan and handovers must outlive this.
  Neighbours(const KernelPlan& plan, const std::vector<std::optional<Handover>>& handovers, size_t stage);

  // Whether there is a value to agree about.
  bool any() const { return any_; }

  // Sizes of the tiles that neighbours put on partitions, each once; kMaxPartitions first.
  const std::vector<int64_t>& tiles() const { return tiles_; }

  // For one access of the stage that is no operand of its matmul, if it were tiled so: to how many others, or
  // from how many, the value would have to pass through HBM. 0 for what isn't shared.
  int Disagreeing(const Dims& dims, const AxisTiling& partition, const AxisTiling& free,
                  const Access& access) const;
  // The same for all accesses of the stage.
  int Disagreeing(const StagePlan& candidate) const;
  // Whether what the access moves stays in SBUF altogether.
  bool Stays(const Dims& dims, const AxisTiling& partition, const AxisTiling& free,
             const Access& access) const;

 private:
  std::optional<Residence> Made(const Handover& handover) const;
  bool Fits(const Access& access, const std::optional<Residence>& residence) const;
  void AddTile(int64_t tile);

  const KernelPlan& plan_;
  const std::vector<std::optional<Handover>>& handovers_;
  size_t stage_;
  bool any_ = false;
  std::vector<int64_t> tiles_;
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_NEIGHBOURS_H_
