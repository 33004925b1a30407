#include "services/llm_gateway/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "services/llm_gateway/default_models.h"

namespace nkiagent::llm_gateway {
namespace {

using ::testing::HasSubstr;

TEST(ParseModels, ReadsEveryField) {
  const auto models = ParseModels(YAML::Load(R"(
- name: claude
  provider: anthropic
  model: claude-sonnet-4-20250514
  key_env: K
  prices: {input: 3, output: 15, cached_input: 0.3, cache_write: 3.75}
  context_window_tokens: 200000
  max_output_tokens: 64000
  max_concurrency: 2
  max_queue: 0
- name: local-*
  provider: openai
  base_url: http://127.0.0.1:8000/v1/
  key_file: /k
  prices: {input: 1}
  max_tokens_field: max_completion_tokens
)"));
  ASSERT_TRUE(models.ok()) << models.status();
  ASSERT_EQ(models->size(), 2u);
  const ModelConfig& claude = (*models)[0];
  EXPECT_EQ(claude.base_url, "https://api.anthropic.com");
  EXPECT_EQ(claude.ProviderModel("claude"), "claude-sonnet-4-20250514");
  EXPECT_EQ(claude.prices.cached_input, 300'000);
  EXPECT_EQ(claude.max_concurrency, 2);
  EXPECT_EQ(claude.max_queue, 0);
  EXPECT_FALSE(claude.Matches("claude-2"));
  const ModelConfig& local = (*models)[1];
  EXPECT_EQ(local.base_url, "http://127.0.0.1:8000/v1");
  EXPECT_TRUE(local.Matches("local-qwen"));
  EXPECT_FALSE(local.Matches("remote"));
  EXPECT_EQ(local.ProviderModel("local-qwen"), "local-qwen");
  EXPECT_EQ(local.prices.cached_input, 1'000'000);
}

TEST(ParseModels, NamesTheEntryAndTheFieldThatIsWrong) {
  const struct {
    const char* yaml;
    const char* message;
  } cases[] = {
      {"{}", "models is no list"},
      {"[3]", "models[0] is no map"},
      {"- provider: openai", "models[0]: name is missing"},
      {"- {name: a, provider: azure}", "models[0]: provider is 'azure'"},
      {"- {name: a, provider: openai}", "models[0]: base_url is ''"},
      {"- {name: a, provider: openai, base_url: 'file:///etc/passwd'}", "not an http or https URL"},
      {"- {name: a, provider: anthropic, kye_env: K}", "models[0]: kye_env is not a field"},
      {"- {name: a, provider: anthropic, key_env: K, key_file: F}", "key_file stands beside key_env"},
      {"- {name: a, provider: anthropic, max_concurrency: 0}", "max_concurrency is 0, outside 1 to 10000"},
      {"- {name: a, provider: anthropic, max_queue: many}", "max_queue has a value of the wrong kind"},
      {"- {name: a, provider: anthropic, prices: {input: -1}}", "models[0].prices: input is -1"},
      {"- {name: a, provider: anthropic, prices: {inptu: 1}}", "inptu is not a field"},
      {"- {name: a, provider: anthropic, prices: 3}", "prices is no map"},
      {"- {name: builtin, provider: anthropic}", "'builtin' is the gateway's own"},
      {"- {name: 'replay:x', provider: anthropic}", "is the gateway's own"},
      {"[{name: a, provider: anthropic}, {name: a, provider: anthropic}]",
       "models[1]: name 'a' occurs twice"},
      {"- {name: a, provider: openai, base_url: 'http://x', max_tokens_field: tokens}", "max_tokens_field"},
  };
  for (const auto& c : cases) {
    const absl::Status status = ParseModels(YAML::Load(c.yaml)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.yaml;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.yaml;
  }
}

TEST(ParseModels, WithoutASectionThereAreNone) {
  EXPECT_TRUE(ParseModels(YAML::Node(YAML::NodeType::Undefined))->empty());
  EXPECT_TRUE(ParseModels(YAML::Load(""))->empty());
}

TEST(DefaultModels, AreValidAndTakeAnyModelOfTheirVendors) {
  const std::vector<ModelConfig> models = DefaultModels();
  const auto matching = [&](const std::string& name) {
    return std::count_if(models.begin(), models.end(), [&](const auto& m) { return m.Matches(name); });
  };
  EXPECT_EQ(matching("claude-some-later-one"), 1);
  EXPECT_EQ(matching("gpt-some-later-one"), 1);
  EXPECT_EQ(matching("llama"), 0);
  // Whatever a pattern takes may cost anything.
  for (const ModelConfig& model : models) EXPECT_EQ(model.priced, model.name.back() != '*') << model.name;
}

TEST(CostMicroUsd, SumsAllKindsAndRoundsUp) {
  const Prices prices = {
      .input = 3'000'000, .output = 15'000'000, .cached_input = 300'000, .cache_write = 3'750'000};
  nkiagent::common::v1::Usage usage;
  EXPECT_EQ(CostMicroUsd(prices, usage), 0);
  usage.set_cached_input_tokens(1);
  EXPECT_EQ(CostMicroUsd(prices, usage), 1);  // 0.3, rounded up
  usage.set_input_tokens(1000);
  usage.set_output_tokens(100);
  usage.set_cached_input_tokens(10);
  usage.set_cache_write_tokens(4);
  EXPECT_EQ(CostMicroUsd(prices, usage), 3000 + 1500 + 3 + 15);
  usage.set_input_tokens(INT64_MAX);
  EXPECT_EQ(CostMicroUsd(prices, usage), INT64_MAX);
}

TEST(ParseModels, ReadsBedrockAndLimits) {
  unsetenv("AWS_DEFAULT_REGION");
  unsetenv("AWS_REGION");
  const char* const yaml =
      "[{name: b, provider: bedrock, requests_per_minute: 50, hedge_after: 20s, prices: {input: 3}}]";
  EXPECT_THAT(std::string(ParseModels(YAML::Load(yaml)).status().message()), HasSubstr("AWS_REGION"));
  setenv("AWS_REGION", "eu-central-1", 1);
  const auto models = ParseModels(YAML::Load(yaml));
  unsetenv("AWS_REGION");
  ASSERT_TRUE(models.ok()) << models.status();
  EXPECT_EQ(models->front().base_url, "https://bedrock-runtime.eu-central-1.amazonaws.com");
  EXPECT_EQ(models->front().requests_per_minute, 50);
  EXPECT_EQ(models->front().hedge_after, absl::Seconds(20));
  EXPECT_TRUE(models->front().priced);
  for (const char* wrong : {"[{name: b, provider: bedrock, region: 'x.evil.com/'}]",
                            "[{name: a, provider: anthropic, region: us-east-1}]",
                            "[{name: a, provider: anthropic, hedge_after: soon}]"}) {
    EXPECT_EQ(ParseModels(YAML::Load(wrong)).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

TEST(ParseAliases, ReadsChainsAndNamesWhatIsWrong) {
  const auto models =
      ParseModels(YAML::Load("[{name: a, provider: anthropic}, {name: c-*, provider: anthropic}]"));
  ASSERT_TRUE(models.ok());
  const auto aliases = ParseAliases(YAML::Load("[{name: best, models: [a, c-1, builtin], fall_over_on: "
                                               "[key], attempts: 3}, {name: x, models: [a]}]"),
                                    *models);
  ASSERT_TRUE(aliases.ok()) << aliases.status();
  EXPECT_EQ(aliases->front().models.size(), 3u);
  EXPECT_TRUE(aliases->front().fall_over.key);
  EXPECT_FALSE(aliases->front().fall_over.unavailable);
  EXPECT_EQ(aliases->front().attempts, 3);
  EXPECT_TRUE(aliases->back().fall_over.unavailable);
  const struct {
    const char* yaml;
    const char* message;
  } cases[] = {
      {"{}", "aliases is no list"},
      {"[{name: best}]", "aliases[0]: models is missing or empty"},
      {"[{name: best, models: [gone]}]", "models has 'gone', which is no model"},
      {"[{name: a, models: [a]}]", "name 'a' is taken"},
      {"[{name: b*, models: [a]}]", "can't be a pattern"},
      {"[{name: b, models: [a], fall_over_on: [rain]}]", "fall_over_on has 'rain'"},
      {"[{name: b, models: [a], retries: 2}]", "retries is not a field of an alias"},
      {"[{name: builtin, models: [a]}]", "the gateway's own"},
  };
  for (const auto& c : cases) {
    const absl::Status status = ParseAliases(YAML::Load(c.yaml), *models).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace nkiagent::llm_gateway
