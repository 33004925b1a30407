// Fast forms of arithmetic on elements: rows in fp32, one or two operators or an activation function,
// rounding.
#include <algorithm>
#include <limits>

#include "common/nki/exec/dtype_convert.h"
#include "common/nki/exec/fast_common.h"
#include "common/nki/exec/fast_ops.h"
#include "common/nki/exec/scalar_math.h"

namespace nkiagent::nki::exec {
namespace {

using isa::AluOp;
using isa::Opcode;

// The destination's side of an element-wise instruction.
struct Target {
  Target(const Context& context, const AccessPlan& a, const TileLoop& loop)
      : access(a),
        data(DataOf(context, a)),
        written(context.tensors[static_cast<size_t>(a.tensor)].written),
        stride(loop.stride(0)),
        direct(a.dtype == isa::DType::kFloat32 && stride == 1) {}

  // Where a row's final fp32 results may be computed: memory itself, or `buffer`.
  float* Results(const TileLoop::Piece& piece, float* buffer) const {
    return direct ? reinterpret_cast<float*>(data + piece.offset[0] * access.element_bytes) : buffer;
  }
  void Finish(const Kernels& k, const TileLoop::Piece& piece, const float* results) const {
    if (!direct)
      k.store(access.dtype, results, data + piece.offset[0] * access.element_bytes, stride, piece.n);
    MarkPiece(written, piece.offset[0], stride, piece.n);
  }

  const AccessPlan& access;
  std::byte* data;
  WrittenMap* written;
  int64_t stride;
  bool direct;
};

// Folds of each partition's results, for reduce_res.
class PartitionFolds {
 public:
  PartitionFolds(AluOp op, int64_t partitions)
      : op_(op), value_(static_cast<size_t>(partitions), FoldIdentity(op)), seen_(value_.size(), 0) {}
  void Add(const Kernels& k, int64_t partition, const float* results, int64_t n) {
    const auto p = static_cast<size_t>(partition);
    value_[p] = k.fold(op_, results, n, value_[p]);
    seen_[p] = 1;
  }
  const std::vector<float>& values() const { return value_; }

  // Adds what was folded to the registers, and stores those where the instruction has a place for them.
  bool Into(Context& context, const InstrPlan& plan, std::vector<float>& registers) const {
    for (size_t p = 0; p < value_.size(); ++p) {
      if (seen_[p] != 0) registers[p] = ApplyAlu(op_, registers[p], value_[p]);
    }
    return !plan.dst[1].IsMemory() || StoreTile(context, plan, plan.dst[1], registers.data());
  }

