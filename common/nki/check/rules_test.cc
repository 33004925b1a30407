#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/nki/check/check.h"
#include "common/nki/ir/serialize.h"
#include "common/nki/ir/testing/program_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::check {
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
using ir::testing::Op;
using ir::testing::ProgramBuilder;
using ir::testing::Sym;
using ir::testing::Tile;
using isa::AluOp;
using isa::DType;
using isa::Opcode;
using ::testing::HasSubstr;

struct Case {
  std::string name;
  std::string rule;  // empty: no finding at all
  int line = 0;      // of the finding
  std::function<void(ProgramBuilder&)> build;
};

// Rows of 128 from i * 128 on.
Access Rows(TensorId id, SymbolId i, int64_t free, std::vector<Affine> mask = {}) {
  return Tile(id, {128, free}, {Sym(i, 128) + Dim(0), Dim(1)}, std::move(mask));
}

// y = x over `trips` row tiles of 128, `rows` rows in all; masked to the rows there are if `masked`.
void RowCopy(ProgramBuilder& b, int64_t rows, int64_t trips, bool masked) {
  const TensorId x = b.Input("x", {rows, 512}), y = b.Output("y", {rows, 512});
  const SymbolId i = b.BeginLoop("i", trips);
  const TensorId t = b.Sbuf("t", {128, 512});
  std::vector<Affine> mask;
  if (masked) mask.push_back(Const(rows - 1) - Sym(i, 128) - Dim(0));
  Access tile = b.Whole(t);
  tile.mask = mask;
  b.Copy(tile, Rows(x, i, 512, mask));
  b.Copy(Rows(y, i, 512, mask), tile);
  b.EndLoop();
}

// A kernel that stores its output from a zeroed tile, with `body` in front of it.
void WithOutput(ProgramBuilder& b, const std::function<void()>& body) {
  const TensorId y = b.Output("y", {128, 1});
  body();
  const TensorId zero = b.Sbuf("zero", {128, 1});
  b.Emit(Opcode::kMemset, {b.Whole(zero)});
  b.Copy(b.Whole(y), b.Whole(zero));
}

// Sums tiles into one accumulator declared outside an affine loop.
void Accumulate(ProgramBuilder& b, bool in_place) {
  const TensorId x = b.Input("x", {512, 512}), y = b.Output("y", {128, 512});
  const TensorId sum = b.Sbuf("sum", {128, 512});
  b.Emit(Opcode::kMemset, {b.Whole(sum)});
  const SymbolId i = b.BeginLoop("i", 4);
  const TensorId t = b.Sbuf("t", {128, 512});
  b.Copy(b.Whole(t), Rows(x, i, 512));
  b.Emit(Opcode::kTensorTensor, {b.Whole(sum)}, {b.Whole(in_place ? sum : t), b.Whole(t)}, Op(AluOp::kAdd));
  b.EndLoop();
  b.Copy(b.Whole(y), b.Whole(sum));
}

void MatmulOverK(ProgramBuilder& b, bool accumulate) {
  const TensorId y = b.Output("y", {128, 512});
  const TensorId l = b.Input("l", {512, 128}), r = b.Input("r", {512, 512});
  const TensorId acc = b.Psum("acc", {128, 512});
  b.Emit(Opcode::kMemset, {b.Whole(acc)});
  const SymbolId k = b.BeginLoop("k", 4);
  const TensorId lt = b.Sbuf("lt", {128, 128}), rt = b.Sbuf("rt", {128, 512});
  b.Copy(b.Whole(lt), Rows(l, k, 128));
  b.Copy(b.Whole(rt), Rows(r, k, 512));
  Attrs a;
  a.accumulate = accumulate;
  b.Emit(Opcode::kNcMatmul, {b.Whole(acc)}, {b.Whole(lt), b.Whole(rt)}, a);
  b.EndLoop();
  const TensorId out = b.Sbuf("out", {128, 512});
  b.Emit(Opcode::kTensorCopy, {b.Whole(out)}, {b.Whole(acc)});
  b.Copy(b.Whole(y), b.Whole(out));
}

