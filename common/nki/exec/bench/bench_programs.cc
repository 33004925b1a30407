#include "common/nki/exec/bench/bench_programs.h"

#include "common/nki/exec/testing/program_builder.h"

namespace nkiagent::nki::exec {

using ir::Affine;
using ir::LoopKind;
using ir::TensorId;
using isa::ActFn;
using isa::AluOp;
using isa::DType;
using testing::C;
using testing::D;
using testing::Imm;
using testing::ProgramBuilder;

namespace {
constexpr DType kF32 = DType::kFloat32;
constexpr int64_t kP = isa::kMaxPartitions;
constexpr int64_t kN = isa::kMatmulMovingFreeMax;
}  // namespace

ir::Program MatmulProgram(int64_t m, int64_t k, int64_t n) {
  ProgramBuilder b("matmul");
  const TensorId lhs = b.Input("lhsT", kF32, {k, m});
  const TensorId rhs = b.Input("rhs", kF32, {k, n});
  const TensorId out = b.Output("result", kF32, {m, n});
  b.Loop(LoopKind::kAffine, m / kP, [&](const Affine& im) {
    b.Loop(LoopKind::kAffine, n / kN, [&](const Affine& in) {
      const TensorId psum = b.Psum("psum", kF32, {kP, kN});
      b.Memset(b.Whole(psum), 0.0);
      b.Loop(LoopKind::kAffine, k / kP, [&](const Affine& ik) {
        const TensorId st = b.Sbuf("stationary", kF32, {kP, kP});
        const TensorId mv = b.Sbuf("moving", kF32, {kP, kN});
        b.Copy(b.Whole(st), b.Tile(lhs, {kP, kP}, {ik * kP + D(0), im * kP + D(1)}));
        b.Copy(b.Whole(mv), b.Tile(rhs, {kP, kN}, {ik * kP + D(0), in * kN + D(1)}));
        b.Matmul(b.Whole(psum), b.Whole(st), b.Whole(mv), true);
      });
      const TensorId sbuf = b.Sbuf("result_sbuf", kF32, {kP, kN});
      b.Emit(isa::Opcode::kTensorCopy, {b.Whole(sbuf)}, {b.Whole(psum)});
      b.Copy(b.Tile(out, {kP, kN}, {im * kP + D(0), in * kN + D(1)}), b.Whole(sbuf));
    });
  });
  return b.Build();
}

ir::Program SoftmaxProgram(int64_t rows, int64_t columns) {
  ProgramBuilder b("softmax");
  const TensorId x = b.Input("x", kF32, {rows, columns});
  const TensorId y = b.Output("y", kF32, {rows, columns});
  b.Loop(LoopKind::kAffine, (rows + kP - 1) / kP, [&](const Affine& i) {
    const std::vector<Affine> mask =
        rows % kP == 0 ? std::vector<Affine>{} : std::vector<Affine>{C(rows - 1) - i * kP - D(0)};
    const TensorId t = b.Sbuf("tile", kF32, {kP, columns});
    const TensorId negated_max = b.Sbuf("negated_max", kF32, {kP, 1});
    const TensorId sum = b.Sbuf("sum", kF32, {kP, 1});
    const auto tile = [&](TensorId id) { return b.Tile(id, {kP, columns}, {D(0), D(1)}, mask); };
    const auto vector = [&](TensorId id) { return b.Tile(id, {kP, 1}, {D(0), D(1)}, mask); };
    b.Copy(tile(t), b.Tile(x, {kP, columns}, {i * kP + D(0), D(1)}, mask));
    b.Reduce(vector(negated_max), tile(t), AluOp::kMaximum, {1}, true);
    ir::Attrs reduce;
    reduce.act = ActFn::kExp;
    reduce.reduce_cmd = isa::ReduceCmd::kResetReduce;
    reduce.reduce_op = AluOp::kAdd;
    b.Emit(isa::Opcode::kActivation, {tile(t), vector(sum)}, {tile(t), vector(negated_max), Imm(1.0)},
           reduce);
    b.Emit(isa::Opcode::kReciprocal, {vector(sum)}, {vector(sum)});
    b.TensorScalar(tile(t), tile(t), AluOp::kMultiply, vector(sum));
    b.Copy(b.Tile(y, {kP, columns}, {i * kP + D(0), D(1)}, mask), tile(t));
  });
  return b.Build();
}

ir::Program AddProgram(int64_t rows, int64_t columns) {
  ProgramBuilder b("add");
  const TensorId x0 = b.Input("a", kF32, {rows, columns});
  const TensorId x1 = b.Input("b", kF32, {rows, columns});
  const TensorId y = b.Output("y", kF32, {rows, columns});
  b.Loop(LoopKind::kAffine, rows / kP, [&](const Affine& i) {
    const TensorId t0 = b.Sbuf("t0", kF32, {kP, columns});
    const TensorId t1 = b.Sbuf("t1", kF32, {kP, columns});
    b.Copy(b.Whole(t0), b.Tile(x0, {kP, columns}, {i * kP + D(0), D(1)}));
    b.Copy(b.Whole(t1), b.Tile(x1, {kP, columns}, {i * kP + D(0), D(1)}));
    b.TensorTensor(b.Whole(t0), b.Whole(t0), b.Whole(t1), AluOp::kAdd);
    b.Copy(b.Tile(y, {kP, columns}, {i * kP + D(0), D(1)}), b.Whole(t0));
  });
  return b.Build();
}

}  // namespace nkiagent::nki::exec
