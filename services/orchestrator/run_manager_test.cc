// Runs on a real store, with the fake toolchain: all rows done once, whatever is killed in between.
#include "services/orchestrator/run_manager.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "common/storage/sqlite_event_store.h"
#include "services/orchestrator/fake_backends_for_test.h"

namespace nkiagent::orchestrator {
namespace {

using testing::HasSubstr;

class RunManagerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/runs_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    key_ = *storage::SigningKey::LoadOrCreate(folder_ + "/key.pem");
  }
  void TearDown() override {
    Stop();
    std::filesystem::remove_all(folder_);
  }

  void Start(FakeBackends& backends) {
    sessions_ = *storage::OpenSqliteEventStore({.path = folder_ + "/events.db"});
    store_ = *storage::OpenSqliteEventStore({.path = folder_ + "/runs.db"});
    ManagerOptions options;
    options.run_session_ended = [this](const std::string&) { runs_->SessionEnded(); };
    manager_ = std::make_unique<SessionManager>(options, *sessions_, backends, metrics_);
    runs_ =
        std::make_unique<RunManager>(RunManagerOptions(), *store_, *sessions_, *manager_, *key_, metrics_);
    manager_->Start();
    runs_->Start();
  }
  void Stop() {
    if (runs_ != nullptr) runs_->Drain();
    manager_.reset();
    runs_.reset();
    store_.reset();
    sessions_.reset();
  }

  static v1::CreateRunRequest Request(int tasks, int repeats = 1) {
    v1::CreateRunRequest request;
    request.mutable_spec()->set_suite("small");
    request.mutable_spec()->set_model("fake");
    request.mutable_spec()->set_repeats(repeats);
    for (int i = 0; i < tasks; ++i) {
      common::v1::Task* task = request.mutable_spec()->add_tasks();
      task->set_id(absl::StrCat("task", i));
      task->set_level(1 + i % 2);
      task->set_reference_source("class Model: pass");
    }
    return request;
  }

  std::string Create(const v1::CreateRunRequest& request) {
    const absl::StatusOr<v1::Run> run = runs_->Create(request);
    EXPECT_TRUE(run.ok()) << run.status();
    return run.ok() ? run->id() : "";
  }

  // Waits until `done` says so of the run; the hub wakes it.
  v1::Run Await(const std::string& id, const std::function<bool(const v1::Run&)>& done) {
    struct State {
      std::mutex mutex;
      std::condition_variable changed;
      bool dirty = true;
    };
    auto state = std::make_shared<State>();
    const auto subscription = runs_->Watch(id, [state] {
      const std::lock_guard<std::mutex> lock(state->mutex);
      state->dirty = true;
      state->changed.notify_all();
    });
    while (true) {
      absl::StatusOr<v1::Run> run = runs_->Get(id);
      EXPECT_TRUE(run.ok()) << run.status();
      if (!run.ok() || done(*run)) return run.ok() ? *run : v1::Run();
      std::unique_lock<std::mutex> lock(state->mutex);
      state->changed.wait(lock, [&] { return state->dirty; });
      state->dirty = false;
    }
  }
  v1::Run AwaitEnd(const std::string& id) {
    return Await(id, [](const v1::Run& run) { return run.state() != v1::RUN_STATE_RUNNING; });
  }

  std::vector<v1::RunEvent> Events(const std::string& id) {
    std::vector<v1::RunEvent> events;
    while (true) {
      auto batch = runs_->ReadEvents(id, static_cast<int64_t>(events.size()) + 1);
      EXPECT_TRUE(batch.ok()) << batch.status();
      if (!batch.ok() || batch->events.empty()) return events;
      for (v1::RunEvent& event : batch->events) events.push_back(std::move(event));
    }
  }

  std::string folder_;
  metrics::Metrics registry_{"orchestrator"};
  OrchestratorMetrics metrics_{registry_};
  std::optional<storage::SigningKey> key_;
  std::unique_ptr<storage::EventStore> sessions_;
  std::unique_ptr<storage::EventStore> store_;
  std::unique_ptr<SessionManager> manager_;
  std::unique_ptr<RunManager> runs_;
};

