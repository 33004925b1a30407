#include "common/nki/exec/testing/random_program.h"

#include <algorithm>
#include <random>
#include <utility>

#include "common/nki/exec/testing/program_builder.h"

namespace nkiagent::nki::exec::testing {
namespace {

using ir::Access;
using ir::Affine;
using ir::Attrs;
using ir::Operand;
using ir::TensorId;
using isa::AluOp;
using isa::DType;
using isa::Opcode;

// Axes of the shared tensors.
constexpr int64_t kPartitions = 16;
constexpr int64_t kFree = 16;
// nc_stream_shuffle works on quadrants of 32 partitions.
constexpr int64_t kShufflePartitions = 36;

class Generator {
 public:
  Generator(Opcode op, uint64_t seed) : op_(op), rng_(seed * 977 + static_cast<uint64_t>(op)), b_("random") {}

  RandomProgram Make() {
    RandomProgram out;
    for (int i = 0; i < 3; ++i) {
      // Mostly fp32, so that fp32-only paths meet each other.
      dtypes_.push_back(Chance(50) ? DType::kFloat32 : static_cast<DType>(Below(isa::kDTypeCount)));
    }
    if (Chance(50)) dtypes_[1] = dtypes_[0];
    partitions_ = op_ == Opcode::kNcStreamShuffle ? kShufflePartitions : kPartitions;
    const std::vector<int64_t> shape = {partitions_, kFree, kFree};
    std::vector<TensorId> inputs, outputs;
    for (size_t i = 0; i < dtypes_.size(); ++i) {
      inputs.push_back(b_.Input("in", dtypes_[i], shape));
      outputs.push_back(b_.Output("out", dtypes_[i], shape));
      const bool is_float = isa::IsFloat(dtypes_[i]);
      out.inputs.push_back(
          HostTensor::Random(dtypes_[i], shape, rng_(), is_float ? -2.0f : -9.0f, is_float ? 2.0f : 9.0f));
    }
    // Small non-negative integers, for run-time indices and gathers.
    index_input_ = b_.Input("index", DType::kUInt16, shape);
    out.inputs.push_back(HostTensor::Random(DType::kUInt16, shape, rng_(), 0.0f, Chance(90) ? 3.4f : 40.0f));
    for (size_t i = 0; i < dtypes_.size(); ++i) {
      // DMA instructions may also work on HBM itself.
      const bool hbm = (op_ == Opcode::kDmaCopy || op_ == Opcode::kDmaTranspose) && Chance(50);
      const TensorId t = hbm ? b_.Hbm("h", dtypes_[i], shape) : b_.Sbuf("t", dtypes_[i], shape);
      b_.Copy(b_.Whole(t), b_.Whole(inputs[i]));
      tensors_.push_back(t);
    }
    index_ = b_.Sbuf("indices", DType::kUInt16, shape);
    b_.Copy(b_.Whole(index_), b_.Whole(index_input_));
    psum_ = b_.Psum("psum", DType::kFloat32, shape);
    b_.Copy(b_.Whole(psum_), b_.Whole(inputs[0]));
    to_output_ = (op_ == Opcode::kDmaCopy || op_ == Opcode::kDmaTranspose) && Chance(50);
    output_ = outputs[0];
    b_.SetLine(100);
    if (Chance(30)) {
      b_.Loop(
          Chance(50) ? ir::LoopKind::kAffine : ir::LoopKind::kSequential, 1 + Below(3),
          [&](const Affine& i) {
            loop_ = &i;
            EmitInstr();
            loop_ = nullptr;
          },
          Below(2), 1 + Below(2));
    } else {
      EmitInstr();
    }
    b_.SetLine(200);
    for (size_t i = 0; i < dtypes_.size(); ++i) {
      if (!(to_output_ && i == 0)) b_.Copy(b_.Whole(outputs[i]), b_.Whole(tensors_[i]));
    }
    const TensorId psum_out = b_.Output("psum_out", DType::kFloat32, shape);
    b_.Copy(b_.Whole(psum_out), b_.Whole(psum_));
    out.program = b_.Build();
    return out;
  }

 private:
  int64_t Below(int64_t n) { return static_cast<int64_t>(rng_() % static_cast<uint64_t>(n)); }
  bool Chance(int percent) { return Below(100) < percent; }
  template <typename T>
  T Pick(std::initializer_list<T> values) {
    return values.begin()[Below(static_cast<int64_t>(values.size()))];
  }

  std::vector<int64_t> TileShape() {
    std::vector<int64_t> shape = {1 + Below(12)};
    const int64_t free = 1 + Below(3);
    for (int64_t d = 0; d < free; ++d) shape.push_back(1 + Below(d < 2 ? 8 : 2));
    return shape;
  }

