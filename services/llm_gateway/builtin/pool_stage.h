// Poolings: images and channels on partitions, the taps of a window reduced by one instruction where the
// access pattern has axes enough.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_POOL_STAGE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_POOL_STAGE_H_

#include <string>

#include "services/llm_gateway/builtin/window_stage.h"

namespace nkiagent::builtin {

class PoolStageEmitter : public WindowStageEmitter {
 public:
  using WindowStageEmitter::WindowStageEmitter;

 protected:
  void EmitLoops() override;
  std::string Headline() const override;
  void EmitWindows() override;

 private:
  // The windows of one choice of phases, as an expression or the name of an accumulator.
  std::string EmitPiece(const Phases& phases);
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_POOL_STAGE_H_
