// What the fast forms of the instructions share: sources that are safe to read while the destination is
// written, rows as fp32, dense tiles, and loops over pieces on one or all threads.
#ifndef NKIAGENT_COMMON_NKI_EXEC_FAST_COMMON_H_
#define NKIAGENT_COMMON_NKI_EXEC_FAST_COMMON_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/nki/exec/context.h"
#include "common/nki/exec/kernels.h"
#include "common/nki/exec/plan.h"
#include "common/nki/exec/team.h"
#include "common/nki/exec/tile_loop.h"

namespace nkiagent::nki::exec {

// Tiles smaller than this are not worth waking the team.
inline constexpr int64_t kMinSharedElements = 1 << 16;

inline bool IsFp32Storage(isa::DType dtype) {
  return dtype == isa::DType::kFloat32 || dtype == isa::DType::kTFloat32;
}

// A block from the context's pool, released at the end of the scope. Null data after failure, with the status
// set.
class ScratchBlock {
 public:
  ScratchBlock() = default;
  ~ScratchBlock() { Reset(); }
  ScratchBlock(const ScratchBlock&) = delete;
  ScratchBlock& operator=(const ScratchBlock&) = delete;
  bool Acquire(Context& context, int64_t bytes);
  std::byte* bytes() { return block_; }
  float* floats() { return reinterpret_cast<float*>(block_); }

 private:
  void Reset() {
    if (block_ != nullptr) context_->pool.Release(block_);
    block_ = nullptr;
  }
  Context* context_ = nullptr;
  std::byte* block_ = nullptr;
};

// Element 0 of a memory operand's tensor.
inline std::byte* DataOf(const Context& context, const AccessPlan& access) {
  return context.tensors[static_cast<size_t>(access.tensor)].data;
}

// Sources of an instruction whose destination is operand 0 of `loop`, sources being operands 1 and on. A
// source that shares elements with the destination at other positions is copied first, so that it keeps its
// old contents.
class SafeSources {
 public:
  // False on failure. Also looks for reads of undefined memory.
  bool Prepare(Context& context, const InstrPlan& plan, const TileLoop& loop, const AccessPlan& dst,
               absl::Span<const AccessPlan* const> sources);
  // Element 0 of source i's tensor (or of its copy, displaced).
  const std::byte* data(size_t i) const { return data_[i]; }

 private:
  std::array<const std::byte*, kMaxOperands> data_{};
  std::array<ScratchBlock, kMaxOperands> copies_;
};

// Warns if the pieces of operand `operand` hold undefined elements; cheap where the tensor is known to be
// written.
void LookForUndefined(Context& context, const InstrPlan& plan, const TileLoop& loop, size_t operand,
                      const AccessPlan& access);

// Part of a source as fp32: memory itself where it is fp32 and contiguous, one value where the stride is 0,
// else converted into `buffer` (kPiece floats).
inline RowIn FetchRow(const Kernels& k, const AccessPlan& a, const std::byte* data, int64_t offset,
                      int64_t stride, int64_t n, float* buffer) {
  if (!a.IsMemory()) {
    buffer[0] = static_cast<float>(a.value);
    return {buffer, true};
  }
  const std::byte* p = data + offset * a.element_bytes;
  if (stride == 0) {
    k.load(a.dtype, p, 1, buffer, 1);
    return {buffer, true};
  }
  if (stride == 1 && IsFp32Storage(a.dtype)) return {reinterpret_cast<const float*>(p), false};
  k.load(a.dtype, p, stride, buffer, n);
  return {buffer, false};
}

// Records that the piece of dst was written.
inline void MarkPiece(WrittenMap* written, int64_t offset, int64_t stride, int64_t n) {
  if (written == nullptr) return;
  if (stride == 1 || n == 1) return written->MarkRange(offset, n);
  for (int64_t i = 0; i < n; ++i) written->Mark(offset + i * stride);
}

// fn(piece) for every piece, on the team if the tile is large. False if the deadline or a cancel ended it; fn
// returns nothing and must be safe on several threads.
template <typename Fn>
bool ForAllPieces(Context& context, Team* team, const TileLoop& loop, Fn&& fn) {
  const int64_t pieces = loop.pieces();
  const auto visit = [&fn](const TileLoop::Piece& piece) {
    fn(piece);
    return true;
  };
  const int64_t per_piece = loop.elements() / pieces + 1;
  const int64_t batch = std::max<int64_t>(1, Context::kWorkPerPoll / 4 / per_piece);
  if (team == nullptr || loop.elements() < kMinSharedElements) {
    for (int64_t begin = 0; begin < pieces; begin += batch) {
      const int64_t end = std::min(pieces, begin + batch);
      loop.ForPieces(begin, end, visit);
      if (end < pieces && !context.Poll((end - begin) * per_piece)) return false;
    }
    return true;
  }
  const int64_t grain = std::max<int64_t>(1, std::min(batch, pieces / (team->size() * 4)));
  ShareLoop(team, pieces, grain, [&](int64_t begin, int64_t end) {
    if (context.shared->Expired()) return false;
    return loop.ForPieces(begin, end, visit);
  });
  return context.PollNow();
}

// fn(position along dimension 0, piece), the pieces of one position in order on one thread. For loops
// prepared with keep_first.
template <typename Fn>
bool ForAllFirst(Context& context, Team* team, const TileLoop& loop, Fn&& fn) {
  const int64_t each = loop.pieces_of_first();
  // Pieces between two looks at the clock.
  const int64_t batch = std::max<int64_t>(1, Context::kWorkPerPoll / (loop.elements() / loop.pieces() + 1));
  const auto visit = [&](int64_t begin, int64_t end) {
    for (int64_t k = begin * each; k < end * each; k += batch) {
      if (k > begin * each && context.shared->Expired()) return false;
      loop.ForPieces(k, std::min(end * each, k + batch), [&](const TileLoop::Piece& piece) {
        fn(loop.first_begin() + piece.first, piece);
        return true;
      });
    }
    return true;
  };
  const bool share = team != nullptr && loop.elements() >= kMinSharedElements;
  const int64_t count = loop.first_count();
  const int64_t grain = share ? std::max<int64_t>(1, count / (team->size() * 4)) : count;
  return ShareLoop(share ? team : nullptr, count, grain, visit) || context.PollNow();
}

// A tile as dense row-major fp32; masked-off elements become `fill`. For operands with their own dimensions.
bool LoadTile(Context& context, const InstrPlan& plan, const AccessPlan& access, float fill, float* out);
// The reverse; masked-off elements keep their contents.
bool StoreTile(Context& context, const InstrPlan& plan, const AccessPlan& access, const float* values);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_FAST_COMMON_H_