// Every iteration of a loop stores tile `position(i)` of the output.
void StoreAt(ProgramBuilder& b, LoopKind kind, int64_t trips, const std::function<Affine(SymbolId)>& position,
             std::vector<Affine> (*mask)(SymbolId) = nullptr) {
  const TensorId y = b.Output("y", {512, 4});
  const SymbolId i = b.BeginLoop("i", trips, kind);
  const TensorId t = b.Sbuf("t", {128, 4});
  b.Emit(Opcode::kMemset, {b.Whole(t)});
  Access dst = Tile(y, {128, 4}, {position(i) + Dim(0), Dim(1)});
  if (mask != nullptr) dst.mask = mask(i);
  b.Copy(dst, b.Whole(t));
  b.EndLoop();
}

// t[i * rows : (i + 1) * rows, :] *= 2
void MovingRows(ProgramBuilder& b, int64_t rows) {
  const TensorId y = b.Output("y", {128, 4}), t = b.Sbuf("t", {128, 4});
  b.Emit(Opcode::kMemset, {b.Whole(t)});
  const SymbolId i = b.BeginLoop("i", 128 / rows);
  const Access tile = Tile(t, {rows, 4}, {Sym(i, rows) + Dim(0), Dim(1)});
  b.Emit(Opcode::kTensorScalar, {tile}, {tile, Imm(2)}, Op(AluOp::kMultiply));
  b.EndLoop();
  b.Copy(b.Whole(y), b.Whole(t));
}

// t[:, i + 1] = t[:, i] * 2
void RunningColumns(ProgramBuilder& b, LoopKind kind) {
  const TensorId y = b.Output("y", {128, 9}), t = b.Sbuf("t", {128, 9});
  b.Emit(Opcode::kMemset, {Tile(t, {128, 1}, {Dim(0), Const(0)})});
  const SymbolId i = b.BeginLoop("i", 8, kind);
  const auto column = [&](int64_t shift) { return Tile(t, {128, 1}, {Dim(0), Sym(i) + Const(shift)}); };
  b.Emit(Opcode::kTensorScalar, {column(1)}, {column(0), Imm(2)}, Op(AluOp::kMultiply));
  b.EndLoop();
  b.Copy(b.Whole(y), b.Whole(t));
}

// `count` tiles of [128, free] bytes-by-4, all alive when they are summed up at the end.
void ManyTiles(ProgramBuilder& b, int count, int64_t free, bool used_at_once, bool psum = false) {
  WithOutput(b, [&] {
    std::vector<TensorId> tiles;
    const TensorId sink = b.Sbuf("sink", {128, 1});
    const auto use = [&](TensorId t) {
      Attrs a = Op(AluOp::kAdd);
      a.axes = {1};
      b.Emit(Opcode::kTensorReduce, {b.Whole(sink)}, {b.Whole(t)}, a);
    };
    for (int k = 0; k < count; ++k) {
      const std::string name = "t" + std::to_string(k);
      tiles.push_back(psum ? b.Psum(name, {128, free}) : b.Sbuf(name, {128, free}));
      Attrs one;
      one.value = 1;
      b.Emit(Opcode::kMemset, {b.Whole(tiles.back())}, {}, one);
      if (!used_at_once) use(tiles.back());
    }
    for (int k = 0; used_at_once && k < count; ++k) use(tiles[static_cast<size_t>(k)]);
  });
}

// c = a + b with all three in SBUF: 12 * free bytes per partition.
void SumOfTwo(ProgramBuilder& b, int64_t free) {
  WithOutput(b, [&] {
    const TensorId x = b.Sbuf("a", {128, free}), y = b.Sbuf("b", {128, free}), z = b.Sbuf("c", {128, free});
    b.Emit(Opcode::kMemset, {b.Whole(x)});
    b.Emit(Opcode::kMemset, {b.Whole(y)});
    b.Emit(Opcode::kTensorTensor, {b.Whole(z)}, {b.Whole(x), b.Whole(y)}, Op(AluOp::kAdd));
  });
}

