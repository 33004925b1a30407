#include "common/nki/timing/timing.h"

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "common/nki/ir/serialize.h"
#include "common/nki/ir/testing/program_builder.h"
#include "common/nki/timing/cost.h"
#include "common/nki/timing/machine.h"
#include "common/nki/timing/memory.h"
#include "common/nki/timing/timeline.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::timing {
namespace {

using ir::Access;
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
using isa::Engine;
using isa::Opcode;

Estimate EstimateOf(const std::function<void(ProgramBuilder&)>& build, const TimingOptions& options = {}) {
  ProgramBuilder b;
  build(b);
  const ir::Program p = b.Build();
  const absl::StatusOr<Estimate> e = EstimateLatency(p, options);
  EXPECT_TRUE(e.ok()) << e.status();
  return *e;
}

double Busy(const Estimate& e, Engine engine) { return e.busy_us[static_cast<size_t>(engine)]; }

// Cycles of one instruction on its engine.
double CyclesOf(const std::function<void(ProgramBuilder&)>& build) {
  ProgramBuilder b;
  build(b);
  const ir::Program p = b.Build();
  const auto& instr = std::get<ir::Instr>(p.body.back().item);
  const Work w = WorkOf(p, instr, std::vector<int64_t>(p.symbols.size()), BroadcastTensors(p));
  return w.occupancy_ns * ClockGhz(w.engine);
}

TEST(Cost, VectorInstructionsTakeOneCycleForEachElementOfAPartition) {
  EXPECT_DOUBLE_EQ(CyclesOf([](auto& b) {
                     const TensorId x = b.Sbuf("x", {128, 512});
                     b.Emit(Opcode::kTensorScalar, {b.Whole(x)}, {b.Whole(x), Imm(2)}, Op(AluOp::kMultiply));
                   }),
                   512);
}

TEST(Cost, ShortInstructionsTakeTheMinimumInterval) {
  EXPECT_DOUBLE_EQ(CyclesOf([](auto& b) {
                     const TensorId x = b.Sbuf("x", {128, 1});
                     b.Emit(Opcode::kTensorScalar, {b.Whole(x)}, {b.Whole(x), Imm(2)}, Op(AluOp::kMultiply));
                   }),
                   64);
}

// A destination and sources that fit the row, whatever it means.
TEST(Cost, EveryInstructionOfTheTableHasOne) {
  for (const isa::Row& row : isa::Table()) {
    ProgramBuilder b;
    const bool hbm = row.cost == isa::Cost::kDma;
    const auto tile = [&](const isa::OperandRule& rule) -> ir::Operand {
      if (rule.optional) return std::monostate{};
      const bool psum = (rule.buffers & (isa::kInSbuf | isa::kInHbm)) == 0;
      const int64_t free = rule.kind == isa::OperandKind::kVector ? 1 : 32;
      return b.Whole(psum ? b.Psum("t", {128, free}) : b.Sbuf("t", {128, free}));
    };
    std::vector<ir::Operand> dst, src;
    for (const isa::OperandRule& rule : row.dst) dst.push_back(tile(rule));
    for (const isa::OperandRule& rule : row.src) src.push_back(tile(rule));
    if (hbm) src[0] = b.Whole(b.Input("x", {128, 32}));
    Attrs attrs = Op(AluOp::kNone);
    attrs.num_valid_indices = 16;
    b.Emit(row.op, std::move(dst), std::move(src), attrs);
    const ir::Program p = b.BuildUnchecked();
    const Work w = WorkOf(p, std::get<ir::Instr>(p.body.back().item), {}, BroadcastTensors(p));
    EXPECT_GT(w.occupancy_ns, 0) << row.name;
    EXPECT_GT(w.latency_ns, 0) << row.name;
    EXPECT_EQ(w.flops > 0, row.flops != isa::Flops::kNone) << row.name;
    EXPECT_EQ(row.cost == isa::Cost::kDma, w.engine == Engine::kDma) << row.name;
  }
}

double TensorTensor(DType dtype, bool psum) {
  return CyclesOf([=](auto& b) {
    const TensorId x = psum ? b.Psum("x", {128, 512}, dtype) : b.Sbuf("x", {128, 512}, dtype);
    const TensorId y = b.Sbuf("y", {128, 512}, dtype);
    b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(x), b.Whole(y)}, Op(AluOp::kAdd));
  });
}

