// verify-service as a process, over gRPC, with real reference and execute children. Programs are built by
// hand, so that each can be wrong in just one way.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/nki/exec/testing/program_builder.h"
#include "common/nki/ir/serialize.h"
#include "common/rpc/status.h"
#include "common/storage/content_hash.h"
#include "common/storage/content_store.h"
#include "nkiagent/compile/v1/compile_service.pb.h"
#include "nkiagent/verify/v1/verify_service.grpc.pb.h"
#include "tests/support/service_process.h"

namespace nkiagent::verify {
namespace {

using nki::exec::testing::D;
using nki::exec::testing::Imm;
using nki::exec::testing::ProgramBuilder;
using nki::isa::AluOp;
using nki::isa::DType;
using ::testing::HasSubstr;
using ::testing::Not;

// forward(x) = x * 2 + bias, with x of 128 x 64 and bias a parameter of 64.
constexpr char kTask[] = R"(
import torch
import torch.nn as nn
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(64))
    def forward(self, x):
        return x * 2 + self.bias
def get_inputs():
    return [torch.randn(128, 64)]
def get_init_inputs():
    return []
)";

// A task whose forward has this body; x has 4 x 8 elements.
std::string TaskWith(const std::string& body, const std::string& inputs = "[torch.randn(4, 8)]") {
  return absl::StrCat("import torch\nclass Model(torch.nn.Module):\n    def forward(self, x):\n        ",
                      body, "\ndef get_inputs():\n    return ", inputs,
                      "\ndef get_init_inputs():\n    return []\n");
}

struct KernelOptions {
  double factor = 2;
  int64_t rows_written = 128;
  DType output = DType::kFloat32;
  std::vector<int64_t> output_shape = {128, 64};
  int64_t bias_size = 64;
  double add = 0;
};

// The kernel for kTask, right by default.
std::string Kernel(const KernelOptions& options = {}) {
  ProgramBuilder b("nki_kernel");
  const auto x = b.Input("x", DType::kFloat32, {128, 64});
  const auto bias = b.Input("bias", DType::kFloat32, {options.bias_size});
  const auto y = b.Output("y", options.output, options.output_shape);
  const auto t = b.Sbuf("t", DType::kFloat32, {128, 64});
  const auto u = b.Sbuf("u", DType::kFloat32, {128, 64});
  const auto o = b.Sbuf("o", options.output, {128, 64});
  b.Copy(b.Whole(t), b.Whole(x));
  b.Copy(b.Whole(u), b.Tile(bias, {128, 64}, {D(1)}));
  b.TensorScalar(b.Whole(t), b.Whole(t), AluOp::kMultiply, options.factor);
  b.TensorScalar(b.Whole(t), b.Whole(t), AluOp::kAdd, options.add);
  b.TensorTensor(b.Whole(o), b.Whole(t), b.Whole(u), AluOp::kAdd);
  const int64_t rows = options.rows_written;
  if (options.output_shape == std::vector<int64_t>{128, 64}) {
    b.Copy(b.Tile(y, {rows, 64}, {D(0), D(1)}), b.Tile(o, {rows, 64}, {D(0), D(1)}));
  } else {
    b.Copy(b.Tile(y, {64, 64}, {D(0), D(1)}), b.Tile(o, {64, 64}, {D(0), D(1)}));
  }
  return nki::ir::Serialize(b.Build());
}

// Works without end for a reader's purposes: 2^40 copies.
std::string EndlessKernel() {
  ProgramBuilder b("nki_kernel");
  const auto x = b.Input("x", DType::kFloat32, {128, 64});
  b.Input("bias", DType::kFloat32, {64});
  const auto y = b.Output("y", DType::kFloat32, {128, 64});
  b.Loop(nki::ir::LoopKind::kSequential, int64_t{1} << 20, [&](const nki::ir::Affine&) {
    b.Loop(nki::ir::LoopKind::kSequential, int64_t{1} << 20, [&](const nki::ir::Affine&) {
      const auto t = b.Sbuf("t", DType::kFloat32, {128, 64});
      b.Copy(b.Whole(t), b.Whole(x));
      b.Copy(b.Whole(y), b.Whole(t));
    });
  });
  return nki::ir::Serialize(b.Build());
}

class VerifyServiceTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string directory = ::testing::TempDir() + "/verify_store_XXXXXX";
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    directory_ = new std::string(directory);
    auto service = testing::ServiceProcess::Start(
        testing::RequiredEnv("VERIFY_SERVICE"),
        {"--max_workers=2", "--ready_workers=1", "--max_queued=4", "--reference_wall_time=3s",
         "--max_tensor_bytes=64MiB", "--store_directory=" + directory});
    ASSERT_TRUE(service.ok()) << service.status();
    service_ = service->release();
    stub_ = v1::VerifyService::NewStub(
                grpc::CreateChannel(service_->target(), grpc::InsecureChannelCredentials()))
                .release();
    processes_ = service_->Descendants().size();
  }
  static void TearDownTestSuite() {
    delete stub_;
    if (service_ != nullptr) {
      auto code = service_->Stop();
      EXPECT_TRUE(code.ok()) << code.status();
      EXPECT_EQ(code.value_or(-1), 0);
    }
    delete service_;
    std::filesystem::remove_all(*directory_);
    delete directory_;
  }

  // Whatever happened, the service has no more children than its parents keep ready.
  void TearDown() override {
    size_t left = 0;
    for (int i = 0; i < 1000; ++i) {
      left = service_->Descendants().size();
      if (left <= kParents + kReady) return;
      absl::SleepFor(absl::Milliseconds(10));
    }
    ADD_FAILURE() << left << " processes are left";
  }

  static absl::StatusOr<v1::DescribeTaskResponse> Describe(const std::string& source) {
    v1::DescribeTaskRequest request;
    request.mutable_task()->set_reference_source(source);
    v1::DescribeTaskResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const grpc::Status status = stub_->DescribeTask(&context, request, &response);
    if (!status.ok()) return rpc::FromGrpcStatus(status);
    return response;
  }
  static v1::TaskProblem Problem(const std::string& source) {
    auto response = Describe(source);
    EXPECT_TRUE(response.ok()) << response.status();
    EXPECT_TRUE(response.ok() && response->has_problem());
    return response.ok() ? response->problem() : v1::TaskProblem();
  }

  static v1::VerifyRequest Request(const std::string& program, const std::string& source = kTask) {
    v1::VerifyRequest request;
    request.mutable_task()->set_reference_source(source);
    request.set_program_bytes(program);
    return request;
  }
  static absl::StatusOr<v1::Verdict> Call(const v1::VerifyRequest& request,
                                          absl::Duration timeout = absl::Seconds(60)) {
    v1::VerifyResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
    const grpc::Status status = stub_->Verify(&context, request, &response);
    if (!status.ok()) return rpc::FromGrpcStatus(status);
    return response.verdict();
  }
  static v1::Verdict Judge(const v1::VerifyRequest& request) {
    auto verdict = Call(request);
    EXPECT_TRUE(verdict.ok()) << verdict.status();
    return verdict.value_or(v1::Verdict());
  }

  // Waits until a metric's line has this end.
  static bool GaugeBecomes(const std::string& line) {
    for (int i = 0; i < 1000; ++i) {
      const auto text = service_->Scrape();
      if (text.ok() && absl::StrContains(*text, absl::StrCat("nkiagent_verify_", line, "\n"))) return true;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return false;
  }

  static constexpr size_t kParents = 2;
  static constexpr size_t kReady = 2;
  static std::string* directory_;  // What compile-service and verify-service share.
  static testing::ServiceProcess* service_;
  static v1::VerifyService::Stub* stub_;
  static size_t processes_;
};

