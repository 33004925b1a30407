// Hazards that hardware does not report: undefined elements that reach results, and sums in PSUM that are
// disturbed. Each with programs that have it and correct ones that look much alike.
#include <functional>
#include <string>
#include <vector>

#include "common/nki/check/check.h"
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
using ir::testing::None;
using ir::testing::Op;
using ir::testing::ProgramBuilder;
using ir::testing::Sym;
using ir::testing::Tile;
using isa::AluOp;
using isa::Opcode;
using ::testing::HasSubstr;

using Build = std::function<void(ProgramBuilder&)>;

struct Case {
  std::string name;
  std::string rule;  // empty: no finding at all
  int line = 0;
  Build build;
};

// Columns [from, from + n) of a tile.
Access Columns(TensorId id, int64_t from, int64_t n, int64_t rows = 128) {
  return Tile(id, {rows, n}, {Dim(0), Const(from) + Dim(1)});
}

Attrs Reduce() {
  Attrs a = Op(AluOp::kAdd);
  a.axes = {1};
  return a;
}

// y = f(x) for a tile of which columns 0..n are loaded, computed as a whole, and `stored` columns stored.
void PartOfATile(ProgramBuilder& b, int64_t loaded, int64_t stored) {
  const TensorId x = b.Input("x", {128, 512}), y = b.Output("y", {128, stored});
  const TensorId t = b.Sbuf("t", {128, 512}), u = b.Sbuf("u", {128, 512});
  b.Copy(Columns(t, 0, loaded), Columns(x, 0, loaded));
  b.Emit(Opcode::kTensorScalar, {b.Whole(u)}, {b.Whole(t), Imm(2)}, Op(AluOp::kMultiply));
  b.Copy(b.Whole(y), Columns(u, 0, stored));
}

// The row sums of a tile of 128 x 512 whose last rows or columns a mask may leave out.
void MaskedSum(ProgramBuilder& b, bool mask_columns, bool mask_the_sum) {
  const TensorId x = b.Input("x", {100, 400}), y = b.Output("y", {100, 1});
  const TensorId t = b.Sbuf("t", {128, 512}), sum = b.Sbuf("sum", {128, 1});
  std::vector<Affine> mask = {Const(99) - Dim(0), Const(399) - Dim(1)};
  if (!mask_columns) mask.pop_back();
  const int64_t columns = mask_columns ? 512 : 400;
  Access tile = Columns(t, 0, columns);
  tile.mask = mask;
  b.Copy(tile, Tile(x, {128, columns}, {Dim(0), Dim(1)}, mask));
  Access summed = Columns(t, 0, columns);
  if (mask_the_sum) summed.mask = mask;
  b.Emit(Opcode::kTensorReduce, {b.Whole(sum)}, {summed}, Reduce());
  b.Copy(Tile(y, {128, 1}, {Dim(0), Dim(1)}, {Const(99) - Dim(0)}), b.Whole(sum));
}

// t[:, 128 i : 128 (i + 1)] for `trips` of 4 pieces, summed up afterwards.
void PieceByPiece(ProgramBuilder& b, int64_t trips, int64_t step = 1) {
  const TensorId x = b.Input("x", {128, 512}), y = b.Output("y", {128, 1});
  const TensorId t = b.Sbuf("t", {128, 512}), sum = b.Sbuf("sum", {128, 1});
  const SymbolId i = b.BeginLoop("i", trips, LoopKind::kAffine, 0, step);
  const auto piece = [&](TensorId id) { return Tile(id, {128, 128}, {Dim(0), Sym(i, 128) + Dim(1)}); };
  b.Copy(piece(t), piece(x));
  b.EndLoop();
  b.Emit(Opcode::kTensorReduce, {b.Whole(sum)}, {b.Whole(t)}, Reduce());
  b.Copy(b.Whole(y), b.Whole(sum));
}

// out = l.T @ r with K = 100 of 128 rows loaded; `rows` of them multiplied.
void MatmulOfRows(ProgramBuilder& b, int64_t rows, bool cleared) {
  const TensorId l = b.Input("l", {100, 64}), r = b.Input("r", {100, 256}), y = b.Output("y", {64, 256});
  const TensorId lt = b.Sbuf("lt", {128, 64}), rt = b.Sbuf("rt", {128, 256});
  if (cleared) {
    b.Emit(Opcode::kMemset, {b.Whole(lt)});
    b.Emit(Opcode::kMemset, {b.Whole(rt)});
  }
  b.Copy(Columns(lt, 0, 64, 100), b.Whole(l));
  b.Copy(Columns(rt, 0, 256, 100), b.Whole(r));
  const TensorId sum = b.Psum("sum", {64, 256}), out = b.Sbuf("out", {64, 256});
  b.Emit(Opcode::kNcMatmul, {b.Whole(sum)}, {Columns(lt, 0, 64, rows), Columns(rt, 0, 256, rows)});
  b.Emit(Opcode::kTensorCopy, {b.Whole(out)}, {b.Whole(sum)});
  b.Copy(b.Whole(y), b.Whole(out));
}

