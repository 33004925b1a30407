#include "common/nki/exec/fast_common.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace nkiagent::nki::exec {

bool ScratchBlock::Acquire(Context& context, int64_t bytes) {
  Reset();
  context_ = &context;
  block_ = context.pool.Acquire(bytes);
  if (block_ == nullptr) {
    context.status =
        absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes of working tiles"));
  }
  return block_ != nullptr;
}

bool SafeSources::Prepare(Context& context, const InstrPlan& plan, const TileLoop& loop,
                          const AccessPlan& dst, absl::Span<const AccessPlan* const> sources) {
  for (size_t i = 0; i < sources.size(); ++i) {
    const AccessPlan* a = sources[i];
    if (a == nullptr || !a->IsMemory()) continue;
    data_[i] = DataOf(context, *a);
    const size_t operand = i + 1;
    LookForUndefined(context, plan, loop, operand, *a);
    if (data_[i] != DataOf(context, dst)) continue;
    bool same = loop.start(operand) == loop.start(0);
    for (size_t d = 0; same && d < loop.rank(); ++d) {
      same = loop.extent(d) == 1 || loop.stride(operand, d) == loop.stride(0, d);
    }
    if (same) continue;
    int64_t low, high, dst_low, dst_high;
    loop.Span(operand, &low, &high);
    loop.Span(0, &dst_low, &dst_high);
    if (high < dst_low || low > dst_high) continue;
    // Offsets outside the tensor may belong to positions that ragged masks drop.
    const int64_t elements = context.tensors[static_cast<size_t>(a->tensor)].elements;
    low = std::max<int64_t>(low, 0);
    high = std::min(high, elements - 1);
    const int64_t bytes = (high - low + 1) * a->element_bytes;
    if (!copies_[i].Acquire(context, bytes)) return false;
    std::memcpy(copies_[i].bytes(), data_[i] + low * a->element_bytes, static_cast<size_t>(bytes));
    data_[i] = copies_[i].bytes() - low * a->element_bytes;
  }
  return true;
}

void LookForUndefined(Context& context, const InstrPlan& plan, const TileLoop& loop, size_t operand,
                      const AccessPlan& access) {
  const Storage& s = context.tensors[static_cast<size_t>(access.tensor)];
  if (!s.maybe_undefined || access.element_bytes == 1 ||
      context.shared->findings.Known(plan.instr->loc, kReadOfUnwrittenMemory)) {
    return;
  }
  loop.ForPieces(0, loop.pieces(), [&](const TileLoop::Piece& piece) {
    const int64_t stride = loop.stride(operand);
    const std::byte* p = s.data + piece.offset[operand] * access.element_bytes;
    if (!AnyLooksUndefined(access.dtype, p, stride, stride == 0 ? 1 : piece.n)) return true;
    WarnUndefinedRead(context, *plan.instr, access.tensor);
    return false;
  });
}

namespace {

Dims DenseStrides(absl::Span<const int64_t> shape) {
  Dims strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

}  // namespace

bool LoadTile(Context& context, const InstrPlan& plan, const AccessPlan& access, float fill, float* out) {
  TileLoop loop;
  const Dims dense = DenseStrides(access.shape);
  loop.AddStrides(dense);
  const AccessPlan* const accesses[] = {&access};
  const TileLoop::State state =
      loop.Prepare(context, plan, accesses, access.masks, access.shape, {.favoured = 1});
  if (state == TileLoop::State::kFailed) return false;
  int64_t count = 1;
  for (const int64_t s : access.shape) count *= s;
  const bool whole = state == TileLoop::State::kReady && loop.elements() == count && !loop.ragged();
  if (!whole) std::fill_n(out, count, fill);
  if (state == TileLoop::State::kEmpty) return true;
  LookForUndefined(context, plan, loop, 0, access);
  const Kernels& k = BestKernels();
  const std::byte* data = DataOf(context, access);
  loop.ForPieces(0, loop.pieces(), [&](const TileLoop::Piece& piece) {
    const std::byte* p = data + piece.offset[0] * access.element_bytes;
    float* to = out + piece.offset[1];
    if (loop.stride(1) == 1) {
      k.load(access.dtype, p, loop.stride(0), to, piece.n);
    } else {
      for (int64_t i = 0; i < piece.n; ++i) {
        k.load(access.dtype, p + i * loop.stride(0) * access.element_bytes, 1, to + i * loop.stride(1), 1);
      }
    }
    return true;
  });
  return context.Poll(count);
}

bool StoreTile(Context& context, const InstrPlan& plan, const AccessPlan& access, const float* values) {
  TileLoop loop;
  const Dims dense = DenseStrides(access.shape);
  loop.AddStrides(dense);
  const AccessPlan* const accesses[] = {&access};
  const TileLoop::State state =
      loop.Prepare(context, plan, accesses, access.masks, access.shape, {.favoured = 1});
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  const Kernels& k = BestKernels();
  std::byte* data = DataOf(context, access);
  WrittenMap* written = context.tensors[static_cast<size_t>(access.tensor)].written;
  loop.ForPieces(0, loop.pieces(), [&](const TileLoop::Piece& piece) {
    std::byte* p = data + piece.offset[0] * access.element_bytes;
    const float* from = values + piece.offset[1];
    if (loop.stride(1) == 1) {
      k.store(access.dtype, from, p, loop.stride(0), piece.n);
    } else {
      for (int64_t i = 0; i < piece.n; ++i) {
        k.store(access.dtype, from + i * loop.stride(1), p + i * loop.stride(0) * access.element_bytes, 1, 1);
      }
    }
    MarkPiece(written, piece.offset[0], loop.stride(0), piece.n);
    return true;
  });
  return context.Poll(loop.elements());
}

}  // namespace nkiagent::nki::exec
