// The compiler over a trace function that answers what a child could answer, with real programs; the real
// child is in compile_service_test.cc.
#include "services/compile/compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/nki/ir/serialize.h"
#include "common/nki/ir/testing/program_builder.h"
#include "common/storage/content_hash.h"

namespace nkiagent::compile {
namespace {

using nki::ir::testing::Dim;
using nki::ir::testing::ProgramBuilder;
using nki::ir::testing::Tile;
using ::testing::HasSubstr;

// y = x, tile by tile; reads past the end of x if `rows_read` says so.
nki::ir::Program CopyProgram(int64_t rows_read = 128) {
  ProgramBuilder b;
  const nki::ir::TensorId x = b.Input("x", {128, 512});
  const nki::ir::TensorId y = b.Output("y", {128, 512});
  const nki::ir::TensorId t = b.Sbuf("t", {128, 512});
  const int64_t skip = rows_read - 128;
  b.Emit(nki::isa::Opcode::kDmaCopy, {b.Whole(t)},
         {Tile(x, {128, 512}, {nki::ir::testing::Const(skip) + Dim(0), Dim(1)})});
  b.Emit(nki::isa::Opcode::kDmaCopy, {b.Whole(y)}, {b.Whole(t)});
  return b.Build();
}

std::string OkReply(const nki::ir::Program& program) {
  return "{\"ok\": true, \"diagnostics\": []}\n" + nki::ir::Serialize(program);
}

v1::CompileRequest CopyRequest() {
  v1::CompileRequest request;
  request.mutable_kernel()->set_source("@nki.jit\ndef nki_kernel(x):\n    return x\n");
  auto* argument = request.add_arguments();
  argument->set_name("x");
  argument->set_dtype(common::v1::DATA_TYPE_FLOAT32);
  argument->add_dims(128);
  argument->add_dims(512);
  return request;
}

class CompilerTest : public ::testing::Test {
 protected:
  CompilerTest() {
    CompilerOptions options;
    options.max_wall_time = absl::Seconds(60);
    options.max_instructions = 100;
    options.toolchain.set_version("1.2.3");
    compiler_ = std::make_unique<Compiler>(
        options,
        [this](const sandbox::Request& request, const rpc::CallContext&) -> absl::StatusOr<sandbox::Outcome> {
          ++traces_;
          wall_limit_ = request.wall_limit;
          if (!error_.ok()) return error_;
          return outcome_;
        },
        *store_, compile_metrics_);
    outcome_.reply = OkReply(CopyProgram());
  }

