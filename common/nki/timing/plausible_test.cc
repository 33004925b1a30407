// Whatever the constants are: no kernel is faster than the memory and the engines let it be, and none gets
// faster by having more to do.
#include <functional>
#include <string>
#include <vector>

#include "common/nki/ir/testing/program_builder.h"
#include "common/nki/timing/machine.h"
#include "common/nki/timing/timing.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::timing {
namespace {

using ir::Attrs;
using ir::SymbolId;
using ir::TensorId;
using ir::testing::Const;
using ir::testing::Dim;
using ir::testing::Imm;
using ir::testing::None;
using ir::testing::Op;
using ir::testing::ProgramBuilder;
using ir::testing::Sym;
using ir::testing::Tile;
using isa::AluOp;
using isa::DType;
using isa::Opcode;

struct Case {
  std::string name;
  std::function<void(ProgramBuilder&, int64_t)> build;  // for a size of 1, 2, 4, ...
};

Attrs AlongFree(AluOp op) {
  Attrs a = Op(op);
  a.axes = {1};
  return a;
}

// y = f(x), tile by tile of 128 x `columns`, with `body` in between.
void RowTiles(ProgramBuilder& b, int64_t tiles, int64_t columns,
              const std::function<TensorId(ProgramBuilder&, TensorId)>& body) {
  const TensorId x = b.Input("x", {tiles * 128, columns}), y = b.Output("y", {tiles * 128, columns});
  const SymbolId i = b.BeginLoop("i", tiles);
  const auto rows = [&](TensorId id) { return Tile(id, {128, columns}, {Sym(i, 128) + Dim(0), Dim(1)}); };
  const TensorId t = b.Sbuf("t", {128, columns});
  b.Copy(b.Whole(t), rows(x));
  b.Copy(rows(y), b.Whole(body(b, t)));
}

TensorId Softmax(ProgramBuilder& b, TensorId t) {
  const int64_t columns = b.program().tensors[static_cast<size_t>(t)].shape[1];
  const TensorId most = b.Sbuf("most", {128, 1}), e = b.Sbuf("e", {128, columns}),
                 sum = b.Sbuf("sum", {128, 1});
  b.Emit(Opcode::kTensorReduce, {b.Whole(most)}, {b.Whole(t)}, AlongFree(AluOp::kMaximum));
  Attrs exp;
  exp.act = isa::ActFn::kExp;
  b.Emit(Opcode::kActivation, {b.Whole(e)}, {b.Whole(t), b.Whole(most), Imm(1)}, exp);
  b.Emit(Opcode::kTensorReduce, {b.Whole(sum)}, {b.Whole(e)}, AlongFree(AluOp::kAdd));
  b.Emit(Opcode::kReciprocal, {b.Whole(sum)}, {b.Whole(sum)});
  b.Emit(Opcode::kTensorScalar, {b.Whole(e)}, {b.Whole(e), b.Whole(sum)}, Op(AluOp::kMultiply));
  return e;
}

TensorId Norm(ProgramBuilder& b, TensorId t) {
  const TensorId stats = b.Sbuf("stats", {128, 6}), mean = b.Sbuf("mean", {128, 2}),
                 o = b.Sbuf("o", {128, 512});
  b.Emit(Opcode::kBnStats, {b.Whole(stats)}, {b.Whole(t)});
  b.Emit(Opcode::kBnAggr, {b.Whole(mean)}, {b.Whole(stats)});
  b.Emit(
      Opcode::kTensorScalar, {b.Whole(o)},
      {b.Whole(t), Tile(mean, {128, 1}, {Dim(0), Dim(1)}), Tile(mean, {128, 1}, {Dim(0), Const(1) + Dim(1)})},
      Op(AluOp::kSubtract, AluOp::kMultiply));
  return o;
}

// [m * 128, k * 128] x [k * 128, n * 512], loads in the innermost loop or above it.
void Matmul(ProgramBuilder& b, int64_t m, int64_t k, int64_t n, DType dtype) {
  const TensorId l = b.Input("l", {k * 128, m * 128}, dtype), r = b.Input("r", {k * 128, n * 512}, dtype);
  const TensorId y = b.Output("y", {m * 128, n * 512}, dtype);
  const SymbolId im = b.BeginLoop("m", m), in = b.BeginLoop("n", n);
  const TensorId sum = b.Psum("sum", {128, 512}), o = b.Sbuf("o", {128, 512}, dtype);
  b.Emit(Opcode::kMemset, {b.Whole(sum)});
  const SymbolId ik = b.BeginLoop("k", k);
  const TensorId lt = b.Sbuf("lt", {128, 128}, dtype), rt = b.Sbuf("rt", {128, 512}, dtype);
  b.Copy(b.Whole(lt), Tile(l, {128, 128}, {Sym(ik, 128) + Dim(0), Sym(im, 128) + Dim(1)}));
  b.Copy(b.Whole(rt), Tile(r, {128, 512}, {Sym(ik, 128) + Dim(0), Sym(in, 512) + Dim(1)}));
  Attrs add;
  add.accumulate = true;
  b.Emit(Opcode::kNcMatmul, {b.Whole(sum)}, {b.Whole(lt), b.Whole(rt)}, add);
  b.EndLoop();
  b.Emit(Opcode::kTensorCopy, {b.Whole(o)}, {b.Whole(sum)});
  b.Copy(Tile(y, {128, 512}, {Sym(im, 128) + Dim(0), Sym(in, 512) + Dim(1)}), b.Whole(o));
}

// Scores of 128 queries against `keys` * 128 keys: product, exponential, product.
void Attention(ProgramBuilder& b, int64_t keys) {
  const TensorId q = b.Input("q", {128, 128}), k = b.Input("k", {128, keys * 128});
  const TensorId v = b.Input("v", {keys * 128, 128}), y = b.Output("y", {128, 128});
  const TensorId qt = b.Sbuf("qt", {128, 128}), sum = b.Psum("sum", {128, 128}), o = b.Sbuf("o", {128, 128});
  b.Copy(b.Whole(qt), b.Whole(q));
  b.Emit(Opcode::kMemset, {b.Whole(sum)});
  const SymbolId i = b.BeginLoop("i", keys);
  const TensorId kt = b.Sbuf("kt", {128, 128}), vt = b.Sbuf("vt", {128, 128}), e = b.Sbuf("e", {128, 128});
  const TensorId scores = b.Psum("scores", {128, 128});
  b.Copy(b.Whole(kt), Tile(k, {128, 128}, {Dim(0), Sym(i, 128) + Dim(1)}));
  b.Copy(b.Whole(vt), Tile(v, {128, 128}, {Sym(i, 128) + Dim(0), Dim(1)}));
  b.Emit(Opcode::kNcMatmul, {b.Whole(scores)}, {b.Whole(kt), b.Whole(qt)});
  Attrs exp;
  exp.act = isa::ActFn::kExp;
  b.Emit(Opcode::kActivation, {b.Whole(e)}, {b.Whole(scores), None(), Imm(1)}, exp);
  Attrs add;
  add.accumulate = true;
  b.Emit(Opcode::kNcMatmul, {b.Whole(sum)}, {b.Whole(e), b.Whole(vt)}, add);
  b.EndLoop();
  b.Emit(Opcode::kTensorCopy, {b.Whole(o)}, {b.Whole(sum)});
  b.Copy(b.Whole(y), b.Whole(o));
}

std::vector<Case> Cases() {
  const auto scale = [](ProgramBuilder& b, TensorId t) {
    b.Emit(Opcode::kTensorScalar, {b.Whole(t)}, {b.Whole(t), Imm(2)}, Op(AluOp::kMultiply));
    return t;
  };
  return {
      {"ElementWiseRows", [=](auto& b, int64_t n) { RowTiles(b, n, 512, scale); }},
      {"ElementWiseColumns", [=](auto& b, int64_t n) { RowTiles(b, 2, 64 * n, scale); }},
      {"Softmax", [](auto& b, int64_t n) { RowTiles(b, n, 1024, Softmax); }},
      {"WideSoftmax", [](auto& b, int64_t n) { RowTiles(b, 4, 128 * n, Softmax); }},
      {"LayerNorm", [](auto& b, int64_t n) { RowTiles(b, n, 512, Norm); }},
      {"MatmulInM", [](auto& b, int64_t n) { Matmul(b, n, 4, 1, DType::kBFloat16); }},
      {"MatmulInK", [](auto& b, int64_t n) { Matmul(b, 2, n, 1, DType::kBFloat16); }},
      {"MatmulInN", [](auto& b, int64_t n) { Matmul(b, 2, 4, n, DType::kFloat32); }},
      {"Attention", Attention},
      {"TransposingLoad",
       [](auto& b, int64_t n) {
         const TensorId x = b.Input("x", {n * 128, 128}), y = b.Output("y", {128, n * 128});
         const SymbolId i = b.BeginLoop("i", n);
         const TensorId t = b.Sbuf("t", {128, 128});
         b.Emit(Opcode::kDmaTranspose, {b.Whole(t)}, {Tile(x, {128, 128}, {Sym(i, 128) + Dim(1), Dim(0)})});
         b.Copy(Tile(y, {128, 128}, {Dim(0), Sym(i, 128) + Dim(1)}), b.Whole(t));
       }},
      {"Pooling",
       [](auto& b, int64_t n) {
         const TensorId x = b.Input("x", {128, n * 64}), y = b.Output("y", {128, n * 16});
         const TensorId t = b.Sbuf("t", {128, n * 64}), o = b.Sbuf("o", {128, n * 16});
         b.Copy(b.Whole(t), b.Whole(x));
         Attrs a = Op(AluOp::kMaximum);
         a.axes = {2};
         b.Emit(Opcode::kTensorReduce, {Tile(o, {128, n * 16, 1}, {Dim(0), Dim(1)})},
                {Tile(t, {128, n * 16, 4}, {Dim(0), Dim(1, 4) + Dim(2)})}, a);
         b.Copy(b.Whole(y), b.Whole(o));
       }},
  };
}

class Plausible : public ::testing::TestWithParam<Case> {};

TEST_P(Plausible, NeverBeatsTheHardwareAndGrowsWithTheWork) {
  double last = 0;
  for (int64_t n = 1; n <= 64; n *= 2) {
    ProgramBuilder b;
    GetParam().build(b, n);
    const absl::StatusOr<Estimate> e = EstimateLatency(b.Build());
    ASSERT_TRUE(e.ok()) << e.status();
    const double ns = e->latency_us * 1000;
    EXPECT_GE(ns, (e->hbm_read_bytes + e->hbm_written_bytes) / kHbmBytesPerNs) << n;
    EXPECT_GE(ns, (e->hbm_read_bytes + e->hbm_written_bytes) / (kDmaEngines * kDmaBytesPerNs)) << n;
    EXPECT_GE(ns, e->tensor_flops / kTensorFlopsPerNs) << n;
    EXPECT_GE(e->latency_us, e->roofline_us * (1 - 1e-9)) << n;
    // A transfer in and one out take 2 us each at least.
    EXPECT_GE(ns, 2 * kDmaLatencyNs) << n;
    EXPECT_GT(e->latency_us, last * (1 - 1e-9)) << n;
    last = e->latency_us;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Plausible, ::testing::ValuesIn(Cases()),
                         [](const auto& c) { return c.param.name; });

}  // namespace
}  // namespace nkiagent::nki::timing
