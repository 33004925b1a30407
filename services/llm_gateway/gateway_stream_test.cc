// Streamed answers of every provider: whole, broken, slow, cancelled.
#include <gmock/gmock.h>

#include <condition_variable>
#include <map>
#include <mutex>

#include "absl/time/clock.h"
#include "common/rpc/status.h"
#include "services/llm_gateway/conformance_fixture.h"
#include "services/llm_gateway/error_detail.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Keeps what comes; a closed one says that it has no room until it is opened.
class Pieces : public PieceSink {
 public:
  bool Take(llm::ContentDelta piece) override {
    const std::lock_guard lock(mutex_);
    pieces_.push_back(std::move(piece));
    changed_.notify_all();
    return open_;
  }
  void WhenRoom(std::function<void()> resume) override {
    {
      const std::lock_guard lock(mutex_);
      if (!open_) {
        resume_ = std::move(resume);
        return;
      }
    }
    resume();
  }
  void Close() {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }
  void Open() {
    std::function<void()> resume;
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
      resume = std::exchange(resume_, nullptr);
    }
    if (resume) resume();
  }
  bool AwaitFirst() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [this] { return !pieces_.empty(); });
  }
  std::vector<llm::ContentDelta> all() const {
    const std::lock_guard lock(mutex_);
    return pieces_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<llm::ContentDelta> pieces_;
  bool open_ = true;
  std::function<void()> resume_;
};

// What a caller has who puts the pieces together.
std::map<int, llm::ContentBlock> Assemble(const std::vector<llm::ContentDelta>& pieces) {
  std::map<int, llm::ContentBlock> blocks;
  for (const llm::ContentDelta& piece : pieces) {
    llm::ContentBlock& block = blocks[piece.block_index()];
    switch (piece.delta_case()) {
      case llm::ContentDelta::kText:
        block.mutable_text()->append(piece.text());
        break;
      case llm::ContentDelta::kThinking:
        block.mutable_thinking()->mutable_text()->append(piece.thinking());
        break;
      case llm::ContentDelta::kToolCallStart:
        *block.mutable_tool_call() = piece.tool_call_start();
        break;
      case llm::ContentDelta::kArgumentsJson:
        block.mutable_tool_call()->mutable_arguments_json()->append(piece.arguments_json());
        break;
      case llm::ContentDelta::DELTA_NOT_SET:
        ADD_FAILURE() << "an empty piece";
    }
  }
  return blocks;
}

class GatewayStreamTest : public GatewayTest {
 protected:
  absl::StatusOr<GenerateResponse> Stream(const GenerateRequest& request,
                                          const CallContext& context = CallContext()) {
    pieces_ = std::make_shared<Pieces>();
    Answer answer;
    gateway_->Stream(std::make_shared<const GenerateRequest>(request), context, pieces_, answer.Catch());
    return answer.Wait();
  }

  // That the pieces of the last stream are its answer.
  void ExpectPiecesAreWhole(const GenerateResponse& response) {
    std::map<int, llm::ContentBlock> blocks = Assemble(pieces_->all());
    for (int i = 0; i < response.message().content_size(); ++i) {
      const llm::ContentBlock& block = response.message().content(i);
      EXPECT_EQ(blocks[i].text(), block.text());
      EXPECT_EQ(blocks[i].thinking().text(), block.thinking().text());
      if (block.has_tool_call()) {
        EXPECT_EQ(blocks[i].tool_call().id(), block.tool_call().id());
        EXPECT_EQ(blocks[i].tool_call().name(), block.tool_call().name());
        // An empty piece is not sent, but an answer's arguments are never empty.
        const std::string arguments = blocks[i].tool_call().arguments_json();
        EXPECT_EQ(arguments.empty() ? "{}" : arguments, block.tool_call().arguments_json());
      }
    }
  }

  std::shared_ptr<Pieces> pieces_;
};

