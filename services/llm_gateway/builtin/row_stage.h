// Stages of elementwise operations and reductions: rows on partitions, the reduced axes free.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_ROW_STAGE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_ROW_STAGE_H_

#include <map>
#include <string>
#include <vector>

#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {

// Whole rows: one load of each operand, every operation once. Chunked rows: one pass over the chunks for each
// reduction that another depends on, with what the passes share computed again, and accumulators of one value
// per row between.
class RowStageEmitter : public StageEmitter {
 public:
  using StageEmitter::StageEmitter;

 protected:
  void EmitLoops() override;
  std::string Headline() const override;

 private:
  void EmitPasses();
  void EmitPass(int pass);
  void OpenChunkLoops(bool in_order);
  // For each operation of the stage the pass it runs in; for operations on rows, the pass they come before.
  std::vector<int> PassOfOps() const;
  std::vector<bool> NeededIn(int pass) const;
  bool IsRowOp(size_t position) const;
  // A column of one value per row with the operation's start value.
  Tile Accumulator(const Op& op, absl::string_view role);
  void Accumulate(size_t position, const Tile& accumulator);
  void Finish(const Op& op, const Tile& accumulator);
  // row_spread.cc: a reduction by rows that take several partitions each, and what makes one column, the same
  // on all partitions of a row, of what each partition has found.
  void EmitSpreadReduction(size_t position);
  Tile Together(const Op& op, const Tile& found);
  Tile SumTogether(const Op& op, const Tile& found);
  Tile ExtremeTogether(const Op& op, const Tile& found);
  // The largest few of each row, eight at a time; a tile of them, or of their positions.
  void EmitSelection(size_t position);

  // Tiles that a selection among a tile yields.
  struct Selected {
    int64_t count = 0;
    bool smallest = false;
    std::string values, positions;
  };
  // The instructions that select what the operation at `position` needs of tile `data`.
  Selected Select(size_t position, const std::string& data);
  bool AnyOf(Fn fn, int operand) const;

  std::vector<int> pass_of_;
  std::string same_row_, one_;                // hoisted tiles
  std::map<std::string, Selected> selected_;  // by tile
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_ROW_STAGE_H_
