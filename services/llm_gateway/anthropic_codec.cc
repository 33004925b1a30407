// The Anthropic Messages API.
#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/llm_gateway/codec.h"
#include "services/llm_gateway/stream/answer_builder.h"
#include "services/llm_gateway/stream/sse_parser.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using OrderedJson = nlohmann::ordered_json;

// The API wants a limit in each request; for models whose configuration names none.
constexpr int64_t kDefaultMaxTokens = 8192;
// The API takes at most this many cache_control marks in a request.
constexpr int kMaxCacheMarks = 4;

OrderedJson CacheControl() { return {{"type", "ephemeral"}}; }

// The block in the API's form; null for what the API doesn't take (empty text).
OrderedJson EncodeBlock(const llm::ContentBlock& block) {
  switch (block.content_case()) {
    case llm::ContentBlock::kText:
      if (block.text().empty()) return nullptr;
      return {{"type", "text"}, {"text", block.text()}};
    case llm::ContentBlock::kToolCall: {
      const llm::ToolCall& call = block.tool_call();
      return {{"type", "tool_use"},
              {"id", call.id()},
              {"name", call.name()},
              {"input", OrderedJson(ArgumentsObject(call))}};
    }
    case llm::ContentBlock::kToolResult: {
      const llm::ToolResult& result = block.tool_result();
      OrderedJson json = {{"type", "tool_result"}, {"tool_use_id", result.call_id()}};
      if (!result.text().empty()) json["content"] = result.text();
      if (result.is_error()) json["is_error"] = true;
      return json;
    }
    case llm::ContentBlock::kThinking: {
      const llm::Thinking& thinking = block.thinking();
      if (!thinking.redacted_data().empty()) {
        return {{"type", "redacted_thinking"}, {"data", thinking.redacted_data()}};
      }
      // Without a signature it is another provider's reasoning, which this API would refuse.
      if (thinking.signature().empty()) return nullptr;
      return {{"type", "thinking"}, {"thinking", thinking.text()}, {"signature", thinking.signature()}};
    }
    case llm::ContentBlock::CONTENT_NOT_SET:
      break;
  }
  return nullptr;
}

OrderedJson EncodeMessages(const llm::GenerateRequest& request, int marks_left) {
  OrderedJson messages = OrderedJson::array();
  std::vector<std::pair<size_t, size_t>> marked_at;
  for (const llm::Message& message : request.messages()) {
    OrderedJson content = OrderedJson::array();
    for (const llm::ContentBlock& block : message.content()) {
      OrderedJson json = EncodeBlock(block);
      if (json.is_null()) continue;
      if (block.cache_mark() && !block.has_thinking())
        marked_at.emplace_back(messages.size(), content.size());
      content.push_back(std::move(json));
    }
    // The API refuses messages without content, such as a turn in which the model said nothing.
    if (content.empty()) content.push_back({{"type", "text"}, {"text", "(no text)"}});
    messages.push_back({{"role", message.role() == llm::ROLE_ASSISTANT ? "assistant" : "user"},
                        {"content", std::move(content)}});
  }
  // The last marks matter most: each covers everything before it.
  const size_t keep = static_cast<size_t>(std::max(marks_left, 0));
  for (size_t i = marked_at.size() > keep ? marked_at.size() - keep : 0; i < marked_at.size(); ++i) {
    messages[marked_at[i].first]["content"][marked_at[i].second]["cache_control"] = CacheControl();
  }
  return messages;
}

OrderedJson EncodeTools(const llm::GenerateRequest& request) {
  OrderedJson tools = OrderedJson::array();
  for (const llm::Tool& tool : request.tools()) {
    OrderedJson json = {{"name", tool.name()}};
    if (!tool.description().empty()) json["description"] = tool.description();
    json["input_schema"] = OrderedJson::parse(tool.parameters_json_schema(), nullptr, false);
    tools.push_back(std::move(json));
  }
  return tools;
}

OrderedJson EncodeToolChoice(llm::ToolChoice choice) {
  switch (choice) {
    case llm::TOOL_CHOICE_NONE:
      return {{"type", "none"}};
    case llm::TOOL_CHOICE_REQUIRED:
      return {{"type", "any"}};
    default:
      return {{"type", "auto"}};
  }
}