  // An access to `tensor` with this tile shape. Destinations do not broadcast, but may still hit an element
  // twice.
  Access Tile(TensorId tensor, const std::vector<int64_t>& shape, bool dst) {
    Affine index[3];
    index[0] = !dst && Chance(10) ? C(Below(9)) : D(0) + C(Below(partitions_ - shape[0] + 1));
    if (Chance(3)) index[0] = index[0] + C(partitions_ - 4);
    for (int axis = 1; axis < 3; ++axis) index[axis] = C(0);
    const int first = 1 + static_cast<int>(Below(2));
    for (size_t d = 1; d < shape.size(); ++d) {
      const int axis = d == 1 ? first : (d == 2 ? 3 - first : 1 + static_cast<int>(Below(2)));
      int64_t coefficient = d == 3 ? Pick<int64_t>({8, 7, 1}) : Pick<int64_t>({1, 1, 1, 2, -1});
      if (!dst && Chance(10)) coefficient = 0;
      if (d == 3 && shape[d] * 8 > kFree) coefficient = 0;
      if (dst && coefficient == 0) coefficient = 1;
      index[axis] = index[axis] + D(static_cast<int>(d), coefficient);
      if (coefficient < 0) index[axis] = index[axis] + C((shape[d] - 1) * -coefficient);
    }
    for (int axis = 1; axis < 3; ++axis) {
      int64_t top = 0;
      for (size_t d = 1; d < shape.size(); ++d) {
        const int64_t c = index[axis].DimCoefficient(d);
        if (c > 0) top += c * (shape[d] - 1);
      }
      const int64_t room = kFree - 1 - top - index[axis].constant;
      if (room > 0) index[axis] = index[axis] + C(Below(room + 1));
      if (loop_ != nullptr && Chance(40)) index[axis] = index[axis] + *loop_ * Pick<int64_t>({1, 3, -1});
    }
    Access a = b_.Tile(tensor, shape, {index[0], index[1], index[2]});
    if (Chance(15)) a.mask.push_back(Condition(shape));
    if (Chance(5)) a.mask.push_back(Condition(shape));
    return a;
  }

  // Holds in most, some or no positions; over one dimension or several.
  Affine Condition(const std::vector<int64_t>& shape) {
    const auto any = [&] { return static_cast<int>(Below(static_cast<int64_t>(shape.size()))); };
    const int d = any();
    Affine c = Chance(50) ? C(Below(shape[static_cast<size_t>(d)])) - D(d) : D(d) - C(Below(3));
    if (Chance(40)) c = c + D(any(), Pick<int64_t>({1, -1, 2}));
    if (loop_ != nullptr && Chance(30)) c = c + *loop_;
    return c;
  }

  // Mostly one number for each row, on an axis that nothing else moves along.
  void AddRunTimeIndex(Access& a) {
    a.indirect_axis = static_cast<int32_t>(Below(3));
    a.indirect_tensor = index_;
    a.indirect_index = {Chance(20) ? C(3) : D(0), C(1), Chance(15) ? D(1) : C(2)};
    if (Chance(80)) a.index[static_cast<size_t>(a.indirect_axis)] = C(Below(12));
  }

  TensorId Any() { return tensors_[static_cast<size_t>(Below(3))]; }
  Operand Source(const std::vector<int64_t>& shape) { return Tile(Any(), shape, false); }
  Operand Vector(int64_t partitions) { return Source({partitions, 1}); }
  Operand VectorOrConstant(int64_t partitions) {
    return Chance(50) ? Vector(partitions) : Operand(Imm(Pick({1.0, -0.5, 0.0, 3.25, 2.0})));
  }
  Operand TileOrConstant(const std::vector<int64_t>& shape) {
    return Chance(80) ? Source(shape) : Operand(Imm(Pick({1.5, -7.0, 300.0, 1e10})));
  }

  AluOp Operator(bool allow_bitvec) {
    while (true) {
      const auto op = static_cast<AluOp>(1 + Below(isa::kAluOpCount - 1));
      // A power or a quotient near a pole turns the rounding of its inputs into anything.
      if (op == AluOp::kPower || op == AluOp::kMod || op == AluOp::kFmod) continue;
      if (!isa::Info(op).bitvec || allow_bitvec) return op;
    }
  }
  AluOp Fold() {
    return Pick({AluOp::kAdd, AluOp::kAdd, AluOp::kMaximum, AluOp::kMinimum, AluOp::kMultiply});
  }
  AluOp Comparison() {
    return Pick({AluOp::kEqual, AluOp::kNotEqual, AluOp::kGreaterEqual, AluOp::kGreater, AluOp::kLess});
  }

