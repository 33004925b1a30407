// The orchestrator as its callers see it: a real store, real gRPC, and services that are functions of the
// test.
#include "services/orchestrator/orchestrator_service.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <latch>

#include "common/rpc/server.h"
#include "common/rpc/status.h"
#include "common/storage/sqlite_event_store.h"
#include "services/orchestrator/fake_backends_for_test.h"

namespace nkiagent::orchestrator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

class OrchestratorTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/orchestrator_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  void TearDown() override {
    Stop();
    std::filesystem::remove_all(folder_);
  }

  // Services that live until the orchestrator has stopped: a call may be under way when a test's body ends.
  FakeBackends& Make(FakeBackends::Model model) {
    return *backends_.emplace_back(std::make_unique<FakeBackends>(std::move(model)));
  }

  // Starts an orchestrator on the folder's store.
  void Start(FakeBackends& backends, ManagerOptions options = {}) {
    auto store = storage::OpenSqliteEventStore({.path = folder_ + "/events.db"});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    runtime_ = std::make_unique<rpc::Runtime>(rpc::RuntimeOptions{.service = "orchestrator"});
    metrics_ = std::make_unique<OrchestratorMetrics>(runtime_->metrics());
    manager_ = std::make_unique<SessionManager>(options, *store_, backends, *metrics_);
    auto run_store = storage::OpenSqliteEventStore({.path = folder_ + "/runs.db"});
    ASSERT_TRUE(run_store.ok()) << run_store.status();
    run_store_ = *std::move(run_store);
    key_ = *storage::SigningKey::LoadOrCreate(folder_ + "/key.pem");
    runs_ =
        std::make_unique<RunManager>(RunManagerOptions(), *run_store_, *store_, *manager_, *key_, *metrics_);
    service_ = std::make_unique<OrchestratorServiceImpl>(*runtime_, *manager_, *runs_);
    rpc::ServerOptions server;
    server.name = "orchestrator";
    server.metrics_port = -1;
    server.log_level = "error";
    auto started = rpc::Server::Start(server, *runtime_,
                                      {{v1::OrchestratorService::service_full_name(), service_.get()}});
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    stub_ = v1::OrchestratorService::NewStub(
        grpc::CreateCustomChannel(server_->Target(), grpc::InsecureChannelCredentials(), arguments));
    manager_->Start();
    runs_->Start();
  }

  void Stop() {
    stub_.reset();
    if (server_ != nullptr) server_->Drain();
    if (runs_ != nullptr) runs_->Drain();
    if (manager_ != nullptr) manager_->Drain();
    server_.reset();
    service_.reset();
    runs_.reset();
    run_store_.reset();
    manager_.reset();
    metrics_.reset();
    runtime_.reset();
    store_.reset();
  }

  static v1::SubmitTaskRequest Request(const std::string& request_id = "") {
    v1::SubmitTaskRequest request;
    request.set_request_id(request_id);
    request.set_model("fake");
    request.mutable_task()->set_name("task");
    request.mutable_task()->set_reference_source("class Model: pass");
    return request;
  }

  absl::StatusOr<v1::Session> Submit(const v1::SubmitTaskRequest& request) {
    grpc::ClientContext context;
    v1::SubmitTaskResponse response;
    const grpc::Status status = stub_->SubmitTask(&context, request, &response);
    if (!status.ok()) return rpc::FromGrpcStatus(status);
    return response.session();
  }

  absl::StatusOr<v1::Session> Get(const std::string& id) {
    grpc::ClientContext context;
    v1::GetSessionRequest request;
    request.set_session_id(id);
    v1::GetSessionResponse response;
    const grpc::Status status = stub_->GetSession(&context, request, &response);
    if (!status.ok()) return rpc::FromGrpcStatus(status);
    return response.session();
  }

  absl::StatusOr<v1::Session> Cancel(const std::string& id) {
    grpc::ClientContext context;
    v1::CancelSessionRequest request;
    request.set_session_id(id);
    request.set_reason("enough");
    v1::CancelSessionResponse response;
    const grpc::Status status = stub_->CancelSession(&context, request, &response);
    if (!status.ok()) return rpc::FromGrpcStatus(status);
    return response.session();
  }

  struct Watched {
    std::vector<v1::SessionEvent> events;
    absl::Status status;
    // "created described prompt …"
    std::vector<int> Kinds() const {
      std::vector<int> kinds;
      for (const v1::SessionEvent& event : events) kinds.push_back(event.event_case());
      return kinds;
    }
  };

  // Reads a stream to its end.
  Watched Watch(const std::string& id, int64_t from = 0,
                const std::function<void(const v1::SessionEvent&)>& see = {}) {
    grpc::ClientContext context;
    v1::WatchSessionRequest request;
    request.set_session_id(id);
    request.set_from_sequence(from);
    auto reader = stub_->WatchSession(&context, request);
    Watched watched;
    v1::WatchSessionResponse response;
    while (reader->Read(&response)) {
      watched.events.push_back(response.event());
      if (see) see(response.event());
    }
    watched.status = rpc::FromGrpcStatus(reader->Finish());
    return watched;
  }

  // Waits for the session's end and returns it.
  v1::Session Finish(const absl::StatusOr<v1::Session>& session) {
    EXPECT_TRUE(session.ok()) << session.status();
    if (!session.ok()) return {};
    EXPECT_TRUE(Watch(session->id()).status.ok());
    return *Get(session->id());
  }

  std::string folder_;
  std::vector<std::unique_ptr<FakeBackends>> backends_;
  std::unique_ptr<storage::EventStore> store_;
  std::unique_ptr<rpc::Runtime> runtime_;
  std::unique_ptr<OrchestratorMetrics> metrics_;
  std::unique_ptr<SessionManager> manager_;
  std::unique_ptr<storage::EventStore> run_store_;
  std::optional<storage::SigningKey> key_;
  std::unique_ptr<RunManager> runs_;
  std::unique_ptr<OrchestratorServiceImpl> service_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<v1::OrchestratorService::Stub> stub_;
};

