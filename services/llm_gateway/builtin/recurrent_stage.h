// Stages that run a recurrent layer: a loop over the steps, the state on chip with hidden units on partitions
// and the batch along the free axis, so that neither the gates nor the next step's product turns it.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_RECURRENT_STAGE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_RECURRENT_STAGE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {

class RecurrentStageEmitter : public StageEmitter {
 public:
  RecurrentStageEmitter(const KernelPlan& plan, const StagePlan& stage, KernelNames& names);

 protected:
  void EmitLoops() override;
  std::string Headline() const override;
  std::vector<std::pair<std::string, std::string>> MoreIndices() const override { return vectors_; }

 private:
  // Tensors on chip hold whole tiles, zero beyond the axis.
  static Tiles Cut(int64_t size);

  // A loop over the tiles; what stands for its variable ("0" for a single tile).
  std::string OpenTiles(absl::string_view base, const Tiles& tiles);
  void CloseTiles(const Tiles& tiles);
  static std::string Below(const Tiles& tiles,
                           const std::string& index);  // a condition, "" where nothing is ragged
  std::string Vector(absl::string_view base, int64_t count, bool partitions);
  // Declares an SBUF tensor of zeros, or unset.
  std::string Declare(absl::string_view base, const Dims& shape, bool zeroed, absl::string_view dtype);
  // `tensor[…]` with the operand's axes indexed by `axes`.
  std::string OperandAt(size_t operand, const std::vector<AxisIndex>& axes);
  // A tile loaded into a zeroed one where conditions leave some of it out, else as it is; its name.
  std::string LoadPadded(absl::string_view base, const Dims& shape, const std::string& subscripts,
                         const std::string& source, const std::string& mask, DType dtype);

  std::string EmitWeight(size_t operand, absl::string_view base, const Tiles& inputs,
                         const std::string& k_partition, const std::string& k_free, const std::string& k_all);
  void EmitBiases();
  std::string EmitState(size_t operand, absl::string_view base, absl::string_view dtype);
  void EmitInput();
  void EmitStep();
  std::string EmitGateSum(absl::string_view name, int64_t gate, const std::string& m, bool input, bool state);
  std::string EmitGate(absl::string_view name, absl::string_view function, int64_t gate,
                       const std::string& m);
  std::string NewState(const std::string& m);
  std::string NewGruState(const std::string& m);
  // Turns a state back to rows and stores it.
  void EmitStore(const std::string& state, int value, const StridedView& view,
                 const std::vector<AxisIndex>& lead);

  const Op& op_;
  const Recurrence& r_;
  DType dtype_;
  Tiles hidden_, inputs_, batch_;
  std::vector<std::pair<std::string, std::string>> vectors_;
  std::string i_h_, i_hf_, i_ha_, i_k_, i_kf_, i_ka_, i_b_, i_bf_;
  std::string b_, t_;                            // loop variables
  std::string weight_input_, weight_hidden_;     // panels on chip
  std::string bias_, bias_input_, bias_hidden_;  // columns on chip
  std::string input_, state_, next_, cell_;      // tiles on chip
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_RECURRENT_STAGE_H_
