// The whole gateway against stand-ins of the providers: what each provider must do alike, and how each
// failure ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"
#include "services/llm_gateway/conformance_fixture.h"
#include "services/llm_gateway/error_detail.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using standins::ChatStandin;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

INSTANTIATE_TEST_SUITE_P(Providers, GatewayTest, ::testing::Values("anthropic", "openai", "bedrock"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(GatewayTest, AnswersWithTextUsageCostAndNames) {
  GenerateRequest request = Ask(Name("chat"), "Grüße, 世界 \U0001f600 \"quoted\"\n");
  request.set_system("Be brief.");
  request.mutable_sampling()->set_temperature(0.5);
  request.mutable_sampling()->set_max_output_tokens(77);
  request.mutable_sampling()->add_stop_sequences("END");
  request.mutable_sampling()->set_seed(11);
  absl::StatusOr<GenerateResponse> response = Generate(request);
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->message().content_size(), 1);
  EXPECT_THAT(response->message().content(0).text(), HasSubstr("Grüße, 世界 \U0001f600 \"quoted\"\n"));
  EXPECT_EQ(response->message().role(), llm::ROLE_ASSISTANT);
  EXPECT_EQ(response->stop_reason(), llm::STOP_REASON_END_TURN);
  EXPECT_EQ(response->provider(), GetParam());
  EXPECT_EQ(response->provider_model(), bedrock() ? "chat" : "chat-20250514");
  EXPECT_EQ(response->provider_request_id(), "req_standin");
  EXPECT_EQ(response->model(), Name("chat"));
  EXPECT_EQ(response->attempts(), 1);
  EXPECT_FALSE(response->cached());
  EXPECT_EQ(response->usage().input_tokens(), 100);
  EXPECT_EQ(response->usage().cached_input_tokens(), 300);
  EXPECT_EQ(response->usage().output_tokens(), 20);
  EXPECT_EQ(response->usage().calls(), 1);
  // 100 * 3 + 300 * 0.3 + 20 * 15 micro-USD, and 40 * 3.75 for what was written to the cache.
  EXPECT_EQ(response->usage().cost_micro_usd(), openai() ? 690 : 840);

  const nlohmann::json body = standin_->Log("chat").back()["body"];
  const nlohmann::json inference = bedrock() ? body["inferenceConfig"] : body;
  EXPECT_EQ(inference["temperature"], 0.5);
  EXPECT_EQ(inference[bedrock() ? "maxTokens" : "max_tokens"], 77);
  EXPECT_EQ(inference[openai()    ? "stop"
                      : bedrock() ? "stopSequences"
                                  : "stop_sequences"],
            nlohmann::json({"END"}));
  EXPECT_EQ(body.contains("seed"), openai());
}

TEST_P(GatewayTest, CarriesToolCallsResultsAndReasoningThroughAConversation) {
  GenerateRequest request = Ask(Name("tools"), "Write a kernel.");
  request.set_system("You have tools.");
  request.set_cache_prompt(true);
  for (int i = 0; i < 6; ++i) {
    request.mutable_messages(0)->add_content()->set_text(absl::StrCat("part ", i));
    request.mutable_messages(0)->mutable_content()->rbegin()->set_cache_mark(true);
  }
  AddTool("compile_kernel", &request);
  AddTool("verify_kernel", &request);
  absl::StatusOr<GenerateResponse> first = Generate(request);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->stop_reason(), llm::STOP_REASON_TOOL_USE);
  std::vector<std::string> calls;
  int thoughts = 0;
  for (const llm::ContentBlock& block : first->message().content()) {
    thoughts += block.has_thinking();
    if (!block.has_tool_call()) continue;
    calls.push_back(block.tool_call().name());
    EXPECT_TRUE(block.tool_call().arguments_valid());
    EXPECT_FALSE(block.tool_call().id().empty());
  }
  EXPECT_THAT(calls, ElementsAre("compile_kernel", "verify_kernel"));
  EXPECT_EQ(thoughts, openai() ? 1 : 2);
  const llm::ToolCall& call = first->message().content(openai() ? 2 : 3).tool_call();
  EXPECT_EQ(nlohmann::json::parse(call.arguments_json()),
            nlohmann::json::parse(R"({"source": "def f():\n  pass  # é中😀", "grid": [2]})"));

  // The stand-in refuses reasoning that came back changed, and results without their calls.
  absl::StatusOr<GenerateResponse> second = Generate(WithResults(request, *first));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->stop_reason(), llm::STOP_REASON_END_TURN);
  EXPECT_EQ(second->message().content(0).text(), "Results: result of compile_kernel result of verify_kernel");
}

TEST_P(GatewayTest, KeepsBrokenToolArgumentsAndCanGoOnAfterThem) {
  GenerateRequest request = Ask(Name("broken-arguments"), "Write a kernel.");
  AddTool("compile_kernel", &request);
  absl::StatusOr<GenerateResponse> first = Generate(request);
  ASSERT_TRUE(first.ok()) << first.status();
  const llm::ToolCall& call = first->message().content().rbegin()->tool_call();
  EXPECT_EQ(call.name(), "compile_kernel");
  EXPECT_FALSE(call.arguments_valid());
  EXPECT_THAT(call.arguments_json(), HasSubstr("def"));
  EXPECT_FALSE(call.id().empty());
  absl::StatusOr<GenerateResponse> second = Generate(WithResults(request, *first));
  EXPECT_TRUE(second.ok()) << second.status();
}

TEST_P(GatewayTest, NamesWhyAModelStopped) {
  absl::StatusOr<GenerateResponse> cut = Generate(Ask(Name("max-tokens"), "?"));
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ(cut->stop_reason(), llm::STOP_REASON_MAX_TOKENS);
  absl::StatusOr<GenerateResponse> refusal = Generate(Ask(Name("refusal"), "?"));
  ASSERT_TRUE(refusal.ok()) << refusal.status();
  EXPECT_EQ(refusal->stop_reason(), llm::STOP_REASON_REFUSAL);
  EXPECT_EQ(refusal->refusal().message(), "I can't");
  EXPECT_FALSE(refusal->refusal().provider_reason().empty());
}

TEST_P(GatewayTest, TriesAgainAfterRateLimitsAndOverload) {
  absl::StatusOr<GenerateResponse> limited = Generate(Ask(Name("rate-limited-twice"), "?"));
  ASSERT_TRUE(limited.ok()) << limited.status();
  // Only the first provider of the run meets the limit: the stand-in counts by model.
  EXPECT_GE(limited->attempts(), 1);
  absl::StatusOr<GenerateResponse> overloaded = Generate(Ask(Name("overloaded-once"), "?"));
  ASSERT_TRUE(overloaded.ok()) << overloaded.status();
}

TEST_P(GatewayTest, GivesUpAtOnceWhenTheAskedPauseIsBeyondTheBudget) {
  const size_t before = standin_->Log("rate-limited").size();
  absl::StatusOr<GenerateResponse> response = Generate(Ask(Name("rate-limited"), "?"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(response.status().message()),
              AllOf(HasSubstr(GetParam()), HasSubstr("429"), HasSubstr("ate limit")));
  EXPECT_EQ(rpc::RetryAfter(response.status()), absl::Hours(1));
  EXPECT_EQ(standin_->Log("rate-limited").size(), before + 1);
}

TEST_P(GatewayTest, GivesUpWhenTheTriesAreUsed) {
  const size_t before = standin_->Log("always-500").size();
  absl::StatusOr<GenerateResponse> response = Generate(Ask(Name("always-500"), "?"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(response.status().message()), AllOf(HasSubstr("500"), HasSubstr("tried 3 times")));
  EXPECT_EQ(standin_->Log("always-500").size(), before + 3);
}

struct Failure {
  const char* scenario;
  absl::StatusCode code;
  const char* text;
};

TEST_P(GatewayTest, NamesEachFailureAndDoesNotRepeatIt) {
  const Failure failures[] = {
      {"bad-request", absl::StatusCode::kInvalidArgument, "prompt is too long: 9 > 8"},
      {"html-404", absl::StatusCode::kNotFound, "nginx says no"},
      {"no-such-scenario", absl::StatusCode::kNotFound, "no-such-scenario"},
      {"redirect", absl::StatusCode::kInternal, "302"},
      {"garbage", absl::StatusCode::kInternal, "not JSON"},
      {"broken-json", absl::StatusCode::kInternal, "not JSON at byte"},
      {"wrong-shape", absl::StatusCode::kInternal, "hello"},
      {"deep-json", absl::StatusCode::kInternal, "nests deeper than 100"},
      {"deep-arguments", absl::StatusCode::kInternal, "nests deeper than 100"},
      {"endless", absl::StatusCode::kInternal, "larger than 1048576 bytes"},
      {"drip", absl::StatusCode::kUnavailable, "300ms after its first byte"},
      {"hangs-up", absl::StatusCode::kUnavailable, "mpty reply"},
      {"cut-off", absl::StatusCode::kUnavailable, ""},
      {"no-http", absl::StatusCode::kUnavailable, ""},
  };
  for (const Failure& failure : failures) {
    SCOPED_TRACE(failure.scenario);
    const size_t before = standin_->Log(failure.scenario).size();
    absl::StatusOr<GenerateResponse> response = Generate(Ask(Name(failure.scenario), "?"));
    EXPECT_EQ(response.status().code(), failure.code) << response.status();
    EXPECT_THAT(std::string(response.status().message()),
                AllOf(HasSubstr(GetParam()), HasSubstr(failure.text)));
    EXPECT_LT(response.status().message().size(), 1500u);
    EXPECT_EQ(standin_->Log(failure.scenario).size(), before + 1);
  }
}

// Resets the highest resident memory of this process, and reads it; in MiB.
void ForgetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }
int64_t PeakMib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoll(line.c_str() + 6, nullptr, 10) >> 10;
  }
  return -1;
}

