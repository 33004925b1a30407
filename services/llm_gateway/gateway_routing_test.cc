// Aliases, reloads, limits, budgets and the cache, on the whole gateway.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>

#include "absl/time/clock.h"
#include "services/llm_gateway/conformance_fixture.h"
#include "services/llm_gateway/error_detail.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using ::testing::AllOf;
using ::testing::HasSubstr;

class GatewayRoutingTest : public GatewayTest {
 protected:
  void StartWith(const GatewayOptions& options, const std::vector<AliasConfig>& aliases,
                 const std::function<void(ModelConfig&)>& change = nullptr) {
    gateway_.reset();
    models_ = StandinModels(standin_->url());
    for (ModelConfig& model : models_) {
      if (change) change(model);
    }
    auto gateway = Gateway::Create(options, models_, nullptr, metrics_, aliases);
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
  }
  size_t Asked(const std::string& scenario) const { return standin_->Log(scenario).size(); }

  std::vector<ModelConfig> models_;
};

INSTANTIATE_TEST_SUITE_P(Once, GatewayRoutingTest, ::testing::Values("openai"));

TEST_P(GatewayRoutingTest, AnAliasFallsOverAndSaysWhoAnswered) {
  StartWith(FastOptions(),
            {{.name = "best", .models = {"openai/always-500", "anthropic/rate-limited", "bedrock/chat"}}});
  const size_t before = Asked("always-500");
  const auto response = Generate(Ask("best", "hello"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->model(), "best");
  EXPECT_EQ(response->answered_by(), "bedrock/chat");
  EXPECT_EQ(response->provider(), "bedrock");
  ASSERT_EQ(response->failed_models_size(), 2);
  EXPECT_EQ(response->failed_models(0).model(), "openai/always-500");
  EXPECT_EQ(response->failed_models(0).code(), "UNAVAILABLE");
  EXPECT_EQ(response->failed_models(1).code(), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(Asked("always-500"), before + 2) << "an alias tries a model twice before it asks the next";
  for (const llm::Model& model : gateway_->ListModels()) {
    EXPECT_EQ(model.fallback_models_size(), model.name() == "best" ? 3 : 0);
  }
}

TEST_P(GatewayRoutingTest, OnlyTheErrorsThatAreNamedFallOver) {
  StartWith(FastOptions(),
            {{.name = "bad", .models = {"openai/bad-request", "openai/chat"}},
             {.name = "long",
              .models = {"openai/bad-request", "openai/chat"},
              .fall_over = {.context_overflow = true}},
             {.name = "limited",
              .models = {"openai/rate-limited", "openai/chat"},
              .fall_over = {.rate_limited = false}},
             {.name = "nokey", .models = {"openai-nokey", "openai/chat"}, .fall_over = {.key = true}},
             {.name = "all-fail", .models = {"openai/always-500", "unreachable"}}});
  EXPECT_EQ(Generate(Ask("bad", "?")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Generate(Ask("long", "?")).ok());
  EXPECT_EQ(Generate(Ask("limited", "?")).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Generate(Ask("nokey", "?")).ok());
  const absl::Status failed = Generate(Ask("all-fail", "?")).status();
  EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(
      std::string(failed.message()),
      AllOf(HasSubstr("127.0.0.1 port 9"), HasSubstr("before that, model openai/always-500: UNAVAILABLE")));
}

TEST_P(GatewayRoutingTest, NewModelsComeWithoutDisturbingCallsInProgress) {
  const int before = static_cast<int>(Asked("silent"));
  Caller caller;
  Answer answer;
  gateway_->Generate(Ask("openai/silent", "?"), caller.context(), answer.Catch());
  ASSERT_TRUE(standin_->Await("silent", "begun", before + 1));
  ModelConfig fresh = StandinModels(standin_->url()).front();
  fresh.name = "fresh";
  gateway_->Reload(absl::InvalidArgumentError("models[0]: name is missing"));
  EXPECT_EQ(Generate(Ask("fresh", "?")).status().code(), absl::StatusCode::kNotFound);
  gateway_->Reload(ModelSet{.models = {fresh}, .aliases = {{.name = "other", .models = {"fresh"}}}});
  EXPECT_TRUE(Generate(Ask("other", "?")).ok());
  EXPECT_EQ(Generate(Ask("openai/chat", "?")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(answer.ready());
  caller.stop.request_stop();
  EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kCancelled);
}

TEST_P(GatewayRoutingTest, AConversationThatCanNotFitIsNotSent) {
  StartWith(FastOptions(), {}, [](ModelConfig& model) { model.context_window_tokens = 1000; });
  const size_t before = Asked("chat");
  std::string words;
  for (int i = 0; i < 1000; ++i) words += "word ";
  const absl::Status status = Generate(Ask("openai/chat", words)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), llm::ERROR_REASON_CONTEXT_OVERFLOW);
  EXPECT_EQ(Asked("chat"), before);
}

TEST_P(GatewayRoutingTest, ABudgetPaysUntilTheNextCallMightOverspendIt) {
  const size_t before = Asked("chat");
  GenerateRequest request = Ask("openai/chat", "hello");
  request.mutable_sampling()->set_max_output_tokens(20);
  llm::Budget* run = request.add_budgets();
  run->set_id("run-1");
  run->set_limit_micro_usd(2500);
  // A call costs 690 micro-USD and may cost about 800: after two of them there is no room for a third.
  int answered = 0;
  absl::StatusOr<GenerateResponse> response;
  for (response = Generate(request); response.ok() && answered < 10; response = Generate(request)) {
    ++answered;
    ASSERT_EQ(response->budget_states_size(), 1);
    EXPECT_EQ(response->budget_states(0).spent_micro_usd(), 690 * answered);
    EXPECT_EQ(response->budget_states(0).reserved_micro_usd(), 0);
  }
  EXPECT_GE(answered, 2);
  EXPECT_LE(answered * 690, 2500);
  EXPECT_EQ(response.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(response.status()), llm::ERROR_REASON_BUDGET_EXCEEDED);
  EXPECT_THAT(std::string(response.status().message()), HasSubstr("budget run-1"));
  EXPECT_EQ(Asked("chat"), before + static_cast<size_t>(answered));
  // Failures cost nothing.
  GenerateRequest failing = Ask("openai/bad-request", "?");
  failing.mutable_sampling()->set_max_output_tokens(20);
  failing.add_budgets()->set_id("run-2");
  failing.mutable_budgets(0)->set_limit_micro_usd(2500);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(Generate(failing).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(GatewayRoutingTest, WhatTheCallerKnowsToBeSpentHoldsOverReplicasAndRestarts) {
  // Each call goes to a gateway that has seen none before, as after a restart or with many replicas.
  GenerateRequest request = Ask("openai/chat", "hello");
  request.mutable_sampling()->set_max_output_tokens(20);
  request.add_budgets()->set_id("run");
  request.mutable_budgets(0)->set_limit_micro_usd(2500);
  int64_t spent = 0;
  absl::Status refused;
  for (int call = 0; call < 10 && refused.ok(); ++call) {
    Start(FastOptions());
    request.mutable_budgets(0)->set_spent_micro_usd(spent);
    const auto response = Generate(request);
    refused = response.status();
    if (response.ok()) spent += response->usage().cost_micro_usd();
  }
  EXPECT_EQ(ReasonOf(refused), llm::ERROR_REASON_BUDGET_EXCEEDED);
  EXPECT_GE(spent, 2 * 690);
  EXPECT_LE(spent, 2500);
}

TEST_P(GatewayRoutingTest, AnAnswerWithoutALimitIsAsLongAsTheBudgetCanPay) {
  // 1000 tokens, the model's own limit, may cost 15,000 micro-USD, and the prompt a few hundred.
  GenerateRequest request = Ask("openai/chat", "hello");
  request.add_budgets()->set_id("small");
  request.mutable_budgets(0)->set_limit_micro_usd(10'000);
  const auto response = Generate(request);
  ASSERT_TRUE(response.ok()) << response.status();
  const int sent = standin_->Log("chat").back()["body"]["max_tokens"].get<int>();
  EXPECT_GT(sent, 512);
  EXPECT_LT(sent, 667);
  EXPECT_EQ(response->budget_states(0).spent_micro_usd(), 690);
  // Too little for an answer of any use; and what the caller asks for is never shortened.
  request.mutable_budgets(0)->set_limit_micro_usd(5'000);
  EXPECT_EQ(ReasonOf(Generate(request).status()), llm::ERROR_REASON_BUDGET_EXCEEDED);
  request.mutable_budgets(0)->set_limit_micro_usd(10'000);
  request.mutable_sampling()->set_max_output_tokens(1000);
  EXPECT_EQ(ReasonOf(Generate(request).status()), llm::ERROR_REASON_BUDGET_EXCEEDED);
}

TEST_P(GatewayRoutingTest, WithoutPricesThereAreNoBudgets) {
  StartWith(FastOptions(), {}, [](ModelConfig& model) { model.priced = false; });
  GenerateRequest request = Ask("openai/chat", "hello");
  EXPECT_TRUE(Generate(request).ok());
  request.add_budgets()->set_id("run");
  request.mutable_budgets(0)->set_limit_micro_usd(1'000'000);
  const absl::Status status = Generate(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("openai/chat has no prices"));
}

TEST_P(GatewayRoutingTest, EverySessionHasTheConfiguredBudget) {
  GatewayOptions options = FastOptions();
  options.session_budget_micro_usd = 1700;
  StartWith(options, {});
  GenerateRequest request = Ask("openai/chat", "hello");
  request.mutable_sampling()->set_max_output_tokens(20);
  request.set_session_id("one");
  EXPECT_TRUE(Generate(request).ok());
  while (Generate(request).ok()) {
  }
  EXPECT_EQ(ReasonOf(Generate(request).status()), llm::ERROR_REASON_BUDGET_EXCEEDED);
  request.set_session_id("two");
  EXPECT_TRUE(Generate(request).ok());
}

TEST_P(GatewayRoutingTest, TheCacheAnswersWhatWasAskedBefore) {
  const size_t before = Asked("chat");
  GenerateRequest request = Ask("openai/chat", "cache me");
  request.set_response_cache(llm::RESPONSE_CACHE_USE);
  const auto first = Generate(request);
  request.set_session_id("another");
  const auto second = Generate(request);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_FALSE(first->cached());
  EXPECT_TRUE(second->cached());
  EXPECT_EQ(second->message().DebugString(), first->message().DebugString());
  EXPECT_EQ(Asked("chat"), before + 1);
  // Whatever reaches the provider makes another question.
  request.mutable_sampling()->set_temperature(0.1);
  EXPECT_FALSE(Generate(request)->cached());
  request.set_response_cache(llm::RESPONSE_CACHE_REFRESH);
  EXPECT_FALSE(Generate(request)->cached());
  request.set_response_cache(llm::RESPONSE_CACHE_UNSPECIFIED);
  EXPECT_FALSE(Generate(request)->cached());
  request.set_response_cache(llm::RESPONSE_CACHE_USE);
  EXPECT_TRUE(Generate(request)->cached());
  EXPECT_EQ(Asked("chat"), before + 4);
}

TEST_P(GatewayRoutingTest, TemperatureZeroIsCachedUnaskedOnlyIfTheOptionsSaySo) {
  GatewayOptions options = FastOptions();
  options.response_cache_temperature_zero = true;
  Start(options);
  GenerateRequest request = Ask("openai/chat", "cold");
  EXPECT_FALSE(Generate(request)->cached());
  EXPECT_FALSE(Generate(request)->cached());
  request.mutable_sampling()->set_temperature(0);
  EXPECT_FALSE(Generate(request)->cached());
  EXPECT_TRUE(Generate(request)->cached());
  request.set_response_cache(llm::RESPONSE_CACHE_OFF);
  EXPECT_FALSE(Generate(request)->cached());
}

TEST_P(GatewayRoutingTest, AnEndpointThatFailsAgainAndAgainIsLeftAlone) {
  GatewayOptions options = FastOptions();
  options.breaker.failures = 3;
  StartWith(options, {{.name = "best", .models = {"openai/always-500", "unreachable"}}});
  EXPECT_EQ(Generate(Ask("openai/always-500", "?")).status().code(), absl::StatusCode::kUnavailable);
  const size_t before = Asked("always-500");
  const absl::Status status = Generate(Ask("openai/chat", "?")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), llm::ERROR_REASON_CIRCUIT_OPEN);
  EXPECT_EQ(Asked("always-500"), before);
  // Another endpoint's circuit is its own.
  EXPECT_TRUE(Generate(Ask("anthropic/chat", "?")).ok());
}

TEST_P(GatewayRoutingTest, OurOwnLimitsHoldCallsBackAndRefuseThoseThatCanNotWait) {
  StartWith(FastOptions(), {}, [](ModelConfig& model) { model.requests_per_minute = 2; });
  const size_t before = Asked("chat");
  EXPECT_TRUE(Generate(Ask("openai/chat", "?")).ok());
  EXPECT_TRUE(Generate(Ask("openai/chat", "?")).ok());
  Caller caller;
  caller.deadline = absl::Now() + absl::Seconds(5);
  Answer answer;
  gateway_->Generate(Ask("openai/chat", "?"), caller.context(), answer.Catch());
  const absl::Status status = answer.Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), llm::ERROR_REASON_RATE_LIMITED);
  EXPECT_EQ(Asked("chat"), before + 2);
  // One that can wait does, and can be cancelled meanwhile.
  Caller patient;
  Answer waiting;
  gateway_->Generate(Ask("openai/chat", "?"), patient.context(), waiting.Catch());
  EXPECT_FALSE(waiting.ready());
  patient.stop.request_stop();
  EXPECT_EQ(waiting.Wait().status().code(), absl::StatusCode::kCancelled);
}

TEST_P(GatewayRoutingTest, AWrongSignatureIsAnErrorOfTheKey) {
  setenv("AWS_SECRET_ACCESS_KEY", "wrong/secret+0123456789", 1);
  const absl::Status status = Generate(Ask("bedrock/chat", "?")).status();
  setenv("AWS_SECRET_ACCESS_KEY", standins::kAwsSecretAccessKey, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), llm::ERROR_REASON_KEY);
  EXPECT_THAT(std::string(status.message()), HasSubstr("InvalidSignatureException"));
}

}  // namespace
}  // namespace nkiagent::llm_gateway
