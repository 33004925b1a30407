// Fast forms of instructions that walk each partition's row: scans, statistics, shuffles.
#include <algorithm>
#include <vector>

#include "common/nki/exec/fast_common.h"
#include "common/nki/exec/fast_ops.h"
#include "common/nki/exec/reference.h"
#include "common/nki/exec/scalar_math.h"
#include "common/nki/exec/shapes.h"

namespace nkiagent::nki::exec {
namespace {

using isa::AluOp;

constexpr int32_t kKeepPartition = 255;
constexpr int64_t kQuadrant = 32;

// The rows of an operand as fp32: memory itself where it is that, else a copy.
struct Rows {
  const float* p = nullptr;
  int64_t stride = 0;
};

bool FetchRows(Context& context, const InstrPlan& plan, const AccessPlan& a, bool copy, ScratchBlock* block,
               Rows* rows) {
  const int64_t free = Count(a.shape, 1);
  bool contiguous = IsFp32Storage(a.dtype) && a.checks.empty() && !copy &&
                    !context.tensors[static_cast<size_t>(a.tensor)].maybe_undefined;
  int64_t stride = 1;
  for (size_t d = a.shape.size(); contiguous && d-- > 1;) {
    if (a.shape[d] == 1) continue;
    contiguous = a.offset.dims[d] == stride;
    stride *= a.shape[d];
  }
  if (contiguous) {
    rows->p = reinterpret_cast<const float*>(DataOf(context, a)) + a.offset.Base(context.symbols);
    rows->stride = a.offset.dims[0];
    return true;
  }
  if (!block->Acquire(context, Count(a.shape) * 4)) return false;
  *rows = {block->floats(), free};
  return LoadTile(context, plan, a, 0.0f, block->floats());
}

void ScanRow(const ir::Attrs& at, const float* x, const float* y, float state, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float t = at.reverse0 ? ApplyAlu(at.op0, state, x[i]) : ApplyAlu(at.op0, x[i], state);
    state = at.reverse1 ? ApplyAlu(at.op1, y[i], t) : ApplyAlu(at.op1, t, y[i]);
    out[i] = state;
  }
}

bool HasMasks(const InstrPlan& plan) {
  for (const auto* list : {&plan.dst, &plan.src}) {
    for (const AccessPlan& a : *list) {
      if (!a.masks.empty()) return true;
    }
  }
  return false;
}

// 1 at the positions of a tile that its masks hold, 0 elsewhere.
bool HeldBy(Context& context, const InstrPlan& plan, const AccessPlan& a, std::vector<char>* held) {
  TileLoop loop;
  Dims dense(a.shape.size(), 1);
  for (size_t d = dense.size(); d-- > 1;) dense[d - 1] = dense[d] * a.shape[d];
  loop.AddStrides(dense);
  const TileLoop::State state = loop.Prepare(context, plan, {}, a.masks, a.shape, {});
  held->assign(static_cast<size_t>(Count(a.shape)), 0);
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  return loop.ForPieces(0, loop.pieces(), [&](const TileLoop::Piece& piece) {
    for (int64_t i = 0; i < piece.n; ++i)
      (*held)[static_cast<size_t>(piece.offset[0] + i * loop.stride(0))] = 1;
    return true;
  });
}

// A scan whose state passes over the positions that any operand's masks drop.
bool MaskedScan(Context& context, const InstrPlan& plan) {
  const ir::Attrs& at = plan.instr->attrs;
  const AccessPlan& dst = plan.dst[0];
  const Storage& storage = context.tensors[static_cast<size_t>(dst.tensor)];
  const int64_t partitions = dst.shape[0];
  const int64_t free = Count(dst.shape, 1);
  // Places outside the tensor may belong to dropped positions.
  if (!dst.checks.empty()) return ReferenceInstr(context, *plan.instr);
  ScratchBlock blocks[3];
  std::vector<char> held, more;
  if (!HeldBy(context, plan, dst, &held)) return false;
  for (size_t i = 0; i < 2; ++i) {
    if (!blocks[i].Acquire(context, partitions * free * 4) ||
        !LoadTile(context, plan, plan.src[i], 0.0f, blocks[i].floats()) ||
        !HeldBy(context, plan, plan.src[i], &more)) {
      return false;
    }
    for (size_t k = 0; k < held.size(); ++k) held[k] &= more[k];
  }
  if (!blocks[2].Acquire(context, partitions * 4)) return false;
  float* const initial = blocks[2].floats();
  more.assign(static_cast<size_t>(partitions), 1);
  std::fill_n(initial, partitions, static_cast<float>(plan.src[2].value));
  if (plan.src[2].IsMemory() &&
      (!LoadTile(context, plan, plan.src[2], 0.0f, initial) || !HeldBy(context, plan, plan.src[2], &more))) {
    return false;
  }
  const Kernels& k = BestKernels();
  Dims at_place(dst.shape.size(), 0);
  for (int64_t p = 0; p < partitions; ++p) {
    float state = initial[p];
    std::fill(at_place.begin(), at_place.end(), 0);
    for (int64_t f = 0; f < free; ++f) {
      const int64_t i = p * free + f;
      if (held[static_cast<size_t>(i)] != 0 && more[static_cast<size_t>(p)] != 0) {
        ScanRow(at, blocks[0].floats() + i, blocks[1].floats() + i, state, &state, 1);
        int64_t place = dst.offset.Base(context.symbols) + p * dst.offset.dims[0];
        for (size_t d = 1; d < at_place.size(); ++d) place += at_place[d] * dst.offset.dims[d];
        k.store(dst.dtype, &state, storage.data + place * dst.element_bytes, 1, 1);
        MarkPiece(storage.written, place, 1, 1);
      }
      for (size_t d = at_place.size(); d-- > 1 && ++at_place[d] == dst.shape[d];) at_place[d] = 0;
    }
    if (!context.Poll(free)) return false;
  }
  return true;
}

}  // namespace