std::string* VerifyServiceTest::directory_ = nullptr;
testing::ServiceProcess* VerifyServiceTest::service_ = nullptr;
v1::VerifyService::Stub* VerifyServiceTest::stub_ = nullptr;
size_t VerifyServiceTest::processes_ = 0;

TEST_F(VerifyServiceTest, DescribesATaskAndRemembersIt) {
  auto response = Describe(kTask);
  ASSERT_TRUE(response.ok()) << response.status();
  const v1::TaskFacts& facts = response->facts();
  ASSERT_EQ(facts.arguments_size(), 2);
  EXPECT_EQ(facts.arguments(0).name(), "x");
  EXPECT_EQ(facts.arguments(0).role(), common::v1::TENSOR_ROLE_INPUT);
  EXPECT_EQ(facts.arguments(1).name(), "bias");
  EXPECT_EQ(facts.arguments(1).role(), common::v1::TENSOR_ROLE_PARAMETER);
  EXPECT_EQ(facts.arguments(1).dims(0), 64);
  ASSERT_EQ(facts.outputs_size(), 1);
  EXPECT_EQ(facts.outputs(0).dtype(), common::v1::DATA_TYPE_FLOAT32);
  EXPECT_EQ(facts.signature(), "def nki_kernel(x, bias):");
  EXPECT_THAT(facts.reference_graph(), HasSubstr("param bias: float32[64]"));
  EXPECT_EQ(facts.tolerance().atol(), 1e-3);
  EXPECT_EQ(facts.task_hash().size(), 64u);
  EXPECT_THAT(facts.toolchain().torch_version(), HasSubstr("2."));
  EXPECT_TRUE(Describe(kTask)->cached());
  EXPECT_EQ(Describe(kTask)->facts().SerializeAsString(), facts.SerializeAsString());
}

TEST_F(VerifyServiceTest, ARightKernelPasses) {
  const v1::Verdict verdict = Judge(Request(Kernel()));
  EXPECT_TRUE(verdict.passed()) << verdict.message();
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_PASSED);
  ASSERT_EQ(verdict.trials_size(), 3);
  for (const v1::TrialResult& trial : verdict.trials()) {
    EXPECT_TRUE(trial.passed());
    ASSERT_EQ(trial.outputs_size(), 1);
    EXPECT_EQ(trial.outputs(0).total_elements(), 128 * 64);
    EXPECT_EQ(trial.outputs(0).mismatched_elements(), 0);
    EXPECT_LT(trial.outputs(0).max_abs_error(), 1e-5);
  }
  EXPECT_NE(verdict.trials(0).seed(), verdict.trials(1).seed());
  EXPECT_EQ(verdict.program_id().size(), 64u);
  EXPECT_THAT(verdict.message(), HasSubstr("all 3 trials"));
  EXPECT_GT(verdict.estimate().total_us(), 0);
}

TEST_F(VerifyServiceTest, AWrongKernelDiffers) {
  v1::VerifyRequest request = Request(Kernel({.factor = 2.1}));
  const v1::Verdict verdict = Judge(request);
  EXPECT_FALSE(verdict.passed());
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_MISMATCH) << verdict.message();
  ASSERT_EQ(verdict.trials_size(), 1) << verdict.message();  // Stops at the first that fails.
  ASSERT_EQ(verdict.trials(0).outputs_size(), 1);
  const v1::OutputComparison& output = verdict.trials(0).outputs(0);
  EXPECT_GT(output.mismatched_elements(), 128 * 64 * 9 / 10);
  EXPECT_EQ(output.first_mismatch().indices_size(), 2);
  EXPECT_NE(output.first_mismatch().expected(), output.first_mismatch().actual());
  EXPECT_GT(output.sample_mismatches_size(), 8);
  request.set_run_all_trials(true);
  EXPECT_EQ(Judge(request).trials_size(), 3);
  // A wide tolerance forgives it.
  request.mutable_tolerance()->set_atol(10);
  EXPECT_TRUE(Judge(request).passed());
}

