// Fast forms of copies: bytes where the type stays, rows through fp32 where it changes.
#include <cmath>

#include "common/nki/exec/dtype_convert.h"
#include "common/nki/exec/fast_common.h"
#include "common/nki/exec/fast_ops.h"

namespace nkiagent::nki::exec {
namespace {

// A constant as one element of `dtype`: integers exactly, the rest through fp32.
void StoreConstant(isa::DType dtype, double value, std::byte* element) {
  if (isa::IsInteger(dtype) && std::isfinite(value)) {
    return StoreSaturated(dtype, element, IntOfConstant(value));
  }
  StoreFloat(dtype, element, static_cast<float>(value));
}

bool Fill(Context& context, const InstrPlan& plan, Team* team, double value) {
  const AccessPlan& dst = plan.dst[0];
  const AccessPlan* const accesses[] = {&dst};
  TileLoop loop;
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, {});
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  std::byte element[4];
  StoreConstant(dst.dtype, value, element);
  const Kernels& k = BestKernels();
  std::byte* data = DataOf(context, dst);
  WrittenMap* written = context.tensors[static_cast<size_t>(dst.tensor)].written;
  return ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) {
    k.copy(dst.element_bytes, element, 0, data + piece.offset[0] * dst.element_bytes, loop.stride(0),
           piece.n);
    MarkPiece(written, piece.offset[0], loop.stride(0), piece.n);
  });
}

// A two-dimensional copy of 4-byte elements whose rows and columns change places, block by block.
bool IsTranspose4(const TileLoop& loop, const AccessPlan& dst) {
  return dst.element_bytes == 4 && !loop.ragged() && loop.rank() == 2 && loop.stride(0, 1) == 1 &&
         loop.stride(1, 0) == 1 && loop.extent(0) >= 8 && loop.extent(1) >= 8 && loop.stride(1, 1) > 1 &&
         loop.stride(0, 0) > 1;
}

}  // namespace

bool FastMemset(Context& context, const InstrPlan& plan, Team* team) {
  return Fill(context, plan, team, plan.instr->attrs.value);
}

bool FastCopy(Context& context, const InstrPlan& plan, Team* team) {
  const AccessPlan& dst = plan.dst[0];
  const AccessPlan& src = plan.src[0];
  const bool add =
      (plan.instr->op == isa::Opcode::kDmaCopy || plan.instr->op == isa::Opcode::kDmaTranspose) &&
      plan.instr->attrs.op0 == isa::AluOp::kAdd;
  if (src.constant && !add) return Fill(context, plan, team, src.value);
  // dst += src reads dst as a second source.
  const AccessPlan* const accesses[] = {&dst, &src, &dst};
  const absl::Span<const AccessPlan* const> used(accesses, add ? 3 : 2);
  TileLoop loop;
  const TileLoop::State state = loop.Prepare(context, plan, used, plan.masks, plan.space, {});
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  SafeSources sources;
  if (!sources.Prepare(context, plan, loop, dst, used.subspan(1))) return false;
  const Kernels& k = BestKernels();
  std::byte* data = DataOf(context, dst);
  const std::byte* from = sources.data(0);
  WrittenMap* written = context.tensors[static_cast<size_t>(dst.tensor)].written;
  const int64_t to_stride = loop.stride(0);
  const int64_t from_stride = loop.stride(1);
  const bool same = src.dtype == dst.dtype && !add;
  if (same && IsTranspose4(loop, dst)) {
    k.transpose4(from + loop.start(1) * 4, loop.stride(1, 1), data + loop.start(0) * 4, loop.stride(0, 0),
                 loop.extent(1), loop.extent(0));
    for (int64_t i = 0; written != nullptr && i < loop.extent(0); ++i) {
      written->MarkRange(loop.start(0) + i * loop.stride(0, 0), loop.extent(1));
    }
    return true;
  }
  return ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) {
    std::byte* to = data + piece.offset[0] * dst.element_bytes;
    if (same) {
      k.copy(dst.element_bytes, from + piece.offset[1] * src.element_bytes, from_stride, to, to_stride,
             piece.n);
    } else {
      alignas(64) float buffer[kPiece], old_buffer[kPiece];
      RowIn row = FetchRow(k, src, from, piece.offset[1], from_stride, piece.n, buffer);
      if (add) {
        const RowIn old = FetchRow(k, dst, data, piece.offset[2], loop.stride(2), piece.n, old_buffer);
        k.binary(isa::AluOp::kAdd, old, row, buffer, piece.n);
        row = {buffer, false};
      } else if (row.scalar && piece.n > 1) {
        k.copy(4, reinterpret_cast<const std::byte*>(row.p), 0, reinterpret_cast<std::byte*>(old_buffer), 1,
               piece.n);
        row = {old_buffer, false};
      }
      k.store(dst.dtype, row.p, to, to_stride, piece.n);
    }
    MarkPiece(written, piece.offset[0], to_stride, piece.n);
  });
}

