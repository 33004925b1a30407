// Convolutions: on the Tensor engine, one product for each tap and tile of channels, all added up in PSUM;
// or, where every channel has its own filter, on the Vector engine.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_CONV_STAGE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_CONV_STAGE_H_

#include <string>

#include "services/llm_gateway/builtin/window_stage.h"

namespace nkiagent::builtin {

class ConvStageEmitter : public WindowStageEmitter {
 public:
  using WindowStageEmitter::WindowStageEmitter;

 protected:
  void EmitLoops() override;
  std::string Headline() const override;
  void EmitWindows() override;
  int OpenInnerLoops() override;

 private:
  // Weights as the Tensor engine takes them: what is contracted on partitions, a matrix for each step of the
  // taps. In conv_weights.cc.
  void LoadWeights();
  // A transposed convolution's, where nothing is stacked: they lie with the input channels outermost.
  void LoadWeightsAsTheyLie();
  bool WeightsAsTheyLie() const;
  // Rows of output channels: for each channel of each group its taps, with zeros for other groups' channels
  // and for taps beyond the kernel. The name of a tile (rows, channels * taps).
  std::string LoadWeightRows(const std::string& block);
  // What of the weights makes these rows.
  std::string ReadWeightRows(const std::string& block, std::vector<std::string>* masks);
  std::string ReadTransposedRows(const std::string& block, std::vector<std::string>* masks);
  std::string SpreadGroups(const std::string& rows);
  std::string PadTaps(const std::string& rows);
  void TurnWeights(const std::string& rows, const std::string& block);
  std::string ReadWeights(const Phases& phases, const std::vector<std::string>& taps,
                          const std::string& channels);
  // Matrices of all choices of phases before these; of all with nullptr.
  int64_t MatricesBefore(const Phases* phases) const;
  // The number of a step among those of one choice.
  static std::string StepNumber(const Phases& phases, const std::vector<std::string>& taps, int64_t first);
  // Output channels whose weights are on chip together.
  int64_t columns() const {
    return stage().partition.tile * (tiling().all_weights ? stage().partition.count() : 1);
  }
  std::string WeightTile() const {
    return !tiling().all_weights && stage().partition.count() > 1 ? names().row : "";
  }
  bool clips() const { return tiling().whole_lines && window().axes.back().padded(); }
  // Products of one choice, added up in `sum`.
  void EmitProducts(const Phases& phases, const std::string& sum, bool fills_tile);
  void EmitProduct(const Phases& phases, const std::vector<std::string>& positions,
                   const std::vector<std::string>& taps, const std::string& sum, bool fills_tile);
  // Products at each tap of the last axis, where it meets input and not padding.
  void EmitClippedProducts(const Phases& phases, std::vector<std::string> positions,
                           std::vector<std::string> taps, const std::string& sum, bool fills_tile);
  // Whether the sum can be read where it is: once, by an operation that may read PSUM.
  bool StaysInPsum() const;

  std::string weights_;
};

class DepthwiseStageEmitter : public WindowStageEmitter {
 public:
  using WindowStageEmitter::WindowStageEmitter;

 protected:
  void EmitLoops() override;
  std::string Headline() const override;
  void EmitWindows() override;
  int OpenInnerLoops() override;

 private:
  void LoadWeights();

  std::string weights_;
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_CONV_STAGE_H_