TEST_P(GatewayTest, AReplyOf1GiBIsCutOffAtTheLimitInBoundedMemory) {
  GatewayOptions options = FastOptions();
  options.http.max_response_bytes = HttpProviderOptions().max_response_bytes;
  options.http.body_timeout = options.http.stream_timeout = absl::Seconds(20);
  Start(options);
  for (const char* scenario : {"gigabyte", "stream-gigabyte"}) {
    SCOPED_TRACE(scenario);
    const int before = static_cast<int>(standin_->Log(scenario).size());
    ForgetPeak();
    const int64_t mib = PeakMib();
    absl::Status status;
    if (absl::string_view(scenario) == "gigabyte") {
      status = Generate(Ask(Name(scenario), "?")).status();
    } else {
      Answer answer;
      gateway_->Stream(std::make_shared<const GenerateRequest>(Ask(Name(scenario), "?")), CallContext(),
                       std::make_shared<DroppingSink>(), answer.Catch());
      status = answer.Wait().status();
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("larger than 33554432 bytes"));
    EXPECT_TRUE(standin_->Await(scenario, "disconnected", before + 1));
    EXPECT_EQ(standin_->Log(scenario).size(), static_cast<size_t>(before) + 1);
    // The limit is 32 MiB; what holds them grows by doubling, and a sanitizer keeps what was freed.
    EXPECT_LT(PeakMib() - mib, 256);
  }
}