INSTANTIATE_TEST_SUITE_P(Providers, GatewayStreamTest, ::testing::Values("anthropic", "openai", "bedrock"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(GatewayStreamTest, SaysTheSameAsAWholeAnswer) {
  GenerateRequest request = Ask(Name("chat"), "Grüße, 世界 \U0001f600 \"quoted\"\n");
  const absl::StatusOr<GenerateResponse> whole = Generate(request);
  const absl::StatusOr<GenerateResponse> streamed = Stream(request);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_TRUE(streamed.ok()) << streamed.status();
  EXPECT_GT(pieces_->all().size(), 3u);
  ExpectPiecesAreWhole(*streamed);
  GenerateResponse expected = *whole;
  GenerateResponse actual = *streamed;
  expected.clear_latency();
  actual.clear_latency();
  EXPECT_EQ(actual.DebugString(), expected.DebugString());
  EXPECT_EQ(actual.usage().output_tokens(), 20);
}

TEST_P(GatewayStreamTest, CarriesToolCallsAndReasoningThatTheProviderTakesBack) {
  GenerateRequest request = Ask(Name("tools"), "Write a kernel.");
  AddTool("compile_kernel", &request);
  AddTool("verify_kernel", &request);
  const absl::StatusOr<GenerateResponse> whole = Generate(request);
  const absl::StatusOr<GenerateResponse> first = Stream(request);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->stop_reason(), llm::STOP_REASON_TOOL_USE);
  ExpectPiecesAreWhole(*first);
  ASSERT_EQ(first->message().content_size(), whole->message().content_size());
  for (int i = 0; i < whole->message().content_size(); ++i) {
    const llm::ContentBlock& block = first->message().content(i);
    EXPECT_EQ(block.content_case(), whole->message().content(i).content_case());
    EXPECT_EQ(block.thinking().DebugString(), whole->message().content(i).thinking().DebugString());
    if (!block.has_tool_call()) continue;
    EXPECT_TRUE(block.tool_call().arguments_valid());
    EXPECT_EQ(nlohmann::json::parse(block.tool_call().arguments_json()),
              nlohmann::json::parse(whole->message().content(i).tool_call().arguments_json()));
  }
  const absl::StatusOr<GenerateResponse> second = Stream(WithResults(request, *first));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->message().content(0).text(), "Results: result of compile_kernel result of verify_kernel");
}

TEST_P(GatewayStreamTest, KeepsBrokenToolArguments) {
  GenerateRequest request = Ask(Name("broken-arguments"), "Write a kernel.");
  AddTool("compile_kernel", &request);
  const absl::StatusOr<GenerateResponse> first = Stream(request);
  ASSERT_TRUE(first.ok()) << first.status();
  const llm::ToolCall& call = first->message().content().rbegin()->tool_call();
  EXPECT_FALSE(call.arguments_valid());
  EXPECT_THAT(call.arguments_json(), HasSubstr("def"));
  EXPECT_FALSE(call.id().empty());
  EXPECT_TRUE(Stream(WithResults(request, *first)).ok());
}

TEST_P(GatewayStreamTest, NamesWhyAModelStopped) {
  const absl::StatusOr<GenerateResponse> cut = Stream(Ask(Name("max-tokens"), "?"));
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ(cut->stop_reason(), llm::STOP_REASON_MAX_TOKENS);
  const absl::StatusOr<GenerateResponse> refusal = Stream(Ask(Name("refusal"), "?"));
  ASSERT_TRUE(refusal.ok()) << refusal.status();
  EXPECT_EQ(refusal->stop_reason(), llm::STOP_REASON_REFUSAL);
  EXPECT_EQ(refusal->refusal().message(), "I can't");
}

struct Break {
  const char* scenario;
  absl::StatusCode code;
  const char* text;
};

