// Timers and tasks of the loop; what the client makes of servers is in gateway_conformance_test.cc.
#include "services/llm_gateway/http/http_client.h"

#include <gtest/gtest.h>

#include <latch>
#include <vector>

#include "absl/time/clock.h"

namespace nkiagent::llm_gateway {
namespace {

TEST(EventLoop, RunsTasksInOrderOnItsOwnThread) {
  auto loop = *EventLoop::Create();
  std::vector<int> order;
  bool inside = false;
  for (int i = 0; i < 100; ++i) loop->Post([&order, i] { order.push_back(i); });
  loop->PostAndWait([&] { inside = loop->InLoopThread(); });
  EXPECT_TRUE(inside);
  EXPECT_FALSE(loop->InLoopThread());
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(EventLoop, RunsTimersByTimeAndNotAfterTheyAreCancelled) {
  auto loop = *EventLoop::Create();
  std::vector<int> order;
  std::latch done(1);
  const absl::Time now = absl::Now();
  loop->PostAndWait([&] {
    loop->RunAt(now + absl::Milliseconds(3), [&] {
      order.push_back(3);
      done.count_down();
    });
    loop->RunAt(now + absl::Milliseconds(1), [&] { order.push_back(1); });
    const auto cancelled = loop->RunAt(now + absl::Milliseconds(2), [&] { order.push_back(2); });
    loop->CancelTimer(cancelled);
    loop->CancelTimer(cancelled);
  });
  done.wait();
  EXPECT_EQ(order, std::vector<int>({1, 3}));
}

TEST(EventLoop, ATimerCanCancelAnotherThatIsDueWithIt) {
  auto loop = *EventLoop::Create();
  bool ran = false;
  std::latch done(1);
  loop->PostAndWait([&] {
    static Scheduler::TimerId second = 0;
    loop->RunAt(absl::InfinitePast(), [&] { loop->CancelTimer(second); });
    second = loop->RunAt(absl::UnixEpoch(), [&] { ran = true; });
    loop->RunAt(absl::Now(), [&] { done.count_down(); });
  });
  done.wait();
  EXPECT_FALSE(ran);
}

TEST(EventLoop, DestroysWhatDidNotRun) {
  auto loop = *EventLoop::Create();
  auto owned = std::make_shared<int>(7);
  loop->RunAt(absl::InfiniteFuture(), [owned] {});
  EXPECT_EQ(owned.use_count(), 2);
  loop.reset();
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(HttpClient, RefusesWhatIsNoHttpUrl) {
  auto loop = *EventLoop::Create();
  auto client = *HttpClient::Create(loop.get(), {});
  for (const char* url : {"file:///etc/passwd", "gopher://127.0.0.1/", "http://", "not a url"}) {
    std::latch done(1);
    HttpFailure failure = HttpFailure::kNone;
    client->Start({.url = url}, [&](const HttpResult& result) {
      failure = result.failure;
      EXPECT_TRUE(result.response.body.empty());
      done.count_down();
    });
    done.wait();
    EXPECT_NE(failure, HttpFailure::kNone) << url;
  }
}

TEST(HttpClient, EndsItsCallsWhenItIsDestroyed) {
  auto loop = *EventLoop::Create();
  auto client = *HttpClient::Create(loop.get(), {});
  // An address of TEST-NET-1 (RFC 5737): nobody answers.
  HttpFailure failure = HttpFailure::kNone;
  client->Start({.url = "http://192.0.2.1/"}, [&](const HttpResult& result) { failure = result.failure; });
  client.reset();
  EXPECT_NE(failure, HttpFailure::kNone);
}

}  // namespace
}  // namespace nkiagent::llm_gateway
