// Programs large enough to run on several threads: same results, same faults, same bookkeeping as on one.
#include <cmath>
#include <vector>

#include "common/nki/exec/bench/bench_programs.h"
#include "common/nki/exec/execute.h"
#include "common/nki/exec/plan.h"
#include "common/nki/exec/testing/program_builder.h"
#include "common/nki/exec/testing/run_program.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::exec {
namespace {

using ir::Affine;
using ir::LoopKind;
using ir::Program;
using ir::TensorId;
using isa::AluOp;
using isa::DType;
using testing::C;
using testing::D;
using testing::HostTensor;
using testing::Imm;
using testing::ProgramBuilder;
using testing::RunProgram;
using testing::RunResult;

constexpr DType kF32 = DType::kFloat32;

std::vector<HostTensor> RandomInputs(const Program& p) {
  std::vector<HostTensor> inputs;
  for (const TensorId id : p.inputs) {
    const ir::Tensor& t = p.tensors[static_cast<size_t>(id)];
    inputs.push_back(HostTensor::Random(t.dtype, t.shape, static_cast<uint64_t>(id) + 11));
  }
  return inputs;
}

RunResult RunOn(const Program& p, const std::vector<HostTensor>& inputs, int threads) {
  ExecOptions options;
  options.threads = threads;
  absl::StatusOr<RunResult> r = RunProgram(p, inputs, options);
  EXPECT_TRUE(r.ok()) << r.status();
  return r.ok() ? *std::move(r) : RunResult{};
}

// The outermost loop of a program.
bool OuterLoopIsParallel(const Program& p) {
  const absl::StatusOr<Plan> plan = MakePlan(p);
  EXPECT_TRUE(plan.ok()) << plan.status();
  for (const StepPlan& step : plan->body.steps) {
    if (step.loop != nullptr) return step.loop->parallel;
  }
  ADD_FAILURE() << "no loop";
  return false;
}

TEST(Parallel, RowTilesGiveTheSameBitsOnAnyNumberOfThreads) {
  for (const Program& p : {SoftmaxProgram(1000, 300), AddProgram(1024, 200)}) {
    EXPECT_TRUE(OuterLoopIsParallel(p));
    const std::vector<HostTensor> inputs = RandomInputs(p);
    const RunResult one = RunOn(p, inputs, 1);
    for (const int threads : {2, 3, 5}) {
      const RunResult many = RunOn(p, inputs, threads);
      ASSERT_TRUE(many.report.completed);
      EXPECT_EQ(many.report.instructions, one.report.instructions);
      EXPECT_EQ(many.report.outputs[0].unwritten_elements, 0);
      EXPECT_EQ(many.outputs[0].Floats(), one.outputs[0].Floats()) << threads;
    }
  }
}

TEST(Parallel, MatmulAgreesWithADirectSum) {
  const Program p = MatmulProgram(256, 256, 512);
  EXPECT_TRUE(OuterLoopIsParallel(p));
  const std::vector<HostTensor> inputs = RandomInputs(p);
  const std::vector<float> a = inputs[0].Floats(), b = inputs[1].Floats();
  for (const int threads : {1, 3}) {
    const std::vector<float> y = RunOn(p, inputs, threads).outputs[0].Floats();
    for (size_t m = 0; m < 256; m += 17) {
      for (size_t n = 0; n < 512; n += 13) {
        double want = 0;
        for (size_t k = 0; k < 256; ++k) want += static_cast<double>(a[k * 256 + m]) * b[k * 512 + n];
        ASSERT_NEAR(y[m * 512 + n], want, 1e-3);
      }
    }
  }
}

// One large tile, so that threads share the instruction itself.
TEST(Parallel, LargeTilesAreSharedInsideOneInstruction) {
  ProgramBuilder b("large");
  const TensorId x = b.Input("x", DType::kBFloat16, {128, 4096});
  const TensorId y = b.Output("y", kF32, {128, 4096});
  const TensorId s = b.Output("s", kF32, {128, 1});
  const TensorId t = b.Sbuf("t", DType::kBFloat16, {128, 4096});
  const TensorId u = b.Sbuf("u", kF32, {128, 4096});
  const TensorId sums = b.Sbuf("sums", kF32, {128, 1});
  b.Copy(b.Whole(t), b.Whole(x));
  ir::Attrs at;
  at.op0 = AluOp::kMultiply;
  at.op1 = AluOp::kAdd;
  at.reduce_op = AluOp::kAdd;
  b.Emit(isa::Opcode::kTensorScalar, {b.Whole(u), b.Whole(sums)}, {b.Whole(t), Imm(3.0), Imm(1.0)}, at);
  b.Copy(b.Whole(y), b.Whole(u));
  b.Copy(b.Whole(s), b.Whole(sums));
  const Program p = b.Build();
  const std::vector<HostTensor> inputs = RandomInputs(p);
  const RunResult one = RunOn(p, inputs, 1), three = RunOn(p, inputs, 3);
  EXPECT_EQ(one.outputs[0].Floats(), three.outputs[0].Floats());
  EXPECT_EQ(one.outputs[1].Floats(), three.outputs[1].Floats());
  const std::vector<float> in = inputs[0].Floats(), out = one.outputs[0].Floats();
  for (size_t k = 0; k < in.size(); k += 101) ASSERT_EQ(out[k], in[k] * 3.0f + 1.0f);
}

TEST(Parallel, TheFirstFaultInProgramOrderIsReported) {
  // Iterations 40 and later reach past row 5119.
  ProgramBuilder b("fault");
  const TensorId x = b.Input("x", kF32, {5120, 64});
  const TensorId y = b.Output("y", kF32, {5120, 64});
  b.Loop(LoopKind::kAffine, 64, [&](const Affine& i) {
    const TensorId t = b.Sbuf("t", kF32, {128, 64});
    b.Copy(b.Whole(t), b.Tile(x, {128, 64}, {i * 128 + D(0), D(1)}));
    b.Copy(b.Tile(y, {128, 64}, {i * 128 + D(0), D(1)}), b.Whole(t));
  });
  const Program p = b.Build();
  EXPECT_TRUE(OuterLoopIsParallel(p));
  const std::vector<HostTensor> inputs = RandomInputs(p);
  for (int round = 0; round < 20; ++round) {
    const RunResult r = RunOn(p, inputs, 1 + round % 4);
    ASSERT_FALSE(r.report.completed);
    EXPECT_EQ(r.report.diagnostics[0].actual, "index = 5247");
  }
}

TEST(Parallel, UnwrittenElementsAreCountedAcrossThreads) {
  ProgramBuilder b("holes");
  const TensorId x = b.Input("x", kF32, {4096, 63});
  const TensorId y = b.Output("y", kF32, {4096, 63});
  b.Loop(LoopKind::kSpmd, 32, [&](const Affine& i) {
    const TensorId t = b.Sbuf("t", kF32, {128, 63});
    const std::vector<Affine> mask = {D(1) - C(1)};
    b.Copy(b.Whole(t), b.Tile(x, {128, 63}, {i * 128 + D(0), D(1)}));
    b.Copy(b.Tile(y, {128, 63}, {i * 128 + D(0), D(1)}, mask), b.Tile(t, {128, 63}, {D(0), D(1)}, mask));
  });
  const Program p = b.Build();
  EXPECT_TRUE(OuterLoopIsParallel(p));
  const RunResult r = RunOn(p, RandomInputs(p), 3);
  EXPECT_EQ(r.report.outputs[0].unwritten_elements, 4096);
  EXPECT_EQ(r.report.outputs[0].first_unwritten, 0);
}

TEST(Parallel, MemoryLimitHoldsForAllThreadsTogether) {
  ProgramBuilder b("memory");
  const TensorId y = b.Output("y", kF32, {4096, 64});
  b.Loop(LoopKind::kAffine, 32, [&](const Affine& i) {
    const TensorId t = b.Sbuf("t", kF32, {128, 4096});
    b.Memset(b.Whole(t), 1.0);
    b.Copy(b.Tile(y, {128, 64}, {i * 128 + D(0), D(1)}), b.Tile(t, {128, 64}, {D(0), D(1)}));
  });
  const Program p = b.Build();
  ExecOptions options;
  options.threads = 2;
  options.max_bytes = 128 * 4096 * 4 + 1024;
  const absl::StatusOr<RunResult> r = RunProgram(p, {}, options);
  // One thread may have been quick enough to do everything before the other woke.
  if (r.ok()) {
    EXPECT_LE(r->report.peak_bytes, options.max_bytes);
  } else {
    EXPECT_EQ(r.status().code(), absl::StatusCode::kResourceExhausted);
  }
}

// ---- What must not be believed to be parallel.

TEST(Independence, AccumulationOverALoopIsNot) {
  for (const bool psum : {false, true}) {
    ProgramBuilder b("accumulate");
    const TensorId x = b.Input("x", kF32, {32 * 64, 128});
    const TensorId y = b.Output("y", kF32, {128, 128});
    const TensorId acc = b.Psum("acc", kF32, {128, 128});
    b.Memset(b.Whole(acc), 0.0);
    b.Loop(LoopKind::kAffine, 32, [&](const Affine& i) {
      const TensorId t = b.Sbuf("t", kF32, {64, 128});
      b.Copy(b.Whole(t), b.Tile(x, {64, 128}, {i * 64 + D(0), D(1)}));
      if (psum) {
        b.Matmul(b.Whole(acc), b.Whole(t), b.Whole(t), true);
      } else {
        b.TensorTensor(b.Tile(acc, {64, 128}, {D(0), D(1)}), b.Tile(acc, {64, 128}, {D(0), D(1)}), b.Whole(t),
                       AluOp::kAdd);
      }
    });
    b.Copy(b.Whole(y), b.Whole(acc));
    EXPECT_FALSE(OuterLoopIsParallel(b.Build()));
  }
}

TEST(Independence, NeighboursThatOverlapByOneRowAreNot) {
  for (const int64_t step : {127, 128}) {
    ProgramBuilder b("overlap");
    const TensorId y = b.Output("y", kF32, {2048, 64});
    b.Loop(LoopKind::kAffine, 8, [&](const Affine& i) {
      b.Copy(b.Tile(y, {128, 64}, {i * step + D(0), D(1)}), Imm(1.0));
    });
    EXPECT_EQ(OuterLoopIsParallel(b.Build()), step == 128);
  }
}

TEST(Independence, ReadingWhatAnotherIterationWritesIsNot) {
  ProgramBuilder b("shift");
  const TensorId y = b.InOut("y", kF32, {2048, 64});
  b.Loop(LoopKind::kAffine, 8, [&](const Affine& i) {
    b.Copy(b.Tile(y, {128, 64}, {i * 128 + D(0), D(1)}),
           b.Tile(y, {128, 64}, {i * 128 + C(128) + D(0), D(1)}));
  });
  EXPECT_FALSE(OuterLoopIsParallel(b.Build()));
}

TEST(Independence, AddressesFromQuotientsOrRunTimeIndicesAreNot) {
  for (const bool quotient : {false, true}) {
    ProgramBuilder b("indirect");
    const TensorId y = b.Output("y", kF32, {2048, 64});
    const TensorId index = b.Sbuf("index", DType::kInt32, {128, 1});
    b.Memset(b.Whole(index), 0.0);
    b.Loop(LoopKind::kAffine, 8, [&](const Affine& i) {
      ir::Access to = b.Tile(y, {128, 64}, {(quotient ? b.FloorDiv(i, 2) : i) * 128 + D(0), D(1)});
      if (!quotient) {
        to.indirect_axis = 0;
        to.indirect_tensor = index;
        to.indirect_index = {D(0), C(0)};
      }
      b.Copy(to, Imm(1.0));
    });
    EXPECT_FALSE(OuterLoopIsParallel(b.Build()));
  }
}

TEST(Independence, RegistersThatAnIterationDoesNotResetAreNot) {
  for (const isa::ReduceCmd cmd : {isa::ReduceCmd::kReduce, isa::ReduceCmd::kResetReduce}) {
    ProgramBuilder b("registers");
    const TensorId y = b.Output("y", kF32, {1024, 1});
    b.Loop(LoopKind::kAffine, 8, [&](const Affine& i) {
      const TensorId t = b.Sbuf("t", kF32, {128, 64});
      const TensorId s = b.Sbuf("s", kF32, {128, 1});
      b.Memset(b.Whole(t), 1.0);
      ir::Attrs at;
      at.reduce_cmd = cmd;
      at.reduce_op = AluOp::kAdd;
      b.Emit(isa::Opcode::kActivation, {b.Whole(t), b.Whole(s)}, {b.Whole(t), testing::None(), Imm(1.0)}, at);
      b.Copy(b.Tile(y, {128, 1}, {i * 128 + D(0), D(1)}), b.Whole(s));
    });
    EXPECT_EQ(OuterLoopIsParallel(b.Build()), cmd == isa::ReduceCmd::kResetReduce);
  }
}

TEST(Independence, TwoNamesOfOneStorageAreComparedByAddress) {
  for (const bool same_rows : {false, true}) {
    ProgramBuilder b("view");
    const TensorId y = b.Output("y", kF32, {64, 64});
    const TensorId h = b.Hbm("h", kF32, {1024, 64});
    const TensorId view = b.View(h, {8, 128 * 64});
    b.Loop(LoopKind::kAffine, 8, [&](const Affine& i) {
      b.Copy(b.Tile(h, {128, 64}, {i * 128 + D(0), D(1)}), Imm(1.0));
      const Affine row = same_rows ? i : C(7) - i;
      b.Copy(b.Tile(view, {1, 128 * 64}, {row, D(1)}), Imm(2.0));
    });
    b.Copy(b.Whole(y), b.Tile(h, {64, 64}, {D(0), D(1)}));
    EXPECT_EQ(OuterLoopIsParallel(b.Build()), same_rows);
  }
}

}  // namespace
}  // namespace nkiagent::nki::exec
