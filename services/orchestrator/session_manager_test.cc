// The manager under load, without gRPC in the way, so that ThreadSanitizer sees all of it.
#include "services/orchestrator/session_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "common/storage/sqlite_event_store.h"
#include "services/orchestrator/fake_backends_for_test.h"

namespace nkiagent::orchestrator {
namespace {

class SessionManagerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/manager_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  void TearDown() override {
    manager_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Start(ManagerOptions options) {
    auto store = storage::OpenSqliteEventStore({.path = folder_ + "/events.db"});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    manager_ = std::make_unique<SessionManager>(options, *store_, backends_, metrics_);
    manager_->Start();
  }

  void Stop() {
    manager_.reset();
    store_.reset();
  }

  std::string Submit() {
    v1::SubmitTaskRequest request;
    request.set_model("fake");
    request.mutable_task()->set_reference_source("class Model: pass");
    const absl::StatusOr<v1::Session> session = manager_->Submit(request);
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? session->id() : "";
  }

  // Reads a session's events to its end, woken by the hub, and checks that none is missing or seen twice.
  int64_t WatchToTheEnd(const std::string& id) {
    struct State {
      std::mutex mutex;
      std::condition_variable changed;
      bool dirty = true;
    };
    auto state = std::make_shared<State>();
    absl::StatusOr<WatchHub::Subscription> subscription = manager_->Watch(id, [state] {
      const std::lock_guard<std::mutex> lock(state->mutex);
      state->dirty = true;
      state->changed.notify_all();
    });
    EXPECT_TRUE(subscription.ok());
    int64_t next = 1;
    while (true) {
      {
        std::unique_lock<std::mutex> lock(state->mutex);
        state->changed.wait(lock, [&] { return state->dirty; });
        state->dirty = false;
      }
      while (true) {
        const absl::StatusOr<EventBatch<v1::SessionEvent>> batch = manager_->ReadEvents(id, next);
        EXPECT_TRUE(batch.ok()) << batch.status();
        if (!batch.ok() || batch->ended) return next - 1 + (batch.ok() ? batch->events.size() : 0);
        for (const v1::SessionEvent& event : batch->events) EXPECT_EQ(event.sequence(), next++);
        if (batch->events.empty()) break;
      }
    }
  }

  std::string folder_;
  FakeBackends backends_{FakeBackends::Writes({"bad", "wrong", "right"})};
  metrics::Metrics registry_{"orchestrator"};
  OrchestratorMetrics metrics_{registry_};
  std::unique_ptr<storage::EventStore> store_;
  std::unique_ptr<SessionManager> manager_;
};

TEST_F(SessionManagerTest, SubmittersWatchersAndCancellersDoNotDisturbEachOther) {
  Start({.max_running = 4, .max_queued = 100});
  std::mutex mutex;
  std::map<v1::SessionState, int> ends;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        const std::string id = Submit();
        std::thread canceller;
        if ((t + i) % 3 == 0)
          canceller = std::thread([&, id] { EXPECT_TRUE(manager_->Cancel(id, "test").ok()); });
        const int64_t last = WatchToTheEnd(id);
        if (canceller.joinable()) canceller.join();
        const absl::StatusOr<v1::Session> session = manager_->Get(id);
        ASSERT_TRUE(session.ok());
        EXPECT_EQ(session->last_sequence(), last);
        const std::lock_guard<std::mutex> lock(mutex);
        ++ends[session->state()];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // A cancelled session may have passed before; every other one has passed.
  EXPECT_EQ(ends[v1::SESSION_STATE_PASSED] + ends[v1::SESSION_STATE_CANCELLED], 20);
  EXPECT_GE(ends[v1::SESSION_STATE_PASSED], 13);
}

TEST_F(SessionManagerTest, DrainingAgainAndAgainLosesNothing) {
  std::vector<std::string> ids;
  Start({.max_running = 3});
  for (int i = 0; i < 12; ++i) ids.push_back(Submit());
  for (int round = 0; round < 5; ++round) {
    Stop();
    Start({.max_running = 3});
  }
  for (const std::string& id : ids) {
    WatchToTheEnd(id);
    const absl::StatusOr<v1::Session> session = manager_->Get(id);
    ASSERT_TRUE(session.ok());
    EXPECT_EQ(session->state(), v1::SESSION_STATE_PASSED) << session->message();
    EXPECT_EQ(session->turns_used(), 3);
  }
  // A turn's call may be made again after a drain, but never one that was answered: three answers for each
  // session, and as many request ids.
  std::map<std::string, int> asked;
  for (const std::string& id : backends_.RequestIds()) ++asked[id];
  EXPECT_EQ(asked.size(), 36u);
}

}  // namespace
}  // namespace nkiagent::orchestrator
