// Rate limits, circuits, budgets, bounds of tokens, the cache and hedging, each on a clock of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/rpc/status.h"
#include "services/llm_gateway/budget.h"
#include "services/llm_gateway/circuit_breaker.h"
#include "services/llm_gateway/error_detail.h"
#include "services/llm_gateway/hedging.h"
#include "services/llm_gateway/rate_limiter.h"
#include "services/llm_gateway/response_cache.h"
#include "services/llm_gateway/test_util.h"
#include "services/llm_gateway/token_bounds.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

TEST(RateLimiter, LetsAMinutesWorthGoAndThenSpreadsTheRest) {
  RateLimiter limiter(60, 0);
  for (int i = 0; i < 60; ++i) EXPECT_EQ(limiter.Take(5, kStart), kStart);
  EXPECT_EQ(limiter.Take(5, kStart), kStart + absl::Seconds(1));
  EXPECT_EQ(limiter.Take(5, kStart), kStart + absl::Seconds(2));
  limiter.GiveBack(/*request=*/true, 5, kStart);
  EXPECT_EQ(limiter.Take(5, kStart), kStart + absl::Seconds(2));
  EXPECT_EQ(limiter.Take(5, kStart + absl::Minutes(10)), kStart + absl::Minutes(10));
}

TEST(RateLimiter, CountsTokensAndCorrectsItsGuess) {
  RateLimiter limiter(0, 6000);
  EXPECT_EQ(limiter.Take(6000, kStart), kStart);
  EXPECT_EQ(limiter.Take(100, kStart), kStart + absl::Seconds(1));
  limiter.GiveBack(false, 5950, kStart);
  EXPECT_EQ(limiter.Take(100, kStart), kStart);
  // More than there ever is takes all of it, and waits no longer than that takes.
  RateLimiter fresh(0, 6000);
  EXPECT_EQ(fresh.Take(1'000'000, kStart), kStart);
  EXPECT_EQ(fresh.Take(6000, kStart), kStart + absl::Minutes(1));
}

TEST(RateLimiter, HonoursWhatProvidersSay) {
  RateLimiter limiter(0, 0);
  using Headers = std::map<std::string, std::string>;
  limiter.Observe(200,
                  {{"anthropic-ratelimit-requests-remaining", "3"},
                   {"anthropic-ratelimit-requests-reset", "1970-01-12T13:47:00Z"}},
                  kStart);
  EXPECT_LE(limiter.blocked_until(), kStart);
  limiter.Observe(200,
                  {{"anthropic-ratelimit-input-tokens-remaining", "0"},
                   {"anthropic-ratelimit-input-tokens-reset", "1970-01-12T13:47:00Z"}},
                  kStart);
  EXPECT_EQ(limiter.blocked_until(), kStart + absl::Seconds(20));
  limiter.Observe(200, {{"x-ratelimit-remaining-tokens", "0"}, {"x-ratelimit-reset-tokens", "1m30s"}},
                  kStart);
  EXPECT_EQ(limiter.blocked_until(), kStart + absl::Seconds(90));
  limiter.Observe(429, {{"retry-after", "120"}}, kStart);
  EXPECT_EQ(limiter.blocked_until(), kStart + absl::Seconds(120));
  // What can't be meant.
  for (const Headers& odd :
       {Headers{{"x-ratelimit-remaining-tokens", "0"}, {"x-ratelimit-reset-tokens", "99h"}},
        Headers{{"x-ratelimit-remaining-tokens", "none"}, {"x-ratelimit-reset-tokens", "9m"}},
        Headers{{"anthropic-ratelimit-tokens-remaining", "0"},
                {"anthropic-ratelimit-tokens-reset", "soon"}}}) {
    limiter.Observe(200, odd, kStart);
  }
  EXPECT_EQ(limiter.blocked_until(), kStart + absl::Seconds(120));
}

