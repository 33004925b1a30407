// The gateway in front of stand-ins of all providers, for the tests that every provider passes.
#ifndef SERVICES_LLM_GATEWAY_CONFORMANCE_FIXTURE_H_
#define SERVICES_LLM_GATEWAY_CONFORMANCE_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/gateway.h"
#include "services/llm_gateway/test_util.h"
#include "tests/standins/chat_standin.h"

namespace nkiagent::llm_gateway {

// Every scenario of the stand-in is a model; "PROVIDER/SCENARIO" is its name here.
inline std::vector<ModelConfig> StandinModels(const std::string& url) {
  std::vector<ModelConfig> models;
  const auto add = [&](const std::string& name, const std::string& provider, const std::string& key) {
    ModelConfig config;
    config.name = name;
    config.provider = provider;
    config.base_url = provider == "openai" ? url + "/v1" : url;
    config.key_env = key;
    if (provider == "bedrock") config.region = standins::kAwsRegion;
    config.priced = true;
    config.prices = {
        .input = 3'000'000, .output = 15'000'000, .cached_input = 300'000, .cache_write = 3'750'000};
    config.max_output_tokens = 1000;
    const std::string prefix = provider + "/";
    if (name.starts_with(prefix)) config.provider_model = name.substr(prefix.size());
    models.push_back(config);
  };
  for (const std::string provider : {"anthropic", "openai", "bedrock"}) {
    for (const char* scenario : {"chat",
                                 "tools",
                                 "broken-arguments",
                                 "max-tokens",
                                 "refusal",
                                 "rate-limited-twice",
                                 "rate-limited",
                                 "overloaded-once",
                                 "always-500",
                                 "bad-request",
                                 "quota",
                                 "leaks-key",
                                 "html-404",
                                 "redirect",
                                 "garbage",
                                 "broken-json",
                                 "wrong-shape",
                                 "deep-json",
                                 "deep-arguments",
                                 "endless",
                                 "drip",
                                 "drip-headers",
                                 "gigabyte",
                                 "silent",
                                 "silent-2",
                                 "hangs-up",
                                 "cut-off",
                                 "no-http",
                                 "no-such-scenario",
                                 "stream-hangs",
                                 "stream-ends",
                                 "stream-cut",
                                 "stream-error",
                                 "stream-garbage",
                                 "stream-bad-utf8",
                                 "stream-drips",
                                 "stream-huge",
                                 "stream-gigabyte",
                                 "stream-comments",
                                 "stream-nul",
                                 "stream-deep-json",
                                 "stream-fails-first",
                                 "long"}) {
      // Bedrock's requests are signed.
      std::string key;
      if (provider == "anthropic") key = "STANDIN_ANTHROPIC_KEY";
      if (provider == "openai") key = "STANDIN_OPENAI_KEY";
      add(absl::StrCat(provider, "/", scenario), provider, key);
    }
    add(absl::StrCat(provider, "-nokey"), provider, "STANDIN_UNSET_KEY");
    add(absl::StrCat(provider, "-badkey"), provider, "STANDIN_BAD_KEY");
  }
  // Nothing listens on the discard port.
  add("unreachable", "openai", "STANDIN_OPENAI_KEY");
  models.back().base_url = "http://127.0.0.1:9";
  // A server with plain HTTP is asked for TLS.
  add("no-tls", "openai", "STANDIN_OPENAI_KEY");
  models.back().base_url = "https" + url.substr(4);
  return models;
}

inline GatewayOptions FastOptions() {
  GatewayOptions options;
  options.http.retry.first_pause = absl::Milliseconds(1);
  options.http.retry.max_attempts = 3;
  options.http.max_response_bytes = 1 << 20;
  options.http.attempt_timeout = absl::Seconds(20);
  options.http.body_timeout = absl::Milliseconds(300);
  options.http.stream_timeout = absl::Milliseconds(300);
  return options;
}

class GatewayTest : public ::testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    for (const char* proxy : {"http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"})
      unsetenv(proxy);
    setenv("STANDIN_ANTHROPIC_KEY", standins::kAnthropicKey, 1);
    setenv("STANDIN_OPENAI_KEY", standins::kOpenAiKey, 1);
    setenv("AWS_ACCESS_KEY_ID", standins::kAwsAccessKeyId, 1);
    setenv("AWS_SECRET_ACCESS_KEY", standins::kAwsSecretAccessKey, 1);
    unsetenv("AWS_SESSION_TOKEN");
    setenv("STANDIN_BAD_KEY", "sk-wrong-key-0000000000", 1);
    unsetenv("STANDIN_UNSET_KEY");
    absl::StatusOr<std::unique_ptr<standins::ChatStandin>> started = standins::ChatStandin::Start();
    ASSERT_TRUE(started.ok()) << started.status();
    standin_ = std::move(started)->release();
  }
  static void TearDownTestSuite() {
    delete standin_;
    standin_ = nullptr;
  }

  void SetUp() override { Start(FastOptions()); }

  void Start(GatewayOptions options) {
    gateway_.reset();
    absl::StatusOr<std::unique_ptr<Gateway>> gateway =
        Gateway::Create(std::move(options), StandinModels(standin_->url()), nullptr, metrics_);
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
  }

  absl::StatusOr<GenerateResponse> Generate(const GenerateRequest& request) {
    Answer answer;
    gateway_->Generate(request, CallContext(), answer.Catch());
    return answer.Wait();
  }

  // The model that plays `scenario` for the provider under test.
  std::string Name(const std::string& scenario) const { return absl::StrCat(GetParam(), "/", scenario); }
  bool anthropic() const { return GetParam() == std::string("anthropic"); }
  bool openai() const { return GetParam() == std::string("openai"); }
  bool bedrock() const { return GetParam() == std::string("bedrock"); }

  static inline standins::ChatStandin* standin_ = nullptr;
  metrics::Metrics metrics_{"llm"};
  std::unique_ptr<Gateway> gateway_;
};

// The conversation of one tool turn; what the model said is passed back unchanged.
inline GenerateRequest WithResults(GenerateRequest request, const GenerateResponse& response) {
  *request.add_messages() = response.message();
  nkiagent::llm::v1::Message* results = request.add_messages();
  results->set_role(nkiagent::llm::v1::ROLE_USER);
  for (const nkiagent::llm::v1::ContentBlock& block : response.message().content()) {
    if (!block.has_tool_call()) continue;
    nkiagent::llm::v1::ToolResult* result = results->add_content()->mutable_tool_result();
    result->set_call_id(block.tool_call().id());
    result->set_text("result of " + block.tool_call().name());
    result->set_is_error(block.tool_call().name() == "verify_kernel");
  }
  return request;
}

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_CONFORMANCE_FIXTURE_H_