bool FastScan(Context& context, const InstrPlan& plan, Team* team) {
  if (HasMasks(plan)) return MaskedScan(context, plan);
  const ir::Attrs& at = plan.instr->attrs;
  const AccessPlan& dst = plan.dst[0];
  const int64_t partitions = dst.shape[0];
  const int64_t free = Count(dst.shape, 1);
  ScratchBlock blocks[3], out;
  Rows d0, d1;
  if (!FetchRows(context, plan, plan.src[0], false, &blocks[0], &d0) ||
      !FetchRows(context, plan, plan.src[1], false, &blocks[1], &d1)) {
    return false;
  }
  if (!blocks[2].Acquire(context, partitions * 4) || !out.Acquire(context, partitions * free * 4))
    return false;
  float* const initial = blocks[2].floats();
  if (plan.src[2].IsMemory()) {
    if (!LoadTile(context, plan, plan.src[2], 0.0f, initial)) return false;
  } else {
    std::fill_n(initial, partitions, static_cast<float>(plan.src[2].value));
  }
  const Kernels& k = BestKernels();
  const bool multiply_add = at.op0 == AluOp::kMultiply && at.op1 == AluOp::kAdd;
  const bool share = team != nullptr && partitions * free >= kMinSharedElements;
  // Rows of one piece go through the units together; columns are cut so that the clock is looked at.
  constexpr int64_t kGrain = 16;
  constexpr int64_t kColumns = 8192;
  const auto scan = [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r += kGrain) {
      const int64_t rows = std::min(kGrain, end - r);
      for (int64_t c = 0; c < free; c += kColumns) {
        if (context.shared->Expired()) return false;
        const int64_t n = std::min(kColumns, free - c);
        float* const to = out.floats() + r * free + c;
        const float* x = d0.p + r * d0.stride + c;
        const float* y = d1.p + r * d1.stride + c;
        if (multiply_add) {
          k.scan_multiply_add(x, d0.stride, y, d1.stride, initial + r, to, free, rows, n);
        } else {
          for (int64_t i = 0; i < rows; ++i) {
            ScanRow(at, x + i * d0.stride, y + i * d1.stride, initial[r + i], to + i * free, n);
          }
        }
        for (int64_t i = 0; i < rows; ++i) initial[r + i] = to[i * free + n - 1];
      }
    }
    return true;
  };
  const bool ok = ShareLoop(share ? team : nullptr, partitions, share ? kGrain : partitions, scan);
  if (!ok) return context.PollNow();
  return StoreTile(context, plan, dst, out.floats());
}

