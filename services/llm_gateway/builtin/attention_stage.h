// Stages that compute attention: keys and values on chip, one tile of queries after another, whose scores,
// softmax and weighted sum never leave the chip. Where a row of scores is too long for that it comes in
// sections with a running maximum and sum.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_ATTENTION_STAGE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_ATTENTION_STAGE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {

class AttentionStageEmitter : public StageEmitter {
 public:
  AttentionStageEmitter(const KernelPlan& plan, const StagePlan& stage, KernelNames& names);

 protected:
  void EmitLoops() override;
  std::string Headline() const override;
  std::vector<std::pair<std::string, std::string>> MoreIndices() const override { return vectors_; }

 private:
  void ChooseTiles();
  std::string Vector(absl::string_view base, int64_t count, bool partitions);
  // An SBUF tensor, of zeros or unset.
  std::string Declare(absl::string_view base, absl::string_view shape, bool zeroed, DType dtype);
  // A loop over the tiles; its variable, or "0" for a single tile.
  std::string OpenTiles(absl::string_view variable, const Tiles& tiles);
  std::string OpenColumnTiles(bool all);
  void CloseTiles(const Tiles& tiles);
  // `tensor[…]` with rows and columns of the operand indexed as told.
  std::string At(const Operand& operand, const AxisIndex& row, const AxisIndex& column);
  // A loaded tile, zero where `mask` leaves something out; its name.
  std::string Load(absl::string_view base, absl::string_view shape, absl::string_view subscripts,
                   const std::string& source, const std::string& mask, DType dtype);

  void OpenBatch(bool keys);
  void EmitKeys();
  void EmitSharedExtras();
  void EmitQueries();
  void EmitSpan();
  // The scores under the softmax, of the columns of the span; sets scores_.
  void EmitScores();
  void EmitProductInto(const std::string& sum, const std::string& from);
  void EmitRow();
  void EmitStep(const Attention::Step& step);
  void EmitMask(const Attention::Step& step);
  std::string Extra(int operand);
  void EmitSoftmax();
  std::string WeightTiles() const;
  std::string WeightColumns() const;
  void EmitWeightedSum();
  void EmitMerge();
  void EmitResult();

  bool one_chunk() const { return chunk_ >= a_.columns; }
  bool sections() const { return section_ < a_.columns; }
  std::string RowMask() const;
  std::string Scale() const;  // ", scale=…" where the queries don't carry it

  const Op& op_;
  const Attention& a_;
  Tiles rows_, columns_, depth_;
  int64_t chunk_ = 1;      // columns of scores that are made at once
  int64_t section_ = 1;    // columns that are on chip at once
  bool unrolled_ = false;  // a tile of queries sees a known number of keys of its own
  int64_t reach_ = 0;      // of an unrolled loop: row i sees columns up to i + reach
  bool resident_ = true;   // all keys and values are on chip together
  bool scale_queries_ = true;
  bool guarded_ = false;  // rows may be empty
  std::vector<std::pair<std::string, std::string>> vectors_;
  std::vector<AxisIndex> batch_;
  // Index vectors: queries, a tile of columns, a tile of the depth, all of it, the width, a chunk of columns,
  // all columns and those of the span.
  std::string i_q_, i_qf_, i_n_, i_nf_, i_d_, i_df_, i_da_, i_w_, i_c_, i_all_, i_s_;
  std::string r_ = "0", s_ = "0", tile_;  // loop variables: tiles of queries, sections, tiles of columns
  // Columns of the span: their number and the first one ("" for 0); columns that the tile of queries sees.
  std::string width_, first_, seen_;
  std::string keys_, values_, queries_;  // on chip
  std::string scores_, row_;             // the scores so far, and the tile they lie in
  bool in_psum_ = false, unscaled_ = false;
  std::string negative_max_, sum_, weights_, product_;
  std::string running_max_, running_sum_, running_;
  std::map<int, std::string> shared_extras_;
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_ATTENTION_STAGE_H_