TEST(Cost, TwoTilesOfSbufTakeTwiceAsLongUnlessBothAreBf16) {
  EXPECT_DOUBLE_EQ(TensorTensor(DType::kFloat32, false), 1024);
  EXPECT_DOUBLE_EQ(TensorTensor(DType::kBFloat16, false), 512);
  EXPECT_DOUBLE_EQ(TensorTensor(DType::kFloat32, true), 512);
}

TEST(Cost, ABroadcastResultIsReadFromPsum) {
  EXPECT_DOUBLE_EQ(
      CyclesOf([](auto& b) {
        const TensorId r = b.Sbuf("r", {1, 512}), x = b.Sbuf("x", {128, 512});
        const TensorId y = b.Sbuf("y", {128, 512});
        b.Emit(Opcode::kPartitionBroadcast, {b.Whole(x)}, {b.Whole(r)});
        b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(x), b.Whole(y)}, Op(AluOp::kMultiply));
      }),
      512);
}

double Matmul(DType dtype, int64_t n) {
  return CyclesOf([=](auto& b) {
    const TensorId x = b.Sbuf("x", {128, 128}, dtype), y = b.Sbuf("y", {128, n}, dtype),
                   z = b.Psum("z", {128, n});
    b.Emit(Opcode::kNcMatmul, {b.Whole(z)}, {b.Whole(x), b.Whole(y)});
  });
}

TEST(Cost, MatmulStreamsOneMovingColumnPerCycleAndFp32TakesFourPasses) {
  EXPECT_DOUBLE_EQ(Matmul(DType::kBFloat16, 512), 512 + 64);
  EXPECT_DOUBLE_EQ(Matmul(DType::kBFloat16, 16), 64 + 64);
  EXPECT_DOUBLE_EQ(Matmul(DType::kFloat32, 512), 4 * 512 + 64);
}

TEST(Cost, StridesOverSixteenBytesHalveTheRate) {
  const auto strided = [](int64_t stride) {
    return CyclesOf([=](auto& b) {
      const TensorId x = b.Sbuf("x", {128, 512 * stride}), y = b.Sbuf("y", {128, 512});
      b.Emit(Opcode::kTensorCopy, {b.Whole(y)}, {Tile(x, {128, 512}, {Dim(0), Dim(1, stride)})});
    });
  };
  EXPECT_DOUBLE_EQ(strided(4), 512);
  EXPECT_DOUBLE_EQ(strided(5), 1024);
}

TEST(Cost, MasksShrinkTheInstruction) {
  ProgramBuilder b;
  const TensorId x = b.Sbuf("x", {128, 512});
  Access a = b.Whole(x);
  a.mask = {Const(299) - Dim(1)};
  b.Emit(Opcode::kTensorScalar, {a}, {a, Imm(2)}, Op(AluOp::kMultiply));
  a.mask = {Const(-1)};
  b.Emit(Opcode::kTensorScalar, {a}, {a, Imm(2)}, Op(AluOp::kMultiply));
  const ir::Program p = b.Build();
  const std::vector<bool> none(p.tensors.size());
  EXPECT_DOUBLE_EQ(WorkOf(p, std::get<ir::Instr>(p.body[0].item), {}, none).occupancy_ns * kVectorGhz, 300);
  EXPECT_TRUE(WorkOf(p, std::get<ir::Instr>(p.body[1].item), {}, none).skipped);
}