 private:
  AluOp op_;
  std::vector<float> value_;
  std::vector<char> seen_;
};

RowIn Op(const Kernels& k, AluOp op, bool reverse, RowIn a, RowIn b, float* out, int64_t n) {
  const bool unary = isa::Info(op).arity == 1;
  // A unary operator has no operand to swap with.
  const bool swap = reverse && !unary;
  if (a.scalar && (unary || b.scalar)) {
    // One value for the whole row: compute it once.
    out[0] = swap ? ApplyAlu(op, *b.p, *a.p) : ApplyAlu(op, *a.p, *b.p);
    return {out, true};
  }
  if (swap) std::swap(a, b);
  // Unary operators look at a only; give them no row to walk beside a scalar.
  if (unary) b = a;
  k.binary(op, a, b, out, n);
  return {out, false};
}

// A row's value for every element, where the caller needs them all.
const float* Spread(const Kernels& k, RowIn row, float* out, int64_t n) {
  if (!row.scalar) return row.p;
  const float v = *row.p;
  k.copy(4, reinterpret_cast<const std::byte*>(&v), 0, reinterpret_cast<std::byte*>(out), 1, n);
  return out;
}

}  // namespace

bool FastAlu(Context& context, const InstrPlan& plan, Team* team) {
  const ir::Attrs& at = plan.instr->attrs;
  const Opcode opcode = plan.instr->op;
  // (first op0 second) op1 third
  const AccessPlan absent;
  const AccessPlan* second = plan.src.size() > 1 ? &plan.src[1] : &absent;
  const AccessPlan* third = plan.src.size() > 2 ? &plan.src[2] : &absent;
  AluOp op0 = at.op0, op1 = at.op1;
  if (opcode == Opcode::kReciprocal) op0 = AluOp::kReciprocal, op1 = AluOp::kNone;
  if (opcode == Opcode::kTensorTensor) op1 = AluOp::kNone;
  const bool folds = opcode == Opcode::kTensorScalar && plan.dst[1].IsMemory();
  const AccessPlan* const accesses[] = {&plan.dst[0], &plan.src[0], second, third};
  TileLoop loop;
  TileLoop::Options options;
  options.keep_first = folds;
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, options);
  if (state == TileLoop::State::kFailed) return false;
  const Kernels& k = BestKernels();
  PartitionFolds partition_folds(folds ? at.reduce_op : AluOp::kAdd, folds ? plan.space[0] : 0);
  if (state == TileLoop::State::kReady) {
    SafeSources sources;
    if (!sources.Prepare(context, plan, loop, plan.dst[0], absl::MakeConstSpan(accesses).subspan(1)))
      return false;
    const Target target(context, plan.dst[0], loop);
    const auto row = [&](int64_t partition, const TileLoop::Piece& piece) {
      alignas(64) float a_buffer[kPiece], b_buffer[kPiece], c_buffer[kPiece], result_buffer[kPiece];
      float* const results = target.Results(piece, result_buffer);
      const int64_t n = piece.n;
      RowIn r = FetchRow(k, plan.src[0], sources.data(0), piece.offset[1], loop.stride(1), n, a_buffer);
      if (op0 != AluOp::kNone) {
        const RowIn b = FetchRow(k, *second, sources.data(1), piece.offset[2], loop.stride(2), n, b_buffer);
        // The last operator writes to the destination; the first must not, for the destination may be an
        // operand of the second.
        r = Op(k, op0, at.reverse0, r, b, op1 == AluOp::kNone ? results : a_buffer, n);
      }
      if (op1 != AluOp::kNone) {
        const RowIn c = FetchRow(k, *third, sources.data(2), piece.offset[3], loop.stride(3), n, c_buffer);
        r = Op(k, op1, at.reverse1, r, c, results, n);
      }
      const float* all = Spread(k, r, results, n);
      if (target.direct && all != results) std::copy_n(all, n, results);
      if (folds) partition_folds.Add(k, partition, all, n);
      target.Finish(k, piece, all);
    };
    const bool ok =
        folds ? ForAllFirst(context, team, loop, row)
              : ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) { row(0, piece); });
    if (!ok) return false;
  }
  return !folds || StoreTile(context, plan, plan.dst[1], partition_folds.values().data());
}

