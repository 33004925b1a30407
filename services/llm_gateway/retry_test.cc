#include "services/llm_gateway/retry.h"

#include <gtest/gtest.h>

#include <optional>

namespace nkiagent::llm_gateway {
namespace {

constexpr double kTop = 0.999999;

TEST(NextPause, DoublesFromTryToTryUpToTheLongest) {
  const RetryOptions options = {
      .max_attempts = 10, .first_pause = absl::Seconds(1), .max_pause = absl::Seconds(5)};
  const absl::Duration expected[] = {absl::Seconds(1), absl::Seconds(2), absl::Seconds(4), absl::Seconds(5)};
  for (int i = 0; i < 4; ++i) {
    const auto longest = NextPause(options, {.attempts_made = i + 1, .random = kTop});
    const auto shortest = NextPause(options, {.attempts_made = i + 1, .random = 0});
    ASSERT_TRUE(longest && shortest);
    EXPECT_NEAR(absl::ToDoubleSeconds(*longest), absl::ToDoubleSeconds(expected[i]), 1e-3);
    EXPECT_EQ(*shortest, expected[i] / 2);
  }
}

TEST(NextPause, EndsWithTheTries) {
  EXPECT_TRUE(NextPause({.max_attempts = 3}, {.attempts_made = 2}).has_value());
  EXPECT_FALSE(NextPause({.max_attempts = 3}, {.attempts_made = 3}).has_value());
}

TEST(NextPause, NeverComesBackBeforeTheProviderAsked) {
  const auto pause = NextPause({}, {.asked_pause = absl::Seconds(40), .random = 0});
  EXPECT_EQ(pause, absl::Seconds(40));
  const auto jittered = NextPause({}, {.asked_pause = absl::Seconds(40), .random = kTop});
  EXPECT_LE(*jittered, absl::Seconds(44));
  EXPECT_GE(*jittered, absl::Seconds(40));
}

TEST(NextPause, EndsWithTheBudgetOfPausesAndWithTheDeadline) {
  const RetryOptions options = {.pause_budget = absl::Seconds(60)};
  EXPECT_FALSE(NextPause(options, {.asked_pause = absl::Seconds(61)}).has_value());
  EXPECT_FALSE(
      NextPause(options, {.paused_so_far = absl::Seconds(50), .asked_pause = absl::Seconds(11), .random = 0})
          .has_value());
  EXPECT_FALSE(
      NextPause(options, {.time_left = absl::Seconds(5), .asked_pause = absl::Seconds(5), .random = 0})
          .has_value());
  EXPECT_TRUE(
      NextPause(options, {.time_left = absl::Seconds(5), .asked_pause = absl::Seconds(4), .random = 0})
          .has_value());
}

TEST(AskedPause, ReadsSecondsMillisecondsAndDates) {
  const absl::Time now = absl::FromCivil(absl::CivilSecond(1994, 11, 6, 8, 49, 0), absl::UTCTimeZone());
  EXPECT_EQ(AskedPause({{"retry-after", "12"}}, now), absl::Seconds(12));
  EXPECT_EQ(AskedPause({{"retry-after", "1.5"}}, now), absl::Milliseconds(1500));
  EXPECT_EQ(AskedPause({{"retry-after", "9"}, {"retry-after-ms", "250"}}, now), absl::Milliseconds(250));
  EXPECT_EQ(AskedPause({{"retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"}}, now), absl::Seconds(37));
  EXPECT_EQ(AskedPause({{"retry-after", "Sun, 06 Nov 1994 08:40:00 GMT"}}, now), absl::ZeroDuration());
  EXPECT_EQ(AskedPause({{"retry-after", "-3"}}, now), absl::ZeroDuration());
}

TEST(AskedPause, IgnoresWhatItCanNotRead) {
  const absl::Time now = absl::UnixEpoch();
  EXPECT_EQ(AskedPause({}, now), std::nullopt);
  for (const char* text : {"", "soon", "nan", "inf", "12s", "Sun, 99 Nov 1994"}) {
    EXPECT_EQ(AskedPause({{"retry-after", text}}, now), std::nullopt) << text;
  }
}

TEST(RetryableStatus, IsWhatMaySucceedUnchanged) {
  for (int status : {408, 429, 500, 502, 503, 504, 529}) EXPECT_TRUE(RetryableStatus(status)) << status;
  for (int status : {200, 302, 400, 401, 403, 404, 409, 413, 422, 501, 505, 600}) {
    EXPECT_FALSE(RetryableStatus(status)) << status;
  }
}

}  // namespace
}  // namespace nkiagent::llm_gateway