TEST(CircuitBreaker, OpensProbesAndCloses) {
  using Outcome = CircuitBreaker::Outcome;
  std::vector<int> states;
  CircuitBreaker breaker("http://model", {.failures = 3, .pause = absl::Seconds(10)},
                         [&](CircuitBreaker::State state) { states.push_back(static_cast<int>(state)); });
  breaker.Record(Outcome::kFailure, kStart);
  breaker.Record(Outcome::kFailure, kStart);
  breaker.Record(Outcome::kSuccess, kStart);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(breaker.Admit(kStart).ok());
    breaker.Record(Outcome::kFailure, kStart);
  }
  const absl::Status refused = breaker.Admit(kStart + absl::Seconds(4));
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(refused), llm::ERROR_REASON_CIRCUIT_OPEN);
  EXPECT_EQ(rpc::RetryAfter(refused), absl::Seconds(6));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("http://model failed 3 times"));
  // One probe at a time; one whose caller went away proves nothing, one that fails doubles the pause.
  const absl::Time later = kStart + absl::Seconds(10);
  EXPECT_TRUE(breaker.Admit(later).ok());
  EXPECT_FALSE(breaker.Admit(later).ok());
  breaker.Record(Outcome::kUnknown, later);
  EXPECT_TRUE(breaker.Admit(later).ok());
  breaker.Record(Outcome::kFailure, later);
  EXPECT_FALSE(breaker.Admit(later + absl::Seconds(19)).ok());
  EXPECT_TRUE(breaker.Admit(later + absl::Seconds(20)).ok());
  breaker.Record(Outcome::kSuccess, later + absl::Seconds(20));
  EXPECT_TRUE(breaker.Admit(later + absl::Seconds(20)).ok());
  EXPECT_EQ(states, std::vector<int>({2, 1, 2, 1, 0}));
}

llm::Budget MakeBudget(const std::string& id, int64_t limit, int64_t spent = 0) {
  llm::Budget budget;
  budget.set_id(id);
  budget.set_limit_micro_usd(limit);
  budget.set_spent_micro_usd(spent);
  return budget;
}

TEST(BudgetBook, StopsBeforeItIsOverspent) {
  BudgetBook book;
  auto first = book.Reserve({MakeBudget("run", 100), MakeBudget("session", 70)}, 60);
  ASSERT_TRUE(first.ok()) << first.status();
  // Set aside is as good as spent; and a refusal sets nothing aside elsewhere.
  const absl::Status refused = book.Reserve({MakeBudget("run", 100), MakeBudget("session", 70)}, 11).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused), llm::ERROR_REASON_BUDGET_EXCEEDED);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("budget session of $0.000070"));
  EXPECT_TRUE(book.Reserve({MakeBudget("run", 100)}, 40).ok());
  (*first)->Settle(20);
  EXPECT_EQ((*first)->States()[0].spent_micro_usd(), 20);
  EXPECT_EQ((*first)->States()[0].reserved_micro_usd(), 0);
  EXPECT_TRUE(book.Reserve({MakeBudget("session", 70)}, 50).ok());
  // What the caller knows counts if it is more.
  EXPECT_FALSE(book.Reserve({MakeBudget("session", 70, 69)}, 2).ok());
  EXPECT_FALSE(book.Reserve({MakeBudget("session", INT64_MAX, INT64_MAX)}, INT64_MAX).ok());
}

TEST(BudgetBook, ForgetsTheOldestThatNobodyUses) {
  absl::Time now = kStart;
  BudgetBook book({.max_budgets = 2, .max_idle = absl::Hours(1), .now = [&] { return now; }});
  auto held = *book.Reserve({MakeBudget("held", 100)}, 10);
  (*book.Reserve({MakeBudget("a", 100)}, 10))->Settle(90);
  (*book.Reserve({MakeBudget("b", 100)}, 10))->Settle(90);
  EXPECT_EQ(book.size(), 2u);
  EXPECT_EQ(held->States()[0].reserved_micro_usd(), 10);
  now += absl::Hours(2);
  EXPECT_TRUE(book.Reserve({MakeBudget("c", 100)}, 10).ok());
  EXPECT_EQ(book.size(), 2u) << "b was idle for too long, and money of held is set aside";
  // A budget that was forgotten goes on from what its caller knows.
  EXPECT_FALSE(book.Reserve({MakeBudget("a", 100, 95)}, 10).ok());
}

TEST(TokenBounds, HoldForEveryTokenizer) {
  GenerateRequest request = Ask("m", "one two\n\tthree  four");
  request.set_system("five six");
  EXPECT_EQ(FewestInputTokens(request), 6);
  EXPECT_GE(MostInputTokens(request), 20 + 8);
  ModelConfig config{.name = "m", .context_window_tokens = 10};
  EXPECT_TRUE(CheckContextWindow(request, config).ok());
  request.mutable_sampling()->set_max_output_tokens(5);
  const absl::Status over = CheckContextWindow(request, config);
  EXPECT_EQ(over.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(over), llm::ERROR_REASON_CONTEXT_OVERFLOW);
  EXPECT_THAT(std::string(over.message()), HasSubstr("at least 6 tokens; with 5"));
  EXPECT_EQ(MostCostMicroUsd(request, config).status().code(), absl::StatusCode::kFailedPrecondition);
  config.priced = true;
  config.prices = {.input = 1'000'000, .output = 10'000'000, .cached_input = 0, .cache_write = 2'000'000};
  EXPECT_EQ(*MostCostMicroUsd(request, config), MostInputTokens(request) * 2 + 5 * 10);
}