TEST_F(RunManagerTest, EveryRowEndsOnceWithASignedRecord) {
  FakeBackends backends(FakeBackends::Writes({"bad", "right"}));
  Start(backends);
  const std::string id = Create(Request(3, 2));
  const v1::Run run = AwaitEnd(id);
  EXPECT_EQ(run.state(), v1::RUN_STATE_FINISHED);
  EXPECT_EQ(run.counts().total(), 6);
  EXPECT_EQ(run.counts().passed(), 6);
  EXPECT_EQ(run.usage().calls(), 12);
  ASSERT_EQ(run.levels_size(), 2);
  EXPECT_EQ(run.levels(0).counts().passed(), 4);
  std::set<int> rows;
  for (const v1::RunEvent& event : Events(id)) {
    if (!event.has_session_ended()) continue;
    const v1::SignedText& text = event.session_ended().record();
    EXPECT_TRUE(storage::VerifySignature(run.public_key(), text.text(), text.signature()).ok());
    v1::ResultRecord record;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(text.text(), &record).ok()) << text.text();
    EXPECT_EQ(record.run_id(), id);
    EXPECT_TRUE(record.passed());
    EXPECT_EQ(record.turn_of_success(), 2);
    ASSERT_EQ(record.attempts_size(), 2);
    EXPECT_EQ(record.attempts(0).outcome(), "err_unsupported_memory");
    EXPECT_EQ(record.repeat(), 1 + record.row() / 3);
    rows.insert(record.row());
  }
  EXPECT_EQ(rows.size(), 6u);
  const std::vector<v1::RunEvent> events = Events(id);
  const v1::SignedText& manifest = events[0].created().manifest();
  EXPECT_TRUE(storage::VerifySignature(run.public_key(), manifest.text(), manifest.signature()).ok());
  int gauges = 0;
  for (const auto& family : registry_.registry().Collect()) {
    if (family.name != "nkiagent_orchestrator_run_pass_ratio") continue;
    for (const auto& metric : family.metric) {
      ++gauges;
      EXPECT_EQ(metric.gauge.value, 1);
    }
  }
  EXPECT_EQ(gauges, 2) << "one for each level";
}

TEST_F(RunManagerTest, NeverMoreSessionsThanAskedFor) {
  FakeBackends backends(FakeBackends::Writes({"right"}));
  std::atomic<int> now = 0;
  std::atomic<int> most = 0;
  backends.set_verify_gate([&](const rpc::CallContext&) {
    most = std::max(most.load(), ++now);
    std::this_thread::yield();
    --now;
    return absl::OkStatus();
  });
  Start(backends);
  v1::CreateRunRequest request = Request(12);
  request.mutable_spec()->set_concurrency(2);
  EXPECT_EQ(AwaitEnd(Create(request)).counts().passed(), 12);
  EXPECT_LE(most, 2);
}

TEST_F(RunManagerTest, GoesOnAfterItsProcessAndRepeatsNoFinishedSession) {
  std::string id;
  std::vector<std::string> before;
  {
    FakeBackends backends(FakeBackends::Writes({"right"}));
    std::atomic<int> verified = 0;
    backends.set_verify_gate(
        [&](const rpc::CallContext& call) { return ++verified <= 3 ? absl::OkStatus() : AwaitCancel(call); });
    Start(backends);
    id = Create(Request(10));
    Await(id, [](const v1::Run& run) { return run.counts().passed() >= 3; });
    Stop();
    before = backends.RequestIds();
  }
  FakeBackends backends(FakeBackends::Writes({"right"}));
  Start(backends);
  const v1::Run run = AwaitEnd(id);
  EXPECT_EQ(run.counts().passed(), 10);
  std::set<std::string> ids(before.begin(), before.end());
  for (const std::string& request : backends.RequestIds())
    EXPECT_TRUE(ids.insert(request).second) << request << " was asked again though its answer was stored";
  EXPECT_EQ(ids.size(), 10u);
  int resumed = 0;
  for (const v1::RunEvent& event : Events(id)) resumed += event.has_resumed() ? 1 : 0;
  EXPECT_EQ(resumed, 1);
}

TEST_F(RunManagerTest, CancellingEndsItsSessionsToo) {
  FakeBackends backends(FakeBackends::Writes({"right"}));
  backends.set_verify_gate(AwaitCancel);
  Start(backends);
  const std::string id = Create(Request(10));
  Await(id, [](const v1::Run& run) { return run.counts().running() == 4; });
  const absl::StatusOr<v1::Run> run = runs_->Cancel(id, "enough");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state(), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(run->message(), "enough");
  EXPECT_EQ(run->counts().cancelled(), 10);
  EXPECT_EQ(runs_->Cancel(id, "again")->message(), "enough");
  v1::ListSessionsRequest list;
  list.set_run_id(id);
  const absl::StatusOr<v1::ListSessionsResponse> sessions = manager_->List(list);
  ASSERT_TRUE(sessions.ok()) << sessions.status();
  EXPECT_EQ(sessions->sessions_size(), 4);
  for (const v1::Session& session : sessions->sessions())
    EXPECT_EQ(session.state(), v1::SESSION_STATE_CANCELLED);
}

TEST_F(RunManagerTest, StopsWhenItsBudgetIsSpent) {
  FakeBackends backends([](const rpc::CallContext&, const llm::v1::GenerateRequest&, int count) {
    llm::v1::GenerateResponse response = FakeBackends::Answer(
        testing_events::Says("", {testing_events::CompileCall(absl::StrCat("c", count), "right")}));
    response.mutable_usage()->set_cost_micro_usd(100);
    return response;
  });
  Start(backends);
  v1::CreateRunRequest request = Request(10);
  request.mutable_spec()->set_concurrency(1);
  request.mutable_spec()->set_max_cost_micro_usd(250);
  const v1::Run run = AwaitEnd(Create(request));
  EXPECT_EQ(run.state(), v1::RUN_STATE_BUDGET_EXHAUSTED);
  EXPECT_EQ(run.counts().passed(), 3);
  EXPECT_EQ(run.counts().cancelled(), 7);
  EXPECT_THAT(run.message(), HasSubstr("cost 300 of at most 250"));
}

