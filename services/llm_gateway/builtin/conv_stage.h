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
  // Weights as the Tensor engine takes them: input channels on partitions, one matrix per tap.
  void LoadWeights();
  void LoadTransposedWeights();
  void EmitWeightTurns(const std::string& rows, const std::string& block);
  std::string ReadWeights(const std::string& tap, const std::string& channels);
  // Output channels whose weights are on chip together.
  int64_t columns() const {
    return stage().partition.tile * (tiling().all_weights ? stage().partition.count() : 1);
  }

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
