// Tiles as rows: finds the part of an iteration space that the masks hold, proves that every access to it is
// inside its tensor, and walks it in contiguous pieces.
#ifndef NKIAGENT_COMMON_NKI_EXEC_TILE_LOOP_H_
#define NKIAGENT_COMMON_NKI_EXEC_TILE_LOOP_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "common/nki/exec/plan.h"
#include "common/nki/ir/validate.h"

namespace nkiagent::nki::exec {

inline constexpr size_t kMaxOperands = 6;
// Most masks that the fast form of an instruction may have.
inline constexpr size_t kMaxFastMasks = 8;
// Elements of a piece: operands converted to fp32 stay in the first-level cache.
inline constexpr int64_t kPiece = 2048;

class TileLoop {
 public:
  struct Options {
    // The operand whose stride should be 1 along the innermost dimension, if any dimension has it.
    size_t favoured = 0;
    // Dimension 0 stays what it is (per-partition results): not merged, not innermost unless alone.
    bool keep_first = false;
  };
  enum class State { kReady, kEmpty, kFailed };

  // Operand i moves by accesses[i]; null entries and constants don't move. kEmpty: the masks hold nowhere.
  // kFailed: the context has a fault.
  State Prepare(Context& context, const InstrPlan& plan, absl::Span<const AccessPlan* const> accesses,
                const std::vector<LinearForm>& masks, absl::Span<const int64_t> space, Options options);

  // Another operand that moves with the space, by strides over its original dimensions; before Prepare.
  void AddStrides(absl::Span<const int64_t> strides);

  // One piece of a row: element offsets of each operand at its start, and its length.
  struct Piece {
    std::array<int64_t, kMaxOperands> offset;
    int64_t n;
    int64_t
        first;  // its position along the first dimension, counted from first_begin(); with keep_first only
  };

  int64_t pieces() const { return pieces_; }
  // Pieces of one position along the first dimension (after Prepare with keep_first).
  int64_t pieces_of_first() const { return pieces_ / extent_[0]; }
  int64_t first_begin() const { return first_begin_; }  // the position along dimension 0 that comes first
  int64_t first_count() const { return rank_ > 0 ? extent_[0] : 1; }
  int64_t elements() const { return elements_; }
  // Elements between neighbours of a piece.
  int64_t stride(size_t operand) const { return stride_[operand][rank_ - 1]; }
  // Stride along dimension d of the walked space, its extent, and the number of dimensions.
  int64_t stride(size_t operand, size_t d) const { return stride_[operand][d]; }
  int64_t extent(size_t d) const { return extent_[d]; }
  size_t rank() const { return rank_; }
  int64_t start(size_t operand) const { return start_[operand]; }
  bool ragged() const { return residual_count_ > 0; }
  // Smallest and largest offset of an operand.
  void Span(size_t operand, int64_t* lowest, int64_t* highest) const;

  // Calls fn(Piece) for pieces begin..end-1 until it returns false.
  template <typename Fn>
  bool ForPieces(int64_t begin, int64_t end, Fn&& fn) const;

 private:
  using Row = std::array<int64_t, ir::kMaxTileRank>;

  bool CheckBounds(Context& context, const InstrPlan& plan, absl::Span<const AccessPlan* const> accesses,
                   const Row& begin);
  void Arrange(Options options);
  // The part of the row at `pos` that the ragged masks hold.
  void RowRange(const Row& pos, int64_t* begin, int64_t* end) const;

  size_t rank_ = 0;
  size_t operands_ = 0;
  Row extent_{};
  std::array<Row, kMaxOperands> stride_{};
  std::array<int64_t, kMaxOperands> start_{};
  int64_t first_begin_ = 0;
  int64_t pieces_ = 0;
  int64_t pieces_per_row_ = 1;
  int64_t elements_ = 0;

  // Masks over several dimensions: constant + sum(coefficient * position) >= 0.
  struct Residual {
    int64_t constant;
    Row coefficient;
  };
  std::array<Residual, kMaxFastMasks> residual_{};
  size_t residual_count_ = 0;
  size_t extra_ = 0;
  std::array<Row, 2> extra_strides_{};
};

template <typename Fn>
bool TileLoop::ForPieces(int64_t begin, int64_t end, Fn&& fn) const {
  if (begin >= end) return true;
  Row pos{};
  int64_t row = begin / pieces_per_row_;
  int64_t part = begin % pieces_per_row_;
  for (size_t d = rank_ - 1; d-- > 0;) {
    pos[d] = row % extent_[d];
    row /= extent_[d];
  }
  std::array<int64_t, kMaxOperands> base = start_;
  for (size_t i = 0; i < operands_; ++i) {
    for (size_t d = 0; d + 1 < rank_; ++d) base[i] += pos[d] * stride_[i][d];
  }
  int64_t row_begin = 0, row_end = extent_[rank_ - 1];
  bool fresh = true;
  for (int64_t k = begin; k < end; ++k) {
    if (fresh && residual_count_ > 0) RowRange(pos, &row_begin, &row_end);
    fresh = false;
    const int64_t from = std::max(row_begin, part * kPiece);
    const int64_t to = std::min(row_end, (part + 1) * kPiece);
    if (from < to) {
      Piece piece;
      for (size_t i = 0; i < operands_; ++i) piece.offset[i] = base[i] + from * stride_[i][rank_ - 1];
      piece.n = to - from;
      piece.first = pos[0];
      if (!fn(piece)) return false;
    }
    if (++part < pieces_per_row_) continue;
    part = 0;
    fresh = true;
    for (size_t d = rank_ - 1; d-- > 0;) {
      for (size_t i = 0; i < operands_; ++i) base[i] += stride_[i][d];
      if (++pos[d] < extent_[d]) break;
      for (size_t i = 0; i < operands_; ++i) base[i] -= extent_[d] * stride_[i][d];
      pos[d] = 0;
    }
  }
  return true;
}

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_TILE_LOOP_H_