TEST_F(OrchestratorTest, AgentRepairsUntilAKernelIsVerified) {
  FakeBackends& backends = Make(FakeBackends::Writes({"bad", "wrong", "right"}));
  Start(backends);
  const v1::Session session = Finish(Submit(Request()));
  EXPECT_EQ(session.state(), v1::SESSION_STATE_PASSED);
  EXPECT_EQ(session.end_reason(), v1::END_REASON_VERIFIED);
  EXPECT_EQ(session.turns_used(), 3);
  EXPECT_EQ(session.compilations(), 3);
  EXPECT_EQ(session.verifications(), 2);
  EXPECT_EQ(session.usage().input_tokens(), 300);
  EXPECT_EQ(session.best().kernel().source(), testing_events::Code("right"));
  EXPECT_EQ(session.best().turn(), 3);

  // The model saw the error of its first kernel and the mismatch of its second.
  const auto requests = backends.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_THAT(requests[0].system(), HasSubstr("rank"));
  EXPECT_THAT(requests[0].tools(), SizeIs(4));
  EXPECT_THAT(requests[1].messages(2).content(0).tool_result().text(), HasSubstr("err_unsupported_memory"));
  EXPECT_THAT(requests[2].messages(4).content(0).tool_result().text(), HasSubstr("FAIL (mismatch)"));

  using Event = v1::SessionEvent;
  EXPECT_THAT(
      Watch(session.id()).Kinds(),
      ElementsAre(Event::kCreated, Event::kDescribed, Event::kPrompt,  //
                  Event::kModelCallStarted, Event::kModelCallFinished, Event::kToolCallStarted,
                  Event::kCompiled, Event::kToolCallFinished, Event::kMessageAdded,  //
                  Event::kModelCallStarted, Event::kModelCallFinished, Event::kToolCallStarted,
                  Event::kCompiled, Event::kVerified, Event::kToolCallFinished, Event::kMessageAdded,  //
                  Event::kModelCallStarted, Event::kModelCallFinished, Event::kToolCallStarted,
                  Event::kCompiled, Event::kVerified, Event::kBestKernelChanged, Event::kToolCallFinished,
                  Event::kFinished));
}

