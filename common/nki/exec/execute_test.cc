#include "common/nki/exec/execute.h"

#include <cmath>
#include <thread>
#include <vector>

#include "common/nki/exec/testing/program_builder.h"
#include "common/nki/exec/testing/run_program.h"
#include "common/nki/ir/validate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::exec {
namespace {

using ir::Affine;
using ir::LoopKind;
using ir::Program;
using ir::TensorId;
using isa::ActFn;
using isa::AluOp;
using isa::DType;
using testing::C;
using testing::D;
using ::testing::HasSubstr;
using testing::HostTensor;
using testing::Imm;
using testing::ProgramBuilder;
using testing::RunProgram;
using testing::RunResult;

constexpr DType kF32 = DType::kFloat32;

// Rows of y = rows of x + 1, `tiles` tiles of 128 rows; the last one is masked to `rows`.
Program AddOne(int64_t rows, int64_t columns, LoopKind kind = LoopKind::kAffine, bool masked = true) {
  ProgramBuilder b("add_one");
  const TensorId x = b.Input("x", kF32, {rows, columns});
  const TensorId y = b.Output("y", kF32, {rows, columns});
  b.Loop(kind, (rows + 127) / 128, [&](const Affine& i) {
    const TensorId t = b.Sbuf("t", kF32, {128, columns});
    std::vector<Affine> mask;
    if (masked) mask.push_back(C(rows - 1) - i * 128 - D(0));
    b.Copy(b.Tile(t, {128, columns}, {D(0), D(1)}, mask),
           b.Tile(x, {128, columns}, {i * 128 + D(0), D(1)}, mask));
    b.TensorScalar(b.Tile(t, {128, columns}, {D(0), D(1)}, mask),
                   b.Tile(t, {128, columns}, {D(0), D(1)}, mask), AluOp::kAdd, 1.0);
    b.Copy(b.Tile(y, {128, columns}, {i * 128 + D(0), D(1)}, mask),
           b.Tile(t, {128, columns}, {D(0), D(1)}, mask));
  });
  return b.Build();
}

TEST(Execute, AddsOneOverMaskedRowTiles) {
  for (const LoopKind kind : {LoopKind::kAffine, LoopKind::kSequential, LoopKind::kSpmd}) {
    const HostTensor x = HostTensor::Random(kF32, {300, 70}, 1);
    const absl::StatusOr<RunResult> r = RunProgram(AddOne(300, 70, kind), {x});
    ASSERT_TRUE(r.ok()) << r.status();
    ASSERT_TRUE(r->report.completed);
    EXPECT_EQ(r->report.instructions, 9);
    EXPECT_EQ(r->report.outputs[0].unwritten_elements, 0);
    EXPECT_TRUE(r->report.diagnostics.empty());
    const std::vector<float> in = x.Floats(), out = r->outputs[0].Floats();
    for (size_t k = 0; k < in.size(); ++k) ASSERT_EQ(out[k], in[k] + 1.0f) << k;
  }
}

TEST(Execute, IndexOutsideItsAxisIsAFaultWithItsLine) {
  const absl::StatusOr<RunResult> r =
      RunProgram(AddOne(300, 70, LoopKind::kAffine, false), {HostTensor::Random(kF32, {300, 70}, 1)});
  ASSERT_TRUE(r.ok()) << r.status();
  EXPECT_FALSE(r->report.completed);
  ASSERT_FALSE(r->report.diagnostics.empty());
  const Diagnostic& d = r->report.diagnostics[0];
  EXPECT_EQ(d.severity, Severity::kError);
  EXPECT_EQ(d.rule, "err_tensor_access_out_of_bound");
  EXPECT_EQ(d.line, 1);
  EXPECT_THAT(d.message, HasSubstr("axis 0 of tensor 'x' with size 300"));
}

TEST(Execute, CountsUnwrittenElementsExactly) {
  ProgramBuilder b("part");
  const TensorId y = b.Output("y", kF32, {4, 100});
  const TensorId t = b.Sbuf("t", kF32, {4, 100});
  b.Memset(b.Whole(t), 3.0);
  // Row r gets columns r..r+79, every second one, but never column 41.
  b.Copy(b.Tile(y, {4, 40}, {D(0), D(0) + D(1, 2)}, {D(0) + D(1, 2) - C(42)}),
         b.Tile(t, {4, 40}, {D(0), D(1)}));
  const absl::StatusOr<RunResult> r = RunProgram(b.Build(), {});
  ASSERT_TRUE(r.ok()) << r.status();
  const std::vector<float> out = r->outputs[0].Floats();
  int64_t unwritten = 0, first = -1;
  for (int64_t k = 0; k < 400; ++k) {
    if (!std::isnan(out[static_cast<size_t>(k)])) continue;
    ++unwritten;
    if (first < 0) first = k;
  }
  EXPECT_GT(unwritten, 300);
  EXPECT_EQ(r->report.outputs[0].unwritten_elements, unwritten);
  EXPECT_EQ(r->report.outputs[0].first_unwritten, first);
}

TEST(Execute, InPlaceArgumentStartsWithItsInput) {
  ProgramBuilder b("inplace");
  const TensorId x = b.InOut("x", kF32, {4, 8});
  const TensorId t = b.Sbuf("t", kF32, {2, 8});
  b.Copy(b.Whole(t), b.Tile(x, {2, 8}, {D(0), D(1)}));
  b.TensorScalar(b.Whole(t), b.Whole(t), AluOp::kMultiply, 10.0);
  b.Copy(b.Tile(x, {2, 8}, {D(0) + C(2), D(1)}), b.Whole(t));
  const HostTensor in = HostTensor::Random(kF32, {4, 8}, 3);
  const absl::StatusOr<RunResult> r = RunProgram(b.Build(), {in});
  ASSERT_TRUE(r.ok()) << r.status();
  const std::vector<float> x0 = in.Floats(), x1 = r->outputs[0].Floats();
  for (size_t k = 0; k < 16; ++k) {
    EXPECT_EQ(x1[k], x0[k]);
    EXPECT_EQ(x1[k + 16], x0[k] * 10.0f);
  }
  EXPECT_EQ(r->report.outputs[0].unwritten_elements, 16);
}

TEST(Execute, WarnsAboutReadsOfUnwrittenMemory) {
  ProgramBuilder b("unwritten");
  const TensorId y = b.Output("y", kF32, {4, 8});
  const TensorId t = b.Sbuf("t", kF32, {4, 8});
  b.Memset(b.Tile(t, {4, 4}, {D(0), D(1)}), 1.0);
  b.Copy(b.Whole(y), b.Whole(t));
  const absl::StatusOr<RunResult> r = RunProgram(b.Build(), {});
  ASSERT_TRUE(r.ok()) << r.status();
  ASSERT_EQ(r->report.diagnostics.size(), 1u);
  EXPECT_EQ(r->report.diagnostics[0].rule, "read_of_unwritten_memory");
  EXPECT_EQ(r->report.diagnostics[0].line, 2);
  EXPECT_TRUE(std::isnan(r->outputs[0].Floats()[7]));
}

TEST(Execute, TensorsOfALoopBodyAreNewInEveryIteration) {
  ProgramBuilder b("fresh");
  const TensorId y = b.Output("y", kF32, {4, 8});
  b.Loop(LoopKind::kSequential, 2, [&](const Affine& i) {
    const TensorId t = b.Sbuf("t", kF32, {4, 8});
    b.Copy(b.Tile(y, {4, 1}, {D(0), i + D(1)}), b.Tile(t, {4, 1}, {D(0), C(3) + D(1)}));
    b.Memset(b.Whole(t), 5.0);
  });
  const absl::StatusOr<RunResult> r = RunProgram(b.Build(), {});
  ASSERT_TRUE(r.ok()) << r.status();
  EXPECT_TRUE(std::isnan(r->outputs[0].Floats()[1]));
}

TEST(Execute, CarriedValuesInALoopCalledAffineAreRight) {
  // acc += row of x, in a loop that claims to be parallel.
  ProgramBuilder b("carried");
  const TensorId x = b.Input("x", kF32, {64, 4096});
  const TensorId y = b.Output("y", kF32, {1, 4096});
  const TensorId acc = b.Sbuf("acc", kF32, {1, 4096});
  b.Memset(b.Whole(acc), 0.0);
  b.Loop(LoopKind::kAffine, 64, [&](const Affine& i) {
    const TensorId row = b.Sbuf("row", kF32, {1, 4096});
    b.Copy(b.Whole(row), b.Tile(x, {1, 4096}, {i + D(0), D(1)}));
    b.TensorTensor(b.Whole(acc), b.Whole(acc), b.Whole(row), AluOp::kAdd);
  });
  b.Copy(b.Whole(y), b.Whole(acc));
  const HostTensor in = HostTensor::Of(kF32, {64, 4096}, std::vector<float>(64 * 4096, 1.0f));
  const absl::StatusOr<RunResult> r = RunProgram(b.Build(), {in});
  ASSERT_TRUE(r.ok()) << r.status();
  for (const float v : r->outputs[0].Floats()) ASSERT_EQ(v, 64.0f);
}

TEST(Execute, LoopsWithoutTripsDoNothing) {
  ProgramBuilder b("zero");
  const TensorId y = b.Output("y", kF32, {4, 8});
  const TensorId t = b.Sbuf("t", kF32, {4, 8});
  b.Loop(LoopKind::kAffine, 0, [&](const Affine& i) {
    b.Memset(b.Tile(t, {4, 8}, {D(0), i * 1000 + D(1)}), 1.0);
    b.Copy(b.Whole(y), b.Whole(t));
  });
  const absl::StatusOr<RunResult> r = RunProgram(b.Build(), {});
  ASSERT_TRUE(r.ok()) << r.status();
  EXPECT_TRUE(r->report.completed);
  EXPECT_EQ(r->report.outputs[0].unwritten_elements, 32);
  EXPECT_EQ(r->report.instructions, 0);
}

Program Endless(bool with_body) {
  ProgramBuilder b("endless");
  const TensorId t = b.Sbuf("t", kF32, {128, 64});
  b.Loop(LoopKind::kSequential, int64_t{1} << 40, [&](const Affine&) {
    if (with_body) b.Memset(b.Whole(t), 1.0);
  });
  return b.Build();
}

TEST(Execute, DeadlineEndsAnEndlessLoop) {
  for (const bool with_body : {false, true}) {
    ExecOptions options;
    options.deadline = absl::Now() + absl::Milliseconds(20);
    EXPECT_EQ(RunProgram(Endless(with_body), {}, options).status().code(),
              absl::StatusCode::kDeadlineExceeded);
  }
}

TEST(Execute, CancelEndsAnEndlessLoop) {
  std::atomic<bool> cancelled{false};
  ExecOptions options;
  options.cancelled = &cancelled;
  std::thread canceller([&] { cancelled = true; });
  EXPECT_EQ(RunProgram(Endless(true), {}, options).status().code(), absl::StatusCode::kCancelled);
  canceller.join();
}

TEST(Execute, MemoryLimitIsKept) {
  ProgramBuilder b("large");
  const TensorId h = b.Hbm("h", kF32, {1 << 16, 1 << 14});
  b.Memset(b.Tile(b.Sbuf("t", kF32, {1, 1}), {1, 1}, {D(0), D(1)}), 1.0);
  b.Copy(b.Tile(h, {1, 1}, {D(0), D(1)}), Imm(1.0));
  ExecOptions options;
  options.max_bytes = int64_t{1} << 30;
  const absl::Status s = RunProgram(b.Build(), {}, options).status();
  EXPECT_EQ(s.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(s.message()), HasSubstr("'h'"));
}

TEST(Execute, TensorsAreReleasedAfterTheirLastUse) {
  ProgramBuilder b("chain");
  const TensorId y = b.Output("y", kF32, {128, 1024});
  const auto corner = [&b](TensorId t) { return b.Tile(t, {4, 16}, {D(0), D(1)}); };
  TensorId last = b.Hbm("h0", kF32, {128, 1024});
  b.Copy(corner(last), Imm(1.0));
  for (int k = 1; k < 8; ++k) {
    const TensorId next = b.Hbm("h", kF32, {128, 1024});
    b.Copy(corner(next), corner(last));
    last = next;
  }
  b.Copy(corner(y), corner(last));
  const absl::StatusOr<RunResult> r = RunProgram(b.Build(), {});
  ASSERT_TRUE(r.ok()) << r.status();
  EXPECT_LE(r->report.peak_bytes, 2 * 128 * 1024 * 4 + 65536);
  EXPECT_EQ(r->outputs[0].Floats()[5], 1.0f);
}

TEST(Execute, ViewsThatDoNotFitAreRefused) {
  const Program p = AddOne(300, 70);
  EXPECT_EQ(RunProgram(p, {}).status().code(), absl::StatusCode::kInvalidArgument);
  const absl::Status s = RunProgram(p, {HostTensor(kF32, {300, 71})}).status();
  EXPECT_EQ(s.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(s.message()), HasSubstr("'x'"));
  EXPECT_FALSE(RunProgram(p, {HostTensor(DType::kInt32, {300, 70})}).ok());
}

TEST(Execute, ContradictingOperandShapesAreRefusedWithTheirLine) {
  ProgramBuilder b("shapes");
  const TensorId t = b.Sbuf("t", kF32, {4, 8});
  const TensorId u = b.Sbuf("u", kF32, {4, 9});
  b.SetLine(17);
  b.TensorTensor(b.Whole(t), b.Whole(t), b.Whole(u), AluOp::kAdd);
  const absl::Status s = RunProgram(b.Build(), {}).status();
  EXPECT_EQ(s.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(s.message()), HasSubstr("line 17: tensor_tensor: operand 'data2'"));
}

TEST(Execute, HostileMagnitudesNeverLeaveATensor) {
  // Products of coefficients that pass 64 bits are no valid program; those below are found outside when they
  // are used.
  for (const int64_t big : {(int64_t{1} << 40), -(int64_t{1} << 40), (int64_t{1} << 39) + 1, int64_t{1} << 20,
                            -(int64_t{1} << 20)}) {
    ProgramBuilder b("overflow");
    const TensorId y = b.Output("y", kF32, {1 << 10, 1 << 10});
    b.Loop(LoopKind::kSequential, 3, [&](const Affine& i) {
      const Affine q = b.FloorDiv(i * big, 1);
      b.Copy(b.Tile(y, {4, 4}, {q * big + D(0), i * big + D(1, big)}), Imm(1.0));
    });
    const ir::Program program = b.Build(/*validate=*/false);
    ASSERT_EQ(ir::Validate(program).ok(), std::abs(big) == int64_t{1} << 20);
    if (!ir::Validate(program).ok()) continue;
    const absl::StatusOr<RunResult> r = RunProgram(program, {});
    ASSERT_TRUE(r.ok()) << r.status();
    EXPECT_FALSE(r->report.completed);
  }
}

TEST(Execute, RunTimeIndexGathersRowsAndFaultsOutside) {
  for (const float last : {3.0f, 4.0f, -1.0f}) {
    ProgramBuilder b("gather");
    const TensorId table = b.Input("table", kF32, {4, 8});
    const TensorId rows = b.Input("rows", DType::kInt32, {3, 1});
    const TensorId y = b.Output("y", kF32, {3, 8});
    const TensorId index = b.Sbuf("index", DType::kInt32, {3, 1});
    const TensorId t = b.Sbuf("t", kF32, {3, 8});
    b.Copy(b.Whole(index), b.Whole(rows));
    ir::Access from = b.Tile(table, {3, 8}, {C(0), D(1)});
    from.indirect_axis = 0;
    from.indirect_tensor = index;
    from.indirect_index = {D(0), C(0)};
    b.Copy(b.Whole(t), from);
    b.Copy(b.Whole(y), b.Whole(t));
    const HostTensor data = HostTensor::Random(kF32, {4, 8}, 9);
    const absl::StatusOr<RunResult> r =
        RunProgram(b.Build(), {data, HostTensor::Of(DType::kInt32, {3, 1}, {2.0f, 0.0f, last})});
    ASSERT_TRUE(r.ok()) << r.status();
    if (last != 3.0f) {
      EXPECT_FALSE(r->report.completed);
      EXPECT_EQ(r->report.diagnostics[0].line, 2);
      EXPECT_THAT(r->report.diagnostics[0].message, HasSubstr("run-time index"));
      EXPECT_EQ(r->report.fault_element, static_cast<int64_t>(last) * 8);
      EXPECT_EQ(r->report.fault_elements, 32);
      continue;
    }
    const std::vector<float> in = data.Floats(), out = r->outputs[0].Floats();
    for (size_t f = 0; f < 8; ++f) {
      EXPECT_EQ(out[f], in[2 * 8 + f]);
      EXPECT_EQ(out[8 + f], in[f]);
      EXPECT_EQ(out[16 + f], in[3 * 8 + f]);
    }
  }
}

TEST(Execute, WarnsAboutActivationInputsOutsideTheValidRange) {
  ProgramBuilder b("sine");
  const TensorId y = b.Output("y", kF32, {4, 8});
  const TensorId t = b.Sbuf("t", kF32, {4, 8});
  b.Memset(b.Whole(t), 10.0);
  b.Activation(b.Whole(t), b.Whole(t), ActFn::kSin);
  b.Copy(b.Whole(y), b.Whole(t));
  const absl::StatusOr<RunResult> r = RunProgram(b.Build(), {});
  ASSERT_TRUE(r.ok()) << r.status();
  ASSERT_EQ(r->report.diagnostics.size(), 1u);
  EXPECT_EQ(r->report.diagnostics[0].rule, "activation_input_out_of_range");
  EXPECT_EQ(r->report.diagnostics[0].line, 2);
  EXPECT_NEAR(r->outputs[0].Floats()[0], std::sin(10.0), 1e-6);
}

}  // namespace
}  // namespace nkiagent::nki::exec
