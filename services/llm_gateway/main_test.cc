// The binary: its options, its metrics, its logs, its end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/channel.h"
#include "nkiagent/llm/v1/llm_service.grpc.pb.h"
#include "services/llm_gateway/test_util.h"
#include "tests/standins/chat_standin.h"
#include "tests/support/service_process.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(LlmGatewayBinary, ServesConfiguredModelsCountsThemAndShowsNeitherKeysNorPrompts) {
  unsetenv("http_proxy");
  setenv("STANDIN_ANTHROPIC_KEY", standins::kAnthropicKey, 1);
  auto standin = standins::ChatStandin::Start();
  ASSERT_TRUE(standin.ok()) << standin.status();
  const std::string config = absl::StrCat(::testing::TempDir(), "/llm-gateway-", getpid(), ".yaml");
  std::ofstream(config) << "retry_attempts: 2\n"
                        << "models:\n"
                        << "  - {name: chat, provider: anthropic, base_url: '" << (*standin)->url()
                        << "', key_env: STANDIN_ANTHROPIC_KEY, prices: {input: 3, output: 15}}\n"
                        << "  - {name: leaks-key, provider: anthropic, base_url: '" << (*standin)->url()
                        << "', key_env: STANDIN_ANTHROPIC_KEY}\n";

  ::testing::internal::CaptureStderr();
  auto service = nkiagent::testing::ServiceProcess::Start(
      nkiagent::testing::RequiredEnv("LLM_GATEWAY_BINARY"), {"--config", config, "--log_level", "debug"});
  ASSERT_TRUE(service.ok()) << service.status() << ::testing::internal::GetCapturedStderr();
  // In a scope of its own: a client that idles answers the server's goodbye only when it next polls, which
  // takes gRPC up to 5 s, and contexts hold the channel too.
  const auto call = [&](const std::string& model) {
    auto stub = llm::LlmService::NewStub(*rpc::CreateChannel({.target = (*service)->target()}));
    grpc::ClientContext context;
    GenerateResponse response;
    return stub->Generate(&context, Ask(model, "my secret prompt"), &response);
  };
  EXPECT_TRUE(call("chat").ok());
  EXPECT_EQ(call("leaks-key").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  const auto metrics = (*service)->Scrape();
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_THAT(*metrics,
              AllOf(HasSubstr("nkiagent_llm_tokens_total{kind=\"output\",model=\"chat\"} 20"),
                    HasSubstr("nkiagent_llm_provider_attempts_total{model=\"leaks-key\",outcome=\"4xx\"} 1"),
                    HasSubstr("nkiagent_llm_model_calls_total{code=\"OK\",model=\"chat\"} 1")));
  const auto exit_code = (*service)->Stop();
  const std::string log = ::testing::internal::GetCapturedStderr();
  ASSERT_TRUE(exit_code.ok()) << exit_code.status() << log;
  EXPECT_EQ(*exit_code, 0) << log;
  EXPECT_THAT(log, AllOf(HasSubstr("Generate"), Not(HasSubstr("secret prompt")),
                         Not(HasSubstr(standins::kAnthropicKey))));
  std::filesystem::remove(config);
}

TEST(LlmGatewayBinary, ReadsItsModelsAnewOnHangupAndKeepsTheOldOnesIfTheyAreBad) {
  const std::string config = absl::StrCat(::testing::TempDir(), "/llm-gateway-reload-", getpid(), ".yaml");
  const auto write = [&](const std::string& name) {
    std::ofstream(config) << "models:\n  - {name: " << name
                          << ", provider: openai, base_url: 'http://127.0.0.1:9'}\naliases:\n"
                          << "  - {name: best, models: [" << name << ", builtin]}\n";
  };
  write("first");
  ::testing::internal::CaptureStderr();
  auto service = nkiagent::testing::ServiceProcess::Start(
      nkiagent::testing::RequiredEnv("LLM_GATEWAY_BINARY"), {"--config", config});
  ASSERT_TRUE(service.ok()) << service.status() << ::testing::internal::GetCapturedStderr();
  const auto names = [&] {
    auto stub = llm::LlmService::NewStub(*rpc::CreateChannel({.target = (*service)->target()}));
    grpc::ClientContext context;
    llm::ListModelsResponse response;
    EXPECT_TRUE(stub->ListModels(&context, {}, &response).ok());
    std::vector<std::string> all;
    for (const llm::Model& model : response.models()) all.push_back(model.name());
    return all;
  };
  // Sends the signal and waits until the service has counted what came of it.
  const auto reload = [&](const std::string& outcome) {
    kill((*service)->pid(), SIGHUP);
    const std::string line = absl::StrCat("nkiagent_llm_config_reloads_total{outcome=\"", outcome, "\"} 1");
    const absl::Time limit = absl::Now() + absl::Seconds(20);
    while (absl::Now() < limit) {
      const auto metrics = (*service)->Scrape();
      if (metrics.ok() && absl::StrContains(*metrics, line)) return true;
    }
    return false;
  };
  EXPECT_THAT(names(), ElementsAre("best", "builtin", "first"));
  write("second");
  ASSERT_TRUE(reload("ok"));
  EXPECT_THAT(names(), ElementsAre("best", "builtin", "second"));
  std::ofstream(config) << "models:\n  - {name: third, provider: nobody}\n";
  ASSERT_TRUE(reload("refused"));
  EXPECT_THAT(names(), ElementsAre("best", "builtin", "second"));
  EXPECT_TRUE((*service)->Stop().ok());
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("the old one stays"), HasSubstr("models[0]: provider is")));
  std::filesystem::remove(config);
}

TEST(LlmGatewayBinary, RefusesABadConfigurationByName) {
  const std::string config = absl::StrCat(::testing::TempDir(), "/llm-gateway-bad-", getpid(), ".yaml");
  std::ofstream(config) << "models:\n  - {name: chat, provider: anthropic, key: sk-secret}\n";
  ::testing::internal::CaptureStderr();
  auto service = nkiagent::testing::ServiceProcess::Start(
      nkiagent::testing::RequiredEnv("LLM_GATEWAY_BINARY"), {"--config", config});
  EXPECT_FALSE(service.ok());
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("models[0]: key is not a field of a model"), Not(HasSubstr("sk-secret"))));
  std::filesystem::remove(config);
}

}  // namespace
}  // namespace nkiagent::llm_gateway