llm::StopReason DecodeStopReason(absl::string_view reason) {
  if (reason == "end_turn") return llm::STOP_REASON_END_TURN;
  if (reason == "tool_use") return llm::STOP_REASON_TOOL_USE;
  if (reason == "max_tokens") return llm::STOP_REASON_MAX_TOKENS;
  if (reason == "stop_sequence") return llm::STOP_REASON_STOP_SEQUENCE;
  if (reason == "refusal") return llm::STOP_REASON_REFUSAL;
  if (reason == "model_context_window_exceeded") return llm::STOP_REASON_CONTEXT_WINDOW;
  return llm::STOP_REASON_OTHER;
}

// Takes over what `usage` tells; a stream tells it in parts.
void ReadUsage(const Json& usage, nkiagent::common::v1::Usage* out) {
  const auto read = [&](const char* name, int64_t fallback) {
    return std::max<int64_t>(0, IntOr(usage, name, fallback));
  };
  out->set_input_tokens(read("input_tokens", out->input_tokens()));
  out->set_output_tokens(read("output_tokens", out->output_tokens()));
  out->set_cached_input_tokens(read("cache_read_input_tokens", out->cached_input_tokens()));
  out->set_cache_write_tokens(read("cache_creation_input_tokens", out->cache_write_tokens()));
}

// What the answer's envelope gives; `message` is the object that has model and id.
void ReadEnvelope(const Json& message, const HttpResponse& response, llm::GenerateResponse* result) {
  result->set_provider("anthropic");
  result->set_provider_model(StringOr(message, "model"));
  const auto request_id = response.headers.find("request-id");
  result->set_provider_request_id(request_id != response.headers.end() ? request_id->second
                                                                       : StringOr(message, "id"));
}

void SetEnd(absl::string_view reason, const std::string& text, llm::GenerateResponse* result) {
  result->set_stop_reason(DecodeStopReason(reason));
  if (result->stop_reason() != llm::STOP_REASON_REFUSAL) return;
  result->mutable_refusal()->set_message(text);
  result->mutable_refusal()->set_provider_reason("refusal");
}

ProviderError ReadError(const Json& json) {
  const Json& error = Member(json, "error");
  ProviderError result{.type = StringOr(error, "type"), .message = StringOr(error, "message")};
  result.context_overflow = absl::StrContains(result.message, "prompt is too long") ||
                            absl::StrContains(result.message, "exceed context limit");
  return result;
}

// https://docs.anthropic.com/en/api/errors
int StatusOfError(absl::string_view type) {
  constexpr std::pair<absl::string_view, int> kStatuses[] = {
      {"invalid_request_error", 400}, {"authentication_error", 401}, {"permission_error", 403},
      {"not_found_error", 404},       {"request_too_large", 413},    {"rate_limit_error", 429},
      {"timeout_error", 504},         {"overloaded_error", 529}};
  for (const auto& [name, status] : kStatuses) {
    if (type == name) return status;
  }
  return 500;
}

// https://docs.anthropic.com/en/docs/build-with-claude/streaming
class AnthropicStream : public StreamDecoder {
 public:
  absl::Status Feed(absl::string_view bytes, Deltas* deltas) override {
    return parser_.Feed(bytes, [&](absl::string_view, absl::string_view data) {
      ++events_;
      absl::StatusOr<Json> event = ParseJson(data);
      if (!event.ok()) {
        return absl::InternalError(
            absl::StrCat("an event of the stream is ", event.status().message(), ": ", Excerpt(data)));
      }
      return OnEvent(*event, deltas);
    });
  }

  absl::StatusOr<llm::GenerateResponse> Finish(const HttpResponse& response) override {
    if (!stopped_) return absl::UnavailableError("the stream ended before its message_stop");
    ReadEnvelope(start_, response, &result_);
    SetEnd(stop_reason_, builder_.text(), &result_);
    *result_.mutable_message() = builder_.Finish();
    return std::move(result_);
  }