bool FastActivation(Context& context, const InstrPlan& plan, Team* team) {
  const ir::Attrs& at = plan.instr->attrs;
  const isa::ActFnInfo& info = isa::Info(at.act);
  const bool reset = at.reduce_cmd == isa::ReduceCmd::kReset || at.reduce_cmd == isa::ReduceCmd::kResetReduce;
  const bool folds =
      at.reduce_cmd == isa::ReduceCmd::kReduce || at.reduce_cmd == isa::ReduceCmd::kResetReduce;
  const AccessPlan& bias = plan.src[1];
  const AccessPlan& scale = plan.src[2];
  const bool affine = bias.IsMemory() || bias.constant || !scale.constant || scale.value != 1.0;
  const AccessPlan* const accesses[] = {&plan.dst[0], &plan.src[0], &bias, &scale};
  TileLoop loop;
  TileLoop::Options options;
  options.keep_first = folds;
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, options);
  if (state == TileLoop::State::kFailed) return false;
  const Kernels& k = BestKernels();
  PartitionFolds partition_folds(at.reduce_op == AluOp::kNone ? AluOp::kAdd : at.reduce_op,
                                 folds ? plan.space[0] : 0);
  if (state == TileLoop::State::kReady) {
    SafeSources sources;
    if (!sources.Prepare(context, plan, loop, plan.dst[0], absl::MakeConstSpan(accesses).subspan(1)))
      return false;
    const Target target(context, plan.dst[0], loop);
    const bool limited = info.valid_min > -std::numeric_limits<double>::infinity() ||
                         info.valid_max < std::numeric_limits<double>::infinity();
    const bool watch =
        limited && !context.shared->findings.Known(plan.instr->loc, kActivationInputOutOfRange);
    const auto row = [&](int64_t partition, const TileLoop::Piece& piece) {
      alignas(64) float x_buffer[kPiece], result_buffer[kPiece];
      float scale_value[1], bias_value[1];
      float* const results = target.Results(piece, result_buffer);
      const int64_t n = piece.n;
      const RowIn x = FetchRow(k, plan.src[0], sources.data(0), piece.offset[1], loop.stride(1), n, x_buffer);
      const float* in = Spread(k, x, results, n);
      if (affine) {
        // Both are [P, 1] or constant; a row that runs over partitions fetches them one by one.
        const auto fetch = [&](const AccessPlan& a, size_t i, float* one, float* many) {
          return FetchRow(k, a, sources.data(i - 1), piece.offset[i], loop.stride(i), n,
                          a.IsMemory() && loop.stride(i) != 0 ? many : one);
        };
        alignas(64) float scale_buffer[kPiece], bias_buffer[kPiece];
        const RowIn s = fetch(scale, 3, scale_value, scale_buffer);
        const RowIn b = fetch(bias, 2, bias_value, bias_buffer);
        k.scale_bias(in, s, b, result_buffer, n);
        in = result_buffer;
      }
      if (watch) {
        float low, high;
        k.extremes(in, n, &low, &high);
        if (low < info.valid_min) WarnActivationRange(context, *plan.instr, low);
        if (high > info.valid_max) WarnActivationRange(context, *plan.instr, high);
      }
      k.activate(at.act, in, results, n);
      if (folds) partition_folds.Add(k, partition, results, n);
      target.Finish(k, piece, results);
    };
    const bool ok =
        folds ? ForAllFirst(context, team, loop, row)
              : ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) { row(0, piece); });
    if (!ok) return false;
  }
  if (reset) std::fill_n(context.registers.scalar.begin(), plan.space[0], 0.0f);
  return partition_folds.Into(context, plan, context.registers.scalar);
}

bool FastRangeSelect(Context& context, const InstrPlan& plan, Team* team) {
  constexpr float kFp32Min = std::numeric_limits<float>::lowest();
  const ir::Attrs& at = plan.instr->attrs;
  const bool reset = at.reduce_cmd == isa::ReduceCmd::kReset || at.reduce_cmd == isa::ReduceCmd::kResetReduce;
  const bool folds =
      at.reduce_cmd == isa::ReduceCmd::kReduce || at.reduce_cmd == isa::ReduceCmd::kResetReduce;
  const AccessPlan* const accesses[] = {&plan.dst[0], &plan.src[0], &plan.src[1], &plan.src[2]};
  TileLoop loop;
  Dims steps(plan.space.size(), 0);
  for (size_t d = 0; d < at.expr.dims.size(); ++d) steps[d] = at.expr.dims[d];
  loop.AddStrides(steps);
  TileLoop::Options options;
  options.keep_first = folds;
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, options);
  if (state == TileLoop::State::kFailed) return false;
  const Kernels& k = BestKernels();
  PartitionFolds partition_folds(AluOp::kMaximum, folds ? plan.space[0] : 0);
  if (state == TileLoop::State::kReady) {
    SafeSources sources;
    if (!sources.Prepare(context, plan, loop, plan.dst[0], absl::MakeConstSpan(accesses).subspan(1)))
      return false;
    const Target target(context, plan.dst[0], loop);
    const int64_t base = at.expr.Base(context.symbols);
    const int64_t step = loop.stride(4);
    const auto row = [&](int64_t partition, const TileLoop::Piece& piece) {
      alignas(64) float index[kPiece], low[kPiece], high[kPiece], bounds[kPiece], buffer[kPiece];
      alignas(64) float result_buffer[kPiece];
      const int64_t n = piece.n;
      for (int64_t i = 0; i < n; ++i) index[i] = static_cast<float>(base + piece.offset[4] + i * step);
      const RowIn bound0 =
          FetchRow(k, plan.src[1], sources.data(1), piece.offset[2], loop.stride(2), n, bounds);
      k.binary(at.op0, {index, false}, bound0, low, n);
      const RowIn bound1 =
          FetchRow(k, plan.src[2], sources.data(2), piece.offset[3], loop.stride(3), n, bounds);
      k.binary(at.op1, {index, false}, bound1, high, n);
      k.binary(AluOp::kMultiply, {low, false}, {high, false}, low, n);
      const RowIn x = FetchRow(k, plan.src[0], sources.data(0), piece.offset[1], loop.stride(1), n, buffer);
      float* const results = target.Results(piece, result_buffer);
      k.select(low, x, kFp32Min, results, n);
      if (folds) partition_folds.Add(k, partition, results, n);
      target.Finish(k, piece, results);
    };
    const bool ok =
        folds ? ForAllFirst(context, team, loop, row)
              : ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) { row(0, piece); });
    if (!ok) return false;
  }
  if (reset) std::fill_n(context.registers.vector.begin(), plan.space[0], kFp32Min);
  return partition_folds.Into(context, plan, context.registers.vector);
}

