// The whole service, with its sandboxed worker: what a caller of compile-service sees.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "common/rpc/channel.h"
#include "common/rpc/context.h"
#include "common/rpc/status.h"
#include "nkiagent/compile/v1/compile_service.grpc.pb.h"
#include "tests/support/service_process.h"

namespace nkiagent::compile {
namespace {

using ::testing::HasSubstr;

constexpr char kService[] = "nkiagent.compile.v1.CompileService";

constexpr char kAdd[] = R"(import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(a, b):
    c = nl.ndarray(a.shape, dtype=a.dtype, buffer=nl.shared_hbm)
    i_p = nl.arange(128)[:, None]
    i_f = nl.arange(512)[None, :]
    for t in nl.affine_range(a.shape[0] // 128):
        a_tile = nl.load(a[t * 128 + i_p, i_f])
        b_tile = nl.load(b[t * 128 + i_p, i_f])
        BODY
        nl.store(c[t * 128 + i_p, i_f], value=nl.add(a_tile, b_tile))
    return c
)";

// The addition kernel with one more statement in its loop.
std::string AddWith(const std::string& statement) { return absl::StrReplaceAll(kAdd, {{"BODY", statement}}); }

v1::CompileRequest RequestFor(const std::string& source) {
  v1::CompileRequest request;
  request.mutable_kernel()->set_source(source);
  for (const char* name : {"a", "b"}) {
    auto* argument = request.add_arguments();
    argument->set_name(name);
    argument->set_dtype(common::v1::DATA_TYPE_FLOAT32);
    argument->add_dims(256);
    argument->add_dims(512);
  }
  return request;
}

class CompileServiceTest : public ::testing::Test {
 protected:
  // One service for all tests but the one that stops it: it must survive everything that they do.
  static void SetUpTestSuite() {
    auto service =
        testing::ServiceProcess::Start(testing::RequiredEnv("COMPILE_SERVICE"), {"--max_workers=2"});
    ASSERT_TRUE(service.ok()) << service.status();
    service_ = service->release();
    channel_ = new std::shared_ptr<grpc::Channel>(*rpc::CreateChannel({.target = service_->target()}));
  }
  static void TearDownTestSuite() {
    if (service_ != nullptr) {
      const auto code = service_->Stop();
      EXPECT_TRUE(code.ok() && *code == 0) << code.status();
    }
    delete channel_;
    delete service_;
  }

  static absl::StatusOr<v1::CompileResponse> Compile(const v1::CompileRequest& request,
                                                     const rpc::CallContext& call) {
    v1::CompileResponse response;
    rpc::ClientCall onward(call);
    const grpc::Status status =
        v1::CompileService::NewStub(*channel_)->Compile(onward.context(), request, &response);
    if (!status.ok()) return rpc::FromGrpcStatus(status);
    return response;
  }
  static v1::CompileResult Result(const v1::CompileRequest& request) {
    const auto response = Compile(request, rpc::CallContext("", absl::Now() + absl::Seconds(60)));
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->result() : v1::CompileResult();
  }

