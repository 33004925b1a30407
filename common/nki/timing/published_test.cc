// The model against the times that the SDK's tutorials publish for Trn1 (aws-neuron-sdk v2.24.0,
// general/nki/tutorials/matrix_multiplication.rst and fused_mamba.rst). The programs here have the loops,
// tiles and instructions of those kernels. docs/timing.md shows the table that this test prints.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "common/nki/ir/testing/program_builder.h"
#include "common/nki/timing/timing.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::timing {
namespace {

using ir::Access;
using ir::Affine;
using ir::Attrs;
using ir::LoopKind;
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

// ---- bf16 matmul [4096, 8192] x [8192, 8192], the left side given transposed

constexpr int64_t kM = 4096, kK = 8192, kN = 8192;
constexpr int64_t kTileM = 128, kTileK = 128, kTileN = 512;

struct Matrices {
  explicit Matrices(ProgramBuilder& b)
      : lhs(b.Input("lhsT", {kK, kM}, DType::kBFloat16)),
        rhs(b.Input("rhs", {kK, kN}, DType::kBFloat16)),
        result(b.Output("result", {kM, kN}, DType::kBFloat16)) {}
  TensorId lhs, rhs, result;
};

// A [rows, columns] tile of an HBM matrix.
Access At(TensorId id, const Affine& row, const Affine& column, int64_t rows, int64_t columns) {
  return Tile(id, {rows, columns}, {row + Dim(0), column + Dim(1)});
}

// Block `k` of an SBUF tensor [blocks, 128, columns], columns from `from` on.
Access Block(TensorId id, const Affine& block, const Affine& from, int64_t columns) {
  return Tile(id, {128, columns}, {block, Dim(0), from + Dim(1)});
}

void Multiply(ProgramBuilder& b, TensorId psum, Access stationary, Access moving) {
  Attrs a;
  a.accumulate = true;
  b.Emit(Opcode::kNcMatmul, {b.Whole(psum)}, {stationary, moving}, a);
}

void StoreResult(ProgramBuilder& b, const Matrices& x, TensorId psum, const Affine& row,
                 const Affine& column) {
  const TensorId out = b.Sbuf("res_sb", {kTileM, kTileN}, DType::kBFloat16);
  b.Emit(Opcode::kTensorCopy, {b.Whole(out)}, {b.Whole(psum)});
  b.Copy(At(x.result, row, column, kTileM, kTileN), b.Whole(out));
}

TensorId ZeroPsum(ProgramBuilder& b) {
  const TensorId psum = b.Psum("res_psum", {kTileM, kTileN});
  b.Emit(Opcode::kMemset, {b.Whole(psum)});
  return psum;
}

void TiledMatmul(ProgramBuilder& b) {
  const Matrices x(b);
  const SymbolId m = b.BeginLoop("m", kM / kTileM), n = b.BeginLoop("n", kN / kTileN);
  const TensorId psum = ZeroPsum(b);
  const SymbolId k = b.BeginLoop("k", kK / kTileK);
  const TensorId l = b.Sbuf("lhsT_tile", {kTileK, kTileM}, DType::kBFloat16);
  const TensorId r = b.Sbuf("rhs_tile", {kTileK, kTileN}, DType::kBFloat16);
  b.Copy(b.Whole(l), At(x.lhs, Sym(k, kTileK), Sym(m, kTileM), kTileK, kTileM));
  b.Copy(b.Whole(r), At(x.rhs, Sym(k, kTileK), Sym(n, kTileN), kTileK, kTileN));
  Multiply(b, psum, b.Whole(l), b.Whole(r));
  b.EndLoop();
  StoreResult(b, x, psum, Sym(m, kTileM), Sym(n, kTileN));
}

// `blocks_m` x `blocks_n` tiles of the result for each load of a whole stripe of K; 1 x 1 is the version that
// only hoists its loads.
void StripedMatmul(ProgramBuilder& b, int64_t blocks_m, int64_t blocks_n) {
  const Matrices x(b);
  const int64_t block_m = blocks_m * kTileM, block_n = blocks_n * kTileN;
  const SymbolId m = b.BeginLoop("m", kM / block_m);
  const TensorId l = b.Sbuf("lhsT_tiles", {kK / kTileK, kTileK, block_m}, DType::kBFloat16, 1);
  const SymbolId kl = b.BeginLoop("kl", kK / kTileK);
  b.Copy(Block(l, Sym(kl), Const(0), block_m), At(x.lhs, Sym(kl, kTileK), Sym(m, block_m), kTileK, block_m));
  b.EndLoop();
  const SymbolId n = b.BeginLoop("n", kN / block_n);
  const TensorId r = b.Sbuf("rhs_tiles", {kK / kTileK, kTileK, block_n}, DType::kBFloat16, 1);
  const SymbolId kr = b.BeginLoop("kr", kK / kTileK);
  b.Copy(Block(r, Sym(kr), Const(0), block_n), At(x.rhs, Sym(kr, kTileK), Sym(n, block_n), kTileK, block_n));
  b.EndLoop();
  const SymbolId bm = b.BeginLoop("bm", blocks_m), bn = b.BeginLoop("bn", blocks_n);
  const TensorId psum = ZeroPsum(b);
  const SymbolId k = b.BeginLoop("k", kK / kTileK);
  Multiply(b, psum, Block(l, Sym(k), Sym(bm, kTileM), kTileM), Block(r, Sym(k), Sym(bn, kTileN), kTileN));
  b.EndLoop();
  StoreResult(b, x, psum, Sym(m, block_m) + Sym(bm, kTileM), Sym(n, block_n) + Sym(bn, kTileN));
}

void FullyBlockedMatmul(ProgramBuilder& b) {
  constexpr int64_t kBm = 16, kBn = 2, kBk = 8;
  constexpr int64_t kBlockM = kBm * kTileM, kBlockN = kBn * kTileN;
  const Matrices x(b);
  const SymbolId n = b.BeginLoop("n", kN / kBlockN);
  const TensorId sum = b.Sbuf("result_tiles", {kM / kBlockM, kBm, kBn, kTileM, kTileN}, DType::kBFloat16, 3);
  const auto tile = [&](Affine m, Affine bm, Affine bn) {
    return Tile(sum, {kTileM, kTileN}, {std::move(m), std::move(bm), std::move(bn), Dim(0), Dim(1)});
  };
  const SymbolId zm = b.BeginLoop("zm", kM / kBlockM), zbm = b.BeginLoop("zbm", kBm),
                 zbn = b.BeginLoop("zbn", kBn);
  b.Emit(Opcode::kMemset, {tile(Sym(zm), Sym(zbm), Sym(zbn))});
  b.EndLoop();
  b.EndLoop();
  b.EndLoop();
  const SymbolId k = b.BeginLoop("k", kK / kTileK / kBk, LoopKind::kSequential);
  const TensorId r = b.Sbuf("rhs_tiles", {kBk, kTileK, kBlockN}, DType::kBFloat16, 1);
  const SymbolId bkr = b.BeginLoop("bk_r", kBk);
  b.Copy(Block(r, Sym(bkr), Const(0), kBlockN),
         At(x.rhs, Sym(k, kBk * kTileK) + Sym(bkr, kTileK), Sym(n, kBlockN), kTileK, kBlockN));
  b.EndLoop();
  const SymbolId m = b.BeginLoop("m", kM / kBlockM);
  const TensorId l = b.Sbuf("lhsT_tiles", {kBk, kTileK, kBlockM}, DType::kBFloat16, 1);
  const SymbolId bkl = b.BeginLoop("bk_l", kBk);
  b.Copy(Block(l, Sym(bkl), Const(0), kBlockM),
         At(x.lhs, Sym(k, kBk * kTileK) + Sym(bkl, kTileK), Sym(m, kBlockM), kTileK, kBlockM));
  b.EndLoop();
  const SymbolId bn = b.BeginLoop("bn", kBn), bm = b.BeginLoop("bm", kBm);
  const TensorId psum = ZeroPsum(b);
  const SymbolId bk = b.BeginLoop("bk", kBk);
  Multiply(b, psum, Block(l, Sym(bk), Sym(bm, kTileM), kTileM), Block(r, Sym(bk), Sym(bn, kTileN), kTileN));
  b.EndLoop();
  const Access into = tile(Sym(m), Sym(bm), Sym(bn));
  b.Emit(Opcode::kTensorTensor, {into}, {into, b.Whole(psum)}, Op(AluOp::kAdd));
  b.EndLoop();
  b.EndLoop();
  b.EndLoop();
  b.EndLoop();
  const SymbolId sm = b.BeginLoop("sm", kM / kBlockM), sbm = b.BeginLoop("sbm", kBm);
  const TensorId packed = b.Sbuf("result_packed", {kTileM, kBlockN}, DType::kBFloat16);
  const SymbolId sbn = b.BeginLoop("sbn", kBn);
  b.Emit(Opcode::kTensorCopy, {Tile(packed, {kTileM, kTileN}, {Dim(0), Sym(sbn, kTileN) + Dim(1)})},
         {tile(Sym(sm), Sym(sbm), Sym(sbn))});
  b.EndLoop();
  b.Copy(At(x.result, Sym(sm, kBlockM) + Sym(sbm, kTileM), Sym(n, kBlockN), kTileM, kBlockN),
         b.Whole(packed));
}

// ---- Mamba: batch 1, 4096 channels, 16 states, fp32

constexpr int64_t kChannels = 4096, kStates = 16;

struct Mamba {
  Mamba(ProgramBuilder& b, int64_t sequence)
      : delta(b.Input("delta", {kChannels, sequence})),
        u(b.Input("u", {kChannels, sequence})),
        a(b.Input("A", {kChannels, kStates})),
        bb(b.Input("B", {kStates, sequence})),
        c(b.Input("C", {kStates, sequence})),
        output(b.Output("output", {kChannels, sequence})) {}
  TensorId delta, u, a, bb, c, output;
};

// The state space step for one channel tile and one state; `accumulate` names where the result is added.
void MambaStep(ProgramBuilder& b, const Mamba& x, SymbolId channel, SymbolId state, Access delta, Access u,
               Affine from, int64_t length, Access accumulate, const TensorId* last = nullptr,
               const TensorId* a_tile = nullptr) {
  const auto tile = [&](const char* name) { return b.Sbuf(name, {128, length}); };
  TensorId a = 0;
  if (a_tile != nullptr) {
    a = *a_tile;
  } else {
    a = b.Sbuf("A_i", {128, 1});
    b.Copy(b.Whole(a), At(x.a, Sym(channel, 128), Sym(state), 128, 1));
  }
  const auto broadcast = [&](const char* name, TensorId source) {
    const TensorId row = b.Sbuf(name, {1, length}), wide = tile("bcast");
    b.Copy(b.Whole(row), At(source, Sym(state), from, 1, length));
    b.Emit(Opcode::kPartitionBroadcast, {b.Whole(wide)}, {b.Whole(row)});
    return wide;
  };
  const TensorId delta_a = tile("deltaA"), delta_u = tile("deltaU"), delta_bu = tile("deltaBu");
  const TensorId scan = tile("scan_res"), scan_c = tile("scanC");
  Attrs exp;
  exp.act = isa::ActFn::kExp;
  b.Emit(Opcode::kActivation, {b.Whole(delta_a)}, {delta, None(), b.Whole(a)}, exp);
  b.Emit(Opcode::kTensorTensor, {b.Whole(delta_u)}, {delta, u}, Op(AluOp::kMultiply));
  const TensorId b_wide = broadcast("B_i", x.bb);
  b.Emit(Opcode::kTensorTensor, {b.Whole(delta_bu)}, {b.Whole(delta_u), b.Whole(b_wide)},
         Op(AluOp::kMultiply));
  b.Emit(Opcode::kTensorTensorScan, {b.Whole(scan)},
         {b.Whole(delta_a), b.Whole(delta_bu), last == nullptr ? Imm(0) : ir::Operand(b.Whole(*last))},
         Op(AluOp::kMultiply, AluOp::kAdd));
  if (last != nullptr) {
    b.Emit(Opcode::kTensorCopy, {b.Whole(*last)}, {Tile(scan, {128, 1}, {Dim(0), Const(length - 1)})});
  }
  const TensorId c_wide = broadcast("C_i", x.c);
  b.Emit(Opcode::kTensorTensor, {b.Whole(scan_c)}, {b.Whole(scan), b.Whole(c_wide)}, Op(AluOp::kMultiply));
  b.Emit(Opcode::kTensorTensor, {accumulate}, {accumulate, b.Whole(scan_c)}, Op(AluOp::kAdd));
}

void MambaV1(ProgramBuilder& b, int64_t sequence) {
  const Mamba x(b, sequence);
  const TensorId sum = b.Sbuf("scanC_accum", {kChannels / 128, 128, sequence}, DType::kFloat32, 1);
  const SymbolId z = b.BeginLoop("z", kChannels / 128);
  b.Emit(Opcode::kMemset, {Block(sum, Sym(z), Const(0), sequence)});
  b.EndLoop();
  const SymbolId state = b.BeginLoop("i_state", kStates),
                 channel = b.BeginLoop("i_channel_tile", kChannels / 128);
  const TensorId delta = b.Sbuf("delta_i", {128, sequence}), u = b.Sbuf("u_i", {128, sequence});
  b.Copy(b.Whole(delta), At(x.delta, Sym(channel, 128), Const(0), 128, sequence));
  b.Copy(b.Whole(u), At(x.u, Sym(channel, 128), Const(0), 128, sequence));
  MambaStep(b, x, channel, state, b.Whole(delta), b.Whole(u), Const(0), sequence,
            Block(sum, Sym(channel), Const(0), sequence));
  b.EndLoop();
  b.EndLoop();
  const SymbolId s = b.BeginLoop("s", kChannels / 128);
  b.Copy(At(x.output, Sym(s, 128), Const(0), 128, sequence), Block(sum, Sym(s), Const(0), sequence));
  b.EndLoop();
}

// `length` of the sequence in each step; the whole of it in version 2, 512 in version 3.
void MambaV2(ProgramBuilder& b, int64_t sequence, int64_t length) {
  const Mamba x(b, sequence);
  const SymbolId channel = b.BeginLoop("i_channel_tile", kChannels / 128);
  const TensorId sum = b.Sbuf("scanC_accum", {128, sequence});
  b.Emit(Opcode::kMemset, {b.Whole(sum)});
  const TensorId delta = b.Sbuf("delta_i", {128, sequence}), u = b.Sbuf("u_i", {128, sequence});
  b.Copy(b.Whole(delta), At(x.delta, Sym(channel, 128), Const(0), 128, sequence));
  b.Copy(b.Whole(u), At(x.u, Sym(channel, 128), Const(0), 128, sequence));
  const SymbolId state = b.BeginLoop("i_state", kStates);
  if (length == sequence) {
    MambaStep(b, x, channel, state, b.Whole(delta), b.Whole(u), Const(0), sequence, b.Whole(sum));
  } else {
    const TensorId a = b.Sbuf("A_i", {128, 1}), last = b.Sbuf("scan_init", {128, 1});
    b.Copy(b.Whole(a), At(x.a, Sym(channel, 128), Sym(state), 128, 1));
    b.Emit(Opcode::kMemset, {b.Whole(last)});
    for (int64_t from = 0; from < sequence; from += length) {
      const auto piece = [&](TensorId id) { return Tile(id, {128, length}, {Dim(0), Const(from) + Dim(1)}); };
      MambaStep(b, x, channel, state, piece(delta), piece(u), Const(from), length, piece(sum), &last, &a);
    }
  }
  b.EndLoop();
  b.Copy(At(x.output, Sym(channel, 128), Const(0), 128, sequence), b.Whole(sum));
}

struct Published {
  std::string name;
  double published_ms;
  std::function<void(ProgramBuilder&)> build;
};

std::vector<Published> Kernels() {
  return {
      {"matmul bf16, tiled", 51.80, TiledMatmul},
      {"matmul bf16, hoisted loads", 42.96, [](auto& b) { StripedMatmul(b, 1, 1); }},
      {"matmul bf16, blocked free axes", 22.07, [](auto& b) { StripedMatmul(b, 2, 2); }},
      {"matmul bf16, blocked all axes", 6.97, FullyBlockedMatmul},
      {"mamba v1, seq 512", 2.34, [](auto& b) { MambaV1(b, 512); }},
      {"mamba v2, seq 512", 1.61, [](auto& b) { MambaV2(b, 512, 512); }},
      {"mamba v2, seq 8192 (spills)", 53.33, [](auto& b) { MambaV2(b, 8192, 8192); }},
      {"mamba v3, seq 8192", 27.8, [](auto& b) { MambaV2(b, 8192, 512); }},
  };
}

TEST(PublishedTimes, AreMetWithin15PercentAndInTheirOrder) {
  std::vector<double> errors;
  std::vector<double> estimates;
  std::printf("%-32s %10s %10s %7s  %s\n", "kernel", "published", "estimate", "error", "bound (shares)");
  for (const Published& k : Kernels()) {
    ProgramBuilder b;
    k.build(b);
    const absl::StatusOr<Estimate> e = EstimateLatency(b.Build());
    ASSERT_TRUE(e.ok()) << e.status();
    const double ms = e->latency_us / 1000;
    const double error = ms / k.published_ms - 1;
    std::printf(
        "%-32s %7.2f ms %7.2f ms %+6.1f%%  %s (tensor %.0f%%, vector %.0f%%, scalar %.0f%%, dma %.0f%%)\n",
        k.name.c_str(), k.published_ms, ms, 100 * error, std::string(Name(e->bound)).c_str(),
        100 * e->share[1], 100 * e->share[2], 100 * e->share[3], 100 * e->share[6]);
    EXPECT_LT(std::abs(error), 0.15) << k.name;
    errors.push_back(std::abs(error));
    estimates.push_back(ms);
  }
  std::sort(errors.begin(), errors.end());
  std::printf("median absolute error %.1f%%\n", 100 * errors[errors.size() / 2]);
  // The four matmuls of the tutorial, each faster than the one before.
  EXPECT_GT(estimates[0], estimates[1]);
  EXPECT_GT(estimates[1], estimates[2]);
  EXPECT_GT(estimates[2], estimates[3]);
}

// How the model does on a kernel whose published time had no part in choosing its constants: for each kernel,
// the three calibrated constants are chosen anew from a grid by the other kernels' times alone.
TEST(PublishedTimes, ArePredictedFromTheOthers) {
  std::vector<ir::Program> programs;
  for (const Published& k : Kernels()) {
    ProgramBuilder b;
    k.build(b);
    programs.push_back(b.Build());
  }
  std::vector<Calibration> grid;
  for (const double rate : {6.5, 7.5, 8.5, 9.5, 11.0}) {
    for (const double run : {10.0, 18.0, 25.0, 32.0}) {
      for (const double access : {32.0, 64.0, 96.0}) grid.push_back({rate, run, access});
    }
  }
  const std::vector<Published> kernels = Kernels();
  // Logarithms of estimate over published.
  std::vector<std::vector<double>> off(kernels.size());
  for (const Calibration& c : grid) {
    TimingOptions options;
    options.calibration = c;
    for (size_t k = 0; k < kernels.size(); ++k) {
      const double ms = EstimateLatency(programs[k], options)->latency_us / 1000;
      off[k].push_back(std::log(ms / kernels[k].published_ms));
    }
  }
  std::vector<double> errors;
  for (size_t left_out = 0; left_out < kernels.size(); ++left_out) {
    size_t best = 0;
    double least = 1e9;
    for (size_t c = 0; c < grid.size(); ++c) {
      double sum = 0;
      for (size_t k = 0; k < kernels.size(); ++k) sum += k == left_out ? 0 : std::abs(off[k][c]);
      if (sum >= least) continue;
      least = sum;
      best = c;
    }
    const double error = std::exp(off[left_out][best]) - 1;
    std::printf("%-32s left out: %+6.1f%%  (%.1f B/ns, %.0f ns a run, %.0f cycles)\n",
                kernels[left_out].name.c_str(), 100 * error, grid[best].dma_bytes_per_ns,
                grid[best].dma_run_ns, grid[best].tensor_access_cycles);
    errors.push_back(std::abs(error));
  }
  std::sort(errors.begin(), errors.end());
  std::printf("median absolute error, each left out: %.1f%%\n", 100 * errors[errors.size() / 2]);
  EXPECT_LT(errors[errors.size() / 2], 0.15);
  EXPECT_LT(errors.back(), 0.40);
}

}  // namespace
}  // namespace nkiagent::nki::timing