Descriptors LoadOf(const std::vector<int64_t>& hbm_shape, const Access& hbm,
                   const std::vector<int64_t>& tile) {
  ProgramBuilder b;
  b.Input("x", hbm_shape);
  const TensorId t = b.Sbuf("t", tile);
  b.Emit(Opcode::kDmaCopy, {b.Whole(t)}, {hbm});
  const ir::Program p = b.Build();
  const auto& instr = std::get<ir::Instr>(p.body[0].item);
  return DescriptorsOf(p, std::get_if<Access>(&instr.dst[0]), std::get_if<Access>(&instr.src[0]), tile);
}

TEST(Cost, DescriptorsAreTheContiguousRunsOfACopy) {
  // Whole rows: one run for each partition.
  Descriptors d = LoadOf({256, 512}, Tile(0, {128, 512}, {Dim(0), Dim(1)}), {128, 512});
  EXPECT_EQ(d.count, 128);
  EXPECT_EQ(d.bytes, 2048);
  // A transposed read touches each element by itself.
  d = LoadOf({512, 256}, Tile(0, {128, 512}, {Dim(1), Dim(0)}), {128, 512});
  EXPECT_EQ(d.count, 128 * 512);
  EXPECT_EQ(d.bytes, 4);
  // Two free axes that follow each other in memory are one run.
  d = LoadOf({128, 4, 64}, Tile(0, {128, 4, 64}, {Dim(0), Dim(1), Dim(2)}), {128, 4, 64});
  EXPECT_EQ(d.count, 128);
  EXPECT_EQ(d.bytes, 1024);
}

TEST(Timeline, FillsGapsInFrontOfLaterWork) {
  Timeline t;
  t.Take(t.Find(100, 10), 10);
  EXPECT_DOUBLE_EQ(t.Find(0, 60), 0);
  t.Take(0, 60);
  EXPECT_DOUBLE_EQ(t.Find(0, 60), 110);
  EXPECT_DOUBLE_EQ(t.Find(0, 40), 60);
  EXPECT_DOUBLE_EQ(t.tail(), 110);
}

TEST(Timeline, PoursWorkAroundWhatIsThere) {
  Timeline t;
  t.Take(100, 50);
  const Timeline::Span s = t.Pour(80, 60);
  EXPECT_DOUBLE_EQ(s.start, 80);
  EXPECT_DOUBLE_EQ(s.end, 190);
}

TEST(Timeline, RepeatsASteadyStretchAtItsEnd) {
  Timeline t;
  t.Take(0, 10);
  t.Take(20, 10);  // a gap of 10 in front
  t.Repeat(10, 40, 20);
  EXPECT_DOUBLE_EQ(t.tail(), 70);
  EXPECT_DOUBLE_EQ(t.taken(), 40);
  EXPECT_DOUBLE_EQ(t.Find(0, 10), 50);  // the last gap of the repeated stretch
}

TEST(Timeline, RepeatsInsideAGapAsFarAsItGoes) {
  Timeline t;
  t.Take(100, 10);
  t.Take(0, 10);
  EXPECT_DOUBLE_EQ(t.Room(), 90);
  t.Repeat(0, 50, 50);
  EXPECT_DOUBLE_EQ(t.Find(0, 40), 60);
  EXPECT_DOUBLE_EQ(t.tail(), 110);
}

TEST(Estimate, LoopInvariantInstructionsRunOnce) {
  const Estimate e = EstimateOf([](auto& b) {
    const TensorId x = b.Sbuf("x", {128, 512}), sum = b.Sbuf("sum", {128, 512});
    b.Emit(Opcode::kMemset, {b.Whole(x)});
    b.Emit(Opcode::kMemset, {b.Whole(sum)});
    b.BeginLoop("i", 10);
    const TensorId twice = b.Sbuf("twice", {128, 512});
    b.Emit(Opcode::kTensorScalar, {b.Whole(twice)}, {b.Whole(x), Imm(2)}, Op(AluOp::kMultiply));
    b.Emit(Opcode::kTensorTensor, {b.Whole(sum)}, {b.Whole(sum), b.Whole(twice)}, Op(AluOp::kAdd));
  });
  EXPECT_EQ(e.instructions, 2 + 1 + 10);
}

