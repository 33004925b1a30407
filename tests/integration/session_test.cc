// Sessions through the real services, as child processes: crashes in mid-session, hostile tasks,
// cancellation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "services/nkictl/client.h"
#include "services/nkictl/local_cluster.h"
#include "tests/support/http_get.h"
#include "tests/support/service_process.h"

namespace nkiagent {
namespace {

using nkictl::Service;
using orchestrator::v1::Session;
using orchestrator::v1::SessionEvent;
using ::testing::HasSubstr;

constexpr char kSoftmax[] = R"py(
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1)

def get_inputs():
    return [torch.randn(130, 64)]

def get_init_inputs():
    return []
)py";

// A module with another `forward` and other inputs.
std::string Module(const std::string& forward, const std::string& inputs = "[torch.randn(4, 4)]",
                   const std::string& preamble = "") {
  return absl::StrCat(
      "import torch\n", preamble, "\nclass Model(torch.nn.Module):\n    def forward(self, x):\n        ",
      forward, "\n\ndef get_inputs():\n    return ", inputs, "\n\ndef get_init_inputs():\n    return []\n");
}

class SessionTest : public ::testing::Test {
 protected:
  // One cluster for all tests: its parents import torch once.
  static void SetUpTestSuite() {
    nkictl::ClusterOptions options;
    options.bin_dir = testing::RequiredEnv("NKI_BUILD_DIR") + "/services";
    auto cluster = nkictl::LocalCluster::Start(options);
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
  }
  static void TearDownTestSuite() {
    if (cluster_ == nullptr) return;
    EXPECT_TRUE(cluster_->Stop().ok());
    cluster_.reset();
  }

  void SetUp() override {
    ASSERT_NE(cluster_, nullptr);
    auto client =
        nkictl::Client::Connect({.target = cluster_->target(Service::kOrchestrator)}, stop_.get_token());
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }

  static orchestrator::v1::SubmitTaskRequest Request(const std::string& source) {
    orchestrator::v1::SubmitTaskRequest request;
    request.set_model("builtin");
    request.mutable_task()->set_name("task");
    request.mutable_task()->set_reference_source(source);
    return request;
  }

  // Submits and waits for the end.
  Session Run(const orchestrator::v1::SubmitTaskRequest& request) {
    const absl::StatusOr<Session> session = client_->Submit(request);
    EXPECT_TRUE(session.ok()) << session.status();
    if (!session.ok()) return {};
    EXPECT_TRUE(client_->Watch(session->id(), 1, [](const SessionEvent&) {}).ok());
    return *client_->Get(session->id());
  }

  // Waits for an event of a kind; the last sequence number seen.
  int64_t Await(const std::string& id, SessionEvent::EventCase kind) {
    std::stop_source found;
    auto client =
        nkictl::Client::Connect({.target = cluster_->target(Service::kOrchestrator)}, found.get_token());
    int64_t sequence = 0;
    (*client)
        ->Watch(id, 1,
                [&](const SessionEvent& event) {
                  sequence = event.sequence();
                  if (event.event_case() == kind) found.request_stop();
                })
        .IgnoreError();
    EXPECT_TRUE(found.stop_requested()) << "no such event before the session's end";
    return sequence;
  }

  static void Signal(Service service, int signal) { ASSERT_EQ(kill(cluster_->pid(service), signal), 0); }

  // The sum of a counter over its labels that hold `label`.
  static double Counter(Service service, const std::string& name, const std::string& label) {
    const auto text = testing::HttpGet("http://" + cluster_->metrics_target(service) + "/metrics");
    EXPECT_TRUE(text.ok()) << text.status();
    double sum = 0;
    std::istringstream lines(text.ok() ? *text : "");
    for (std::string line; std::getline(lines, line);) {
      double value = 0;
      if (line.rfind(name + "{", 0) == 0 && line.find(label) != std::string::npos &&
          absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) {
        sum += value;
      }
    }
    return sum;
  }

  // Kinds of a session's events, counted.
  std::map<int, int> Kinds(const std::string& id) {
    std::map<int, int> kinds;
    EXPECT_TRUE(client_->Watch(id, 1, [&](const SessionEvent& event) { ++kinds[event.event_case()]; }).ok());
    return kinds;
  }