TEST_F(RunManagerTest, EachModelCallBringsWhatItsSessionMaySpendAndHasSpent) {
  // The gateway remembers nothing between two calls, as if each came to another replica.
  std::mutex mutex;
  std::map<std::string, std::vector<int64_t>> spent;
  FakeBackends backends([&](const rpc::CallContext&, const llm::v1::GenerateRequest& request,
                            int) -> absl::StatusOr<llm::v1::GenerateResponse> {
    const std::lock_guard<std::mutex> lock(mutex);
    EXPECT_EQ(request.budgets_size(), 1);
    EXPECT_EQ(request.budgets(0).id(), request.session_id());
    EXPECT_EQ(request.budgets(0).limit_micro_usd(), 250);
    std::vector<int64_t>& calls = spent[request.session_id()];
    calls.push_back(request.budgets(0).spent_micro_usd());
    if (request.budgets(0).spent_micro_usd() + 100 > request.budgets(0).limit_micro_usd()) {
      absl::Status refused = absl::FailedPreconditionError("budget of $0.000250 has too little left");
      llm::v1::ErrorDetail detail;
      detail.set_reason(llm::v1::ERROR_REASON_BUDGET_EXCEEDED);
      refused.SetPayload("type.googleapis.com/nkiagent.llm.v1.ErrorDetail",
                         absl::Cord(detail.SerializeAsString()));
      return refused;
    }
    llm::v1::GenerateResponse response = FakeBackends::Answer(testing_events::Says(
        "",
        {testing_events::CompileCall(absl::StrCat("c", calls.size()), absl::StrCat("bad", calls.size()))}));
    response.mutable_usage()->set_cost_micro_usd(100);
    return response;
  });
  Start(backends);
  v1::CreateRunRequest request = Request(1);
  request.mutable_spec()->set_max_cost_micro_usd(250);
  const v1::Run run = AwaitEnd(Create(request));
  EXPECT_EQ(run.usage().cost_micro_usd(), 200);
  ASSERT_EQ(spent.size(), 1u);
  EXPECT_EQ(spent.begin()->second, std::vector<int64_t>({0, 100, 200}));
  const absl::StatusOr<v1::Session> session = manager_->Get(spent.begin()->first);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->state(), v1::SESSION_STATE_NOT_SOLVED);
  EXPECT_EQ(session->end_reason(), v1::END_REASON_BUDGET_EXHAUSTED);
  EXPECT_THAT(session->message(), HasSubstr("too little left"));
}

TEST_F(RunManagerTest, ARepeatedCallIsTheSameRunAndAnotherSpecIsRefused) {
  FakeBackends backends(FakeBackends::Writes({"right"}));
  Start(backends);
  v1::CreateRunRequest request = Request(1);
  request.set_request_id("once");
  const std::string id = Create(request);
  EXPECT_EQ(Create(request), id);
  request.mutable_spec()->set_model("other");
  EXPECT_EQ(runs_->Create(request).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(runs_->Get("r-none").status().code(), absl::StatusCode::kNotFound);
  Stop();  // sessions of the run may be at work, and the backends end with this test
}

TEST_F(RunManagerTest, BadSpecsAreRefusedByName) {
  FakeBackends backends(FakeBackends::Writes({"right"}));
  Start(backends);
  const auto refusal = [this](const std::function<void(v1::RunSpec*)>& change) {
    v1::CreateRunRequest request = Request(2);
    change(request.mutable_spec());
    const absl::Status status = runs_->Create(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refusal([](v1::RunSpec* spec) { spec->clear_tasks(); }), HasSubstr("spec.tasks has 0 entries"));
  EXPECT_THAT(refusal([](v1::RunSpec* spec) { spec->mutable_tasks(1)->set_id("task0"); }),
              HasSubstr("spec.tasks[0] and spec.tasks[1] have the same id \"task0\""));
  EXPECT_THAT(refusal([](v1::RunSpec* spec) { spec->mutable_tasks(1)->clear_id(); }),
              HasSubstr("spec.tasks[1]"));
  EXPECT_THAT(refusal([](v1::RunSpec* spec) { spec->mutable_tasks(1)->clear_reference_source(); }),
              HasSubstr("task \"task1\": task.reference_source is empty"));
  EXPECT_THAT(refusal([](v1::RunSpec* spec) { spec->set_repeats(-1); }), HasSubstr("spec.repeats is -1"));
  EXPECT_THAT(refusal([](v1::RunSpec* spec) { spec->set_name("a b"); }), HasSubstr("spec.name"));
  EXPECT_THAT(refusal([](v1::RunSpec* spec) { spec->clear_model(); }), HasSubstr("model is empty"));
}

}  // namespace
}  // namespace nkiagent::orchestrator