TEST(Estimate, OneInstructionTakesItsIntervalAndItsLatency) {
  const Estimate e = EstimateOf([](auto& b) {
    b.Emit(Opcode::kMemset, {b.Whole(b.Sbuf("x", {128, 1120}))});
  });
  EXPECT_NEAR(Busy(e, Engine::kVector), 1.0, 1e-9);
  EXPECT_NEAR(e.latency_us, 1.0 + 0.1 / 1.12, 1e-9);
  EXPECT_EQ(e.bound, Bound::kVector);
  EXPECT_EQ(e.instructions, 1);
}

TEST(Estimate, ALoadComputeStoreChainAddsUp) {
  const Estimate e = EstimateOf([](auto& b) {
    const TensorId x = b.Input("x", {128, 2125}), y = b.Output("y", {128, 2125});
    const TensorId t = b.Sbuf("t", {128, 2125});
    b.Emit(Opcode::kDmaCopy, {b.Whole(t)}, {b.Whole(x)});
    b.Emit(Opcode::kActivation, {b.Whole(t)}, {b.Whole(t), None(), Imm(1)});
    b.Emit(Opcode::kDmaCopy, {b.Whole(y)}, {b.Whole(t)});
  });
  // 128 runs of 8500 bytes over 16 engines: 8 * (25 + 8500 / 8.5) ns.
  const double dma = 8 * (25 + 1000);
  const double issue = 64 / 1.4;
  EXPECT_NEAR(Busy(e, Engine::kDma), 2 * dma / 1000, 1e-9);
  const double load = issue + dma + 2000;
  const double activation = 2125 / 1.4 + 200 / 1.4;
  EXPECT_NEAR(e.latency_us, (load + kSemaphoreNs + activation + kSemaphoreNs + issue + dma + 2000) / 1000,
              1e-9);
  EXPECT_DOUBLE_EQ(e.hbm_read_bytes, 128 * 2125 * 4);
  EXPECT_DOUBLE_EQ(e.hbm_written_bytes, 128 * 2125 * 4);
  EXPECT_DOUBLE_EQ(e.sbuf_written_bytes, 2 * 128 * 2125 * 4);  // load and activation
  EXPECT_DOUBLE_EQ(e.sbuf_read_bytes, 2 * 128 * 2125 * 4);     // activation and store
  EXPECT_DOUBLE_EQ(e.sbuf_peak_bytes, 128 * 2125 * 4);
  EXPECT_EQ(e.executed[static_cast<size_t>(Engine::kDma)], 2);
  EXPECT_EQ(e.executed[static_cast<size_t>(Engine::kScalar)], 1);
  EXPECT_DOUBLE_EQ(e.flops, 128 * 2125);
  EXPECT_DOUBLE_EQ(e.arithmetic_intensity, 1.0 / 8);
  EXPECT_EQ(e.bound, Bound::kDma);
  ASSERT_EQ(e.lines.size(), 3u);
  EXPECT_EQ(e.lines[2].line, 2);
  EXPECT_EQ(e.lines[2].engine, Engine::kScalar);
  EXPECT_NEAR(e.lines[2].busy_us, 2.125 / 1.4, 1e-9);
}

