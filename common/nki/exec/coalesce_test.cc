// Which copies are left out, which are not, and that nobody can tell.
#include "common/nki/exec/coalesce.h"

#include <cstdint>
#include <vector>

#include "common/nki/exec/ranges.h"
#include "common/nki/exec/testing/program_builder.h"
#include "common/nki/exec/testing/run_program.h"
#include "common/nki/ir/print.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::exec {
namespace {

using ir::Affine;
using ir::LoopKind;
using ir::TensorId;
using isa::AluOp;
using isa::DType;
using isa::Opcode;
using testing::C;
using testing::D;
using testing::HostTensor;
using testing::ProgramBuilder;

constexpr DType kF32 = DType::kFloat32;

// Instructions that nothing takes the place of. Also runs the program both ways and compares.
int LeftOut(const ir::Program& p) {
  std::vector<HostTensor> inputs;
  uint64_t seed = 1;
  for (const ir::TensorId id : p.inputs) {
    inputs.push_back(HostTensor::Random(kF32, p.tensors[static_cast<size_t>(id)].shape, seed++));
  }
  const auto fast = testing::RunProgram(p, inputs, {}, Mode::kFast);
  const auto slow = testing::RunProgram(p, inputs, {}, Mode::kReference);
  EXPECT_TRUE(fast.ok() && slow.ok()) << fast.status() << slow.status();
  if (!fast.ok() || !slow.ok()) return -1;
  EXPECT_EQ(fast->report.instructions, slow->report.instructions);
  EXPECT_EQ(fast->report.diagnostics.size(), slow->report.diagnostics.size());
  for (size_t i = 0; i < fast->outputs.size(); ++i) {
    const std::vector<float> a = fast->outputs[i].Floats(), b = slow->outputs[i].Floats();
    for (size_t k = 0; k < a.size(); ++k) {
      if (a[k] != a[k] && b[k] != b[k]) continue;
      EXPECT_NEAR(a[k], b[k], 1e-5) << ir::ToString(p);
    }
  }
  int n = 0;
  for (const auto& [instr, other] : Coalesce(p, WideSymbolRanges(p), true).instead)
    n += other == nullptr ? 1 : 0;
  return n;
}

TEST(Coalesce, LoadAndStoreOfATileDisappear) {
  ProgramBuilder b("p");
  const TensorId x = b.Input("x", kF32, {64, 16}), y = b.Output("y", kF32, {64, 16});
  b.Loop(LoopKind::kAffine, 4, [&](const Affine& i) {
    const TensorId t = b.Sbuf("t", kF32, {16, 16}), u = b.Sbuf("u", kF32, {16, 16});
    b.Copy(b.Whole(t), b.Tile(x, {16, 16}, {i * 16 + D(0), D(1)}));
    b.TensorScalar(b.Whole(u), b.Whole(t), AluOp::kMultiply, 3.0);
    b.Copy(b.Tile(y, {16, 16}, {i * 16 + D(0), D(1)}), b.Whole(u));
  });
  EXPECT_EQ(LeftOut(b.Build()), 2);
}

TEST(Coalesce, TilesCollectedByBlockAreReadWhereTheyCameFrom) {
  ProgramBuilder b("p");
  const TensorId x = b.Input("x", kF32, {64, 16}), y = b.Output("y", kF32, {64, 16});
  const TensorId blocks = b.Sbuf("blocks", kF32, {4, 16, 16}, 1);
  const auto block = [&](const Affine& i) { return b.Tile(blocks, {16, 16}, {i, D(0), D(1)}); };
  b.Loop(LoopKind::kAffine, 4, [&](const Affine& i) {
    b.Copy(block(i), b.Tile(x, {16, 16}, {i * 16 + D(0), D(1)}));
  });
  b.Loop(LoopKind::kAffine, 4, [&](const Affine& i) {
    b.TensorScalar(b.Tile(y, {16, 16}, {i * 16 + D(0), D(1)}), block(C(3) - i), AluOp::kAdd, 1.0);
  });
  EXPECT_EQ(LeftOut(b.Build()), 1);
}

TEST(Coalesce, ATileThatIsChangedKeepsItsLoad) {
  ProgramBuilder b("p");
  const TensorId x = b.Input("x", kF32, {16, 16}), y = b.Output("y", kF32, {16, 16});
  const TensorId t = b.Sbuf("t", kF32, {16, 16});
  b.Copy(b.Whole(t), b.Whole(x));
  b.TensorScalar(b.Whole(t), b.Whole(t), AluOp::kAdd, 1.0);
  b.TensorTensor(b.Whole(t), b.Whole(t), b.Whole(t), AluOp::kMultiply);
  b.Copy(b.Whole(y), b.Whole(t));
  EXPECT_EQ(LeftOut(b.Build()), 0);
}

TEST(Coalesce, AnArgumentWrittenInPlaceIsLoadedBefore) {
  ProgramBuilder b("p");
  const TensorId x = b.InOut("x", kF32, {16, 16});
  const TensorId t = b.Sbuf("t", kF32, {16, 16}), u = b.Sbuf("u", kF32, {16, 16});
  b.Copy(b.Whole(t), b.Whole(x));
  b.Memset(b.Whole(u), 7.0);
  b.Copy(b.Whole(x), b.Whole(u));
  b.Copy(b.Whole(x), b.Whole(t));
  LeftOut(b.Build());
}

TEST(Coalesce, ADestinationReadInTheMeantimeKeepsItsOldContents) {
  ProgramBuilder b("p");
  const TensorId x = b.Input("x", kF32, {16, 16}), y = b.Output("y", kF32, {16, 16});
  const TensorId state = b.Sbuf("state", kF32, {16, 16});
  b.Memset(b.Whole(state), 1.0);
  b.Loop(LoopKind::kSequential, 3, [&](const Affine&) {
    const TensorId t = b.Sbuf("t", kF32, {16, 16}), u = b.Sbuf("u", kF32, {16, 16});
    b.Copy(b.Whole(t), b.Whole(x));
    b.TensorTensor(b.Whole(u), b.Whole(t), b.Whole(t), AluOp::kAdd);
    b.TensorTensor(b.Whole(u), b.Whole(u), b.Whole(state), AluOp::kAdd);
    b.Emit(Opcode::kTensorCopy, {b.Whole(state)}, {b.Whole(u)});
  });
  b.Copy(b.Whole(y), b.Whole(state));
  // The load of t alone: u is made while state is still read.
  EXPECT_EQ(LeftOut(b.Build()), 1);
}

// A recurrence: the new state is made piece by piece, each from all of the old one.
TEST(Coalesce, ADestinationReadByALaterIterationKeepsItsOldContents) {
  ProgramBuilder b("p");
  const TensorId x = b.Input("x", kF32, {16, 8}), y = b.Output("y", kF32, {16, 8});
  const TensorId state = b.Sbuf("state", kF32, {16, 8});
  b.Copy(b.Whole(state), b.Whole(x));
  b.Loop(LoopKind::kSequential, 3, [&](const Affine&) {
    const TensorId next = b.Sbuf("next", kF32, {16, 8});
    b.Loop(LoopKind::kAffine, 2, [&](const Affine& m) {
      b.TensorScalar(b.Tile(next, {16, 4}, {D(0), m * 4 + D(1)}),
                     b.Tile(state, {16, 4}, {D(0), C(4) - m * 4 + D(1)}), AluOp::kMultiply, 3.0);
    });
    b.Copy(b.Whole(state), b.Whole(next));
  });
  b.Copy(b.Whole(y), b.Whole(state));
  EXPECT_EQ(LeftOut(b.Build()), 0);
}

// After the copy, too: what the tile is read for in one iteration must not see what the last one wrote to its
// place.
TEST(Coalesce, ADestinationWrittenByAnEarlierIterationIsNotTheTile) {
  ProgramBuilder b("p");
  const TensorId x = b.Input("x", kF32, {16, 8}), y = b.Output("y", kF32, {3, 16, 8});
  const TensorId place = b.Sbuf("place", kF32, {16, 8}), tile = b.Sbuf("tile", kF32, {16, 8});
  const TensorId loaded = b.Sbuf("loaded", kF32, {16, 8});
  b.Copy(b.Whole(loaded), b.Whole(x));
  b.TensorScalar(b.Whole(tile), b.Whole(loaded), AluOp::kMultiply, 2.0);
  b.Copy(b.Whole(place), b.Whole(tile));
  b.Loop(LoopKind::kSequential, 3, [&](const Affine& i) {
    b.TensorScalar(b.Tile(y, {16, 8}, {i, D(0), D(1)}), b.Whole(tile), AluOp::kAdd, 1.0);
    b.TensorScalar(b.Whole(place), b.Whole(place), AluOp::kMultiply, 5.0);
  });
  LeftOut(b.Build());
}

TEST(Coalesce, ATileCopiedTwiceGoesToOnePlaceOnly) {
  ProgramBuilder b("p");
  const TensorId x = b.Input("x", kF32, {16, 16}), y = b.Output("y", kF32, {16, 16});
  const TensorId z = b.Output("z", kF32, {16, 16});
  const TensorId t = b.Sbuf("t", kF32, {16, 16}), u = b.Sbuf("u", kF32, {16, 16}),
                 v = b.Sbuf("v", kF32, {16, 16});
  b.TensorTensor(b.Whole(t), b.Whole(x), b.Whole(x), AluOp::kAdd);
  b.Emit(Opcode::kTensorCopy, {b.Whole(u)}, {b.Whole(t)});
  b.Emit(Opcode::kTensorCopy, {b.Whole(v)}, {b.Whole(t)});
  b.TensorScalar(b.Whole(u), b.Whole(u), AluOp::kMultiply, 2.0);
  b.Copy(b.Whole(y), b.Whole(u));
  b.Copy(b.Whole(z), b.Whole(v));
  LeftOut(b.Build());
}

TEST(Coalesce, HalfATileIsNotTheTile) {
  ProgramBuilder b("p");
  const TensorId x = b.Input("x", kF32, {16, 16}), y = b.Output("y", kF32, {16, 8});
  const TensorId t = b.Sbuf("t", kF32, {16, 16});
  b.TensorTensor(b.Whole(t), b.Whole(x), b.Whole(x), AluOp::kAdd);
  b.Copy(b.Whole(y), b.Tile(t, {16, 8}, {D(0), D(1, 2)}));
  EXPECT_EQ(LeftOut(b.Build()), 0);
}

TEST(Coalesce, MasksThatHoldEverywhereMeanNothing) {
  ProgramBuilder b("p");
  const TensorId x = b.Input("x", kF32, {64, 16}), y = b.Output("y", kF32, {64, 16});
  b.Loop(LoopKind::kAffine, 4, [&](const Affine& i) {
    const std::vector<Affine> inside = {C(63) - i * 16 - D(0)};
    const TensorId t = b.Sbuf("t", kF32, {16, 16});
    b.Copy(b.Tile(t, {16, 16}, {D(0), D(1)}, inside), b.Tile(x, {16, 16}, {i * 16 + D(0), D(1)}, inside));
    b.TensorScalar(b.Tile(y, {16, 16}, {i * 16 + D(0), D(1)}, inside),
                   b.Tile(t, {16, 16}, {D(0), D(1)}, inside), AluOp::kAdd, 1.0);
  });
  EXPECT_EQ(LeftOut(b.Build()), 1);
}

}  // namespace
}  // namespace nkiagent::nki::exec
