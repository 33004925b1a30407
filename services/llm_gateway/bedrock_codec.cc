// Amazon Bedrock's Converse and ConverseStream.
#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/storage/content_hash.h"
#include "services/llm_gateway/aws/event_stream.h"
#include "services/llm_gateway/aws/sigv4.h"
#include "services/llm_gateway/codec.h"
#include "services/llm_gateway/stream/answer_builder.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using OrderedJson = nlohmann::ordered_json;

// Claude on Bedrock takes at most so many cachePoint blocks in a request.
constexpr int kMaxCachePoints = 4;

OrderedJson CachePoint() { return {{"cachePoint", {{"type", "default"}}}}; }

// The block in the API's form; null for what it doesn't take (empty text).
OrderedJson EncodeBlock(const llm::ContentBlock& block) {
  switch (block.content_case()) {
    case llm::ContentBlock::kText:
      if (block.text().empty()) return nullptr;
      return {{"text", block.text()}};
    case llm::ContentBlock::kToolCall: {
      const llm::ToolCall& call = block.tool_call();
      return {
          {"toolUse",
           {{"toolUseId", call.id()}, {"name", call.name()}, {"input", OrderedJson(ArgumentsObject(call))}}}};
    }
    case llm::ContentBlock::kToolResult: {
      const llm::ToolResult& result = block.tool_result();
      OrderedJson content = OrderedJson::array();
      content.push_back({{"text", result.text().empty() ? "(no text)" : result.text()}});
      return {{"toolResult",
               {{"toolUseId", result.call_id()},
                {"content", std::move(content)},
                {"status", result.is_error() ? "error" : "success"}}}};
    }
    case llm::ContentBlock::kThinking: {
      const llm::Thinking& thinking = block.thinking();
      if (!thinking.redacted_data().empty()) {
        return {{"reasoningContent", {{"redactedContent", thinking.redacted_data()}}}};
      }
      // Without a signature it is another provider's reasoning, which this API would refuse.
      if (thinking.signature().empty()) return nullptr;
      return {{"reasoningContent",
               {{"reasoningText", {{"text", thinking.text()}, {"signature", thinking.signature()}}}}}};
    }
    case llm::ContentBlock::CONTENT_NOT_SET:
      break;
  }
  return nullptr;
}

OrderedJson EncodeMessages(const llm::GenerateRequest& request, int points_left) {
  int marks = 0;
  for (const llm::Message& message : request.messages()) {
    for (const llm::ContentBlock& block : message.content()) marks += block.cache_mark() ? 1 : 0;
  }
  // The last marks matter most: each covers everything before it.
  int skip = std::max(0, marks - points_left);
  OrderedJson messages = OrderedJson::array();
  for (const llm::Message& message : request.messages()) {
    OrderedJson content = OrderedJson::array();
    for (const llm::ContentBlock& block : message.content()) {
      OrderedJson json = EncodeBlock(block);
      const bool point = block.cache_mark() && skip-- <= 0 && !block.has_thinking();
      if (json.is_null()) continue;
      content.push_back(std::move(json));
      if (point) content.push_back(CachePoint());
    }
    // The API refuses messages without content, such as a turn in which the model said nothing.
    if (content.empty()) content.push_back({{"text", "(no text)"}});
    messages.push_back({{"role", message.role() == llm::ROLE_ASSISTANT ? "assistant" : "user"},
                        {"content", std::move(content)}});
  }
  return messages;
}

OrderedJson EncodeTools(const llm::GenerateRequest& request, bool cache_point) {
  OrderedJson tools = OrderedJson::array();
  for (const llm::Tool& tool : request.tools()) {
    OrderedJson spec = {{"name", tool.name()}};
    if (!tool.description().empty()) spec["description"] = tool.description();
    spec["inputSchema"] = {{"json", OrderedJson::parse(tool.parameters_json_schema(), nullptr, false)}};
    tools.push_back({{"toolSpec", std::move(spec)}});
  }
  if (cache_point) tools.push_back(CachePoint());
  OrderedJson config = {{"tools", std::move(tools)}};
  if (request.tool_choice() == llm::TOOL_CHOICE_REQUIRED) {
    config["toolChoice"] = {{"any", OrderedJson::object()}};
  } else {
    config["toolChoice"] = {{"auto", OrderedJson::object()}};
  }
  return config;
}