TEST_F(VerifyServiceTest, UnwrittenElementsFailEvenIfAllOthersAreRight) {
  const v1::Verdict verdict = Judge(Request(Kernel({.rows_written = 127})));
  EXPECT_FALSE(verdict.passed());
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_UNWRITTEN_ELEMENTS) << verdict.message();
  ASSERT_GT(verdict.trials_size(), 0);
  ASSERT_GT(verdict.trials(0).outputs_size(), 0);
  const v1::OutputComparison& output = verdict.trials(0).outputs(0);
  EXPECT_EQ(output.unwritten_elements(), 64);
  EXPECT_EQ(output.mismatched_elements(), 64);
  ASSERT_EQ(output.first_unwritten_indices_size(), 2);
  EXPECT_EQ(output.first_unwritten_indices(0), 127);
  EXPECT_THAT(verdict.message(), HasSubstr("64 of 8192 elements of output were never written"));
}

TEST_F(VerifyServiceTest, NanFails) {
  const v1::Verdict verdict = Judge(Request(Kernel({.add = std::numeric_limits<double>::quiet_NaN()})));
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_NAN) << verdict.message();
  ASSERT_GT(verdict.trials_size(), 0);
  ASSERT_GT(verdict.trials(0).outputs_size(), 0);
  EXPECT_EQ(verdict.trials(0).outputs(0).actual_nan_count(), 8192);
}

TEST_F(VerifyServiceTest, HighRigorTriesEachFamilyOfInputs) {
  v1::VerifyRequest request = Request(Kernel());
  request.set_rigor(v1::RIGOR_HIGH);
  request.set_trials(2);
  const v1::Verdict verdict = Judge(request);
  EXPECT_TRUE(verdict.passed()) << verdict.message();
  EXPECT_EQ(verdict.rigor(), v1::RIGOR_HIGH);
  EXPECT_EQ(verdict.trials_size(), 2 + 8);
  ASSERT_EQ(verdict.families_size(), 9);
  for (const v1::FamilyResult& family : verdict.families()) {
    EXPECT_TRUE(family.passed()) << family.ShortDebugString();
  }
  const v1::TrialResult& nan = verdict.trials(8);
  EXPECT_EQ(nan.family(), v1::INPUT_FAMILY_NAN);
  EXPECT_GT(nan.outputs(0).expected_nan_count(), 0);
  EXPECT_EQ(nan.outputs(0).actual_nan_count(), nan.outputs(0).expected_nan_count());
}

TEST_F(VerifyServiceTest, HighRigorFindsWhatDrawnInputsDoNotShow) {
  // No number drawn from a normal distribution reaches the bound.
  const std::string source = TaskWith("return torch.clamp(x, max=100.0)", "[torch.randn(128, 64)]");
  ProgramBuilder b("nki_kernel");
  const auto x = b.Input("x", DType::kFloat32, {128, 64});
  const auto y = b.Output("y", DType::kFloat32, {128, 64});
  const auto t = b.Sbuf("t", DType::kFloat32, {128, 64});
  b.Copy(b.Whole(t), b.Whole(x));
  b.Copy(b.Whole(y), b.Whole(t));  // The bound is forgotten.
  v1::VerifyRequest request = Request(nki::ir::Serialize(b.Build()), source);
  EXPECT_TRUE(Judge(request).passed());
  request.set_rigor(v1::RIGOR_HIGH);
  const v1::Verdict verdict = Judge(request);
  EXPECT_FALSE(verdict.passed());
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_MISMATCH);
  EXPECT_THAT(verdict.message(), HasSubstr("for large inputs"));
  for (const v1::FamilyResult& family : verdict.families()) {
    const bool wrong =
        family.family() == v1::INPUT_FAMILY_LARGE || family.family() == v1::INPUT_FAMILY_INFINITE;
    EXPECT_EQ(family.passed(), !wrong) << family.ShortDebugString();
  }
}