 private:
  absl::Status OnEvent(const Json& event, Deltas* deltas) {
    const std::string type = StringOr(event, "type");
    const int64_t index = IntOr(event, "index", -1);
    if (type == "content_block_delta") return OnDelta(index, Member(event, "delta"), deltas);
    if (type == "content_block_start") return OnStart(index, Member(event, "content_block"), deltas);
    if (type == "message_start") {
      start_ = Member(event, "message");
      ReadUsage(Member(start_, "usage"), result_.mutable_usage());
    } else if (type == "message_delta") {
      stop_reason_ = StringOr(Member(event, "delta"), "stop_reason", stop_reason_);
      ReadUsage(Member(event, "usage"), result_.mutable_usage());
    } else if (type == "message_stop") {
      stopped_ = true;
    } else if (type == "error") {
      ProviderError error = ReadError(event);
      error.status = StatusOfError(error.type);
      return Fail(std::move(error));
    }
    // The documentation wants unknown events to be passed over, as pings and block ends are.
    return absl::OkStatus();
  }

  absl::Status OnStart(int64_t index, const Json& block, Deltas* deltas) {
    const std::string type = StringOr(block, "type");
    if (type == "text") return builder_.Text(index, StringOr(block, "text"), deltas);
    if (type == "thinking") return builder_.Thinking(index, StringOr(block, "thinking"), deltas);
    if (type == "redacted_thinking") return builder_.Redacted(index, StringOr(block, "data"));
    if (type != "tool_use") return absl::OkStatus();
    absl::Status status =
        builder_.StartToolCall(index, StringOr(block, "id"), StringOr(block, "name"), deltas);
    // Empty here by the protocol, but some servers give all of it at once.
    const Json& input = Member(block, "input");
    if (status.ok() && !input.empty()) status = builder_.Arguments(index, Dump(input), deltas);
    return status;
  }

  absl::Status OnDelta(int64_t index, const Json& delta, Deltas* deltas) {
    const std::string type = StringOr(delta, "type");
    if (type == "text_delta") return builder_.Text(index, StringOr(delta, "text"), deltas);
    if (type == "thinking_delta") return builder_.Thinking(index, StringOr(delta, "thinking"), deltas);
    if (type == "signature_delta") return builder_.Signature(index, StringOr(delta, "signature"));
    // The input of the provider's own tools, which the gateway never asks for, belongs to no block here.
    if (type == "input_json_delta" && builder_.Has(index))
      return builder_.Arguments(index, StringOr(delta, "partial_json"), deltas);
    return absl::OkStatus();
  }

  SseParser parser_;
  AnswerBuilder builder_;
  llm::GenerateResponse result_;
  Json start_;
  std::string stop_reason_;
  bool stopped_ = false;
};

class AnthropicCodec : public Codec {
 public:
  std::string provider() const override { return "anthropic"; }
  Offer offer() const override { return {}; }
  std::string Path(const llm::GenerateRequest&, const ModelConfig&, bool) const override {
    return "/v1/messages";
  }

  absl::Status Authorize(const ModelConfig&, const Credentials& credentials, absl::Time,
                         HttpRequest* request) const override {
    request->headers.emplace_back("content-type", "application/json");
    request->headers.emplace_back("anthropic-version", "2023-06-01");
    if (!credentials.key.empty()) request->headers.emplace_back("x-api-key", credentials.key);
    return absl::OkStatus();
  }

  std::string Encode(const llm::GenerateRequest& request, const ModelConfig& config,
                     bool stream) const override {
    const llm::SamplingOptions& sampling = request.sampling();
    const int64_t default_max = config.max_output_tokens > 0 ? config.max_output_tokens : kDefaultMaxTokens;
    OrderedJson body;
    body["model"] = config.ProviderModel(request.model());
    body["max_tokens"] = sampling.has_max_output_tokens() ? sampling.max_output_tokens() : default_max;
    int marks = 0;
    OrderedJson tools = EncodeTools(request);
    if (request.cache_prompt() && request.system().empty() && !tools.empty()) {
      tools.back()["cache_control"] = CacheControl();
      ++marks;
    }
    if (!request.system().empty()) {
      OrderedJson system = {{"type", "text"}, {"text", request.system()}};
      if (request.cache_prompt()) {
        // Tools come before the system prompt in what is cached, so one mark covers both.
        system["cache_control"] = CacheControl();
        ++marks;
      }
      body["system"] = OrderedJson::array({std::move(system)});
    }
    body["messages"] = EncodeMessages(request, kMaxCacheMarks - marks);
    if (!tools.empty()) {
      body["tools"] = std::move(tools);
      body["tool_choice"] = EncodeToolChoice(request.tool_choice());
    }
    if (sampling.has_temperature()) body["temperature"] = sampling.temperature();
    if (sampling.has_top_p()) body["top_p"] = sampling.top_p();
    if (!sampling.stop_sequences().empty()) body["stop_sequences"] = sampling.stop_sequences();
    if (sampling.thinking_budget_tokens() > 0) {
      body["thinking"] = {{"type", "enabled"}, {"budget_tokens", sampling.thinking_budget_tokens()}};
    }
    if (stream) body["stream"] = true;
    return body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  }