// y = f(x) over `trips` tiles of [128, 2125], `ops` Vector instructions each. Iterations that share a tile
// load all of it but its last row, so that there can be no second version of it.
void Stream(ProgramBuilder& b, int64_t trips, int ops, bool own_tile) {
  const TensorId x = b.Input("x", {128 * trips, 2125}), y = b.Output("y", {128 * trips, 2125});
  TensorId t = own_tile ? 0 : b.Sbuf("t", {128, 2125});
  const SymbolId i = b.BeginLoop("i", trips, own_tile ? LoopKind::kAffine : LoopKind::kSequential);
  if (own_tile) t = b.Sbuf("t", {128, 2125});
  const auto rows = [&](TensorId id) { return Tile(id, {128, 2125}, {Sym(i, 128) + Dim(0), Dim(1)}); };
  Access loaded = b.Whole(t);
  if (!own_tile) loaded.mask = {Const(126) - Dim(0)};
  b.Copy(loaded, rows(x));
  for (int k = 0; k < ops; ++k) {
    b.Emit(Opcode::kTensorScalar, {b.Whole(t)}, {b.Whole(t), Imm(2)}, Op(AluOp::kMultiply));
  }
  b.Emit(Opcode::kDmaCopy, {rows(y)}, {b.Whole(t)});
}

TEST(Estimate, IterationsWithTheirOwnTilesOverlap) {
  // DMA: 2 * 8200 ns for each tile; Vector: 2125 / 1.12 = 1897 ns.
  const Estimate e = EstimateOf([](auto& b) { Stream(b, 100, 1, true); });
  EXPECT_NEAR(Busy(e, Engine::kDma), 100 * 16.4, 1e-6);
  EXPECT_LT(e.latency_us, 1.01 * (100 * 16.4 + 4 + 2));
  EXPECT_EQ(e.bound, Bound::kDma);
}

TEST(Estimate, IterationsThatShareATileDoNot) {
  const Estimate e = EstimateOf([](auto& b) { Stream(b, 100, 1, false); });
  // Load, compute and store one after the other: at least both transfers, their latencies and the Vector
  // time.
  EXPECT_GT(e.latency_us, 100 * (16.3 + 4 + 1.9));
}

TEST(Estimate, TheSlowestEngineBinds) {
  const Estimate e = EstimateOf([](auto& b) { Stream(b, 100, 20, true); });
  EXPECT_NEAR(Busy(e, Engine::kVector), 100 * 20 * 2.125 / 1.12, 1e-6);
  EXPECT_EQ(e.bound, Bound::kVector);
  EXPECT_NEAR(e.roofline_us, Busy(e, Engine::kVector), 1e-9);
}

TEST(Estimate, ExtrapolatedLoopsAgreeWithLoopsPlacedOneByOne) {
  for (const int ops : {1, 3, 20}) {
    for (const bool own : {true, false}) {
      const Estimate many = EstimateOf([=](auto& b) { Stream(b, 1000, ops, own); });
      const Estimate some = EstimateOf([=](auto& b) { Stream(b, 500, ops, own); });
      const Estimate few = EstimateOf([=](auto& b) { Stream(b, 4, ops, own); });  // never extrapolated
      EXPECT_NEAR(many.latency_us - some.latency_us, some.latency_us, 0.02 * some.latency_us);
      EXPECT_NEAR(many.busy_us[1], 2 * some.busy_us[1], 1e-6);
      EXPECT_EQ(many.instructions, 1000 * (ops + 2));
      EXPECT_NEAR(few.latency_us, 4 * many.latency_us / 1000, own ? 25 : 1) << ops << own;
    }
  }
}

TEST(Estimate, ABillionIterationsCostNoMoreThanAFew) {
  const Estimate e = EstimateOf([](auto& b) {
    const TensorId t = b.Sbuf("t", {128, 1120});
    b.BeginLoop("i", 1000, LoopKind::kSequential);
    b.BeginLoop("j", 1000, LoopKind::kSequential);
    b.BeginLoop("k", 1000, LoopKind::kSequential);
    b.Emit(Opcode::kTensorScalar, {b.Whole(t)}, {b.Whole(t), Imm(2)}, Op(AluOp::kMultiply));
  });
  EXPECT_EQ(e.instructions, 1000000000);
  EXPECT_NEAR(Busy(e, Engine::kVector), 1e9, 1);
}