  static std::unique_ptr<nkictl::LocalCluster> cluster_;
  std::stop_source stop_;
  std::unique_ptr<nkictl::Client> client_;
};

std::unique_ptr<nkictl::LocalCluster> SessionTest::cluster_;

TEST_F(SessionTest, ModuleBecomesAVerifiedKernel) {
  const Session session = Run(Request(kSoftmax));
  EXPECT_EQ(session.state(), orchestrator::v1::SESSION_STATE_PASSED) << session.message();
  EXPECT_EQ(session.best().verdict().trials_size(), 3);
  EXPECT_THAT(session.best().kernel().source(), HasSubstr("nki_kernel"));
  EXPECT_GT(session.best().estimate().total_us(), 0);
  EXPECT_EQ(session.usage().calls(), session.turns_used());
}

TEST_F(SessionTest, SingleShotAndMultiTurnEndWithAVerdict) {
  for (const auto mode : {orchestrator::v1::MODE_SINGLE_SHOT, orchestrator::v1::MODE_MULTI_TURN}) {
    orchestrator::v1::SubmitTaskRequest request = Request(kSoftmax);
    request.set_mode(mode);
    const Session session = Run(request);
    EXPECT_EQ(session.state(), orchestrator::v1::SESSION_STATE_PASSED) << session.message();
    EXPECT_EQ(session.turns_used(), mode == orchestrator::v1::MODE_SINGLE_SHOT ? 1 : 5);
    EXPECT_EQ(session.verifications(), 1);
  }
}

// kill -9 while a tool call is under way: the answered model call is not made again.
TEST_F(SessionTest, KilledOrchestratorGoesOnWithoutRepeatingAModelCall) {
  const double calls_before = Counter(Service::kLlm, "nkiagent_llm_requests_total", "method=\"Generate\"");
  Signal(Service::kCompile, SIGSTOP);
  const absl::StatusOr<Session> session = client_->Submit(Request(kSoftmax));
  ASSERT_TRUE(session.ok()) << session.status();
  Await(session->id(), SessionEvent::kToolCallStarted);
  ASSERT_TRUE(cluster_->Kill(Service::kOrchestrator).ok());
  Signal(Service::kCompile, SIGCONT);
  ASSERT_TRUE(cluster_->Restart(Service::kOrchestrator).ok());

  std::map<int, int> kinds = Kinds(session->id());
  const Session ended = *client_->Get(session->id());
  EXPECT_EQ(ended.state(), orchestrator::v1::SESSION_STATE_PASSED) << ended.message();
  EXPECT_EQ(kinds[SessionEvent::kResumed], 1);
  EXPECT_EQ(kinds[SessionEvent::kModelCallStarted], ended.turns_used());
  EXPECT_EQ(kinds[SessionEvent::kModelCallFinished], ended.turns_used());
  EXPECT_EQ(Counter(Service::kLlm, "nkiagent_llm_requests_total", "method=\"Generate\"") - calls_before,
            ended.turns_used());
}

// kill -9 while the model is asked: the call is made again under the same request id, and answered once.
TEST_F(SessionTest, KilledOrchestratorRepeatsACallWithoutAnswerUnderItsId) {
  Signal(Service::kLlm, SIGSTOP);
  const absl::StatusOr<Session> session = client_->Submit(Request(kSoftmax));
  ASSERT_TRUE(session.ok()) << session.status();
  Await(session->id(), SessionEvent::kModelCallStarted);
  ASSERT_TRUE(cluster_->Kill(Service::kOrchestrator).ok());
  Signal(Service::kLlm, SIGCONT);
  ASSERT_TRUE(cluster_->Restart(Service::kOrchestrator).ok());

  std::map<int, int> kinds = Kinds(session->id());
  const Session ended = *client_->Get(session->id());
  EXPECT_EQ(ended.state(), orchestrator::v1::SESSION_STATE_PASSED) << ended.message();
  EXPECT_EQ(kinds[SessionEvent::kModelCallStarted], ended.turns_used());
  EXPECT_EQ(kinds[SessionEvent::kModelCallFinished], ended.turns_used());
}