  absl::StatusOr<llm::GenerateResponse> Decode(const llm::GenerateRequest&,
                                               const HttpResponse& response) const override {
    absl::StatusOr<Json> json = ParseJson(response.body);
    if (!json.ok()) return absl::InternalError(json.status().message());
    const Json& content = Member(*json, "content");
    if (StringOr(*json, "type") != "message" || !content.is_array()) {
      return absl::InternalError("the answer is no message with content");
    }
    llm::GenerateResponse result;
    result.mutable_message()->set_role(llm::ROLE_ASSISTANT);
    std::string text;
    for (const Json& block : content) {
      if (absl::Status status = DecodeBlock(block, &result, &text); !status.ok()) return status;
    }
    SetEnd(StringOr(*json, "stop_reason"), text, &result);
    ReadUsage(Member(*json, "usage"), result.mutable_usage());
    ReadEnvelope(*json, response, &result);
    return result;
  }

  std::unique_ptr<StreamDecoder> NewStream(const llm::GenerateRequest&) const override {
    return std::make_unique<AnthropicStream>();
  }

  ProviderError DecodeError(const HttpResponse& response) const override {
    const absl::StatusOr<Json> json = ParseJson(response.body);
    return json.ok() ? ReadError(*json) : ProviderError{};
  }

 private:
  static absl::Status DecodeBlock(const Json& block, llm::GenerateResponse* result, std::string* text) {
    const std::string type = StringOr(block, "type");
    if (type == "text") {
      absl::StrAppend(text, StringOr(block, "text"));
      result->mutable_message()->add_content()->set_text(StringOr(block, "text"));
    } else if (type == "tool_use") {
      const Json& input = Member(block, "input");
      const std::string id = StringOr(block, "id");
      const std::string name = StringOr(block, "name");
      if (id.empty() || name.empty()) return absl::InternalError("a tool_use block lacks its id or name");
      llm::ToolCall* call = result->mutable_message()->add_content()->mutable_tool_call();
      call->set_id(id);
      call->set_name(name);
      call->set_arguments_json(input.is_null() ? "{}" : Dump(input));
      call->set_arguments_valid(input.is_null() || input.is_object());
    } else if (type == "thinking") {
      llm::Thinking* thinking = result->mutable_message()->add_content()->mutable_thinking();
      thinking->set_text(StringOr(block, "thinking"));
      thinking->set_signature(StringOr(block, "signature"));
    } else if (type == "redacted_thinking") {
      result->mutable_message()->add_content()->mutable_thinking()->set_redacted_data(
          StringOr(block, "data"));
    } else if (type.empty()) {
      return absl::InternalError("a content block has no type");
    }
    // Other types belong to the provider's own tools, which the gateway never asks for.
    return absl::OkStatus();
  }
};

}  // namespace

Json ArgumentsObject(const llm::ToolCall& call) {
  if (call.arguments_json().empty()) return Json::object();
  absl::StatusOr<Json> json = ParseJson(call.arguments_json());
  if (json.ok() && json->is_object()) return *std::move(json);
  return Json{{"invalid_json", call.arguments_json()}};
}

std::unique_ptr<Codec> MakeCodec(const std::string& provider) {
  if (provider == "anthropic") return MakeAnthropicCodec();
  return provider == "bedrock" ? MakeBedrockCodec() : MakeOpenAiCodec();
}

std::unique_ptr<Codec> MakeAnthropicCodec() { return std::make_unique<AnthropicCodec>(); }

}  // namespace nkiagent::llm_gateway