TEST(Estimate, MatmulAccumulationIsNotAChain) {
  const auto chain = [](bool same_tile) {
    return EstimateOf([=](auto& b) {
      const TensorId x = b.Sbuf("x", {128, 128}, DType::kBFloat16),
                     y = b.Sbuf("y", {128, 512}, DType::kBFloat16);
      b.Emit(Opcode::kMemset, {b.Whole(x)});
      b.Emit(Opcode::kMemset, {b.Whole(y)});
      Attrs a;
      a.accumulate = true;
      const TensorId z = b.Psum("z", {128, 512});
      for (int k = 0; k < 8; ++k) {
        b.Emit(Opcode::kNcMatmul, {b.Whole(same_tile ? z : b.Psum("w", {128, 512}))},
               {b.Whole(x), b.Whole(y)}, a);
      }
    });
  };
  EXPECT_DOUBLE_EQ(chain(true).latency_us, chain(false).latency_us);
  EXPECT_NEAR(Busy(chain(true), Engine::kTensor), 8 * 576 / 2.8 / 1000, 1e-9);
  EXPECT_DOUBLE_EQ(chain(true).tensor_flops, 8.0 * 2 * 128 * 128 * 512);
}

TEST(Estimate, ClearingAnAccumulatorIsFree) {
  const Estimate e = EstimateOf([](auto& b) {
    const TensorId x = b.Sbuf("x", {128, 128}, DType::kBFloat16), z = b.Psum("z", {128, 128});
    b.Emit(Opcode::kMemset, {b.Whole(z)});
    Attrs a;
    a.accumulate = true;
    b.Emit(Opcode::kNcMatmul, {b.Whole(z)}, {b.Whole(x), b.Whole(x)}, a);
  });
  EXPECT_DOUBLE_EQ(Busy(e, Engine::kVector), 0);
}

TEST(Estimate, VectorAndGpSimdShareThePortOfSbuf) {
  const Estimate e = EstimateOf([](auto& b) {
    b.Emit(Opcode::kMemset, {b.Whole(b.Sbuf("x", {128, 1120}))}, {}, {}, Engine::kVector);
    b.Emit(Opcode::kIota, {b.Whole(b.Sbuf("y", {128, 1250}))});
  });
  EXPECT_NEAR(e.latency_us, 1.0 + (150 + 1250) / 1.4e3 + 100 / 1.4e3, 1e-9);
}

TEST(BufferCounts, GiveWhatIsLeftToTilesThatAreLoaded) {
  ProgramBuilder b;
  const TensorId x = b.Input("x", {4, 128, 11264}), y = b.Output("y", {4, 128, 11264});
  const TensorId w = b.Sbuf("w", {128, 11264});
  b.Emit(Opcode::kMemset, {b.Whole(w)});
  const SymbolId i = b.BeginLoop("i", 4);
  // 44 KiB each; three are alive in the addition, so one of four fits twice.
  const TensorId r = b.Sbuf("r", {128, 11264}), t = b.Sbuf("t", {128, 11264});
  const auto tile = [&](TensorId id) { return Tile(id, {128, 11264}, {Sym(i), Dim(0), Dim(1)}); };
  b.Emit(Opcode::kDmaCopy, {b.Whole(t)}, {tile(x)});
  b.Emit(Opcode::kTensorTensor, {b.Whole(r)}, {b.Whole(t), b.Whole(w)}, Op(AluOp::kAdd));
  b.Emit(Opcode::kTensorTensor, {b.Whole(r)}, {b.Whole(r), b.Whole(t)}, Op(AluOp::kAdd));
  b.Emit(Opcode::kDmaCopy, {tile(y)}, {b.Whole(r)});
  const ir::Program p = b.Build();
  const std::vector<BufferCount> counts = BufferCounts(p);
  EXPECT_EQ(counts[static_cast<size_t>(t)].copies, 2);
  EXPECT_EQ(counts[static_cast<size_t>(r)].copies, 1);
  EXPECT_EQ(counts[static_cast<size_t>(w)].copies, 1);
}

