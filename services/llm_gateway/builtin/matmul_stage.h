// Stages around one matmul: the contraction on partitions, partial products added up in PSUM, then
// elementwise operations on the result's tile.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_MATMUL_STAGE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_MATMUL_STAGE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {

class MatmulStageEmitter : public StageEmitter {
 public:
  MatmulStageEmitter(const KernelPlan& plan, const StagePlan& stage, KernelNames& names);

 protected:
  void EmitLoops() override;
  std::string Headline() const override;
  std::vector<std::pair<std::string, std::string>> MoreIndices() const override;

 private:
  // One operand of the product as it lies in HBM.
  struct Source {
    int value = -1;
    int64_t offset = 0;
    Dims strides;  // over the axes of the iteration
    int64_t k_stride = 0;
    DType dtype = DType::kFloat32;
    const Access* access = nullptr;

    bool on_chip() const { return access->on_chip; }
  };

  // Rows of the stationary or columns of the moving operand that are brought on chip together.
  struct Lines {
    int axis = -1;  // of the iteration
    int64_t size = 1;
    int64_t count = 1;  // of them here
    bool ragged = false;
    std::string base;    // index of the first: a loop's share, or nothing
    std::string blocks;  // the same counted in blocks
    // Index vectors: a block of lines on partitions and on the free axis, and all of them on the free axis.
    std::string on_partitions, on_free, all_on_free;
  };

  Source SourceOf(size_t operand) const;
  const Op& matmul() const { return program().ops[stage().stage.matmul]; }
  // An operand that stays in SBUF: a block of lines by a piece of the contraction where it is turned, a tile
  // of the contraction by lines where it is not. `block` or `line` tell which.
  std::string OnChipBlock(const Source& source, const std::string& partition, const std::string& block);
  std::string OnChipTile(const Source& source, const std::string& line);
  // `tensor[…]` with its line axis and the contraction indexed as told, the rest as it stands.
  std::string At(const Source& source, int line_axis, const AxisIndex& line, const AxisIndex& k);
  Lines ColumnLines(bool all) const;
  // Whether the operand lies with the contraction innermost, so that loading it contraction-major would
  // scatter.
  bool NeedsTurning(const Source& source, int line_axis) const;
  // An SBUF tensor (contraction tile, contraction tiles, lines) filled from HBM; its name.
  std::string EmitPanel(const Source& source, const Lines& lines);
  std::string EmitTurnedPanel(const Source& source, const Lines& lines);
  // Opens the loop over the contraction around the square, or around the load before it; whether it did.
  bool LoadSquare(const Source& source, const Lines& lines, const std::string& start, std::string* square);
  std::string EmitDirectPanel(const Source& source, const Lines& lines);
  // "k * 128 + vector", or the vector where there is one tile.
  std::string KIndex(absl::string_view vector) const;
  std::string KMask(absl::string_view vector) const;  // "" unless the contraction is ragged
  std::string KNumber() const;                        // the loop variable, or "0"
  // Opens the loop over the contraction; false where it is one tile.
  bool OpenKLoop();
  // Declares an SBUF tensor, zeroed where its edges may stay unwritten.
  std::string Declare(absl::string_view base, const Dims& shape, bool zeroed, DType dtype);

  void LoadStationary();
  std::string StationaryTile();
  std::string MovingTile();
  void EmitMovingPanel();
  void OpenColumnLoop();
  void EmitProduct();

  Source lhs_, rhs_;
  std::string stationary_, moving_;
  std::string panel_;  // loop variable: blocks of columns
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_MATMUL_STAGE_H_