// A tensor of 64 blocks of [128, 2048] float32 (512 KiB per partition in all); read in the same loop or a
// second one.
void Blocks(ProgramBuilder& b, bool same_loop) {
  WithOutput(b, [&] {
    const TensorId t = b.Sbuf("blocks", {64, 128, 2048}, DType::kFloat32, 1);
    const TensorId sink = b.Sbuf("sink", {64, 128, 1}, DType::kFloat32, 1);
    SymbolId i = b.BeginLoop("i", 64);
    const auto block = [&](TensorId id, int64_t free) {
      return Tile(id, {128, free}, {Sym(i), Dim(0), Dim(1)});
    };
    b.Emit(Opcode::kMemset, {block(t, 2048)});
    if (!same_loop) {
      b.EndLoop();
      i = b.BeginLoop("j", 64);
    }
    Attrs a = Op(AluOp::kAdd);
    a.axes = {1};
    b.Emit(Opcode::kTensorReduce, {block(sink, 1)}, {block(t, 2048)}, a);
    b.EndLoop();
  });
}

std::vector<Case> Cases() {
  return {
      {"ExactTiles", "", 0, [](auto& b) { RowCopy(b, 512, 4, false); }},
      {"RaggedTileWithMask", "", 0, [](auto& b) { RowCopy(b, 500, 4, true); }},
      {"RaggedTileWithoutMask", "err_tensor_access_out_of_bound", 1,
       [](auto& b) { RowCopy(b, 500, 4, false); }},
      {"TripCountRoundedDown", "output_partly_written", 1, [](auto& b) { RowCopy(b, 500, 3, true); }},
      {"ZeroTrips", "err_tensor_output_not_written_to", 1, [](auto& b) { RowCopy(b, 500, 0, true); }},
      {"MaskThatIsNeverTrue", "err_tensor_output_not_written_to", 1,
       [](auto& b) {
         StoreAt(
             b, LoopKind::kAffine, 4, [](SymbolId i) { return Sym(i, 128); },
             +[](SymbolId i) { return std::vector<Affine>{Sym(i) - Const(4)}; });
       }},
      {"NegativeIndex", "err_tensor_access_out_of_bound", 2,
       [](auto& b) { StoreAt(b, LoopKind::kAffine, 4, [](SymbolId i) { return Sym(i, 128) - Const(1); }); }},
      {"IndexByQuotientAndRemainder", "", 0,
       [](auto& b) {
         StoreAt(b, LoopKind::kAffine, 4,
                 [&b](SymbolId i) { return Sym(b.FloorDiv(Sym(i), 2), 256) + Sym(b.Mod(Sym(i), 2), 128); });
       }},
      {"MaskOnTheDestinationBoundsTheSource", "", 0,
       [](auto& b) {
         const TensorId x = b.Input("x", {100, 4}), y = b.Output("y", {100, 4});
         const TensorId t = b.Sbuf("t", {128, 4});
         b.Emit(Opcode::kMemset, {b.Whole(t)});
         Access tile = b.Whole(t);
         tile.mask = {Const(99) - Dim(0)};
         b.Copy(tile, Tile(x, {128, 4}, {Dim(0), Dim(1)}));
         b.Copy(Tile(y, {128, 4}, {Dim(0), Dim(1)}), tile);
       }},
      {"QuadrantsOneByOne", "", 0, [](auto& b) { MovingRows(b, 32); }},
      {"RowsOneByOne", "err_start_partition_not_supported", 2, [](auto& b) { MovingRows(b, 1); }},
      {"NoOutput", "err_tensor_output_not_written_to", 0,
       [](auto& b) {
         b.Emit(Opcode::kMemset, {b.Whole(b.Sbuf("t", {128, 1}))});
       }},
      {"StoreIntoAParameter", "err_cannot_update_immutable_parameter", 1,
       [](auto& b) {
         WithOutput(b, [&] {
           const TensorId x = b.Input("x", {128, 4});
           b.Copy(b.Whole(x), b.Whole(x));
         });
       }},
      {"SumInPlace", "", 0, [](auto& b) { Accumulate(b, true); }},
      {"OverwrittenByEachIteration", "err_unexpected_output_dependencies", 3,
       [](auto& b) { Accumulate(b, false); }},
      {"MatmulAccumulation", "", 0, [](auto& b) { MatmulOverK(b, true); }},
      {"MatmulOverwrites", "err_unexpected_output_dependencies", 4, [](auto& b) { MatmulOverK(b, false); }},
      {"OverlappingStores", "err_unexpected_output_dependencies", 2,
       [](auto& b) { StoreAt(b, LoopKind::kAffine, 4, [](SymbolId i) { return Sym(i, 127); }); }},
      {"OverlappingStoresInOrder", "output_partly_written", 1,
       [](auto& b) { StoreAt(b, LoopKind::kSequential, 4, [](SymbolId i) { return Sym(i, 127); }); }},
      {"ReadsWhatAnotherIterationWrites", "loop_carried_dependence", 2,
       [](auto& b) { RunningColumns(b, LoopKind::kAffine); }},
      {"ReadsWhatTheLastIterationWroteInOrder", "", 0,
       [](auto& b) { RunningColumns(b, LoopKind::kSequential); }},
      {"OneIterationStoresByMask", "", 0,
       [](auto& b) {
         const TensorId y = b.Output("y", {128, 4});
         const SymbolId i = b.BeginLoop("i", 4);
         const TensorId t = b.Sbuf("t", {128, 4});
         b.Emit(Opcode::kMemset, {b.Whole(t)});
         b.Copy(Tile(y, {128, 4}, {Dim(0), Dim(1)}, {Sym(i) - Const(3)}), b.Whole(t));
         b.EndLoop();
       }},
      {"ProgramsStoreTheirOwnRows", "", 0,
       [](auto& b) { StoreAt(b, LoopKind::kSpmd, 4, [](SymbolId i) { return Sym(i, 128); }); }},
      {"ProgramsStoreTheSameRows", "err_unexpected_output_dependencies", 2,
       [](auto& b) { StoreAt(b, LoopKind::kSpmd, 4, [](SymbolId) { return Const(0); }); }},
      {"InnerLoopCoversEachTile", "", 0,
       [](auto& b) {
         const TensorId y = b.Output("y", {512, 64});
         const TensorId t = b.Sbuf("t", {128, 16});
         b.Emit(Opcode::kMemset, {b.Whole(t)});
         const SymbolId i = b.BeginLoop("i", 4), j = b.BeginLoop("j", 4);
         b.Copy(Tile(y, {128, 16}, {Sym(i, 128) + Dim(0), Sym(j, 16) + Dim(1)}), b.Whole(t));
         b.EndLoop();
         b.EndLoop();
       }},
      {"InnerLoopForgotTheOuterIndex", "err_unexpected_output_dependencies", 2,
       [](auto& b) {
         const TensorId y = b.Output("y", {128, 64});
         const TensorId t = b.Sbuf("t", {128, 16});
         b.Emit(Opcode::kMemset, {b.Whole(t)});
         b.BeginLoop("i", 4);
         const SymbolId j = b.BeginLoop("j", 4);
         b.Copy(Tile(y, {128, 16}, {Dim(0), Sym(j, 16) + Dim(1)}), b.Whole(t));
         b.EndLoop();
         b.EndLoop();
       }},
      {"ReadOfATileNeverWritten", "err_tensor_read_before_write", 1,
       [](auto& b) {
         const TensorId y = b.Output("y", {128, 4});
         b.Copy(b.Whole(y), b.Whole(b.Sbuf("t", {128, 4})));
       }},
      {"ReadBeforeTheOnlyWrite", "err_tensor_read_before_write", 1,
       [](auto& b) {
         const TensorId y = b.Output("y", {128, 4}), t = b.Sbuf("t", {128, 4});
         b.Copy(b.Whole(y), b.Whole(t));
         b.Emit(Opcode::kMemset, {b.Whole(t)});
       }},
      {"ReadOfWhatTheLastIterationWrote", "", 0,
       [](auto& b) {
         const TensorId y = b.Output("y", {512, 4}), t = b.Sbuf("t", {128, 4});
         const SymbolId i = b.BeginLoop("i", 4, LoopKind::kSequential);
         b.Copy(Rows(y, i, 4), b.Whole(t));
         b.Emit(Opcode::kMemset, {b.Whole(t)});
         b.EndLoop();
       }},
      // 176 KiB = 11 * 4096 floats per partition; the sum takes the place of the first tile that ends.
      {"SbufFull", "", 0, [](auto& b) { ManyTiles(b, 11, 4096, true); }},
      {"SbufSpills", "sbuf_spill", 12, [](auto& b) { ManyTiles(b, 12, 4096, true); }},
      {"SbufReused", "", 0, [](auto& b) { ManyTiles(b, 40, 4096, false); }},
      {"TilesOfOneInstructionFit", "", 0, [](auto& b) { SumOfTwo(b, 15000); }},
      // 192 KiB, of which the compiler keeps 16 KiB for itself: the sum may take the place of an operand.
      {"TilesOfOneInstructionFitTheHardware", "", 0, [](auto& b) { SumOfTwo(b, 16384); }},
      {"TilesOfOneInstructionDoNotFit", "err_sbuf_capacity_exceeded", 3, [](auto& b) { SumOfTwo(b, 16400); }},
      {"PsumTilesOfOneInstructionDoNotFit", "err_psum_capacity_exceeded", 2,
       [](auto& b) {
         WithOutput(b, [&] {
           const TensorId x = b.Psum("x", {128, 2560}), y = b.Psum("y", {128, 2560});
           b.Emit(Opcode::kMemset, {b.Whole(x)});
           b.Emit(Opcode::kTensorCopy, {b.Whole(y)}, {b.Whole(x)});
         });
       }},
      {"PsumFull", "", 0, [](auto& b) { ManyTiles(b, 8, 512, true, true); }},
      {"PsumSpills", "psum_spill", 9, [](auto& b) { ManyTiles(b, 9, 512, true, true); }},
      {"IllegalInstruction", "err_num_partition_exceed_arch_limit", 1,
       [](auto& b) {
         const TensorId x = b.Input("x", {256, 4}), y = b.Output("y", {256, 4}), t = b.Sbuf("t", {256, 4});
         b.Copy(b.Whole(t), b.Whole(x));
         b.Copy(b.Whole(y), b.Whole(t));
       }},
  };
}