// Tiles of two loops are not alive together: both loops have all that is left.
TEST(BufferCounts, AreGivenWhereATileIsAlive) {
  ProgramBuilder b;
  const TensorId x = b.Input("x", {4, 128, 14336}), y = b.Output("y", {8, 128, 14336});
  std::vector<TensorId> tiles;
  for (int64_t loop = 0; loop < 2; ++loop) {
    const SymbolId i = b.BeginLoop("i", 4);
    tiles.push_back(b.Sbuf("t", {128, 14336}));  // 56 KiB
    b.Copy(b.Whole(tiles.back()), Tile(x, {128, 14336}, {Sym(i), Dim(0), Dim(1)}));
    b.Copy(Tile(y, {128, 14336}, {Sym(i) + Const(4 * loop), Dim(0), Dim(1)}), b.Whole(tiles.back()));
    b.EndLoop();
  }
  const std::vector<BufferCount> counts = BufferCounts(b.Build());
  for (const TensorId t : tiles) EXPECT_EQ(counts[static_cast<size_t>(t)].copies, 3);
}

// One tile, loaded and summed up again and again: the next load needs not wait for the sum, as the published
// times of pooling kernels show (docs/timing.md). A load that keeps part of the tile has to.
TEST(Estimate, ATileFilledAnewMayHaveTwoVersions) {
  const auto latency = [](bool whole) {
    return EstimateOf([=](auto& b) {
             const TensorId x = b.Input("x", {64, 128, 512}), y = b.Output("y", {128, 64});
             const TensorId t = b.Sbuf("t", {128, 512}), sums = b.Sbuf("sums", {128, 64});
             Attrs add = Op(AluOp::kAdd);
             add.axes = {1};
             for (int64_t i = 0; i < 64; ++i) {
               Access dst = b.Whole(t), src = Tile(x, {128, 512}, {Const(i), Dim(0), Dim(1)});
               if (!whole) dst.mask = {Const(126) - Dim(0)};
               b.Copy(dst, src);
               b.Emit(Opcode::kTensorReduce, {Tile(sums, {128, 1}, {Dim(0), Const(i) + Dim(1)})},
                      {b.Whole(t)}, add);
             }
             b.Copy(b.Whole(y), b.Whole(sums));
           })
        .latency_us;
  };
  EXPECT_LT(latency(true), 64 * 3);
  EXPECT_GT(latency(false), 64 * 4);
}

TEST(Cost, ElementWiseTransfersCostByTheElementAndTransposingOnesLess) {
  const auto transfer = [](Opcode op, bool transposed) {
    ProgramBuilder b;
    const TensorId x = b.Input("x", {128, 128}, DType::kBFloat16);
    const TensorId t = b.Sbuf("t", {128, 128}, DType::kBFloat16);
    const Access from = transposed ? Tile(x, {128, 128}, {Dim(1), Dim(0)}) : b.Whole(x);
    b.Emit(op, {b.Whole(t)}, {from});
    const ir::Program p = b.Build();
    return WorkOf(p, std::get<ir::Instr>(p.body.back().item), {}, BroadcastTensors(p)).occupancy_ns;
  };
  EXPECT_DOUBLE_EQ(transfer(Opcode::kDmaCopy, true), 128 * 128 * kDmaElementNs / kDmaEngines);
  EXPECT_DOUBLE_EQ(transfer(Opcode::kDmaTranspose, true), 128 * 128 * kDmaTransposeElementNs / kDmaEngines);
  EXPECT_LT(transfer(Opcode::kDmaCopy, false), transfer(Opcode::kDmaTranspose, true));
}