llm::StopReason DecodeStopReason(absl::string_view reason) {
  if (reason == "end_turn") return llm::STOP_REASON_END_TURN;
  if (reason == "tool_use") return llm::STOP_REASON_TOOL_USE;
  if (reason == "max_tokens") return llm::STOP_REASON_MAX_TOKENS;
  if (reason == "stop_sequence") return llm::STOP_REASON_STOP_SEQUENCE;
  if (reason == "guardrail_intervened" || reason == "content_filtered") return llm::STOP_REASON_REFUSAL;
  if (reason == "model_context_window_exceeded") return llm::STOP_REASON_CONTEXT_WINDOW;
  return llm::STOP_REASON_OTHER;
}

void SetEnd(const std::string& reason, const std::string& text, llm::GenerateResponse* result) {
  result->set_stop_reason(DecodeStopReason(reason));
  if (result->stop_reason() != llm::STOP_REASON_REFUSAL) return;
  result->mutable_refusal()->set_message(text);
  result->mutable_refusal()->set_provider_reason(reason);
}

void ReadUsage(const Json& usage, nkiagent::common::v1::Usage* out) {
  out->set_input_tokens(std::max<int64_t>(0, IntOr(usage, "inputTokens")));
  out->set_output_tokens(std::max<int64_t>(0, IntOr(usage, "outputTokens")));
  out->set_cached_input_tokens(std::max<int64_t>(0, IntOr(usage, "cacheReadInputTokens")));
  out->set_cache_write_tokens(std::max<int64_t>(0, IntOr(usage, "cacheWriteInputTokens")));
}

std::string Header(const HttpResponse& response, const char* name) {
  const auto found = response.headers.find(name);
  return found == response.headers.end() ? "" : found->second;
}

ProviderError ReadError(std::string type, const Json& body) {
  ProviderError error{.type = std::move(type), .message = StringOr(body, "message")};
  if (error.message.empty()) error.message = StringOr(body, "Message");
  error.context_overflow = absl::StrContains(error.message, "Input is too long") ||
                           absl::StrContains(error.message, "prompt is too long") ||
                           absl::StrContains(error.message, "context limit");
  return error;
}

// The exceptions that a stream may carry; in its messages they begin in lower case.
int StatusOfException(absl::string_view type) {
  constexpr std::pair<absl::string_view, int> kStatuses[] = {
      {"throttlingException", 429},     {"serviceUnavailableException", 503},
      {"validationException", 400},     {"modelStreamErrorException", 424},
      {"internalServerException", 500}, {"modelTimeoutException", 408},
      {"modelNotReadyException", 429}};
  for (const auto& [name, status] : kStatuses) {
    if (type == name) return status;
  }
  return 500;
}

class BedrockStream : public StreamDecoder {
 public:
  absl::Status Feed(absl::string_view bytes, Deltas* deltas) override {
    return parser_.Feed(bytes, [&](const aws::EventMessage& message) {
      ++events_;
      return OnMessage(message, deltas);
    });
  }

  absl::StatusOr<llm::GenerateResponse> Finish(const HttpResponse& response) override {
    if (!stopped_ || !parser_.between_messages()) {
      return absl::UnavailableError("the stream ended before its messageStop");
    }
    SetEnd(stop_reason_, builder_.text(), &result_);
    *result_.mutable_message() = builder_.Finish();
    result_.set_provider("bedrock");
    result_.set_provider_request_id(Header(response, "x-amzn-requestid"));
    return std::move(result_);
  }

 private:
  absl::Status OnMessage(const aws::EventMessage& message, Deltas* deltas) {
    const auto header = [&](const char* name) {
      const auto found = message.headers.find(name);
      return found == message.headers.end() ? std::string() : found->second;
    };
    const std::string kind = header(":message-type");
    if (kind == "error") {
      ProviderError error{.type = header(":error-code"), .message = header(":error-message")};
      error.status = 500;
      return Fail(std::move(error));
    }
    absl::StatusOr<Json> payload = ParseJson(message.payload);
    if (!payload.ok()) {
      return absl::InternalError(absl::StrCat("a message of the stream is ", payload.status().message(), ": ",
                                              Excerpt(message.payload)));
    }
    if (kind == "exception") {
      ProviderError error = ReadError(header(":exception-type"), *payload);
      error.status = StatusOfException(error.type);
      return Fail(std::move(error));
    }
    return OnEvent(header(":event-type"), *payload, deltas);
  }