// Four matmuls that add up, with something done to the sum around each.
enum class Disturb { kNothing, kClearBefore, kScaleAfter, kReadAfter, kNewSumEachTime };
void SumOfMatmuls(ProgramBuilder& b, Disturb disturb) {
  const TensorId x = b.Input("x", {512, 128}), y = b.Output("y", {128, 128});
  const TensorId outer = b.Psum("sum", {128, 128}), out = b.Sbuf("out", {128, 128});
  b.Emit(Opcode::kMemset, {b.Whole(out)});
  if (disturb != Disturb::kNewSumEachTime) b.Emit(Opcode::kMemset, {b.Whole(outer)});
  const SymbolId k = b.BeginLoop("k", 4, LoopKind::kSequential);
  const TensorId t = b.Sbuf("t", {128, 128});
  b.Copy(b.Whole(t), Tile(x, {128, 128}, {Sym(k, 128) + Dim(0), Dim(1)}));
  if (disturb == Disturb::kClearBefore || disturb == Disturb::kNewSumEachTime) {
    b.Emit(Opcode::kMemset, {b.Whole(outer)});
  }
  Attrs accumulate;
  accumulate.accumulate = true;
  b.Emit(Opcode::kNcMatmul, {b.Whole(outer)}, {b.Whole(t), b.Whole(t)}, accumulate);
  if (disturb == Disturb::kScaleAfter) {
    b.Emit(Opcode::kTensorScalar, {b.Whole(outer)}, {b.Whole(outer), Imm(2)}, Op(AluOp::kMultiply));
  }
  if (disturb == Disturb::kReadAfter || disturb == Disturb::kNewSumEachTime) {
    b.Emit(Opcode::kTensorTensor, {b.Whole(out)}, {b.Whole(out), b.Whole(outer)}, Op(AluOp::kAdd));
  }
  b.EndLoop();
  if (disturb != Disturb::kNewSumEachTime) b.Emit(Opcode::kTensorCopy, {b.Whole(out)}, {b.Whole(outer)});
  b.Copy(b.Whole(y), b.Whole(out));
}