class Rules : public ::testing::TestWithParam<Case> {};

TEST_P(Rules, FindWhatIsWrongAndNothingElse) {
  ProgramBuilder b;
  GetParam().build(b);
  const std::vector<Diagnostic> found = Check(b.BuildUnchecked());
  if (GetParam().rule.empty()) {
    EXPECT_TRUE(found.empty()) << found[0].rule << ": " << found[0].message;
    return;
  }
  std::string all;
  bool hit = false;
  for (const Diagnostic& d : found) {
    all += d.rule + " line " + std::to_string(d.line) + ": " + d.message + "\n";
    hit = hit || (d.rule == GetParam().rule && d.line == GetParam().line);
    if (d.severity == Severity::kError) {
      EXPECT_EQ(d.rule, GetParam().rule) << d.message;
    }
    EXPECT_FALSE(d.message.empty() || d.limit.empty() || d.actual.empty() || d.hint.empty()) << d.rule;
  }
  EXPECT_TRUE(hit) << all;
}

INSTANTIATE_TEST_SUITE_P(Programs, Rules, ::testing::ValuesIn(Cases()),
                         [](const auto& c) { return c.param.name; });

std::string FirstMessage(const std::function<void(ProgramBuilder&)>& build) {
  ProgramBuilder b;
  build(b);
  const std::vector<Diagnostic> found = Check(b.BuildUnchecked());
  return found.empty() ? "" : found[0].message;
}