TEST(ResponseCache, KeepsWhatWasUsedLastWithinItsBytesAndOverARestart) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/response-cache-", getpid(), ".db");
  std::filesystem::remove(path);
  GenerateResponse answer;
  answer.mutable_message()->add_content()->set_text(std::string(1000, 'x'));
  {
    // Nine answers of a thousand bytes, and what their rows take.
    auto cache = *ResponseCache::Open(path, 15'000);
    for (int i = 0; i < 9; ++i) cache->Store(ResponseCache::Key(absl::StrCat("q", i)), answer);
    EXPECT_TRUE(cache->Find(ResponseCache::Key("q0")).has_value());
    cache->Store(ResponseCache::Key("q9"), answer);
    EXPECT_LE(cache->bytes(), 15'000);
    EXPECT_FALSE(cache->Find(ResponseCache::Key("q1")).has_value());
    answer.mutable_message()->add_content()->set_text(std::string(5000, 'x'));
    cache->Store(ResponseCache::Key("large"), answer);
    EXPECT_FALSE(cache->Find(ResponseCache::Key("large")).has_value());
  }
  auto again = *ResponseCache::Open(path, 15'000);
  ASSERT_TRUE(again->Find(ResponseCache::Key("q0")).has_value());
  EXPECT_EQ(again->Find(ResponseCache::Key("q0"))->message().content(0).text().size(), 1000u);
  again.reset();
  EXPECT_EQ((*ResponseCache::Open(path, 0))->bytes(), 0);
  for (const char* tail : {"", "-wal", "-shm"}) std::filesystem::remove(path + tail);
}

// Keeps its calls until the test answers them.
class ManualProvider : public Provider {
 public:
  void Generate(const ModelCall& call, Done done) override {
    calls.push_back(call);
    dones.push_back(std::move(done));
  }
  std::vector<ModelCall> calls;
  std::vector<Done> dones;
};

// Runs its timers when told to.
class ManualScheduler : public Scheduler {
 public:
  absl::Time Now() const override { return kStart; }
  TimerId RunAt(absl::Time, std::function<void()> task) override {
    tasks[++last] = std::move(task);
    return last;
  }
  void CancelTimer(TimerId id) override { tasks.erase(id); }
  void RunAll() {
    const auto due = std::exchange(tasks, {});
    for (const auto& [id, task] : due) task();
  }
  std::map<TimerId, std::function<void()>> tasks;
  TimerId last = 0;
};

class HedgingTest : public ::testing::Test {
 protected:
  void Begin() {
    GenerateHedged(
        &provider_, &scheduler_, absl::Seconds(5),
        {.request = std::make_shared<const GenerateRequest>(Ask("m", "?")), .context = caller_.context()},
        answer_.Catch());
  }
  static GenerateResponse Says(const std::string& text) {
    GenerateResponse response;
    response.mutable_message()->add_content()->set_text(text);
    return response;
  }
  ManualProvider provider_;
  ManualScheduler scheduler_;
  Caller caller_;
  Answer answer_;
};

TEST_F(HedgingTest, AFastAnswerIsAskedForOnce) {
  Begin();
  provider_.dones[0](Says("fast"));
  EXPECT_EQ(answer_.Wait()->message().content(0).text(), "fast");
  EXPECT_TRUE(scheduler_.tasks.empty());
  EXPECT_EQ(provider_.calls.size(), 1u);
}

TEST_F(HedgingTest, TheFirstOfTwoAnswersCountsAndTheOtherIsCancelled) {
  Begin();
  scheduler_.RunAll();
  ASSERT_EQ(provider_.calls.size(), 2u);
  provider_.dones[1](Says("second"));
  EXPECT_EQ(answer_.Wait()->message().content(0).text(), "second");
  EXPECT_TRUE(provider_.calls[0].context.stop_token().stop_requested());
  provider_.dones[0](absl::CancelledError("late"));
  EXPECT_EQ(answer_.times(), 1);
}

TEST_F(HedgingTest, AnErrorCountsOnceBothHaveFailedAndCancellationReachesBoth) {
  Begin();
  scheduler_.RunAll();
  provider_.dones[0](absl::UnavailableError("one"));
  EXPECT_FALSE(answer_.ready());
  caller_.stop.request_stop();
  EXPECT_TRUE(provider_.calls[1].context.stop_token().stop_requested());
  provider_.dones[1](absl::CancelledError("two"));
  EXPECT_EQ(answer_.Wait().status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace nkiagent::llm_gateway