  absl::Status OnEvent(const std::string& type, const Json& event, Deltas* deltas) {
    const int64_t index = IntOr(event, "contentBlockIndex", -1);
    if (type == "contentBlockDelta") return OnDelta(index, Member(event, "delta"), deltas);
    if (type == "contentBlockStart") {
      const Json& tool = Member(Member(event, "start"), "toolUse");
      if (tool.is_null()) return absl::OkStatus();
      return builder_.StartToolCall(index, StringOr(tool, "toolUseId"), StringOr(tool, "name"), deltas);
    }
    if (type == "messageStop") {
      stop_reason_ = StringOr(event, "stopReason");
      stopped_ = true;
    } else if (type == "metadata") {
      ReadUsage(Member(event, "usage"), result_.mutable_usage());
    }
    // messageStart says nothing new, ends of blocks neither; unknown events are passed over.
    return absl::OkStatus();
  }

  absl::Status OnDelta(int64_t index, const Json& delta, Deltas* deltas) {
    if (const Json& text = Member(delta, "text"); text.is_string())
      return builder_.Text(index, text.get<std::string>(), deltas);
    if (const Json& tool = Member(delta, "toolUse"); tool.is_object())
      return builder_.Arguments(index, StringOr(tool, "input"), deltas);
    const Json& reasoning = Member(delta, "reasoningContent");
    if (!reasoning.is_object()) return absl::OkStatus();
    if (reasoning.contains("text")) return builder_.Thinking(index, StringOr(reasoning, "text"), deltas);
    if (reasoning.contains("signature")) return builder_.Signature(index, StringOr(reasoning, "signature"));
    return builder_.Redacted(index, StringOr(reasoning, "redactedContent"));
  }

  aws::EventStreamParser parser_;
  AnswerBuilder builder_;
  llm::GenerateResponse result_;
  std::string stop_reason_;
  bool stopped_ = false;
};

class BedrockCodec : public Codec {
 public:
  std::string provider() const override { return "bedrock"; }
  Offer offer() const override { return {.no_tool_choice = false}; }

  // Ids have colons ("...-v2:0"), and those of inference profiles are ARNs with slashes.
  std::string Path(const llm::GenerateRequest& request, const ModelConfig& config,
                   bool stream) const override {
    return absl::StrCat("/model/", aws::PercentEncode(config.ProviderModel(request.model()), false),
                        stream ? "/converse-stream" : "/converse");
  }

  std::string Encode(const llm::GenerateRequest& request, const ModelConfig& config, bool) const override {
    const llm::SamplingOptions& sampling = request.sampling();
    OrderedJson body;
    int points = 0;
    const bool tools_point = request.cache_prompt() && !request.tools().empty() && request.system().empty();
    const bool system_point = request.cache_prompt() && !request.system().empty();
    points += tools_point ? 1 : 0;
    points += system_point ? 1 : 0;
    body["messages"] = EncodeMessages(request, kMaxCachePoints - points);
    if (!request.system().empty()) {
      body["system"] = OrderedJson::array({{{"text", request.system()}}});
      if (system_point) body["system"].push_back(CachePoint());
    }
    OrderedJson inference = OrderedJson::object();
    if (sampling.has_max_output_tokens()) {
      inference["maxTokens"] = sampling.max_output_tokens();
    } else if (config.max_output_tokens > 0) {
      inference["maxTokens"] = config.max_output_tokens;
    }
    if (sampling.has_temperature()) inference["temperature"] = sampling.temperature();
    if (sampling.has_top_p()) inference["topP"] = sampling.top_p();
    if (!sampling.stop_sequences().empty()) inference["stopSequences"] = sampling.stop_sequences();
    if (!inference.empty()) body["inferenceConfig"] = std::move(inference);
    // There is no choice "none": without tools the model can't call any.
    if (!request.tools().empty() && request.tool_choice() != llm::TOOL_CHOICE_NONE)
      body["toolConfig"] = EncodeTools(request, tools_point);
    if (sampling.thinking_budget_tokens() > 0) {
      body["additionalModelRequestFields"] = {
          {"thinking", {{"type", "enabled"}, {"budget_tokens", sampling.thinking_budget_tokens()}}}};
    }
    return body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  }