TEST(RuleMessages, BoundsNameTheRangeTheAxisAndAnIteration) {
  EXPECT_EQ(FirstMessage([](auto& b) { RowCopy(b, 500, 4, false); }),
            "'dma_copy' accesses hbm tensor 'x' [500, 512] out of bound: index range [0, 511] of axis 0 "
            "exceeds its "
            "size of 500 (index 500 at i = 3)");
}

TEST(RuleMessages, DependencesNameTwoIterationsAndTheElement) {
  EXPECT_THAT(FirstMessage([](auto& b) { Accumulate(b, false); }),
              HasSubstr("tensor 'sum' [128, 512]: i = 0 and i = 1 both write element [0, 0]"));
}

TEST(RuleMessages, CapacityNamesTheLargestTiles) {
  const std::string message = FirstMessage([](auto& b) { ManyTiles(b, 12, 4096, true); });
  EXPECT_THAT(message, HasSubstr("need 196608 bytes of each sbuf partition; 180224 are available"));
  EXPECT_THAT(message, HasSubstr("'t0' [128, 4096] float32 (line 1, 16384 bytes)"));
  EXPECT_THAT(FirstMessage([](auto& b) { SumOfTwo(b, 16400); }), HasSubstr("GCA046"));
}

std::set<std::string> RulesOf(const std::function<void(ProgramBuilder&)>& build) {
  ProgramBuilder b;
  build(b);
  std::set<std::string> rules;
  for (const Diagnostic& d : Check(b.BuildUnchecked())) rules.insert(d.rule);
  rules.erase(
      "err_leading_dimension_of_tensor_must_be_partition");  // block tensors always carry this warning
  return rules;
}