// 64 blocks of 8 KiB per partition, of which each iteration uses one: 8 KiB are alive.
TEST(Estimate, BlocksThatALoopOwnsAreNotSpilled) {
  const Estimate e = EstimateOf([](auto& b) {
    const TensorId x = b.Input("x", {64, 128, 2048}), y = b.Output("y", {64, 128, 2048});
    const TensorId blocks = b.Sbuf("blocks", {64, 128, 2048}, DType::kFloat32, 1);
    const SymbolId i = b.BeginLoop("i", 64);
    const auto block = [&](TensorId id) { return Tile(id, {128, 2048}, {Sym(i), Dim(0), Dim(1)}); };
    b.Copy(block(blocks), block(x));
    b.Copy(block(y), block(blocks));
  });
  EXPECT_EQ(e.spill_bytes, 0);
  EXPECT_DOUBLE_EQ(e.sbuf_peak_bytes, 128 * 2048 * 4);
}

TEST(Estimate, TilesBeyondSbufAreSpilled) {
  // Three tiles of 64 KiB per partition, 16 KiB too many: one of them goes to HBM and back.
  const Estimate e = EstimateOf([](auto& b) {
    const TensorId x = b.Sbuf("x", {128, 16384}), y = b.Sbuf("y", {128, 16384}),
                   z = b.Sbuf("z", {128, 16384});
    const TensorId sum = b.Sbuf("sum", {128, 1});
    for (const TensorId t : {x, y, z}) b.Emit(Opcode::kMemset, {b.Whole(t)});
    for (const TensorId t : {x, y, z}) {
      Attrs a = Op(AluOp::kAdd);
      a.axes = {1};
      b.Emit(Opcode::kTensorReduce, {b.Whole(sum)}, {b.Whole(t)}, a);
    }
  });
  EXPECT_DOUBLE_EQ(e.spill_bytes, 2.0 * 128 * 65536);
  EXPECT_NEAR(e.spill_us, 2.0 * 128 * 65536 / (16 * 8.5) / 1000, 1e-6);
}

TEST(Estimate, TakesAnyProgramThatParses) {
  ProgramBuilder b;
  Stream(b, 6, 2, true);
  const std::string bytes = ir::Serialize(b.Build());
  std::mt19937 rng(5);
  TimingOptions options;
  options.max_simulated_instructions = 1000;
  int parsed = 0;
  for (int round = 0; round < 10000; ++round) {
    std::string mutated = bytes;
    for (int k = 0; k < 1 + round % 4; ++k) mutated[rng() % mutated.size()] = static_cast<char>(rng());
    const absl::StatusOr<ir::Program> p = ir::Parse(mutated);
    if (!p.ok()) continue;
    ++parsed;
    if (const absl::StatusOr<Estimate> e = EstimateLatency(*p, options); e.ok()) {
      EXPECT_GE(e->latency_us, 0);
    }
  }
  EXPECT_GT(parsed, 500);
}

// A loop whose iterations differ, so that it never becomes periodic, and whose end only the options set.
TEST(Estimate, StopsPlacingInstructionsAtItsLimit) {
  const auto triangle = [](ProgramBuilder& b) {
    const TensorId t = b.Sbuf("t", {128, 4096});
    const SymbolId i = b.BeginLoop("i", 4096), j = b.BeginLoop("j", 4096, LoopKind::kSequential);
    Access a = b.Whole(t);
    a.mask = {Sym(i) + Sym(j) - Dim(1)};
    b.Emit(Opcode::kTensorScalar, {a}, {a, Imm(2)}, Op(AluOp::kMultiply));
  };
  TimingOptions options;
  options.max_simulated_instructions = 20000;
  const Estimate e = EstimateOf(triangle, options);
  EXPECT_EQ(e.instructions, 4096 * 4096);
  EXPECT_GT(e.latency_us, 0);
}

TEST(Estimate, UnknownTargetsAreRefused) {
  ProgramBuilder b;
  b.Emit(Opcode::kMemset, {b.Whole(b.Sbuf("x", {128, 1}))});
  ir::Program p = b.Build();
  p.target = "tpu";
  EXPECT_EQ(EstimateLatency(p).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nkiagent::nki::timing