  absl::Status Authorize(const ModelConfig& config, const Credentials& credentials, absl::Time now,
                         HttpRequest* request) const override {
    request->headers.emplace_back("content-type", "application/json");
    if (!credentials.key.empty()) {
      request->headers.emplace_back("authorization", absl::StrCat("Bearer ", credentials.key));
      return absl::OkStatus();
    }
    absl::string_view rest = request->url;
    if (!absl::ConsumePrefix(&rest, "https://")) absl::ConsumePrefix(&rest, "http://");
    const size_t slash = std::min(rest.find('/'), rest.size());
    aws::RequestToSign to_sign;
    to_sign.path = std::string(rest.substr(slash));
    to_sign.payload_sha256 = storage::Sha256Hex(*request->body);
    to_sign.headers = {{"content-type", "application/json"},
                       {"host", std::string(rest.substr(0, slash))},
                       {"x-amz-content-sha256", to_sign.payload_sha256},
                       {"x-amz-date", aws::AmzDate(now)}};
    if (!credentials.session_token.empty())
      to_sign.headers["x-amz-security-token"] = credentials.session_token;
    for (const char* name : {"x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}) {
      const auto found = to_sign.headers.find(name);
      if (found != to_sign.headers.end()) request->headers.emplace_back(name, found->second);
    }
    request->headers.emplace_back("authorization",
                                  aws::Authorization({.access_key_id = credentials.access_key_id,
                                                      .secret_access_key = credentials.secret_access_key,
                                                      .region = config.region,
                                                      .service = "bedrock"},
                                                     to_sign, now));
    return absl::OkStatus();
  }

  absl::StatusOr<llm::GenerateResponse> Decode(const llm::GenerateRequest&,
                                               const HttpResponse& response) const override {
    absl::StatusOr<Json> json = ParseJson(response.body);
    if (!json.ok()) return absl::InternalError(json.status().message());
    const Json& content = Member(Member(Member(*json, "output"), "message"), "content");
    if (!content.is_array()) return absl::InternalError("the answer has no output.message.content");
    llm::GenerateResponse result;
    AnswerBuilder builder;
    AnswerBuilder::Deltas unused;
    for (size_t i = 0; i < content.size(); ++i) {
      absl::Status status = DecodeBlock(content[i], static_cast<int64_t>(i), &builder, &unused);
      if (!status.ok()) return status;
    }
    SetEnd(StringOr(*json, "stopReason"), builder.text(), &result);
    *result.mutable_message() = builder.Finish();
    ReadUsage(Member(*json, "usage"), result.mutable_usage());
    result.set_provider(provider());
    result.set_provider_request_id(Header(response, "x-amzn-requestid"));
    return result;
  }

  std::unique_ptr<StreamDecoder> NewStream(const llm::GenerateRequest&) const override {
    return std::make_unique<BedrockStream>();
  }

  ProviderError DecodeError(const HttpResponse& response) const override {
    // "ThrottlingException:http://internal.amazon.com/coral/..."
    std::string type = Header(response, "x-amzn-errortype");
    type = type.substr(0, type.find(':'));
    const absl::StatusOr<Json> json = ParseJson(response.body);
    return ReadError(std::move(type), json.ok() ? *json : Json());
  }

 private:
  static absl::Status DecodeBlock(const Json& block, int64_t key, AnswerBuilder* builder,
                                  AnswerBuilder::Deltas* unused) {
    if (const Json& text = Member(block, "text"); text.is_string())
      return builder->Text(key, text.get<std::string>(), unused);
    if (const Json& tool = Member(block, "toolUse"); tool.is_object()) {
      const absl::Status status =
          builder->StartToolCall(key, StringOr(tool, "toolUseId"), StringOr(tool, "name"), unused);
      const Json& input = Member(tool, "input");
      if (!status.ok() || input.is_null()) return status;
      return builder->Arguments(key, Dump(input), unused);
    }
    const Json& reasoning = Member(block, "reasoningContent");
    if (const Json& text = Member(reasoning, "reasoningText"); text.is_object()) {
      const absl::Status status = builder->Thinking(key, StringOr(text, "text"), unused);
      return status.ok() ? builder->Signature(key, StringOr(text, "signature")) : status;
    }
    if (reasoning.contains("redactedContent"))
      return builder->Redacted(key, StringOr(reasoning, "redactedContent"));
    // Other kinds (images, documents) are never asked for.
    return block.is_object() ? absl::OkStatus() : absl::InternalError("a content block is no object");
  }
};

}  // namespace

std::unique_ptr<Codec> MakeBedrockCodec() { return std::make_unique<BedrockCodec>(); }

}  // namespace nkiagent::llm_gateway