TEST_P(GatewayStreamTest, EachWayToBreakOffIsATypedErrorAndIsNotTriedAgain) {
  const Break breaks[] = {
      {"stream-ends", absl::StatusCode::kUnavailable, "the stream ended before"},
      {"stream-cut", absl::StatusCode::kUnavailable, ""},
      {"stream-garbage", absl::StatusCode::kInternal, "of the stream"},
      {"stream-bad-utf8", absl::StatusCode::kInternal, "of the stream"},
      {"stream-drips", absl::StatusCode::kUnavailable, "nothing whole for 300ms"},
      {"stream-comments", absl::StatusCode::kUnavailable, "nothing whole for 300ms"},
      {"stream-nul", absl::StatusCode::kInternal, "not JSON at byte"},
      {"stream-deep-json", absl::StatusCode::kInternal, "nests deeper than 100"},
      {"stream-gigabyte", absl::StatusCode::kInternal, "larger than 1048576 bytes"},
      {"stream-huge", absl::StatusCode::kInternal, bedrock() ? "claims 67108864 bytes" : "larger than"},
  };
  for (const Break& test : breaks) {
    SCOPED_TRACE(test.scenario);
    const size_t before = standin_->Log(test.scenario).size();
    const absl::Status status = Stream(Ask(Name(test.scenario), "?")).status();
    EXPECT_EQ(status.code(), test.code) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(GetParam()), HasSubstr(test.text)));
    EXPECT_EQ(ReasonOf(status), llm::ERROR_REASON_BROKEN_STREAM);
    EXPECT_LT(status.message().size(), 1500u);
    EXPECT_FALSE(pieces_->all().empty());
    EXPECT_EQ(standin_->Log(test.scenario).size(), before + 1);
  }
}

TEST_P(GatewayStreamTest, AnErrorAfterTheFirstPieceIsTheProvidersOwn) {
  const size_t before = standin_->Log("stream-error").size();
  const absl::Status status = Stream(Ask(Name("stream-error"), "?")).status();
  // Bedrock's is a throttling.
  EXPECT_EQ(status.code(), bedrock() ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(bedrock() ? "Too many requests" : "Overloaded"));
  EXPECT_EQ(ReasonOf(status), llm::ERROR_REASON_BROKEN_STREAM);
  EXPECT_EQ(standin_->Log("stream-error").size(), before + 1);
}

