#include "common/nki/ir/program.h"

#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "common/nki/ir/print.h"
#include "common/nki/ir/serialize.h"
#include "common/nki/ir/validate.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::ir {
namespace {

// y[i*128 + p, f] = x[i*128 + p, f] + 1 over two row tiles, through SBUF.
Program AddOne() {
  Program p;
  p.kernel_name = "add_one";
  const auto tensor = [&p](const char* name, isa::Buffer buffer, TensorRole role, std::vector<int64_t> shape,
                           SymbolId scope) {
    Tensor t;
    t.name = name;
    t.buffer = buffer;
    t.role = role;
    t.shape = std::move(shape);
    t.scope = scope;
    p.tensors.push_back(t);
    return static_cast<TensorId>(p.tensors.size() - 1);
  };
  p.symbols.push_back({SymbolKind::kLoop, "i", {}, 1});
  const TensorId x = tensor("x", isa::Buffer::kHbm, TensorRole::kInput, {256, 512}, -1);
  const TensorId y = tensor("y", isa::Buffer::kSharedHbm, TensorRole::kOutput, {256, 512}, -1);
  const TensorId tile = tensor("tile", isa::Buffer::kSbuf, TensorRole::kLocal, {128, 512}, 0);
  p.inputs = {x};
  p.outputs = {y};
  Access rows{x,         {128, 512}, {Affine::Symbol(0, 128) + Affine::Dim(0), Affine::Dim(1)}, {}, -1,
              kNoTensor, {}};
  Access local{tile, {128, 512}, {Affine::Dim(0), Affine::Dim(1)}, {}, -1, kNoTensor, {}};
  Access out = rows;
  out.tensor = y;
  auto loop = std::make_unique<Loop>();
  loop->symbol = 0;
  loop->trips = 2;
  Instr load;
  load.op = isa::Opcode::kDmaCopy;
  load.dst = {local};
  load.src = {rows};
  load.loc = {7, 3};
  Instr add;
  add.op = isa::Opcode::kTensorScalar;
  add.dst = {local, std::monostate{}};
  add.src = {local, Immediate{1.0, isa::DType::kFloat32}, std::monostate{}};
  add.attrs.op0 = isa::AluOp::kAdd;
  Instr store;
  store.op = isa::Opcode::kDmaCopy;
  store.dst = {out};
  store.src = {local};
  loop->body.push_back(Node{std::move(load)});
  loop->body.push_back(Node{std::move(add)});
  loop->body.push_back(Node{std::move(store)});
  p.body.push_back(Node{std::move(loop)});
  return p;
}

Instr& FirstInstr(Program& p) {
  return std::get<Instr>(std::get<std::unique_ptr<Loop>>(p.body[0].item)->body[0].item);
}

TEST(Program, SurvivesARoundTripThroughBytes) {
  const Program p = AddOne();
  ASSERT_TRUE(Validate(p).ok()) << Validate(p);
  const std::string bytes = Serialize(p);
  const absl::StatusOr<Program> back = Parse(bytes);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(ToString(*back), ToString(p));
  EXPECT_EQ(Serialize(*back), bytes);
}

TEST(Program, TruncatedBytesAreRefused) {
  const std::string bytes = Serialize(AddOne());
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(Parse(bytes.substr(0, n)).ok()) << n;
  EXPECT_FALSE(Parse(bytes + "x").ok());
}

TEST(Program, FlippedBytesAreRefusedOrStillValid) {
  const std::string bytes = Serialize(AddOne());
  std::mt19937 rng(7);
  for (int round = 0; round < 20000; ++round) {
    std::string mutated = bytes;
    for (int k = 0; k < 1 + round % 3; ++k) mutated[rng() % mutated.size()] = static_cast<char>(rng());
    const absl::StatusOr<Program> p = Parse(mutated);
    if (p.ok()) {
      EXPECT_TRUE(Validate(*p).ok());
    }
  }
}

TEST(Validate, NamesTheTensorUsedOutsideItsLoop) {
  Program p = AddOne();
  p.body.push_back(Node{FirstInstr(p)});
  const absl::Status s = Validate(p);
  EXPECT_FALSE(s.ok());
  EXPECT_NE(std::string(s.message()).find("'tile'"), std::string::npos) << s;
}

TEST(Validate, RefusesWritesToInputs) {
  Program p = AddOne();
  std::swap(FirstInstr(p).dst[0], FirstInstr(p).src[0]);
  EXPECT_NE(std::string(Validate(p).message()).find("read only"), std::string::npos);
}

TEST(Validate, RefusesStridesOverPartitions) {
  Program p = AddOne();
  std::get<Access>(FirstInstr(p).dst[0]).index[0] = Affine::Dim(0, 2);
  EXPECT_NE(std::string(Validate(p).message()).find("partitions"), std::string::npos);
}

TEST(Validate, RefusesAnEngineThatTheInstructionDoesNotHave) {
  Program p = AddOne();
  FirstInstr(p).engine = isa::Engine::kTensor;
  EXPECT_NE(std::string(Validate(p).message()).find("tensor engine"), std::string::npos);
}

// Every coefficient, trip count and constant is permitted by itself; their products are not.
TEST(Validate, RefusesExpressionsThatCouldOverflow) {
  const auto first_index = [](Program& p) -> Affine& {
    Loop& loop = *std::get<std::unique_ptr<Loop>>(p.body[0].item);
    return std::get<Access>(std::get<Instr>(loop.body[0].item).src[0]).index[0];
  };
  Program p = AddOne();
  first_index(p) = Affine::Symbol(0, kMaxMagnitude) + Affine::Dim(0);
  EXPECT_TRUE(Validate(p).ok());  // two trips: far outside, but no overflow
  std::get<std::unique_ptr<Loop>>(p.body[0].item)->trips = kMaxMagnitude;
  EXPECT_FALSE(Validate(p).ok());
  p = AddOne();
  first_index(p) = Affine::Dim(0, kMaxMagnitude) + Affine::Constant(kMaxMagnitude);
  EXPECT_TRUE(Validate(p).ok());
  std::get<Access>(std::get<Instr>(std::get<std::unique_ptr<Loop>>(p.body[0].item)->body[0].item).src[0])
      .shape = {int64_t{1} << 20, 512};
  EXPECT_FALSE(Validate(p).ok());
}

TEST(Validate, RefusesDerivedSymbolsThatCouldOverflow) {
  Program p = AddOne();
  std::get<std::unique_ptr<Loop>>(p.body[0].item)->trips = int64_t{1} << 20;
  p.symbols.push_back({SymbolKind::kMod, "m", Affine::Symbol(0, int64_t{1} << 20), 7});
  EXPECT_TRUE(Validate(p).ok());
  p.symbols[1].argument = Affine::Symbol(0, kMaxMagnitude);
  EXPECT_FALSE(Validate(p).ok());
}

TEST(SymbolRanges, CoverLoopsDivisionsAndRemainders) {
  Program p = AddOne();
  p.symbols.push_back({SymbolKind::kFloorDiv, "", Affine::Symbol(0, 5) + Affine::Constant(-3), 2});
  p.symbols.push_back({SymbolKind::kMod, "", Affine::Symbol(0), 8});
  const std::vector<Range> r = SymbolRanges(p);
  EXPECT_EQ(r[0].max, 1);
  EXPECT_EQ(r[1].min, -2);
  EXPECT_EQ(r[1].max, 1);
  EXPECT_EQ(r[2].min, 0);
  EXPECT_EQ(r[2].max, 1);
  std::vector<int64_t> values = {1, 0, 0};
  EvaluateDerivedSymbols(p, absl::MakeSpan(values));
  EXPECT_EQ(values[1], 1);
  EXPECT_EQ(values[2], 1);
}

TEST(Affine, AddsAndScalesTermByTerm) {
  const Affine a = Affine::Symbol(1, 3) + Affine::Dim(1, 2) + Affine::Constant(4);
  const Affine b = a - Affine::Symbol(1, 3) + Affine::Symbol(0);
  EXPECT_EQ(b.terms.size(), 1u);
  EXPECT_EQ(b.terms[0].symbol, 0);
  EXPECT_EQ((a * 2).Base(std::vector<int64_t>{0, 5}), 38);
  EXPECT_EQ(a.DimCoefficient(1), 2);
}

}  // namespace
}  // namespace nkiagent::nki::ir