bool FastSelect(Context& context, const InstrPlan& plan, Team* team) {
  const ir::Attrs& at = plan.instr->attrs;
  const bool select = plan.instr->op == Opcode::kAffineSelect;
  const AccessPlan absent;
  const AccessPlan& data = select ? plan.src[0] : absent;
  const AccessPlan* const accesses[] = {&plan.dst[0], &data};
  TileLoop loop;
  Dims steps(plan.space.size(), 0);
  for (size_t d = 0; d < at.expr.dims.size(); ++d) steps[d] = at.expr.dims[d];
  loop.AddStrides(steps);
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, {});
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  SafeSources sources;
  if (!sources.Prepare(context, plan, loop, plan.dst[0], absl::MakeConstSpan(accesses).subspan(1)))
    return false;
  const Kernels& k = BestKernels();
  const Target target(context, plan.dst[0], loop);
  const int64_t base = at.expr.Base(context.symbols);
  const int64_t step = loop.stride(2);
  constexpr int64_t kExact = int64_t{1} << 24;
  return ForAllPieces(context, team, loop, [&](const TileLoop::Piece& piece) {
    alignas(64) float expr[kPiece], buffer[kPiece], result_buffer[kPiece];
    const int64_t first = base + piece.offset[2];
    const int64_t last = first + step * (piece.n - 1);
    const bool small = std::max(first, last) < kExact && std::min(first, last) > -kExact;
    if (!select && !small) {
      for (int64_t i = 0; i < piece.n; ++i) {
        StoreSaturated(target.access.dtype,
                       target.data + (piece.offset[0] + i * target.stride) * target.access.element_bytes,
                       static_cast<int32_t>(first + i * step));
      }
      MarkPiece(target.written, piece.offset[0], target.stride, piece.n);
      return;
    }
    if (small) {
      k.ramp(first, step, expr, piece.n);
    } else {
      // Only the sign matters to a comparison with 0.
      for (int64_t i = 0; i < piece.n; ++i) {
        const int64_t v = first + i * step;
        expr[i] = v > 0 ? 1.0f : (v < 0 ? -1.0f : 0.0f);
      }
    }
    if (!select)
      return target.Finish(k, piece,
                           std::copy_n(expr, piece.n, target.Results(piece, result_buffer)) - piece.n);
    const float zero = 0.0f;
    k.binary(at.op0, {expr, false}, {&zero, true}, expr, piece.n);
    const RowIn row = FetchRow(k, data, sources.data(0), piece.offset[1], loop.stride(1), piece.n, buffer);
    float* const results = target.Results(piece, result_buffer);
    k.select(expr, row, static_cast<float>(at.value), results, piece.n);
    target.Finish(k, piece, results);
  });
}

}  // namespace nkiagent::nki::exec