TEST_F(VerifyServiceTest, FamiliesThatSayNothingAreSkippedAndTold) {
  // A number below zero has no logarithm.
  const std::string source = TaskWith("return torch.log(x) * 0 + x", "[torch.rand(128, 64) + 0.5]");
  ProgramBuilder b("nki_kernel");
  const auto x = b.Input("x", DType::kFloat32, {128, 64});
  const auto y = b.Output("y", DType::kFloat32, {128, 64});
  const auto t = b.Sbuf("t", DType::kFloat32, {128, 64});
  b.Copy(b.Whole(t), b.Whole(x));
  b.Copy(b.Whole(y), b.Whole(t));
  v1::VerifyRequest request = Request(nki::ir::Serialize(b.Build()), source);
  request.set_rigor(v1::RIGOR_HIGH);
  const v1::Verdict verdict = Judge(request);
  for (const v1::FamilyResult& family : verdict.families()) {
    if (family.family() == v1::INPUT_FAMILY_NEGATIVE) {
      EXPECT_THAT(family.skipped(), HasSubstr("NaN"));
      EXPECT_FALSE(family.passed());
    }
    if (family.family() == v1::INPUT_FAMILY_TINY) {
      EXPECT_TRUE(family.passed()) << verdict.message();
    }
  }
  // log(inf) * 0 is NaN, which the kernel doesn't give.
  EXPECT_FALSE(verdict.passed());
  request.set_rigor(static_cast<v1::Rigor>(17));
  EXPECT_EQ(Call(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(VerifyServiceTest, OtherShapesTypesAndArgumentsAreNamed) {
  v1::Verdict verdict = Judge(Request(Kernel({.output_shape = {64, 64}})));
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_SHAPE_MISMATCH);
  EXPECT_THAT(verdict.message(),
              HasSubstr("float32[64, 64] in the kernel and output: float32[128, 64] in the task"));
  EXPECT_EQ(verdict.trials_size(), 0);
  verdict = Judge(Request(Kernel({.output = DType::kBFloat16})));
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_DTYPE_MISMATCH);
  ASSERT_EQ(verdict.actual_specs_size(), 1);
  EXPECT_EQ(verdict.actual_specs(0).dtype(), common::v1::DATA_TYPE_BFLOAT16);
  verdict = Judge(Request(Kernel({.bias_size = 65})));
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_ARGUMENT_MISMATCH);
  EXPECT_THAT(verdict.message(), HasSubstr("float32[65]"));
}