TEST_F(OrchestratorTest, WhatCanNotFitTheModelsWindowIsNotSent) {
  FakeBackends& backends = Make(FakeBackends::Writes({"bad", "right"}));
  backends.set_window_tokens(1000);
  Start(backends);
  const v1::Session session = Finish(Submit(Request()));
  EXPECT_EQ(session.end_reason(), v1::END_REASON_BUDGET_EXHAUSTED);
  EXPECT_THAT(session.message(), HasSubstr("the model's window has 1000"));
  // The first call tells the window; the second is not made.
  EXPECT_THAT(backends.requests(), SizeIs(1));
}

TEST_F(OrchestratorTest, RepeatedSubmitGivesTheSameSession) {
  FakeBackends& backends = Make(FakeBackends::Writes({"right"}));
  Start(backends);
  const absl::StatusOr<v1::Session> first = Submit(Request("r1"));
  const v1::Session ended = Finish(first);
  const absl::StatusOr<v1::Session> again = Submit(Request("r1"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->id(), first->id());
  EXPECT_EQ(again->state(), v1::SESSION_STATE_PASSED);
  v1::SubmitTaskRequest other = Request("r1");
  other.mutable_task()->set_weight_seed(7);
  EXPECT_EQ(Submit(other).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(backends.requests().size(), 1u);
}

TEST_F(OrchestratorTest, BadRequestsAreRefusedAtTheEdge) {
  FakeBackends& backends = Make(FakeBackends::Writes({"right"}));
  Start(backends);
  v1::SubmitTaskRequest oversize = Request();
  oversize.mutable_task()->set_reference_source(std::string((4 << 20) + 1, 'x'));
  EXPECT_EQ(Submit(oversize).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Get("nope").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Cancel("nope").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Watch("nope").status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Watch("nope", -1).status.code(), absl::StatusCode::kInvalidArgument);
  grpc::ClientContext context;
  v1::CreateRunResponse response;
  EXPECT_EQ(stub_->CreateRun(&context, {}, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext watch_context;
  v1::WatchRunRequest watch;
  watch.set_run_id("nope");
  EXPECT_EQ(stub_->WatchRun(&watch_context, watch)->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(OrchestratorTest, RunsAreCreatedWatchedReadAndListed) {
  FakeBackends& backends = Make(FakeBackends::Writes({"right"}));
  Start(backends);
  v1::CreateRunRequest request;
  request.set_request_id("once");
  request.mutable_spec()->set_model("fake");
  for (const char* id : {"a", "b"}) {
    *request.mutable_spec()->add_tasks() = Request().task();
    request.mutable_spec()->mutable_tasks()->rbegin()->set_id(id);
  }
  v1::CreateRunResponse created;
  grpc::ClientContext create_context;
  ASSERT_TRUE(stub_->CreateRun(&create_context, request, &created).ok());
  v1::WatchRunRequest watch;
  watch.set_run_id(created.run().id());
  grpc::ClientContext watch_context;
  auto reader = stub_->WatchRun(&watch_context, watch);
  std::vector<v1::RunEvent> events;
  for (v1::WatchRunResponse response; reader->Read(&response);) events.push_back(response.event());
  ASSERT_TRUE(reader->Finish().ok());
  ASSERT_GE(events.size(), 6u);
  EXPECT_EQ(events.front().created().run().spec().tasks(0).reference_source(), "");
  EXPECT_EQ(events.back().ended().state(), v1::RUN_STATE_FINISHED);
  grpc::ClientContext get_context;
  v1::GetRunRequest get;
  get.set_run_id(created.run().id());
  v1::GetRunResponse got;
  ASSERT_TRUE(stub_->GetRun(&get_context, get, &got).ok());
  EXPECT_EQ(got.run().counts().passed(), 2);
  EXPECT_NE(got.run().spec().tasks(0).reference_source(), "");
  grpc::ClientContext list_context;
  v1::ListRunsResponse list;
  ASSERT_TRUE(stub_->ListRuns(&list_context, {}, &list).ok());
  ASSERT_THAT(list.runs(), SizeIs(1));
  EXPECT_EQ(list.runs(0).counts().passed(), 2);
  EXPECT_THAT(list.runs(0).spec().tasks(), SizeIs(0));
}

TEST_F(OrchestratorTest, TaskProblemEndsTheSession) {
  FakeBackends& backends = Make(FakeBackends::Writes({"right"}));
  Start(backends);
  v1::SubmitTaskRequest request = Request();
  request.mutable_task()->set_reference_source("x = 1");
  const v1::Session session = Finish(Submit(request));
  EXPECT_EQ(session.state(), v1::SESSION_STATE_NOT_SOLVED);
  EXPECT_EQ(session.end_reason(), v1::END_REASON_TASK_PROBLEM);
  EXPECT_EQ(session.message(), "there is no class Model");
  EXPECT_THAT(backends.requests(), SizeIs(0));
}

TEST_F(OrchestratorTest, FailureOfAServiceEndsTheSessionWithItsCode) {
  FakeBackends& backends = Make([](const rpc::CallContext&, const llm::v1::GenerateRequest&, int) {
    return absl::NotFoundError("no model is named fake; known: builtin");
  });
  Start(backends);
  const absl::StatusOr<v1::Session> submitted = Submit(Request());
  const v1::Session session = Finish(submitted);
  EXPECT_EQ(session.state(), v1::SESSION_STATE_FAILED);
  EXPECT_EQ(session.end_reason(), v1::END_REASON_SYSTEM_ERROR);
  const v1::SessionEvent last = Watch(session.id()).events.back();
  EXPECT_EQ(last.failed().code(), "NOT_FOUND");
  EXPECT_EQ(last.failed().service(), "llm");
  EXPECT_THAT(last.failed().message(), HasSubstr("known: builtin"));
}

TEST_F(OrchestratorTest, FailureWithBrokenTextIsStoredAndReadBack) {
  FakeBackends& backends = Make([](const rpc::CallContext&, const llm::v1::GenerateRequest&, int) {
    return absl::InternalError("the provider says \xff\xfe");
  });
  Start(backends);
  const v1::Session session = Finish(Submit(Request()));
  EXPECT_EQ(session.state(), v1::SESSION_STATE_FAILED);
  EXPECT_THAT(session.message(), HasSubstr("the provider says \xef\xbf\xbd"));
}

TEST_F(OrchestratorTest, KernelThatTheCompilerRefusesToReadIsTheModelsToMend) {
  FakeBackends& backends = Make(FakeBackends::Writes({"refused", "right"}));
  Start(backends);
  const v1::Session session = Finish(Submit(Request()));
  EXPECT_EQ(session.state(), v1::SESSION_STATE_PASSED);
  EXPECT_EQ(session.turns_used(), 2);
}

TEST_F(OrchestratorTest, CallsWithoutIdsAreAnsweredEachForItself) {
  FakeBackends& backends = Make([](const rpc::CallContext&, const llm::v1::GenerateRequest& request, int) {
    if (request.messages_size() > 1) {
      EXPECT_EQ(request.messages(2).content_size(), 3);
      return FakeBackends::Answer(testing_events::Says("", {testing_events::CompileCall("c", "right")}));
    }
    return FakeBackends::Answer(testing_events::Says(
        "", {testing_events::CompileCall("", "bad 1"), testing_events::CompileCall("", "bad 2"),
             testing_events::CompileCall("call_1_1", "bad 3")}));
  });
  Start(backends);
  const v1::Session session = Finish(Submit(Request()));
  EXPECT_EQ(session.state(), v1::SESSION_STATE_PASSED);
  EXPECT_EQ(session.compilations(), 4);
}

TEST_F(OrchestratorTest, CancelStopsTheModelCallAndIsIdempotent) {
  FakeBackends& backends =
      Make([](const rpc::CallContext& call, const llm::v1::GenerateRequest&,
              int) -> absl::StatusOr<llm::v1::GenerateResponse> { return AwaitCancel(call); });
  Start(backends);
  const absl::StatusOr<v1::Session> session = Submit(Request());
  ASSERT_TRUE(session.ok());
  backends.AwaitRequests(1);
  const absl::StatusOr<v1::Session> cancelled = Cancel(session->id());
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->state(), v1::SESSION_STATE_CANCELLED);
  EXPECT_EQ(cancelled->message(), "enough");
  const v1::Session again = *Cancel(session->id());
  EXPECT_EQ(again.last_sequence(), cancelled->last_sequence());
  EXPECT_TRUE(Watch(session->id()).events.back().has_cancelled());
}

TEST_F(OrchestratorTest, QueueIsBoundedAndWaitingSessionsCanBeCancelled) {
  FakeBackends& backends =
      Make([](const rpc::CallContext& call, const llm::v1::GenerateRequest&,
              int) -> absl::StatusOr<llm::v1::GenerateResponse> { return AwaitCancel(call); });
  Start(backends, {.max_running = 1, .max_queued = 1});
  const absl::StatusOr<v1::Session> running = Submit(Request("a"));
  ASSERT_TRUE(running.ok());
  backends.AwaitRequests(1);
  const absl::StatusOr<v1::Session> waiting = Submit(Request("b"));
  ASSERT_TRUE(waiting.ok());
  const absl::Status full = Submit(Request("c")).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(rpc::RetryAfter(full).has_value());
  // A repeat needs no room.
  EXPECT_EQ(Submit(Request("b"))->id(), waiting->id());
  EXPECT_EQ(Get(running->id())->state(), v1::SESSION_STATE_RUNNING);
  EXPECT_EQ(Get(waiting->id())->state(), v1::SESSION_STATE_QUEUED);
  EXPECT_EQ(Cancel(waiting->id())->state(), v1::SESSION_STATE_CANCELLED);
  EXPECT_TRUE(Submit(Request("c")).ok());
  EXPECT_EQ(Cancel(running->id())->state(), v1::SESSION_STATE_CANCELLED);
}

TEST_F(OrchestratorTest, RestartGoesOnWithoutRepeatingAnAnsweredModelCall) {
  FakeBackends& first = Make([](const rpc::CallContext& call, const llm::v1::GenerateRequest& request,
                                int count) -> absl::StatusOr<llm::v1::GenerateResponse> {
    if (count == 0) return FakeBackends::Writes({"wrong"})(call, request, count);
    return AwaitCancel(call);  // the second call is under way when the process ends
  });
  Start(first);
  const absl::StatusOr<v1::Session> session = Submit(Request());
  ASSERT_TRUE(session.ok());
  first.AwaitRequests(2);
  Stop();
  EXPECT_THAT(first.RequestIds(), ElementsAre(session->id() + "/1", session->id() + "/2"));

  FakeBackends& second = Make(FakeBackends::Writes({"never asked", "right"}));
  Start(second);
  const v1::Session ended = Finish(session);
  EXPECT_EQ(ended.state(), v1::SESSION_STATE_PASSED);
  EXPECT_EQ(ended.turns_used(), 2);
  // Only the call without an answer is made again, under its own id.
  EXPECT_THAT(second.RequestIds(), ElementsAre(session->id() + "/2"));
  int resumed = 0;
  for (const v1::SessionEvent& event : Watch(ended.id()).events) resumed += event.has_resumed();
  EXPECT_EQ(resumed, 1);
}

TEST_F(OrchestratorTest, RestartBetweenCompileAndVerifyNeedsNoModelCall) {
  FakeBackends& first = Make(FakeBackends::Writes({"right"}));
  std::latch verifying(1);
  first.set_verify_gate([&](const rpc::CallContext& call) {
    verifying.count_down();
    return AwaitCancel(call);
  });
  Start(first);
  const absl::StatusOr<v1::Session> session = Submit(Request());
  ASSERT_TRUE(session.ok());
  verifying.wait();
  Stop();
  FakeBackends& second = Make(FakeBackends::Writes({"never asked"}));
  Start(second);
  EXPECT_EQ(Finish(session).state(), v1::SESSION_STATE_PASSED);
  EXPECT_THAT(second.requests(), SizeIs(0));
}

TEST_F(OrchestratorTest, WallLimitEndsACallThatHangs) {
  FakeBackends& backends = Make([](const rpc::CallContext& call, const llm::v1::GenerateRequest&,
                                   int) -> absl::StatusOr<llm::v1::GenerateResponse> {
    std::mutex mutex;
    std::condition_variable never;
    std::unique_lock<std::mutex> lock(mutex);
    never.wait_until(lock, absl::ToChronoTime(call.deadline()), [] { return false; });
    return absl::DeadlineExceededError("deadline");
  });
  Start(backends);
  v1::SubmitTaskRequest request = Request();
  request.mutable_options()->mutable_wall_limit()->set_nanos(50'000'000);
  const v1::Session session = Finish(Submit(request));
  EXPECT_EQ(session.state(), v1::SESSION_STATE_NOT_SOLVED);
  EXPECT_EQ(session.end_reason(), v1::END_REASON_BUDGET_EXHAUSTED);
}

TEST_F(OrchestratorTest, WatchersSeeEventsLiveAndFromAnySequence) {
  std::latch first_turn_seen(1);
  FakeBackends& backends =
      Make([&](const rpc::CallContext& call, const llm::v1::GenerateRequest& request, int count) {
        if (count == 1) first_turn_seen.wait();  // the watcher below must have seen turn 1 by then
        return FakeBackends::Writes({"bad", "right"})(call, request, count);
      });
  Start(backends);
  const absl::StatusOr<v1::Session> session = Submit(Request());
  ASSERT_TRUE(session.ok());
  const Watched live = Watch(session->id(), 0, [&](const v1::SessionEvent& event) {
    if (event.has_compiled() && event.compiled().turn() == 1) first_turn_seen.count_down();
  });
  EXPECT_TRUE(live.status.ok()) << live.status;
  for (size_t i = 0; i < live.events.size(); ++i)
    EXPECT_EQ(live.events[i].sequence(), static_cast<int64_t>(i) + 1);
  EXPECT_TRUE(live.events.back().has_finished());
  const Watched rest = Watch(session->id(), 5);
  ASSERT_EQ(rest.events.size(), live.events.size() - 4);
  EXPECT_EQ(rest.events.front().sequence(), 5);
  EXPECT_THAT(Watch(session->id(), 1000).events, SizeIs(0));
}

TEST_F(OrchestratorTest, DrainEndsStreamsWithUnavailable) {
  FakeBackends& backends =
      Make([](const rpc::CallContext& call, const llm::v1::GenerateRequest&,
              int) -> absl::StatusOr<llm::v1::GenerateResponse> { return AwaitCancel(call); });
  Start(backends);
  const absl::StatusOr<v1::Session> session = Submit(Request());
  ASSERT_TRUE(session.ok());
  std::thread drain;
  const Watched watched = Watch(session->id(), 0, [&](const v1::SessionEvent& event) {
    if (event.has_model_call_started()) drain = std::thread([this] { server_->Drain(); });
  });
  EXPECT_EQ(watched.status.code(), absl::StatusCode::kUnavailable);
  drain.join();
}

TEST_F(OrchestratorTest, ListPagesThroughSummaries) {
  FakeBackends& backends = Make(FakeBackends::Writes({"right"}));
  Start(backends);
  for (int i = 0; i < 3; ++i) Finish(Submit(Request()));
  v1::ListSessionsRequest request;
  request.set_page_size(2);
  request.add_states(v1::SESSION_STATE_PASSED);
  v1::ListSessionsResponse page;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->ListSessions(&context, request, &page).ok());
  }
  ASSERT_EQ(page.sessions_size(), 2);
  EXPECT_EQ(page.sessions(0).task().name(), "task");
  EXPECT_EQ(page.sessions(0).task().reference_source(), "");
  EXPECT_EQ(page.sessions(0).best().kernel().source(), "");
  request.set_page_token(page.next_page_token());
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->ListSessions(&context, request, &page).ok());
  }
  EXPECT_EQ(page.sessions_size(), 1);
  EXPECT_EQ(page.next_page_token(), "");
}

TEST_F(OrchestratorTest, ManySessionsAtOnceAllEnd) {
  FakeBackends& backends = Make(FakeBackends::Writes({"bad", "wrong", "right"}));
  Start(backends, {.max_running = 8});
  std::vector<absl::StatusOr<v1::Session>> sessions;
  for (int i = 0; i < 20; ++i) sessions.push_back(Submit(Request()));
  for (const auto& session : sessions) EXPECT_EQ(Finish(session).state(), v1::SESSION_STATE_PASSED);
  EXPECT_EQ(backends.requests().size(), 60u);
}

}  // namespace
}  // namespace nkiagent::orchestrator