bool FastCopyIntegers(Context& context, const InstrPlan& plan, Team* team) {
  const AccessPlan& dst = plan.dst[0];
  const AccessPlan& src = plan.src[0];
  const AccessPlan* const accesses[] = {&dst, &src};
  TileLoop loop;
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, {});
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  SafeSources sources;
  if (!sources.Prepare(context, plan, loop, dst, absl::MakeConstSpan(accesses).subspan(1))) return false;
  std::byte* data = DataOf(context, dst);
  const std::byte* from = sources.data(0);
  WrittenMap* written = context.tensors[static_cast<size_t>(dst.tensor)].written;
  return ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) {
    for (int64_t i = 0; i < piece.n; ++i) {
      const int64_t value =
          LoadInt(src.dtype, from + (piece.offset[1] + i * loop.stride(1)) * src.element_bytes);
      StoreSaturated(dst.dtype, data + (piece.offset[0] + i * loop.stride(0)) * dst.element_bytes, value);
    }
    MarkPiece(written, piece.offset[0], loop.stride(0), piece.n);
  });
}

bool FastCopyPredicated(Context& context, const InstrPlan& plan, Team* team) {
  const AccessPlan& dst = plan.dst[0];
  const AccessPlan& src = plan.src[0];
  const AccessPlan& predicate = plan.src[1];
  const AccessPlan* const accesses[] = {&dst, &src, &predicate};
  TileLoop loop;
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, {});
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  SafeSources sources;
  if (!sources.Prepare(context, plan, loop, dst, absl::MakeConstSpan(accesses).subspan(1))) return false;
  std::byte element[4];
  if (src.constant) StoreConstant(dst.dtype, src.value, element);
  const Kernels& k = BestKernels();
  std::byte* data = DataOf(context, dst);
  const bool inverted = plan.instr->attrs.negate;
  return ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) {
    alignas(64) float flags[kPiece], buffer[kPiece], converted[kPiece];
    const RowIn p = FetchRow(k, predicate, sources.data(1), piece.offset[2], loop.stride(2), piece.n, flags);
    if (p.scalar) {
      if ((*p.p != 0.0f) == inverted) return;
      std::fill_n(flags, piece.n, inverted ? 0.0f : 1.0f);
    }
    const float* where = p.scalar ? flags : p.p;
    std::byte* to = data + piece.offset[0] * dst.element_bytes;
    const std::byte* from = element;
    int64_t stride = 0;
    if (src.IsMemory() && src.dtype == dst.dtype) {
      from = sources.data(0) + piece.offset[1] * src.element_bytes;
      stride = loop.stride(1);
    } else if (src.IsMemory()) {
      const RowIn row = FetchRow(k, src, sources.data(0), piece.offset[1], loop.stride(1), piece.n, buffer);
      from = reinterpret_cast<const std::byte*>(converted);
      stride = row.scalar ? 0 : 1;
      k.store(dst.dtype, row.p, reinterpret_cast<std::byte*>(converted), 1, row.scalar ? 1 : piece.n);
    }
    k.copy_where(dst.element_bytes, where, inverted, from, stride, to, loop.stride(0), piece.n);
  });
}

}  // namespace nkiagent::nki::exec