  v1::CompileResponse Compile(const v1::CompileRequest& request) {
    auto response = compiler_->Compile(rpc::CallContext("r", absl::Now() + absl::Seconds(30)), request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *std::move(response) : v1::CompileResponse();
  }

  metrics::Metrics metrics_{"compile"};
  CompileMetrics compile_metrics_{metrics_};
  std::unique_ptr<storage::ContentStore> store_ = *storage::ContentStore::Open({});
  std::unique_ptr<Compiler> compiler_;
  sandbox::Outcome outcome_;
  absl::Status error_;
  int traces_ = 0;
  absl::Duration wall_limit_;
};

TEST_F(CompilerTest, ASoundProgramIsCompiledAndNamedByItsBytes) {
  v1::CompileRequest request = CopyRequest();
  request.set_include_program(true);
  const v1::CompileResponse response = Compile(request);
  const v1::CompileResult& result = response.result();
  EXPECT_EQ(result.outcome(), v1::COMPILE_OUTCOME_COMPILED);
  EXPECT_EQ(result.program_id(), storage::Sha256Hex(response.program()));
  EXPECT_EQ(result.program_bytes(), static_cast<int64_t>(response.program().size()));
  EXPECT_EQ(response.program(), nki::ir::Serialize(CopyProgram()));
  ASSERT_EQ(result.outputs_size(), 1);
  EXPECT_EQ(result.outputs(0).name(), "y");
  EXPECT_EQ(result.outputs(0).dtype(), common::v1::DATA_TYPE_FLOAT32);
  EXPECT_EQ(result.outputs(0).dims(1), 512);
  EXPECT_GT(result.estimate().total_us(), 0);
  EXPECT_EQ(result.estimate().traffic(0).bytes_read(), 128 * 512 * 4);
  EXPECT_EQ(result.estimate().costly_lines_size(), 2);
  EXPECT_EQ(result.estimate().costly_lines(0).engine(), common::v1::ENGINE_DMA);
  EXPECT_EQ(result.estimate().sbuf_peak_bytes(), 128 * 512 * 4);
  EXPECT_EQ(result.estimate().spill_bytes(), 0);
  EXPECT_EQ(result.toolchain().version(), "1.2.3");
  EXPECT_EQ(result.sandbox().status(), common::v1::SANDBOX_STATUS_OK);
  EXPECT_FALSE(result.cached());
}

TEST_F(CompilerTest, TheTimelineComesWhenAskedForAlsoFromTheStore) {
  EXPECT_EQ(Compile(CopyRequest()).timeline(), "");
  v1::CompileRequest request = CopyRequest();
  request.set_include_timeline(true);
  const v1::CompileResponse stored = Compile(request);
  EXPECT_EQ(traces_, 1);
  EXPECT_EQ(stored.program(), "");
  EXPECT_THAT(stored.timeline(), HasSubstr("\"traceEvents\""));
  EXPECT_THAT(stored.timeline(), HasSubstr("dma_copy"));
  request.set_bypass_cache(true);
  EXPECT_EQ(Compile(request).timeline(), stored.timeline());
}

TEST_F(CompilerTest, TheSecondAnswerComesFromTheStore) {
  const v1::CompileResponse first = Compile(CopyRequest());
  v1::CompileRequest again = CopyRequest();
  again.set_include_program(true);
  const v1::CompileResponse second = Compile(again);
  EXPECT_EQ(traces_, 1);
  EXPECT_TRUE(second.result().cached());
  EXPECT_FALSE(second.result().has_sandbox());
  EXPECT_EQ(second.result().program_id(), first.result().program_id());
  EXPECT_EQ(storage::Sha256Hex(second.program()), first.result().program_id());
  again.set_bypass_cache(true);
  EXPECT_FALSE(Compile(again).result().cached());
  EXPECT_EQ(traces_, 2);
}

TEST_F(CompilerTest, WhateverCanChangeTheAnswerChangesTheKey) {
  Compile(CopyRequest());
  std::vector<v1::CompileRequest> others(4, CopyRequest());
  others[0].mutable_kernel()->set_source("# another");
  others[1].mutable_kernel()->set_entry_name("other");
  others[2].add_constants()->set_name("k");
  others[2].mutable_constants(0)->set_literal("1");
  others[3].mutable_limits()->set_max_instructions(50);
  for (const v1::CompileRequest& other : others) EXPECT_FALSE(Compile(other).result().cached());
  EXPECT_EQ(traces_, 5);
}

TEST_F(CompilerTest, StoredProgramsAreReadById) {
  const v1::CompileResponse compiled = Compile(CopyRequest());
  v1::GetProgramRequest request;
  request.set_program_id(compiled.result().program_id());
  const auto program = compiler_->GetProgram(request);
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(storage::Sha256Hex(program->program()), request.program_id());
  EXPECT_EQ(program->inputs(0).name(), "x");
  EXPECT_EQ(program->outputs(0).name(), "y");

  request.set_program_id(std::string(64, '0'));
  EXPECT_EQ(compiler_->GetProgram(request).status().code(), absl::StatusCode::kNotFound);
  request.set_program_id("../../etc/passwd");
  EXPECT_EQ(compiler_->GetProgram(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CompilerTest, ARefusedKernelIsAnAnswerWithItsSourceLine) {
  outcome_.reply =
      "{\"ok\": false, \"diagnostics\": [{\"severity\": \"warning\", \"rule\": \"w\", \"line\": 1},"
      "{\"severity\": \"error\", \"rule\": \"err_b\", \"line\": 3},"
      "{\"severity\": \"error\", \"rule\": \"err_a\", \"line\": 2, \"message\": \"too wide\"}]}\n";
  const v1::CompileResult result = Compile(CopyRequest()).result();
  EXPECT_EQ(result.outcome(), v1::COMPILE_OUTCOME_REJECTED);
  EXPECT_EQ(result.program_id(), "");
  ASSERT_EQ(result.diagnostics_size(), 3);
  EXPECT_EQ(result.diagnostics(0).rule(), "err_a");
  EXPECT_EQ(result.diagnostics(0).source_line(), "def nki_kernel(x):");
  EXPECT_EQ(result.diagnostics(1).rule(), "err_b");
  EXPECT_EQ(result.diagnostics(2).rule(), "w");
  EXPECT_TRUE(Compile(CopyRequest()).result().cached());
}

TEST_F(CompilerTest, AProgramThatBreaksAWholeProgramRuleIsRefused) {
  outcome_.reply = OkReply(CopyProgram(/*rows_read=*/256));
  const v1::CompileResult result = Compile(CopyRequest()).result();
  EXPECT_EQ(result.outcome(), v1::COMPILE_OUTCOME_REJECTED);
  ASSERT_GE(result.diagnostics_size(), 1);
  EXPECT_EQ(result.diagnostics(0).severity(), common::v1::SEVERITY_ERROR);
  EXPECT_EQ(result.diagnostics(0).line(), 1);
  EXPECT_FALSE(result.has_estimate());
}

TEST_F(CompilerTest, KeepsFiftyDiagnosticsAndCountsTheRest) {
  std::string list;
  for (int i = 1; i <= 60; ++i) {
    absl::StrAppend(&list, i > 1 ? "," : "", "{\"severity\": \"error\", \"rule\": \"r\", \"line\": ", i, "}");
  }
  outcome_.reply = absl::StrCat("{\"ok\": false, \"diagnostics\": [", list, "]}\n");
  const v1::CompileResult result = Compile(CopyRequest()).result();
  EXPECT_EQ(result.diagnostics_size(), 50);
  EXPECT_EQ(result.diagnostics_dropped(), 10);
}

struct ChildEnd {
  const char* name;
  sandbox::OutcomeKind kind;
  common::v1::SandboxStatus status;
  const char* rule;
};

class CompilerChildEnd : public CompilerTest, public ::testing::WithParamInterface<ChildEnd> {};

TEST_P(CompilerChildEnd, IsAnAnswerThatIsNotKept) {
  outcome_ = sandbox::Outcome();
  outcome_.kind = GetParam().kind;
  outcome_.detail = "the reason";
  outcome_.output = "last words \xff";
  const v1::CompileResult result = Compile(CopyRequest()).result();
  EXPECT_EQ(result.outcome(), v1::COMPILE_OUTCOME_SANDBOX_FAILURE);
  EXPECT_EQ(result.sandbox().status(), GetParam().status);
  EXPECT_EQ(result.printed(), "last words ?");
  ASSERT_EQ(result.diagnostics_size(), 1);
  EXPECT_EQ(result.diagnostics(0).rule(), GetParam().rule);
  EXPECT_THAT(result.diagnostics(0).message(), HasSubstr("the reason"));
  EXPECT_FALSE(Compile(CopyRequest()).result().cached());
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, CompilerChildEnd,
    ::testing::Values(ChildEnd{"WallTimeout", sandbox::OutcomeKind::kWallTimeout,
                               common::v1::SANDBOX_STATUS_WALL_TIMEOUT, "err_trace_timeout"},
                      ChildEnd{"CpuLimit", sandbox::OutcomeKind::kCpuLimit,
                               common::v1::SANDBOX_STATUS_CPU_LIMIT, "err_trace_timeout"},
                      ChildEnd{"Memory", sandbox::OutcomeKind::kMemoryLimit,
                               common::v1::SANDBOX_STATUS_MEMORY_LIMIT, "err_trace_memory"},
                      ChildEnd{"Crash", sandbox::OutcomeKind::kCrashed, common::v1::SANDBOX_STATUS_CRASH,
                               "err_trace_crash"},
                      ChildEnd{"Exit", sandbox::OutcomeKind::kExited, common::v1::SANDBOX_STATUS_EXIT,
                               "err_trace_crash"},
                      ChildEnd{"Flood", sandbox::OutcomeKind::kOutputFlood,
                               common::v1::SANDBOX_STATUS_OUTPUT_FLOOD, "err_trace_output"},
                      ChildEnd{"Policy", sandbox::OutcomeKind::kPolicyViolation,
                               common::v1::SANDBOX_STATUS_POLICY_VIOLATION, "err_trace_forbidden_call"},
                      ChildEnd{"Exception", sandbox::OutcomeKind::kException,
                               common::v1::SANDBOX_STATUS_BAD_ANSWER, "err_trace_bad_answer"}),
    [](const auto& tested) { return tested.param.name; });

TEST_F(CompilerTest, ForgedRepliesAreBadAnswers) {
  nki::ir::Program other_shape = CopyProgram();
  other_shape.tensors[static_cast<size_t>(other_shape.inputs[0])].shape = {128, 1024};
  nki::ir::Program other_target = CopyProgram();
  other_target.target = "trn2";
  for (const std::string& reply :
       {std::string("garbage"), std::string("{\"ok\": true, \"diagnostics\": []}\nNKIPgarbage"),
        OkReply(other_shape), OkReply(other_target)}) {
    outcome_.reply = reply;
    const v1::CompileResult result = Compile(CopyRequest()).result();
    EXPECT_EQ(result.outcome(), v1::COMPILE_OUTCOME_SANDBOX_FAILURE);
    EXPECT_EQ(result.sandbox().status(), common::v1::SANDBOX_STATUS_BAD_ANSWER);
    EXPECT_EQ(result.program_id(), "");
  }
}

TEST_F(CompilerTest, TooManyInstructionsAreRefusedEvenIfTheChildDoesNotCount) {
  v1::CompileRequest request = CopyRequest();
  request.mutable_limits()->set_max_instructions(1);
  const v1::CompileResult result = Compile(request).result();
  EXPECT_EQ(result.outcome(), v1::COMPILE_OUTCOME_SANDBOX_FAILURE);
  EXPECT_THAT(result.sandbox().detail(), HasSubstr("2 instructions > 1"));
}

TEST_F(CompilerTest, TheWallLimitIsTheSmallestOfServiceRequestAndDeadline) {
  Compile(CopyRequest());
  EXPECT_LT(wall_limit_, absl::Seconds(30));  // the call's deadline
  EXPECT_GT(wall_limit_, absl::Seconds(25));
  v1::CompileRequest request = CopyRequest();
  request.set_bypass_cache(true);
  request.mutable_limits()->mutable_wall_time()->set_seconds(3);
  Compile(request);
  EXPECT_EQ(wall_limit_, absl::Seconds(3));
  request.mutable_limits()->mutable_wall_time()->set_seconds(1000);
  ASSERT_TRUE(compiler_->Compile(rpc::CallContext(), request).ok());
  EXPECT_EQ(wall_limit_, absl::Seconds(60));  // the service's own
}

TEST_F(CompilerTest, NoAnswerFromTheSandboxIsTheCallsError) {
  error_ = absl::ResourceExhaustedError("full");
  EXPECT_EQ(compiler_->Compile(rpc::CallContext(), CopyRequest()).status(), error_);
}

TEST_F(CompilerTest, AnInvalidRequestNeverReachesTheSandbox) {
  v1::CompileRequest request = CopyRequest();
  request.mutable_kernel()->set_source(std::string((4 << 20) + 1, 'x'));
  EXPECT_EQ(compiler_->Compile(rpc::CallContext(), request).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(traces_, 0);
}

}  // namespace
}  // namespace nkiagent::compile
