// Fast forms of dropout and rng, and of bitwise operators: rows without vector kernels.
#include <algorithm>

#include "common/nki/exec/dtype_convert.h"
#include "common/nki/exec/fast_common.h"
#include "common/nki/exec/fast_ops.h"
#include "common/nki/exec/scalar_math.h"

namespace nkiagent::nki::exec {

using isa::AluOp;

bool FastRandom(Context& context, const InstrPlan& plan, Team* team) {
  const bool dropout = plan.instr->op == isa::Opcode::kDropout;
  const AccessPlan absent;
  const AccessPlan& dst = plan.dst[0];
  const AccessPlan& data = dropout ? plan.src[0] : absent;
  const AccessPlan& prob = dropout ? plan.src[1] : absent;
  const AccessPlan* const accesses[] = {&dst, &data, &prob};
  // A number belongs to the row-major position in the tile.
  Dims positions(plan.space.size(), 1);
  for (size_t d = plan.space.size(); d-- > 1;) positions[d - 1] = positions[d] * plan.space[d];
  TileLoop loop;
  loop.AddStrides(positions);
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, {});
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  SafeSources sources;
  if (!sources.Prepare(context, plan, loop, dst, absl::MakeConstSpan(accesses).subspan(1))) return false;
  const Kernels& k = BestKernels();
  const uint64_t stream = RandomStreamOf(context, *plan.instr);
  std::byte* memory = DataOf(context, dst);
  WrittenMap* written = context.tensors[static_cast<size_t>(dst.tensor)].written;
  return ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) {
    alignas(64) float results[kPiece], x_buffer[kPiece], p_buffer[kPiece];
    const RowIn x = FetchRow(k, data, sources.data(0), piece.offset[1], loop.stride(1), piece.n, x_buffer);
    const RowIn p = FetchRow(k, prob, sources.data(1), piece.offset[2], loop.stride(2), piece.n, p_buffer);
    for (int64_t i = 0; i < piece.n; ++i) {
      const float u = UniformAt(stream, static_cast<uint64_t>(piece.offset[3] + i * loop.stride(3)));
      results[i] = !dropout ? u : (u < p.p[p.scalar ? 0 : i] ? 0.0f : x.p[x.scalar ? 0 : i]);
    }
    k.store(dst.dtype, results, memory + piece.offset[0] * dst.element_bytes, loop.stride(0), piece.n);
    MarkPiece(written, piece.offset[0], loop.stride(0), piece.n);
  });
}

bool FastBitvec(Context& context, const InstrPlan& plan, Team* team) {
  const ir::Attrs& at = plan.instr->attrs;
  const AccessPlan absent;
  const AccessPlan& dst = plan.dst[0];
  const AccessPlan& data = plan.src[0];
  const AccessPlan* const operands[] = {&plan.src[1], plan.src.size() > 2 ? &plan.src[2] : &absent};
  const AluOp ops[] = {at.op0, plan.instr->op == isa::Opcode::kTensorTensor ? AluOp::kNone : at.op1};
  const bool reverse[] = {at.reverse0, at.reverse1};
  const int bits = isa::IsInteger(data.dtype) ? 8 * static_cast<int>(data.element_bytes) : 32;
  const AccessPlan* const accesses[] = {&dst, &data, operands[0], operands[1]};
  TileLoop loop;
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, {});
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  SafeSources sources;
  if (!sources.Prepare(context, plan, loop, dst, absl::MakeConstSpan(accesses).subspan(1))) return false;
  std::byte* memory = DataOf(context, dst);
  WrittenMap* written = context.tensors[static_cast<size_t>(dst.tensor)].written;
  return ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) {
    const auto element = [&](size_t source, const AccessPlan& a, int64_t i) {
      const int64_t place = piece.offset[source + 1] + i * loop.stride(source + 1);
      return LoadInt(a.dtype, sources.data(source) + place * a.element_bytes);
    };
    for (int64_t i = 0; i < piece.n; ++i) {
      int64_t r = element(0, data, i);
      for (size_t k = 0; k < 2; ++k) {
        if (ops[k] == AluOp::kNone) continue;
        const AccessPlan& operand = *operands[k];
        const int64_t b = operand.IsMemory() ? element(k + 1, operand, i) : IntOfConstant(operand.value);
        r = reverse[k] ? ApplyBitvec(ops[k], b, r, bits) : ApplyBitvec(ops[k], r, b, bits);
      }
      StoreBits(dst.dtype, memory + (piece.offset[0] + i * loop.stride(0)) * dst.element_bytes, r);
    }
    MarkPiece(written, piece.offset[0], loop.stride(0), piece.n);
  });
}

}  // namespace nkiagent::nki::exec
