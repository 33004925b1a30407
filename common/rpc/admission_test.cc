#include "common/rpc/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "common/rpc/status.h"

namespace nkiagent::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void AwaitWaiting(const Admission& gate, int count) {
  while (gate.waiting() != count) std::this_thread::yield();
}

TEST(AdmissionTest, FullQueueIsRefusedWithARetryHint) {
  Admission gate({.what = "trace workers", .max_running = 1, .max_waiting = 0});
  const auto held = gate.Enter(absl::InfiniteFuture());
  ASSERT_TRUE(held.ok());
  const auto refused = gate.Enter(absl::InfiniteFuture());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("all 1 trace workers are busy"));
  ASSERT_TRUE(RetryAfter(refused.status()).has_value());
  EXPECT_GT(*RetryAfter(refused.status()), absl::ZeroDuration());
}

TEST(AdmissionTest, ReleasedTicketGoesToTheFirstWaiter) {
  Admission gate({.max_running = 1, .max_waiting = 3});
  auto held = std::make_unique<absl::StatusOr<Admission::Ticket>>(gate.Enter(absl::InfiniteFuture()));
  std::mutex mutex;
  std::vector<int> order;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      const auto ticket = gate.Enter(absl::InfiniteFuture());
      std::lock_guard lock(mutex);
      order.push_back(i);
    });
    AwaitWaiting(gate, i + 1);
  }
  held.reset();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  EXPECT_EQ(gate.running(), 0);
}

TEST(AdmissionTest, NeverAdmitsMoreThanTheLimit) {
  Admission gate({.max_running = 2, .max_waiting = 100});
  std::atomic<int> inside = 0, most = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 20; ++i) {
    threads.emplace_back([&] {
      const auto ticket = gate.Enter(absl::InfiniteFuture());
      ASSERT_TRUE(ticket.ok());
      const int now = ++inside;
      for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
      }
      std::this_thread::yield();
      --inside;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 2);
}

TEST(AdmissionTest, WaitEndsAtTheDeadlineAndLeavesNoTrace) {
  Admission gate({.max_running = 1, .max_waiting = 1});
  const auto held = gate.Enter(absl::InfiniteFuture());
  EXPECT_EQ(gate.Enter(absl::Now() + absl::Milliseconds(5)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(gate.waiting(), 0);
}

TEST(AdmissionTest, WaitEndsOnCancelAndTheNextInLineIsServed) {
  Admission gate({.max_running = 1, .max_waiting = 2});
  auto held = std::make_unique<absl::StatusOr<Admission::Ticket>>(gate.Enter(absl::InfiniteFuture()));
  std::stop_source stop;
  auto first = std::async(std::launch::async, [&] {
    return gate.Enter(absl::InfiniteFuture(), stop.get_token()).status().code();
  });
  AwaitWaiting(gate, 1);
  auto second = std::async(std::launch::async, [&] { return gate.Enter(absl::InfiniteFuture()).status(); });
  AwaitWaiting(gate, 2);
  stop.request_stop();
  EXPECT_EQ(first.get(), absl::StatusCode::kCancelled);
  held.reset();
  EXPECT_TRUE(second.get().ok());
}

}  // namespace
}  // namespace nkiagent::rpc