TEST_P(GatewayTest, AServerThatDripsItsHeadIsLeftWhenTheTryHasTakenTooLong) {
  GatewayOptions options = FastOptions();
  options.http.attempt_timeout = absl::Milliseconds(200);
  Start(options);
  const int before = static_cast<int>(standin_->Log("drip-headers").size());
  const absl::Status status = Generate(Ask(Name("drip-headers"), "?")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_TRUE(standin_->Await("drip-headers", "disconnected", before + 1));
  EXPECT_EQ(standin_->Log("drip-headers").size(), static_cast<size_t>(before) + 1);
}

TEST_P(GatewayTest, NeverShowsAKey) {
  absl::StatusOr<GenerateResponse> response = Generate(Ask(Name("leaks-key"), "?"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kFailedPrecondition);
  const std::string message(response.status().message());
  EXPECT_THAT(message, HasSubstr("[redacted]"));
  EXPECT_THAT(message, Not(HasSubstr(standins::kAnthropicKey)));
  EXPECT_THAT(message, Not(HasSubstr(standins::kOpenAiKey)));
}

TEST_P(GatewayTest, NamesTheVariableOfAMissingKey) {
  absl::StatusOr<GenerateResponse> response = Generate(Ask(absl::StrCat(GetParam(), "-nokey"), "?"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(response.status().message()), HasSubstr("STANDIN_UNSET_KEY"));
  for (const llm::Model& model : gateway_->ListModels()) {
    if (model.name() == absl::StrCat(GetParam(), "-nokey")) {
      EXPECT_FALSE(model.available());
      EXPECT_THAT(model.unavailable_reason(), HasSubstr("STANDIN_UNSET_KEY"));
    }
  }
}

TEST_P(GatewayTest, ReportsARefusedKey) {
  absl::StatusOr<GenerateResponse> response = Generate(Ask(absl::StrCat(GetParam(), "-badkey"), "?"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(response.status().message()), HasSubstr(bedrock() ? "403" : "401"));
  EXPECT_EQ(ReasonOf(response.status()), llm::ERROR_REASON_KEY);
}

TEST_P(GatewayTest, CancellationClosesTheSocket) {
  const int before = static_cast<int>(standin_->Log("silent").size());
  Caller caller;
  Answer answer;
  gateway_->Generate(Ask(Name("silent"), "?"), caller.context(), answer.Catch());
  ASSERT_TRUE(standin_->Await("silent", "begun", before + 1));
  EXPECT_FALSE(answer.ready());
  caller.stop.request_stop();
  EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(standin_->Await("silent", "disconnected", before + 1));
  EXPECT_EQ(answer.times(), 1);
}

TEST_P(GatewayTest, DeadlineClosesTheSocket) {
  const int before = static_cast<int>(standin_->Log("silent-2").size());
  Caller caller;
  caller.deadline = absl::Now() + absl::Milliseconds(200);
  Answer answer;
  gateway_->Generate(Ask(Name("silent-2"), "?"), caller.context(), answer.Catch());
  EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(standin_->Await("silent-2", "disconnected", before + 1));
}

TEST_P(GatewayTest, ARepeatedRequestIdIsNotAskedAgain) {
  const size_t before = standin_->Log("chat").size();
  GenerateRequest request = Ask(Name("chat"), "once");
  request.set_request_id("id-1");
  absl::StatusOr<GenerateResponse> first = Generate(request);
  absl::StatusOr<GenerateResponse> second = Generate(request);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_FALSE(first->cached());
  EXPECT_TRUE(second->cached());
  EXPECT_EQ(second->message().content(0).text(), first->message().content(0).text());
  EXPECT_EQ(standin_->Log("chat").size(), before + 1);
  request.mutable_messages(0)->mutable_content(0)->set_text("twice");
  EXPECT_EQ(Generate(request).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_P(GatewayTest, ReplaysARecordedConversationAndNothingElse) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / absl::StrCat("cassettes-", GetParam(), "-", getpid());
  std::filesystem::create_directories(folder);
  GatewayOptions options = FastOptions();
  options.record_dir = folder;
  options.cassette_dir = folder;
  Start(options);
  GenerateRequest request = Ask(Name("tools"), "Write a kernel.");
  request.set_session_id("session-1");
  AddTool("compile_kernel", &request);
  AddTool("verify_kernel", &request);
  absl::StatusOr<GenerateResponse> first = Generate(request);
  ASSERT_TRUE(first.ok()) << first.status();
  GenerateRequest next = WithResults(request, *first);
  absl::StatusOr<GenerateResponse> second = Generate(next);
  ASSERT_TRUE(second.ok()) << second.status();

  const size_t before = standin_->Log("tools").size();
  request.set_model("replay:session-1");
  next.set_model("replay:session-1");
  absl::StatusOr<GenerateResponse> replayed_first = Generate(request);
  absl::StatusOr<GenerateResponse> replayed_second = Generate(next);
  ASSERT_TRUE(replayed_first.ok()) << replayed_first.status();
  ASSERT_TRUE(replayed_second.ok()) << replayed_second.status();
  EXPECT_EQ(replayed_first->message().SerializeAsString(), first->message().SerializeAsString());
  EXPECT_EQ(replayed_second->message().SerializeAsString(), second->message().SerializeAsString());
  EXPECT_EQ(replayed_second->provider(), "replay");
  EXPECT_EQ(replayed_second->usage().output_tokens(), second->usage().output_tokens());
  EXPECT_EQ(replayed_second->usage().cost_micro_usd(), 0);
  EXPECT_EQ(standin_->Log("tools").size(), before);

  next.mutable_messages(2)->mutable_content(0)->mutable_tool_result()->set_text("result of compile_kernal");
  absl::StatusOr<GenerateResponse> different = Generate(next);
  EXPECT_EQ(different.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(different.status().message()),
              AllOf(HasSubstr("messages[2].content[0].tool_result.text at byte 22"),
                    HasSubstr("compile_kernel"), HasSubstr("compile_kernal")));
  // Replays are recorded too, so this cassette has grown; it is only read once by this gateway.
  std::filesystem::remove_all(folder);
}

// What doesn't depend on the provider, or only on one.
class GatewayAloneTest : public GatewayTest {};
INSTANTIATE_TEST_SUITE_P(Once, GatewayAloneTest, ::testing::Values("openai"));

TEST_P(GatewayAloneTest, RetriesHonourTheProvidersPauseAndCountTries) {
  // A stand-in of its own: the shared one has counted requests of other tests.
  absl::StatusOr<std::unique_ptr<ChatStandin>> fresh = ChatStandin::Start();
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  auto gateway = Gateway::Create(FastOptions(), StandinModels((*fresh)->url()), nullptr, metrics_);
  ASSERT_TRUE(gateway.ok());
  for (const auto& [model, tries] :
       {std::pair("openai/rate-limited-twice", 3), {"anthropic/overloaded-once", 2}}) {
    Answer answer;
    (*gateway)->Generate(Ask(model, "?"), CallContext(), answer.Catch());
    absl::StatusOr<GenerateResponse> response = answer.Wait();
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->attempts(), tries);
  }
}

TEST_P(GatewayAloneTest, AnUnknownModelIsNamedWithTheKnownOnes) {
  absl::StatusOr<GenerateResponse> response = Generate(Ask("gpt-99", "?"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(response.status().message()),
              AllOf(HasSubstr("gpt-99"), HasSubstr("anthropic/chat")));
}

TEST_P(GatewayAloneTest, AnUnreachableProviderIsTriedAgainAndNamed) {
  absl::StatusOr<GenerateResponse> response = Generate(Ask("unreachable", "?"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(response.status().message()),
              AllOf(HasSubstr("openai"), HasSubstr("127.0.0.1 port 9"), HasSubstr("tried 3 times")));
}

TEST_P(GatewayAloneTest, AFailedTlsHandshakeIsNotRepeated) {
  absl::StatusOr<GenerateResponse> response = Generate(Ask("no-tls", "?"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(response.status().message()), Not(HasSubstr("tried")));
}

TEST_P(GatewayAloneTest, AMalformedToolSchemaReachesNoProvider) {
  const size_t before = standin_->Log("chat").size();
  const std::string deep = R"({"type":"object","x":)" + std::string(200, '[') + std::string(200, ']') + "}";
  for (const std::string& schema :
       {std::string(R"({"type":)"), std::string("\xff"), std::string("{\0}", 3), std::string("7"), deep}) {
    GenerateRequest request = Ask("openai/chat", "?");
    AddTool("compile_kernel", &request);
    request.mutable_tools(0)->set_parameters_json_schema(schema);
    const absl::Status status = Generate(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << schema;
    EXPECT_THAT(std::string(status.message()), HasSubstr("tools[0].parameters_json_schema"));
  }
  EXPECT_EQ(standin_->Log("chat").size(), before);
}

TEST_P(GatewayAloneTest, QuotaThatIsUsedUpIsNotTriedAgain) {
  const size_t before = standin_->Log("quota").size();
  absl::StatusOr<GenerateResponse> response = Generate(Ask("openai/quota", "?"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(response.status().message()), HasSubstr("exceeded your current quota"));
  EXPECT_EQ(standin_->Log("quota").size(), before + 1);
}

TEST_P(GatewayAloneTest, AFullQueueRefusesAndACancelledWaiterLeavesIt) {
  std::vector<ModelConfig> models = StandinModels(standin_->url());
  for (ModelConfig& model : models) {
    model.max_concurrency = 1;
    model.max_queue = 1;
  }
  auto gateway = Gateway::Create(FastOptions(), models, nullptr, metrics_);
  ASSERT_TRUE(gateway.ok());
  Caller running;
  Caller waiting;
  Answer answers[3];
  const GenerateRequest request = Ask("openai/silent", "?");
  (*gateway)->Generate(request, running.context(), answers[0].Catch());
  (*gateway)->Generate(request, waiting.context(), answers[1].Catch());
  (*gateway)->Generate(request, CallContext(), answers[2].Catch());
  const absl::Status full = answers[2].Wait().status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("openai/silent"));
  EXPECT_TRUE(rpc::RetryAfter(full).has_value());
  waiting.stop.request_stop();
  EXPECT_EQ(answers[1].Wait().status().code(), absl::StatusCode::kCancelled);
  running.stop.request_stop();
  EXPECT_EQ(answers[0].Wait().status().code(), absl::StatusCode::kCancelled);
}

TEST_P(GatewayAloneTest, ManyCallsAtOnceAllGetTheirOwnAnswer) {
  constexpr int kCalls = 200;
  std::vector<Answer> answers(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    gateway_->Generate(Ask("openai/chat", absl::StrCat("number ", i, ".")), CallContext(),
                       answers[i].Catch());
  }
  for (int i = 0; i < kCalls; ++i) {
    absl::StatusOr<GenerateResponse> response = answers[i].Wait();
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->message().content(0).text(), absl::StrCat("You said: number ", i, "."));
  }
}

TEST_P(GatewayAloneTest, TooManyOutputTokensAreRefusedWithTheLimit) {
  GenerateRequest request = Ask("openai/chat", "?");
  request.mutable_sampling()->set_max_output_tokens(1001);
  absl::StatusOr<GenerateResponse> response = Generate(request);
  EXPECT_EQ(response.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(response.status().message()), AllOf(HasSubstr("1001"), HasSubstr("1000")));
}

}  // namespace
}  // namespace nkiagent::llm_gateway