  void EmitInstr() {
    std::vector<int64_t> s = TileShape();
    const int64_t p = s[0];
    Attrs at;
    std::vector<Operand> dst, src;
    TensorId to = Chance(25) && op_ != Opcode::kDmaTranspose ? psum_ : Any();
    if (to_output_) to = output_;
    switch (op_) {
      case Opcode::kDmaCopy:
      case Opcode::kDmaTranspose: {
        if (Chance(20)) at.op0 = AluOp::kAdd;
        src = {TileOrConstant(s)};
        if (auto* a = std::get_if<Access>(&src[0]); a != nullptr && Chance(40)) {
          AddRunTimeIndex(*a);
          if (Chance(50)) at.oob = isa::OobMode::kSkip;
        } else if (Chance(20)) {
          scatter_ = true;
        }
        break;
      }
      case Opcode::kTensorCopy:
        src = {Source(s)};
        if (Chance(30)) AddRunTimeIndex(std::get<Access>(src[0]));
        break;
      case Opcode::kReciprocal:
        src = {Source(s)};
        break;
      case Opcode::kNcMatmul: {
        // dst [M, N...], stationary [K, M...], moving [K, N...].
        const int64_t k = 1 + Below(12);
        std::vector<int64_t> moving = s;
        moving[0] = k;
        std::vector<int64_t> stationary = {k, p};
        if (p % 2 == 0 && Chance(30)) stationary = {k, p / 2, 2};
        src = {Source(stationary), Source(moving)};
        at.accumulate = Chance(50);
        break;
      }
      case Opcode::kNcTranspose: {
        // data [P, F...], dst [F, P].
        src = {Source(s)};
        int64_t free = 1;
        for (size_t d = 1; d < s.size(); ++d) free *= s[d];
        while (free > partitions_) {
          s.pop_back();
          src = {Source(s)};
          free = 1;
          for (size_t d = 1; d < s.size(); ++d) free *= s[d];
        }
        s = {free, p};
        if (Chance(20)) s = {free, 1, p};
        break;
      }
      case Opcode::kActivation:
        at.act = static_cast<isa::ActFn>(Below(isa::kActFnCount));
        // Steps, poles and steep slopes turn the rounding of their inputs into anything.
        if (at.act == isa::ActFn::kTan || at.act == isa::ActFn::kReciprocal || at.act == isa::ActFn::kRsqrt) {
          at.act = isa::ActFn::kExp;
        }
        src = {Source(s), Chance(50) ? Vector(p) : None(), VectorOrConstant(p)};
        if (Chance(40)) {
          at.reduce_cmd = static_cast<isa::ReduceCmd>(Below(isa::kReduceCmdCount));
          at.reduce_op = Chance(80) ? AluOp::kAdd : Fold();
          if (Chance(70)) dst = {None(), Tile(Any(), {p, 1}, true)};
        }
        break;
      case Opcode::kTensorReduce: {
        src = {Source(s)};
        at.op0 = Chance(80)
                     ? Fold()
                     : Pick({AluOp::kBitwiseAnd, AluOp::kBitwiseXor, AluOp::kLogicalOr, AluOp::kSubtract});
        at.negate = !isa::Info(at.op0).bitvec && Chance(20);
        for (size_t d = 1; d < s.size(); ++d) {
          if (Chance(60) || (d + 1 == s.size() && at.axes.empty())) {
            at.axes.push_back(static_cast<int32_t>(d));
            s[d] = 1;
          }
        }
        break;
      }
      case Opcode::kTensorPartitionReduce:
        src = {Source(s)};
        at.op0 = Pick({AluOp::kAdd, AluOp::kMaximum, AluOp::kBitwiseOr, AluOp::kBitwiseAnd});
        s[0] = 1;
        break;
      case Opcode::kTensorTensor:
        at.op0 = Operator(true);
        src = {Source(s), Source(s)};
        break;
      case Opcode::kTensorTensorScan:
        at.op0 = Pick({AluOp::kMultiply, AluOp::kMultiply, AluOp::kAdd, AluOp::kMaximum, AluOp::kSubtract});
        at.op1 = Pick({AluOp::kAdd, AluOp::kAdd, AluOp::kMinimum, AluOp::kMaximum, AluOp::kSubtract});
        at.reverse0 = Chance(30);
        at.reverse1 = Chance(30);
        src = {Source(s), Source(s), VectorOrConstant(p)};
        break;
      case Opcode::kScalarTensorTensor:
      case Opcode::kTensorScalar: {
        at.op0 = Operator(true);
        if (Chance(60)) {
          do {
            at.op1 = Operator(true);
          } while (isa::Info(at.op1).bitvec != isa::Info(at.op0).bitvec);
        }
        at.reverse0 = Chance(30);
        at.reverse1 = Chance(30);
        src = {Source(s), VectorOrConstant(p)};
        if (op_ == Opcode::kScalarTensorTensor) {
          src.push_back(Source(s));
        } else {
          src.push_back(at.op1 == AluOp::kNone ? None() : VectorOrConstant(p));
          if (!isa::Info(at.op0).bitvec && Chance(30)) {
            at.reduce_op = Fold();
            dst = {None(), Tile(Any(), {p, 1}, true)};
          }
        }
        break;
      }
      case Opcode::kTensorCopyPredicated:
        src = {TileOrConstant(s), Source(s)};
        at.negate = Chance(30);
        break;
      case Opcode::kIota:
        at.expr = C(Below(100)) + D(0, Pick<int64_t>({1, -3, int64_t{1} << 30})) +
                  D(1, Pick<int64_t>({0, 2, 40000}));
        break;
      case Opcode::kDropout:
        src = {Source(s), VectorOrConstant(p)};
        at.seed = rng_();
        break;
      case Opcode::kAffineSelect:
        at.expr =
            C(Below(5)) + D(0, Pick<int64_t>({1, -1, int64_t{1} << 33})) + D(1, Pick<int64_t>({0, -1, 2}));
        at.op0 = Comparison();
        at.value = -3.0;
        src = {Source(s)};
        break;
      case Opcode::kRangeSelect:
        at.expr = C(Below(3) - 2) + D(1);
        at.op0 = Comparison();
        at.op1 = Comparison();
        at.reduce_cmd = static_cast<isa::ReduceCmd>(Below(isa::kReduceCmdCount));
        src = {Source(s), Vector(p), Vector(p)};
        if (Chance(50)) dst = {None(), Tile(Any(), {p, 1}, true)};
        break;
      case Opcode::kMemset:
        at.value = Pick({0.0, 1.5, -3.0, 1e9, 70000.0});
        break;
      case Opcode::kBnStats:
        src = {Source(s)};
        s = {p, 6};
        break;
      case Opcode::kBnAggr:
        src = {Source({p, 3, 1 + Below(4)})};
        s = {p, 2};
        break;
      case Opcode::kLocalGather: {
        at.num_elem_per_idx = 1 + Below(2);
        at.num_valid_indices = 1 + Below(p * 2);
        src = {Source({p, 9}), Tile(index_, {p, 4}, false)};
        at.num_valid_indices = std::min<int64_t>({at.num_valid_indices, 8, ((p - 1) % 16 + 1) * 4});
        s = {p, at.num_valid_indices * at.num_elem_per_idx};
        break;
      }
      case Opcode::kMax8:
        src = {Source(s)};
        s = {p, 8};
        break;
      case Opcode::kNcFindIndex8:
        src = {Source(s), Source({p, 8})};
        s = {p, 8};
        break;
      case Opcode::kNcMatchReplace8:
        src = {Source(s), Source({p, 8})};
        at.value = -99.0;
        break;
      case Opcode::kNcStreamShuffle:
        s[0] = Pick<int64_t>({32, 32, 8});
        src = {Source(s)};
        for (int i = 0; i < 32; ++i) {
          at.list.push_back(Chance(10) ? 255 : static_cast<int32_t>(Below(s[0])));
        }
        break;
      case Opcode::kRng:
        at.seed = rng_();
        break;
      case Opcode::kPartitionBroadcast: {
        std::vector<int64_t> one = s;
        one[0] = 1;
        src = {Source(one)};
        break;
      }
    }
    if (dst.empty()) dst = {None()};
    Access target = Tile(to, s, true);
    if (scatter_) AddRunTimeIndex(target);
    dst[0] = std::move(target);
    b_.Emit(op_, std::move(dst), std::move(src), std::move(at));
  }

  const Opcode op_;
  std::mt19937_64 rng_;
  ProgramBuilder b_;
  std::vector<DType> dtypes_;
  std::vector<TensorId> tensors_;
  TensorId index_input_ = 0, index_ = 0, psum_ = 0, output_ = 0;
  int64_t partitions_ = 0;
  bool to_output_ = false;
  bool scatter_ = false;
  const Affine* loop_ = nullptr;
};

}  // namespace

RandomProgram MakeRandomProgram(Opcode op, uint64_t seed) { return Generator(op, seed).Make(); }

}  // namespace nkiagent::nki::exec::testing