TEST_F(SessionTest, RepeatedSubmitAcrossAKillGivesTheSameSession) {
  orchestrator::v1::SubmitTaskRequest request = Request(kSoftmax);
  request.set_request_id("across-a-kill");
  const absl::StatusOr<Session> first = client_->Submit(request);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(cluster_->Kill(Service::kOrchestrator).ok());
  ASSERT_TRUE(cluster_->Restart(Service::kOrchestrator).ok());
  const absl::StatusOr<Session> again = client_->Submit(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->id(), first->id());
  EXPECT_TRUE(client_->Watch(first->id(), 1, [](const SessionEvent&) {}).ok());
}

TEST_F(SessionTest, CancelledSessionLeavesNoBusyWorker) {
  orchestrator::v1::SubmitTaskRequest request = Request(Module("while True: pass"));
  const absl::StatusOr<Session> session = client_->Submit(request);
  ASSERT_TRUE(session.ok()) << session.status();
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  const auto busy = [] {
    return Counter(Service::kVerify, "nkiagent_verify_workers_running", "parent=\"reference\"");
  };
  // Another process can't wake this one: its metrics are asked until they say so.
  while (busy() < 1 && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(20));
  ASSERT_EQ(busy(), 1);
  const absl::StatusOr<Session> cancelled = client_->Cancel(session->id(), "enough");
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->state(), orchestrator::v1::SESSION_STATE_CANCELLED);
  while (busy() > 0 && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(busy(), 0);
}

TEST_F(SessionTest, UnknownModelEndsTheSessionWithTheKnownOnes) {
  orchestrator::v1::SubmitTaskRequest request = Request(kSoftmax);
  request.set_model("no-such-model");
  const Session session = Run(request);
  EXPECT_EQ(session.state(), orchestrator::v1::SESSION_STATE_FAILED);
  EXPECT_THAT(session.message(), HasSubstr("NOT_FOUND"));
  EXPECT_THAT(session.message(), HasSubstr("builtin"));
}

// What is wrong with a task is told, and the services go on.
TEST_F(SessionTest, TasksThatCanNotBeJudgedSayWhy) {
  struct Case {
    const char* what;
    std::string source;
    verify::v1::TaskProblemKind kind;
  };
  const std::vector<Case> cases = {
      {"not Python", "def (:", verify::v1::TASK_PROBLEM_KIND_SYNTAX},
      {"raises at import", "raise RuntimeError('no')", verify::v1::TASK_PROBLEM_KIND_IMPORT},
      {"no Model", "def get_inputs(): return []", verify::v1::TASK_PROBLEM_KIND_NO_MODEL},
      {"float64", Module("return x", "[torch.randn(4, 4, dtype=torch.float64)]"),
       verify::v1::TASK_PROBLEM_KIND_UNSUPPORTED_DTYPE},
      {"empty tensor", Module("return x", "[torch.randn(0, 4)]"), verify::v1::TASK_PROBLEM_KIND_EMPTY_TENSOR},
      {"6-D", Module("return x", "[torch.randn(1, 2, 3, 4, 5, 6)]"),
       verify::v1::TASK_PROBLEM_KIND_UNSUPPORTED_RANK},
      {"not deterministic", Module("return x + torch.rand_like(x)"),
       verify::v1::TASK_PROBLEM_KIND_NON_DETERMINISTIC},
      {"exits", Module("return __import__('os')._exit(0)"), verify::v1::TASK_PROBLEM_KIND_SANDBOX_FAILURE},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.what);
    verify::v1::TaskProblemKind kind = verify::v1::TASK_PROBLEM_KIND_UNSPECIFIED;
    const absl::StatusOr<Session> session = client_->Submit(Request(bad.source));
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE(client_
                    ->Watch(session->id(), 1,
                            [&](const SessionEvent& event) {
                              if (event.has_described()) kind = event.described().problem().kind();
                            })
                    .ok());
    EXPECT_EQ(verify::v1::TaskProblemKind_Name(kind), verify::v1::TaskProblemKind_Name(bad.kind));
    const Session ended = *client_->Get(session->id());
    EXPECT_EQ(ended.end_reason(), orchestrator::v1::END_REASON_TASK_PROBLEM) << ended.message();
    EXPECT_FALSE(ended.message().empty());
  }
  EXPECT_EQ(cluster_->EndedService(), "");
  EXPECT_EQ(Run(Request(kSoftmax)).state(), orchestrator::v1::SESSION_STATE_PASSED);
}

}  // namespace
}  // namespace nkiagent