bool FastBnAggr(Context& context, const InstrPlan& plan, Team*) {
  const AccessPlan& data = plan.src[0];
  const int64_t partitions = data.shape[0];
  const int64_t free = Count(data.shape, 1);
  ScratchBlock block;
  if (!block.Acquire(context, partitions * free * 4) || !LoadTile(context, plan, data, 0.0f, block.floats()))
    return false;
  std::vector<float> out(static_cast<size_t>(partitions) * 2);
  for (int64_t p = 0; p < partitions; ++p) {
    const float* row = block.floats() + p * free;
    double count = 0, sum = 0, squares = 0;
    for (int64_t t = 0; t < free; t += 3) {
      count += static_cast<double>(row[t]);
      sum += static_cast<double>(row[t]) * static_cast<double>(row[t + 1]);
    }
    const double mean = count > 0 ? sum / count : 0.0;
    for (int64_t t = 0; t < free; t += 3) {
      const double d = static_cast<double>(row[t + 1]) - mean;
      squares += static_cast<double>(row[t + 2]) + static_cast<double>(row[t]) * d * d;
    }
    out[static_cast<size_t>(p) * 2] = static_cast<float>(mean);
    out[static_cast<size_t>(p) * 2 + 1] = static_cast<float>(count > 0 ? squares / count : 0.0);
    if (!context.Poll(free)) return false;
  }
  return StoreTile(context, plan, plan.dst[0], out.data());
}

bool FastBnStats(Context& context, const InstrPlan& plan, Team*) {
  if (HasMasks(plan)) return ReferenceInstr(context, *plan.instr);
  const AccessPlan& data = plan.src[0];
  const int64_t partitions = data.shape[0];
  const int64_t free = Count(data.shape, 1);
  ScratchBlock block;
  Rows rows;
  if (!FetchRows(context, plan, data, false, &block, &rows)) return false;
  std::vector<float> out(static_cast<size_t>(partitions) * 6);
  const Kernels& k = BestKernels();
  for (int64_t p = 0; p < partitions; ++p) {
    const float* row = rows.p + p * rows.stride;
    k.moments(row, 2, (free + 1) / 2, &out[static_cast<size_t>(p) * 6]);
    k.moments(row + 1, 2, free / 2, &out[static_cast<size_t>(p) * 6 + 3]);
    if (!context.Poll(free)) return false;
  }
  return StoreTile(context, plan, plan.dst[0], out.data());
}

bool FastShuffle(Context& context, const InstrPlan& plan, Team*) {
  const AccessPlan& src = plan.src[0];
  const AccessPlan& dst = plan.dst[0];
  // Whole tiles of types that LoadTile and StoreTile carry exactly.
  const bool wide = src.dtype == isa::DType::kInt32 || src.dtype == isa::DType::kUInt32;
  if (HasMasks(plan) || wide || src.dtype != dst.dtype) {
    return ReferenceInstr(context, *plan.instr);
  }
  const std::vector<int32_t>& list = plan.instr->attrs.list;
  const bool keeps = std::find(list.begin(), list.end(), kKeepPartition) != list.end();
  const int64_t free = Count(dst.shape, 1);
  ScratchBlock in, out;
  const int64_t bytes = Count(dst.shape) * 4;
  if (!in.Acquire(context, bytes) || !out.Acquire(context, bytes)) return false;
  if (!LoadTile(context, plan, src, 0.0f, in.floats())) return false;
  if (keeps && !LoadTile(context, plan, dst, 0.0f, out.floats())) return false;
  for (int64_t p = 0; p < dst.shape[0]; ++p) {
    const int32_t from = list[static_cast<size_t>(p % kQuadrant)];
    if (from == kKeepPartition) continue;
    std::copy_n(in.floats() + (p / kQuadrant * kQuadrant + from) * free, free, out.floats() + p * free);
  }
  return StoreTile(context, plan, dst, out.floats());
}

}  // namespace nkiagent::nki::exec