std::vector<Case> Cases() {
  return {
      {"PartOfATileUsedAndStored", "", 0, [](auto& b) { PartOfATile(b, 256, 256); }},
      {"MoreStoredThanLoaded", "undefined_elements_used", 3, [](auto& b) { PartOfATile(b, 256, 257); }},
      {"WholeTile", "", 0, [](auto& b) { PartOfATile(b, 512, 512); }},
      {"MaskedRowsSummedRowByRow", "", 0, [](auto& b) { MaskedSum(b, false, false); }},
      {"MaskedColumnsSummed", "undefined_elements_used", 2, [](auto& b) { MaskedSum(b, true, false); }},
      {"MaskedColumnsSummedUnderTheirMask", "", 0, [](auto& b) { MaskedSum(b, true, true); }},
      {"AllPieces", "", 0, [](auto& b) { PieceByPiece(b, 4); }},
      {"OnePieceShort", "undefined_elements_used", 2, [](auto& b) { PieceByPiece(b, 3); }},
      {"EverySecondPiece", "undefined_elements_used", 2, [](auto& b) { PieceByPiece(b, 2, 2); }},
      {"MatmulOfTheRowsLoaded", "", 0, [](auto& b) { MatmulOfRows(b, 100, false); }},
      {"MatmulOfMoreRowsThanLoaded", "undefined_elements_used", 3,
       [](auto& b) { MatmulOfRows(b, 128, false); }},
      {"MatmulOfClearedRows", "", 0, [](auto& b) { MatmulOfRows(b, 128, true); }},
      {"RaggedLastTile", "", 0,
       [](auto& b) {
         const TensorId x = b.Input("x", {500, 64}), y = b.Output("y", {500, 1});
         const SymbolId i = b.BeginLoop("i", 4);
         const std::vector<Affine> mask = {Const(499) - Sym(i, 128) - Dim(0)};
         const TensorId t = b.Sbuf("t", {128, 64}), u = b.Sbuf("u", {128, 64}), s = b.Sbuf("s", {128, 1});
         Access tile = b.Whole(t);
         tile.mask = mask;
         b.Copy(tile, Tile(x, {128, 64}, {Sym(i, 128) + Dim(0), Dim(1)}, mask));
         b.Emit(Opcode::kActivation, {b.Whole(u)}, {b.Whole(t), None(), Imm(1)});
         b.Emit(Opcode::kTensorReduce, {b.Whole(s)}, {b.Whole(u)}, Reduce());
         b.Copy(Tile(y, {128, 1}, {Sym(i, 128) + Dim(0), Dim(1)}, mask), b.Whole(s));
         b.EndLoop();
       }},
      {"HbmScratchWrittenInPart", "undefined_elements_used", 3,
       [](auto& b) {
         const TensorId x = b.Input("x", {128, 8}), y = b.Output("y", {128, 16}), h = b.Hbm("h", {128, 16});
         const TensorId t = b.Sbuf("t", {128, 16});
         b.Copy(Columns(h, 0, 8), b.Whole(x));
         b.Copy(b.Whole(t), b.Whole(h));
         b.Copy(b.Whole(y), b.Whole(t));
       }},
      {"HbmScratchNeverWritten", "err_tensor_read_before_write", 1,
       [](auto& b) {
         b.Copy(b.Whole(b.Output("y", {128, 16})), b.Whole(b.Hbm("h", {128, 16})));
       }},
      {"PsumNeverWritten", "err_tensor_read_before_write", 1,
       [](auto& b) {
         const TensorId y = b.Output("y", {128, 16}), t = b.Sbuf("t", {128, 16});
         b.Emit(Opcode::kTensorCopy, {b.Whole(t)}, {b.Whole(b.Psum("p", {128, 16}))});
         b.Copy(b.Whole(y), b.Whole(t));
       }},
      {"SumOfMatmuls", "", 0, [](auto& b) { SumOfMatmuls(b, Disturb::kNothing); }},
      {"SumReadOnTheWay", "", 0, [](auto& b) { SumOfMatmuls(b, Disturb::kReadAfter); }},
      {"OneSumInEachIteration", "", 0, [](auto& b) { SumOfMatmuls(b, Disturb::kNewSumEachTime); }},
      {"ClearedInTheLoop", "psum_accumulation_broken", 4,
       [](auto& b) { SumOfMatmuls(b, Disturb::kClearBefore); }},
      {"ScaledOnTheWay", "psum_accumulation_broken", 5,
       [](auto& b) { SumOfMatmuls(b, Disturb::kScaleAfter); }},
      {"ColumnsOfOneTileEachASumOfItsOwn", "", 0,
       [](auto& b) {
         const TensorId x = b.Input("x", {128, 512}), y = b.Output("y", {128, 512});
         const TensorId t = b.Sbuf("t", {128, 512}), sum = b.Psum("sum", {128, 512}),
                        o = b.Sbuf("o", {128, 512});
         b.Copy(b.Whole(t), b.Whole(x));
         b.Emit(Opcode::kMemset, {b.Whole(sum)});
         const SymbolId i = b.BeginLoop("i", 4);
         b.BeginLoop("k", 3);
         Attrs accumulate;
         accumulate.accumulate = true;
         b.Emit(Opcode::kNcMatmul, {Tile(sum, {128, 128}, {Dim(0), Sym(i, 128) + Dim(1)})},
                {Columns(t, 0, 128), Columns(t, 128, 128)}, accumulate);
         b.EndLoop();
         b.EndLoop();
         b.Emit(Opcode::kTensorCopy, {b.Whole(o)}, {b.Whole(sum)});
         b.Copy(b.Whole(y), b.Whole(o));
       }},
  };
}

class Hazards : public ::testing::TestWithParam<Case> {};

TEST_P(Hazards, AreFoundAndNothingElse) {
  ProgramBuilder b;
  GetParam().build(b);
  std::vector<std::string> found;
  for (const Diagnostic& d : Check(b.Build())) found.push_back(d.rule + " " + std::to_string(d.line));
  if (GetParam().rule.empty()) {
    EXPECT_THAT(found, ::testing::IsEmpty());
  } else {
    EXPECT_THAT(found, ::testing::ElementsAre(GetParam().rule + " " + std::to_string(GetParam().line)));
  }
}

INSTANTIATE_TEST_SUITE_P(Programs, Hazards, ::testing::ValuesIn(Cases()),
                         [](const auto& c) { return c.param.name; });

TEST(HazardMessages, NameAnUndefinedElement) {
  ProgramBuilder b;
  PieceByPiece(b, 3);
  const std::vector<Diagnostic> found = Check(b.Build());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].severity, Severity::kWarning);
  EXPECT_THAT(found[0].message, HasSubstr("tensor 't' [128, 512]"));
  EXPECT_THAT(found[0].actual, HasSubstr("element [0, 384]"));
}

}  // namespace
}  // namespace nkiagent::nki::check
