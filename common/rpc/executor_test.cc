#include "common/rpc/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

#include "common/rpc/status.h"

namespace nkiagent::rpc {
namespace {

TEST(ExecutorTest, RunsEveryAcceptedJobBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    Executor executor({.threads = 3, .max_queued = 100});
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(executor.Submit([&] { ++ran; }).ok());
  }
  EXPECT_EQ(ran, 100);
}

TEST(ExecutorTest, RefusesWithARetryHintWhenThreadsAndQueueAreFull) {
  Executor executor({.threads = 1, .max_queued = 1});
  std::latch started(1), release(1);
  ASSERT_TRUE(executor
                  .Submit([&] {
                    started.count_down();
                    release.wait();
                  })
                  .ok());
  started.wait();
  ASSERT_TRUE(executor.Submit([] {}).ok());
  const absl::Status refused = executor.Submit([] {});
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryAfter(refused).has_value());
  EXPECT_EQ(executor.running(), 1);
  EXPECT_EQ(executor.queued(), 1);
  release.count_down();
}

TEST(ExecutorTest, AQueueOfZeroStillTakesOneJobForEachIdleThread) {
  Executor executor({.threads = 2, .max_queued = 0});
  std::latch both(2);
  const auto job = [&] { both.arrive_and_wait(); };
  EXPECT_TRUE(executor.Submit(job).ok());
  EXPECT_TRUE(executor.Submit(job).ok());
}

}  // namespace
}  // namespace nkiagent::rpc
