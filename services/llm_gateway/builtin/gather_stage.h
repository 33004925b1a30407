// Stages that gather rows of a table by their numbers: one DMA per tile, the numbers on its partitions.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_GATHER_STAGE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_GATHER_STAGE_H_

#include <string>

#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {

class GatherStageEmitter : public StageEmitter {
 public:
  using StageEmitter::StageEmitter;

 protected:
  void EmitLoops() override;
  std::string Headline() const override;

 private:
  const Op& op() const { return program().ops[stage().stage.matmul]; }
  // Rows have one element: a tile of numbers becomes a tile of elements.
  bool OneByOne() const;
  // The row numbers of the tile, one for each partition or element; the tile's name.
  std::string LoadNumbers();
  void EmitRows(const std::string& numbers);
  void EmitElements(const std::string& numbers);
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_GATHER_STAGE_H_
