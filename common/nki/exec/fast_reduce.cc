// Fast form of reductions: rows folded into one accumulator for each element of the destination.
#include <algorithm>
#include <vector>

#include "common/nki/exec/fast_common.h"
#include "common/nki/exec/fast_ops.h"
#include "common/nki/exec/scalar_math.h"

namespace nkiagent::nki::exec {

bool FastReduce(Context& context, const InstrPlan& plan, Team* team) {
  const ir::Attrs& at = plan.instr->attrs;
  const bool partitions = plan.instr->op == isa::Opcode::kTensorPartitionReduce;
  const AccessPlan& dst = plan.dst[0];
  const AccessPlan& data = plan.src[0];
  // Accumulators: dense over dst's shape, standing still along reduced dimensions.
  const size_t rank = data.shape.size();
  Dims strides(rank, 0);
  int64_t count = 1;
  for (size_t d = rank; d-- > 0;) {
    const bool reduced =
        partitions ? d == 0
                   : std::find(at.axes.begin(), at.axes.end(), static_cast<int32_t>(d)) != at.axes.end();
    if (reduced) continue;
    strides[d] = count;
    count *= data.shape[d];
  }
  ScratchBlock block;
  if (!block.Acquire(context, count * 4)) return false;
  float* const acc = block.floats();
  std::fill_n(acc, count, FoldIdentity(at.op0));
  TileLoop loop;
  loop.AddStrides(strides);
  TileLoop::Options options;
  options.keep_first = !partitions;
  const AccessPlan* const accesses[] = {&data};
  const TileLoop::State state = loop.Prepare(context, plan, accesses, data.masks, data.shape, options);
  if (state == TileLoop::State::kFailed) return false;
  if (state == TileLoop::State::kReady) {
    LookForUndefined(context, plan, loop, 0, data);
    const Kernels& k = BestKernels();
    const std::byte* memory = DataOf(context, data);
    const int64_t acc_stride = loop.stride(1);
    const auto fold = [&](const TileLoop::Piece& piece) {
      alignas(64) float buffer[kPiece];
      RowIn x = FetchRow(k, data, memory, piece.offset[0], loop.stride(0), piece.n, buffer);
      if (x.scalar && piece.n > 1) {
        std::fill_n(buffer, piece.n, *x.p);
        x = {buffer, false};
      }
      float* to = acc + piece.offset[1];
      if (acc_stride == 0) {
        *to = k.fold(at.op0, x.p, piece.n, *to);
      } else if (acc_stride == 1) {
        k.fold_rows(at.op0, to, x.p, piece.n);
      } else {
        for (int64_t i = 0; i < piece.n; ++i) {
          to[i * acc_stride] = ApplyAlu(at.op0, to[i * acc_stride], x.p[i]);
        }
      }
    };
    // Threads split along dimension 0, which free-axis reductions keep.
    const bool ok = partitions ? ForAllPieces(context, nullptr, loop, fold)
                               : ForAllFirst(context, team, loop,
                                             [&](int64_t, const TileLoop::Piece& piece) { fold(piece); });
    if (!ok) return false;
  }
  if (at.negate && !partitions) {
    for (int64_t i = 0; i < count; ++i) acc[i] = -acc[i];
  }
  return StoreTile(context, plan, dst, acc);
}

}  // namespace nkiagent::nki::exec