TEST_F(VerifyServiceTest, ProgramsCanBeNamedByTheirIdInASharedStore) {
  compile::v1::GetProgramResponse stored;
  stored.set_program(Kernel());
  const std::string id = storage::Sha256Hex(stored.program());
  auto store = storage::ContentStore::Open({.directory = *directory_});
  ASSERT_TRUE(store.ok()) << store.status();
  (*store)->Put("program-" + id, stored.SerializeAsString());
  v1::VerifyRequest request = Request("");
  request.set_program_id(id);
  const v1::Verdict verdict = Judge(request);
  EXPECT_TRUE(verdict.passed()) << verdict.message();
  EXPECT_EQ(verdict.program_id(), id);
  request.set_program_id(std::string(64, 'a'));
  EXPECT_EQ(Call(request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(VerifyServiceTest, BytesThatAreNoProgramAreAVerdict) {
  EXPECT_EQ(Judge(Request("garbage")).reason(), v1::VERDICT_REASON_INVALID_PROGRAM);
  std::string cut = Kernel();
  cut.resize(cut.size() / 2);
  EXPECT_EQ(Judge(Request(cut)).reason(), v1::VERDICT_REASON_INVALID_PROGRAM);
}

TEST_F(VerifyServiceTest, AnEndlessKernelEndsAtItsWallLimit) {
  v1::VerifyRequest request = Request(EndlessKernel());
  request.mutable_wall_limit()->set_nanos(300'000'000);
  const v1::Verdict verdict = Judge(request);
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_TIMEOUT) << verdict.message();
  EXPECT_EQ(verdict.trials_size(), 1);
}

TEST_F(VerifyServiceTest, SeedsMakeTrialsRepeatableAndComeFromTheCache) {
  v1::VerifyRequest request = Request(Kernel({.factor = 2.1}));
  request.set_trials(2);
  request.add_seeds(7);
  request.add_seeds(uint64_t{1} << 63);
  request.set_run_all_trials(true);
  const v1::Verdict first = Judge(request);
  const v1::Verdict second = Judge(request);
  ASSERT_EQ(first.trials_size(), 2) << first.message();
  ASSERT_EQ(second.trials_size(), 2) << second.message();
  EXPECT_EQ(first.trials(1).seed(), uint64_t{1} << 63);
  EXPECT_EQ(first.trials(0).outputs(0).SerializeAsString(), second.trials(0).outputs(0).SerializeAsString());
  EXPECT_NE(first.trials(0).outputs(0).max_abs_error(), first.trials(1).outputs(0).max_abs_error());
  ASSERT_GE(second.evidence_size(), 1);
  EXPECT_THAT(second.evidence(0), HasSubstr("from the cache for seeds 7, 9223372036854775808"));
}

TEST_F(VerifyServiceTest, TaskProblemsAreAnswers) {
  EXPECT_EQ(Problem("def (:").kind(), v1::TASK_PROBLEM_KIND_SYNTAX);
  EXPECT_EQ(Problem("x = 1\n").kind(), v1::TASK_PROBLEM_KIND_NO_MODEL);
  const v1::TaskProblem raises = Problem(TaskWith("return x / missing"));
  EXPECT_EQ(raises.kind(), v1::TASK_PROBLEM_KIND_FORWARD_RAISES);
  EXPECT_EQ(raises.line(), 4);
  EXPECT_THAT(raises.traceback(), HasSubstr("NameError"));
  EXPECT_EQ(Problem(TaskWith("return x.double()")).kind(), v1::TASK_PROBLEM_KIND_UNSUPPORTED_DTYPE);
  EXPECT_EQ(Problem(TaskWith("return x", "[torch.randn(2, 0)]")).kind(), v1::TASK_PROBLEM_KIND_EMPTY_TENSOR);
  EXPECT_EQ(Problem(TaskWith("return x", "[torch.randn(1, 1, 1, 1, 1, 1)]")).kind(),
            v1::TASK_PROBLEM_KIND_UNSUPPORTED_RANK);
  EXPECT_EQ(Problem(TaskWith("return x + torch.rand(8)")).kind(), v1::TASK_PROBLEM_KIND_NON_DETERMINISTIC);
  const v1::Verdict verdict = Judge(Request(Kernel(), TaskWith("return x + torch.rand(8)")));
  EXPECT_EQ(verdict.reason(), v1::VERDICT_REASON_TASK_PROBLEM);
  EXPECT_EQ(verdict.task_problem().kind(), v1::TASK_PROBLEM_KIND_NON_DETERMINISTIC);
}

TEST_F(VerifyServiceTest, HostileReferencesAreAnswersTooAndTheServiceGoesOn) {
  const v1::TaskProblem loop = Problem(TaskWith("while True: pass"));
  EXPECT_EQ(loop.kind(), v1::TASK_PROBLEM_KIND_TIMEOUT);
  EXPECT_EQ(loop.sandbox().status(), common::v1::SANDBOX_STATUS_WALL_TIMEOUT);
  EXPECT_EQ(Problem(TaskWith("return torch.zeros(100 << 28)")).kind(), v1::TASK_PROBLEM_KIND_MEMORY);
  EXPECT_EQ(Problem(TaskWith("__import__('os')._exit(0)")).sandbox().status(),
            common::v1::SANDBOX_STATUS_EXIT);
  EXPECT_EQ(Problem(TaskWith("__import__('ctypes').string_at(8)")).sandbox().status(),
            common::v1::SANDBOX_STATUS_CRASH);
  EXPECT_EQ(Problem(TaskWith("__import__('os').fork()")).sandbox().status(),
            common::v1::SANDBOX_STATUS_POLICY_VIOLATION);
  EXPECT_EQ(Problem(TaskWith("__import__('socket').socket()")).sandbox().status(),
            common::v1::SANDBOX_STATUS_POLICY_VIOLATION);
}

TEST_F(VerifyServiceTest, BadRequestsAreRefused) {
  EXPECT_EQ(Describe("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Describe(std::string((4 << 20) + 1, '#')).status().code(), absl::StatusCode::kInvalidArgument);
  v1::VerifyRequest request = Request(Kernel());
  request.set_trials(65);
  EXPECT_EQ(Call(request).status().code(), absl::StatusCode::kInvalidArgument);
  request = Request(Kernel());
  request.add_seeds(1);
  EXPECT_THAT(std::string(Call(request).status().message()), HasSubstr("1 seeds for 3 trials"));
  request = Request(Kernel());
  request.mutable_tolerance()->set_rtol(-1);
  EXPECT_EQ(Call(request).status().code(), absl::StatusCode::kInvalidArgument);
  request = Request(Kernel());
  request.clear_program();
  EXPECT_EQ(Call(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_program_id("abc");
  EXPECT_EQ(Call(request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(VerifyServiceTest, TheCallersDeadlineEndsTheChild) {
  const v1::VerifyRequest request = Request(Kernel(), TaskWith("while True: pass"));
  const auto verdict = Call(request, absl::Seconds(1));
  // Either the caller has given up, or it learns just in time that the reference passed what was left.
  if (verdict.ok()) {
    EXPECT_EQ(verdict->task_problem().kind(), v1::TASK_PROBLEM_KIND_TIMEOUT);
  } else {
    EXPECT_EQ(verdict.status().code(), absl::StatusCode::kDeadlineExceeded);
  }
}

TEST_F(VerifyServiceTest, ACancelledCallLeavesNoProcess) {
  // The gauge is sampled once a second, so it may still tell of the test before.
  EXPECT_TRUE(GaugeBecomes("workers_running{parent=\"reference\"} 0"));
  grpc::ClientContext context;
  std::thread caller([&] {
    v1::VerifyResponse response;
    const grpc::Status status =
        stub_->Verify(&context, Request(Kernel(), TaskWith("while True: x = x + 1")), &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  });
  EXPECT_TRUE(GaugeBecomes("workers_running{parent=\"reference\"} 1"));
  context.TryCancel();
  caller.join();
}

TEST_F(VerifyServiceTest, ManyCallsAtOnceAllGetAnAnswer) {
  std::vector<std::thread> callers;
  std::atomic<int> passed = 0;
  std::atomic<int> full = 0;
  for (int i = 0; i < 6; ++i) {
    callers.emplace_back([&] {
      const auto verdict = Call(Request(Kernel()));
      passed += verdict.ok() && verdict->passed();
      if (absl::IsResourceExhausted(verdict.status())) {
        ++full;
        EXPECT_TRUE(rpc::RetryAfter(verdict.status()).has_value());
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(passed + full, 6);
  EXPECT_GT(passed, 0);
}

TEST_F(VerifyServiceTest, MetricsTellVerdictsAndTheSandbox) {
  Judge(Request(Kernel()));
  const auto text = service_->Scrape();
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("nkiagent_verify_verdicts_total{reason=\"passed\"}"));
  EXPECT_THAT(*text, HasSubstr("nkiagent_verify_sandbox_level{parent=\"execute\"} 3"));
  EXPECT_THAT(*text, HasSubstr("nkiagent_verify_worker_parent_restarts{parent=\"reference\"} 0"));
}

}  // namespace
}  // namespace nkiagent::verify
