#include "services/orchestrator/retry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stop_token>

#include "absl/time/clock.h"
#include "common/rpc/status.h"

namespace nkiagent::orchestrator {
namespace {

using testing::HasSubstr;

RetryPolicy Quick() {
  return {
      .budget = absl::Seconds(5), .first_pause = absl::Milliseconds(1), .max_pause = absl::Milliseconds(2)};
}

TEST(Retry, TriesTransientFailuresAgain) {
  int tries = 0;
  int told = 0;
  const absl::Status status = Retry(
      rpc::CallContext(), Quick(),
      [&] {
        ++tries;
        if (tries == 1) return absl::UnavailableError("down");
        if (tries == 2) return absl::ResourceExhaustedError("full");
        return absl::OkStatus();
      },
      [&](const absl::Status&) { ++told; });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(tries, 3);
  EXPECT_EQ(told, 2);
}

TEST(Retry, LeavesOtherFailuresAlone) {
  int tries = 0;
  const absl::Status status = Retry(rpc::CallContext(), Quick(), [&] {
    ++tries;
    return absl::InternalError("broken");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(tries, 1);
}

TEST(Retry, GivesUpWhenTheBudgetCanNotHoldTheServicesHint) {
  int tries = 0;
  const absl::Status status = Retry(rpc::CallContext(), Quick(), [&] {
    ++tries;
    return rpc::WithRetryAfter(absl::ResourceExhaustedError("full"), absl::Seconds(60));
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("given up after 1 try"));
  EXPECT_EQ(tries, 1);
}

TEST(Retry, WaitsAsLongAsTheServiceAsks) {
  const absl::Time start = absl::Now();
  int tries = 0;
  EXPECT_TRUE(Retry(rpc::CallContext(), Quick(), [&] {
                ++tries;
                return tries == 1
                           ? rpc::WithRetryAfter(absl::UnavailableError("down"), absl::Milliseconds(30))
                           : absl::OkStatus();
              }).ok());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(30));
}

TEST(Retry, EndsWithTheCallsCancellation) {
  std::stop_source stop;
  RetryPolicy slow = Quick();
  slow.budget = absl::Hours(1);
  slow.first_pause = absl::Minutes(30);
  slow.max_pause = absl::Minutes(30);
  const absl::Status status =
      Retry(rpc::CallContext("", absl::InfiniteFuture(), stop.get_token()), slow, [&] {
        stop.request_stop();
        return absl::UnavailableError("down");
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST(Retry, EndsBeforeTheCallsDeadline) {
  RetryPolicy slow = Quick();
  slow.first_pause = absl::Minutes(10);
  slow.max_pause = absl::Minutes(10);
  slow.budget = absl::Hours(1);
  const absl::Status status = Retry(rpc::CallContext("", absl::Now() + absl::Minutes(1)), slow,
                                    [] { return absl::UnavailableError("down"); });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace nkiagent::orchestrator