  static testing::ServiceProcess* service_;
  static std::shared_ptr<grpc::Channel>* channel_;
};

testing::ServiceProcess* CompileServiceTest::service_ = nullptr;
std::shared_ptr<grpc::Channel>* CompileServiceTest::channel_ = nullptr;

TEST_F(CompileServiceTest, CompilesAKernelThenAnswersFromTheStore) {
  v1::CompileRequest request = RequestFor(AddWith("pass"));
  const v1::CompileResult first = Result(request);
  ASSERT_EQ(first.outcome(), v1::COMPILE_OUTCOME_COMPILED) << first.DebugString();
  EXPECT_EQ(first.program_id().size(), 64);
  EXPECT_EQ(first.outputs_size(), 1);
  EXPECT_FALSE(first.cached());
  const v1::CompileResult second = Result(request);
  EXPECT_TRUE(second.cached());
  EXPECT_EQ(second.program_id(), first.program_id());

  v1::GetProgramRequest get;
  get.set_program_id(first.program_id());
  v1::GetProgramResponse program;
  rpc::ClientCall call(rpc::CallContext("", absl::Now() + absl::Seconds(10)));
  ASSERT_TRUE(v1::CompileService::NewStub(*channel_)->GetProgram(call.context(), get, &program).ok());
  EXPECT_TRUE(absl::StartsWith(program.program(), "NKIP"));
}

TEST_F(CompileServiceTest, ABrokenRuleNamesItsLine) {
  const v1::CompileResult result = Result(RequestFor(AddWith("nl.load(a[nl.arange(256)[:, None], i_f])")));
  ASSERT_EQ(result.outcome(), v1::COMPILE_OUTCOME_REJECTED) << result.DebugString();
  ASSERT_GE(result.diagnostics_size(), 1);
  EXPECT_EQ(result.diagnostics(0).rule(), "err_num_partition_exceed_arch_limit");
  EXPECT_EQ(result.diagnostics(0).line(), 13);
  EXPECT_THAT(result.diagnostics(0).source_line(), HasSubstr("nl.arange(256)"));
}

TEST_F(CompileServiceTest, WhatIsNotAKernelIsRefusedWithItsReason) {
  for (const std::string& source : {std::string("not python at all ("), std::string("x = 1\n"),
                                    AddWith("raise ValueError('oops')"), AddWith("undefined_name")}) {
    const v1::CompileResult result = Result(RequestFor(source));
    EXPECT_EQ(result.outcome(), v1::COMPILE_OUTCOME_REJECTED) << source << result.DebugString();
    EXPECT_GE(result.diagnostics_size(), 1);
  }
}

TEST_F(CompileServiceTest, LooksUpNamesOfTheKernelLanguage) {
  const auto lookup = [](const std::string& name) -> absl::StatusOr<v1::LookupApiResponse> {
    v1::LookupApiRequest request;
    request.set_name(name);
    v1::LookupApiResponse response;
    rpc::ClientCall call(rpc::CallContext("", absl::Now() + absl::Seconds(10)));
    const grpc::Status status =
        v1::CompileService::NewStub(*channel_)->LookupApi(call.context(), request, &response);
    if (!status.ok()) return rpc::FromGrpcStatus(status);
    return response;
  };
  for (int i = 0; i < 2; ++i) {  // of the trace role, then of the store
    const auto found = lookup("nisa.nc_matmul");
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_TRUE(found->found());
    EXPECT_EQ(found->full_name(), "neuronxcc.nki.isa.nc_matmul");
    EXPECT_THAT(found->text(), HasSubstr("engine: tensor"));
  }
  const auto unknown = lookup("nl.summ");
  ASSERT_TRUE(unknown.ok()) << unknown.status();
  EXPECT_FALSE(unknown->found());
  EXPECT_THAT(unknown->similar_names(), ::testing::Contains("nl.sum"));
  EXPECT_TRUE(absl::IsInvalidArgument(lookup("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(lookup(std::string(257, 'a')).status()));
}

struct Hostile {
  const char* name;
  const char* statement;
  common::v1::SandboxStatus status;
};

class HostileKernel : public CompileServiceTest, public ::testing::WithParamInterface<Hostile> {};

TEST_P(HostileKernel, GetsATypedReasonAndLeavesNothingBehind) {
  v1::CompileRequest request = RequestFor(AddWith(GetParam().statement));
  request.mutable_limits()->mutable_wall_time()->set_seconds(5);
  if (GetParam().status == common::v1::SANDBOX_STATUS_WALL_TIMEOUT) {
    request.mutable_limits()->mutable_wall_time()->set_seconds(1);
  }
  const v1::CompileResult result = Result(request);
  EXPECT_EQ(result.outcome(), v1::COMPILE_OUTCOME_SANDBOX_FAILURE) << result.DebugString();
  EXPECT_EQ(common::v1::SandboxStatus_Name(result.sandbox().status()),
            common::v1::SandboxStatus_Name(GetParam().status));
  EXPECT_EQ(Result(RequestFor(AddWith("pass"))).outcome(), v1::COMPILE_OUTCOME_COMPILED);
}

INSTANTIATE_TEST_SUITE_P(
    Statements, HostileKernel,
    ::testing::Values(
        Hostile{"EndlessLoop", "exec('while True: pass')", common::v1::SANDBOX_STATUS_WALL_TIMEOUT},
        Hostile{"Exits", "__import__('os')._exit(3)", common::v1::SANDBOX_STATUS_EXIT},
        Hostile{"AllocatesTooMuch", "x = bytearray(100 << 30)", common::v1::SANDBOX_STATUS_MEMORY_LIMIT},
        Hostile{"Crashes", "__import__('ctypes').string_at(0)", common::v1::SANDBOX_STATUS_CRASH},
        Hostile{"Floods", "[print('x' * (1 << 20)) for _ in range(1024)]",
                common::v1::SANDBOX_STATUS_OUTPUT_FLOOD}),
    [](const auto& tested) { return tested.param.name; });

TEST_F(CompileServiceTest, OversizeSourceIsAnInvalidArgumentThatNamesTheLimit) {
  const auto response = Compile(RequestFor(std::string((4 << 20) + 1, '#')),
                                rpc::CallContext("", absl::Now() + absl::Seconds(30)));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(response.status().message()), HasSubstr("4194304"));
}

TEST_F(CompileServiceTest, ACancelledCallLeavesNoBusyChild) {
  std::stop_source stop;
  const v1::CompileRequest request = RequestFor(AddWith("exec('while True: pass')"));
  std::thread caller([&] {
    const auto response =
        Compile(request, rpc::CallContext("", absl::Now() + absl::Seconds(60), stop.get_token()));
    EXPECT_EQ(response.status().code(), absl::StatusCode::kCancelled);
  });
  // The gauge is brought up to date once a second.
  const auto await_running = [&](const char* value) {
    const std::string line = absl::StrCat("nkiagent_compile_workers_running{parent=\"trace\"} ", value, "\n");
    for (int i = 0; i < 1000; ++i) {
      const auto text = service_->Scrape();
      if (text.ok() && absl::StrContains(*text, line)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  };
  EXPECT_TRUE(await_running("1"));
  stop.request_stop();
  caller.join();
  EXPECT_TRUE(await_running("0"));
}

TEST_F(CompileServiceTest, TellsHealthIsolationAndItsOwnSize) {
  const absl::Time soon = absl::Now() + absl::Seconds(30);
  EXPECT_EQ(*rpc::CheckHealth(*channel_, kService, soon), true);
  const auto metrics = service_->Scrape();
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_THAT(*metrics, HasSubstr("nkiagent_compile_sandbox_level{parent=\"trace\"}"));
  EXPECT_THAT(*metrics, HasSubstr("nkiagent_compile_resident_memory_bytes"));
}

TEST(CompileServiceStopTest, SigtermEndsServiceParentAndChildren) {
  auto service = testing::ServiceProcess::Start(testing::RequiredEnv("COMPILE_SERVICE"), {});
  ASSERT_TRUE(service.ok()) << service.status();
  const std::vector<pid_t> below = (*service)->Descendants();
  ASSERT_FALSE(below.empty());
  const auto code = (*service)->Stop();
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 0);
  for (const pid_t pid : below) {
    // They die with the service, but not in the same instant.
    for (int i = 0; kill(pid, 0) == 0 && i < 1000; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_NE(kill(pid, 0), 0) << pid;
  }
}

}  // namespace
}  // namespace nkiagent::compile