TEST(Capacity, CountsOneBlockWhereEachIterationUsesItsOwn) {
  EXPECT_THAT(RulesOf([](auto& b) { Blocks(b, true); }), ::testing::IsEmpty());
}

// Blocks [i, j] of a [8, 8, 128, 2048] tensor, each used in its own iteration of two loops only.
TEST(Capacity, CountsOneBlockOfEachAxisThatALoopOwns) {
  EXPECT_THAT(RulesOf([](auto& b) {
                WithOutput(b, [&] {
                  const TensorId t = b.Sbuf("blocks", {8, 8, 128, 2048}, DType::kFloat32, 2);
                  const SymbolId i = b.BeginLoop("i", 8), j = b.BeginLoop("j", 8, LoopKind::kSequential);
                  const Access block = Tile(t, {128, 2048}, {Sym(i), Sym(j), Dim(0), Dim(1)});
                  b.Emit(Opcode::kMemset, {block});
                  Attrs a = Op(AluOp::kAdd);
                  a.axes = {1};
                  b.Emit(Opcode::kTensorReduce, {b.Whole(b.Sbuf("part", {128, 1}))}, {block}, a);
                  b.EndLoop();
                  b.EndLoop();
                });
              }),
              ::testing::IsEmpty());
}

TEST(Capacity, CountsAllBlocksThatASecondLoopReads) {
  EXPECT_THAT(RulesOf([](auto& b) { Blocks(b, false); }), ::testing::ElementsAre("sbuf_spill"));
}

TEST(Check, TakesAnyProgramThatParses) {
  ProgramBuilder b;
  RowCopy(b, 500, 4, true);
  const SymbolId q = b.FloorDiv(Sym(0), 3);
  const TensorId z = b.Output("z", {512, 4}), acc = b.Sbuf("acc", {4, 128, 4}, DType::kFloat32, 1);
  const SymbolId i = b.BeginLoop("j", 4);
  b.Emit(Opcode::kTensorTensor, {Tile(acc, {128, 4}, {Sym(i), Dim(0), Dim(1)})},
         {Tile(acc, {128, 4}, {Sym(i), Dim(0), Dim(1)}), Tile(acc, {128, 4}, {Const(0), Dim(0), Dim(1)})},
         Op(AluOp::kAdd));
  b.Copy(Rows(z, i, 4), Tile(acc, {128, 4}, {Sym(i), Dim(0), Dim(1)}, {Sym(i) - Dim(1)}));
  static_cast<void>(q);
  const std::string bytes = ir::Serialize(b.Build());
  std::mt19937 rng(11);
  int parsed = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string mutated = bytes;
    for (int k = 0; k < 1 + round % 4; ++k) mutated[rng() % mutated.size()] = static_cast<char>(rng());
    const absl::StatusOr<ir::Program> p = ir::Parse(mutated);
    if (!p.ok()) continue;
    ++parsed;
    EXPECT_LE(Check(*p).size(), kMaxFindings);
  }
  EXPECT_GT(parsed, 1000);
}

TEST(Check, StopsCountingAtItsLimit) {
  ProgramBuilder b;
  const TensorId x = b.Sbuf("x", {128, 600});
  for (int i = 0; i < 500; ++i) b.Emit(Opcode::kBnStats, {b.Whole(b.Sbuf("s", {128, 6}))}, {b.Whole(x)});
  EXPECT_EQ(Check(b.BuildUnchecked()).size(), kMaxFindings);
}

}  // namespace
}  // namespace nkiagent::nki::check