TEST_P(GatewayStreamTest, AnErrorBeforeTheFirstPieceIsTriedAgain) {
  // A stand-in of its own: the shared one has counted requests of other providers.
  auto fresh = standins::ChatStandin::Start();
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  gateway_ = *Gateway::Create(FastOptions(), StandinModels((*fresh)->url()), nullptr, metrics_);
  const absl::StatusOr<GenerateResponse> response = Stream(Ask(Name("stream-fails-first"), "hello"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->attempts(), 2);
  ExpectPiecesAreWhole(*response);
}

TEST_P(GatewayStreamTest, ErrorBodiesAreReadAsElsewhere) {
  const absl::Status bad = Stream(Ask(Name("bad-request"), "?")).status();
  EXPECT_EQ(bad.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(bad), llm::ERROR_REASON_CONTEXT_OVERFLOW);
  const absl::Status limited = Stream(Ask(Name("rate-limited"), "?")).status();
  EXPECT_EQ(limited.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(rpc::RetryAfter(limited), absl::Hours(1));
}

TEST_P(GatewayStreamTest, CancellationInMidStreamClosesTheSocket) {
  const int before = static_cast<int>(standin_->Log("stream-hangs").size());
  GatewayOptions options = FastOptions();
  options.http.stream_timeout = absl::Minutes(1);
  Start(options);
  Caller caller;
  Answer answer;
  auto pieces = std::make_shared<Pieces>();
  gateway_->Stream(std::make_shared<const GenerateRequest>(Ask(Name("stream-hangs"), "?")), caller.context(),
                   pieces, answer.Catch());
  ASSERT_TRUE(pieces->AwaitFirst());
  EXPECT_FALSE(answer.ready());
  caller.stop.request_stop();
  EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(standin_->Await("stream-hangs", "disconnected", before + 1));
  EXPECT_EQ(answer.times(), 1);
}

TEST_P(GatewayStreamTest, AReaderWithoutRoomHoldsUpTheProviderAndMissesNothing) {
  const int before = static_cast<int>(standin_->Log("long").size());
  GatewayOptions options = FastOptions();
  options.http.max_response_bytes = size_t{64} << 20;
  Start(options);
  Answer answer;
  auto pieces = std::make_shared<Pieces>();
  pieces->Close();
  gateway_->Stream(std::make_shared<const GenerateRequest>(Ask(Name("long"), "?")), CallContext(), pieces,
                   answer.Catch());
  // Its pauses are not the provider's, so stream_timeout doesn't end them.
  ASSERT_TRUE(standin_->Await("long", "stalled", before + 1));
  EXPECT_FALSE(answer.ready());
  pieces->Open();
  const absl::StatusOr<GenerateResponse> response = answer.Wait();
  ASSERT_TRUE(response.ok()) << response.status();
  const size_t x = std::count(response->message().content(0).text().begin(),
                              response->message().content(0).text().end(), 'x');
  EXPECT_EQ(x, size_t{16384} * 2048 + 1);
  size_t received = 0;
  for (const llm::ContentDelta& piece : pieces->all()) received += piece.text().size();
  EXPECT_EQ(received, response->message().content(0).text().size());
}

TEST_P(GatewayStreamTest, ARepeatedRequestIdGivesThePiecesOfTheSameAnswer) {
  GenerateRequest request = Ask(Name("chat"), "once");
  request.set_request_id("stream-1");
  const size_t before = standin_->Log("chat").size();
  const absl::StatusOr<GenerateResponse> first = Stream(request);
  const absl::StatusOr<GenerateResponse> second = Stream(request);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(second->cached());
  ExpectPiecesAreWhole(*second);
  EXPECT_FALSE(pieces_->all().empty());
  EXPECT_EQ(standin_->Log("chat").size(), before + 1);
}

TEST_P(GatewayStreamTest, SamplesAndLogProbabilitiesAreForThoseWhoOfferThem) {
  GenerateRequest request = Ask(Name("chat"), "hello");
  request.mutable_sampling()->set_samples(3);
  request.mutable_sampling()->set_top_logprobs(2);
  const absl::StatusOr<GenerateResponse> response = Generate(request);
  if (!openai()) {
    EXPECT_EQ(response.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(response.status()), llm::ERROR_REASON_NOT_OFFERED);
    EXPECT_THAT(std::string(response.status().message()), AllOf(HasSubstr("samples"), HasSubstr(GetParam())));
    request.mutable_sampling()->clear_samples();
    EXPECT_THAT(std::string(Generate(request).status().message()), HasSubstr("top_logprobs"));
    return;
  }
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->alternatives_size(), 2);
  EXPECT_EQ(response->alternatives(1).message().content(0).text(), "You said: hello #2");
  EXPECT_EQ(response->alternatives(1).stop_reason(), llm::STOP_REASON_END_TURN);
  ASSERT_GT(response->logprobs_size(), 1);
  EXPECT_EQ(response->logprobs(0).token(), "You sai");
  EXPECT_DOUBLE_EQ(response->logprobs(0).logprob(), -0.25);
  ASSERT_EQ(response->logprobs(0).top_alternatives_size(), 2);
  EXPECT_DOUBLE_EQ(response->logprobs(0).top_alternatives(1).logprob(), -1.5);
  EXPECT_EQ(Stream(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.mutable_sampling()->clear_samples();
  const absl::StatusOr<GenerateResponse> streamed = Stream(request);
  ASSERT_TRUE(streamed.ok()) << streamed.status();
  EXPECT_EQ(streamed->logprobs_size(), response->logprobs_size());
}

}  // namespace
}  // namespace nkiagent::llm_gateway
