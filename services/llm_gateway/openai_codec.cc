// Chat completions in OpenAI's form, as vLLM, SGLang, llama.cpp and others speak it.
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

void AppendParagraph(absl::string_view paragraph, std::string* text) {
  if (paragraph.empty()) return;
  if (!text->empty()) absl::StrAppend(text, "\n\n");
  absl::StrAppend(text, paragraph);
}

// Tool results are messages of their own here, and come before the rest of what the user says.
void EncodeUser(const llm::Message& message, OrderedJson* messages) {
  std::string text;
  bool results = false;
  for (const llm::ContentBlock& block : message.content()) {
    if (block.has_tool_result()) {
      results = true;
      messages->push_back({{"role", "tool"},
                           {"tool_call_id", block.tool_result().call_id()},
                           {"content", block.tool_result().text()}});
    } else if (block.has_text()) {
      AppendParagraph(block.text(), &text);
    }
  }
  if (!text.empty() || !results) messages->push_back({{"role", "user"}, {"content", text}});
}

void EncodeAssistant(const llm::Message& message, OrderedJson* messages) {
  std::string text;
  OrderedJson calls = OrderedJson::array();
  for (const llm::ContentBlock& block : message.content()) {
    if (block.has_tool_call()) {
      const llm::ToolCall& call = block.tool_call();
      // Chat templates of open models parse the arguments, so they must be an object even if the model's were
      // not.
      calls.push_back({{"id", call.id()},
                       {"type", "function"},
                       {"function",
                        {{"name", call.name()},
                         {"arguments", call.arguments_valid() && !call.arguments_json().empty()
                                           ? call.arguments_json()
                                           : Dump(ArgumentsObject(call))}}}});
    } else if (block.has_text()) {
      AppendParagraph(block.text(), &text);
    }
    // Reasoning is not sent back: this protocol has no place for it.
  }
  OrderedJson json = {{"role", "assistant"}, {"content", text}};
  if (!calls.empty()) json["tool_calls"] = std::move(calls);
  messages->push_back(std::move(json));
}

OrderedJson EncodeTools(const llm::GenerateRequest& request) {
  OrderedJson tools = OrderedJson::array();
  for (const llm::Tool& tool : request.tools()) {
    tools.push_back({{"type", "function"},
                     {"function",
                      {{"name", tool.name()},
                       {"description", tool.description()},
                       {"parameters", OrderedJson::parse(tool.parameters_json_schema(), nullptr, false)}}}});
  }
  return tools;
}

const char* EncodeToolChoice(llm::ToolChoice choice) {
  switch (choice) {
    case llm::TOOL_CHOICE_NONE:
      return "none";
    case llm::TOOL_CHOICE_REQUIRED:
      return "required";
    default:
      return "auto";
  }
}

int AssistantMessages(const llm::GenerateRequest& request) {
  return static_cast<int>(std::count_if(request.messages().begin(), request.messages().end(),
                                        [](const auto& m) { return m.role() == llm::ROLE_ASSISTANT; }));
}

// What ends a choice.
struct End {
  std::string reason;
  bool sequence = false;  // vLLM names the stop sequence that it met beside the reason
  bool refused = false;
  std::string refusal;
};

template <typename Answer>
void SetEnd(const End& end, const std::string& text, bool called, Answer* answer) {
  if (end.refused || end.reason == "content_filter") {
    answer->set_stop_reason(llm::STOP_REASON_REFUSAL);
    answer->mutable_refusal()->set_message(end.refused ? end.refusal : text);
    answer->mutable_refusal()->set_provider_reason(end.reason == "content_filter" ? end.reason : "refusal");
  } else if (end.reason == "length") {
    answer->set_stop_reason(llm::STOP_REASON_MAX_TOKENS);
  } else if (called) {
    // Some servers say "stop" beside tool calls.
    answer->set_stop_reason(llm::STOP_REASON_TOOL_USE);
  } else if (end.reason == "stop") {
    answer->set_stop_reason(end.sequence ? llm::STOP_REASON_STOP_SEQUENCE : llm::STOP_REASON_END_TURN);
  } else {
    answer->set_stop_reason(llm::STOP_REASON_OTHER);
  }
}

void ReadUsage(const Json& usage, nkiagent::common::v1::Usage* out) {
  const int64_t prompt = std::max<int64_t>(0, IntOr(usage, "prompt_tokens"));
  const int64_t cached = IntOr(Member(usage, "prompt_tokens_details"), "cached_tokens");
  out->set_cached_input_tokens(std::clamp<int64_t>(cached, 0, prompt));
  out->set_input_tokens(prompt - out->cached_input_tokens());
  out->set_output_tokens(std::max<int64_t>(0, IntOr(usage, "completion_tokens")));
  out->set_reasoning_tokens(
      std::max<int64_t>(0, IntOr(Member(usage, "completion_tokens_details"), "reasoning_tokens")));
}

void ReadEnvelope(const Json& json, const HttpResponse& response, llm::GenerateResponse* result) {
  result->set_provider("openai");
  result->set_provider_model(StringOr(json, "model"));
  const auto request_id = response.headers.find("x-request-id");
  result->set_provider_request_id(request_id != response.headers.end() ? request_id->second
                                                                       : StringOr(json, "id"));
}

double Logprob(const Json& token) {
  const Json& value = Member(token, "logprob");
  return value.is_number() ? value.get<double>() : 0;
}

void ReadLogprobs(const Json& choice, google::protobuf::RepeatedPtrField<llm::TokenLogprob>* out) {
  const Json& tokens = Member(Member(choice, "logprobs"), "content");
  if (!tokens.is_array()) return;
  for (const Json& token : tokens) {
    llm::TokenLogprob* logprob = out->Add();
    logprob->set_token(StringOr(token, "token"));
    logprob->set_logprob(Logprob(token));
    const Json& likely = Member(token, "top_logprobs");
    if (!likely.is_array()) continue;
    for (const Json& other : likely) {
      llm::TokenAlternative* alternative = logprob->add_top_alternatives();
      alternative->set_token(StringOr(other, "token"));
      alternative->set_logprob(Logprob(other));
    }
  }
}

// vLLM, DeepSeek and others give reasoning under one of these names.
std::string Reasoning(const Json& message) {
  std::string reasoning = StringOr(message, "reasoning_content");
  return reasoning.empty() ? StringOr(message, "reasoning") : reasoning;
}

// Some servers give no ids; results need one that is unique in the conversation.
std::string CallId(const Json& call, int turn, size_t number) {
  std::string id = StringOr(call, "id");
  return id.empty() ? absl::StrCat("call_", turn, "_", number) : id;
}

ProviderError ReadError(const Json& json) {
  // OpenAI nests the error; older vLLM has its fields at the top; some servers have only a text.
  const Json& nested = Member(json, "error");
  if (nested.is_string()) return {.type = "", .message = nested.get<std::string>()};
  const Json& error = nested.is_object() ? nested : json;
  ProviderError result{.type = StringOr(error, "type"), .message = StringOr(error, "message")};
  if (result.message.empty()) result.message = StringOr(json, "detail");
  const std::string code = StringOr(error, "code");
  if (result.type.empty()) result.type = code;
  result.permanent = code == "insufficient_quota" || result.type == "insufficient_quota";
  result.context_overflow =
      code == "context_length_exceeded" || absl::StrContains(result.message, "maximum context length");
  // vLLM gives the HTTP status as the code of an error in a stream.
  const int64_t number = IntOr(error, "code");
  const bool limited = absl::StrContains(result.type, "rate_limit");
  result.status = number >= 400 && number < 600 ? static_cast<int>(number) : limited ? 429 : 500;
  return result;
}

class OpenAiStream : public StreamDecoder {
 public:
  explicit OpenAiStream(int turn) : turn_(turn) {}

  absl::Status Feed(absl::string_view bytes, Deltas* deltas) override {
    return parser_.Feed(bytes, [&](absl::string_view, absl::string_view data) {
      ++events_;
      if (data == "[DONE]") {
        done_ = true;
        return absl::OkStatus();
      }
      absl::StatusOr<Json> chunk = ParseJson(data);
      if (!chunk.ok()) {
        return absl::InternalError(
            absl::StrCat("an event of the stream is ", chunk.status().message(), ": ", Excerpt(data)));
      }
      return OnChunk(*chunk, deltas);
    });
  }

  absl::StatusOr<llm::GenerateResponse> Finish(const HttpResponse& response) override {
    if (!done_ && end_.reason.empty()) {
      return absl::UnavailableError("the stream ended before a finish_reason and [DONE]");
    }
    ReadEnvelope(head_, response, &result_);
    SetEnd(end_, builder_.text(), builder_.has_tool_calls(), &result_);
    *result_.mutable_message() = builder_.Finish();
    return std::move(result_);
  }

 private:
  // Keys of blocks; tool calls have their own index.
  static constexpr int64_t kText = -1;
  static constexpr int64_t kThinking = -2;

  absl::Status OnChunk(const Json& chunk, Deltas* deltas) {
    if (!Member(chunk, "error").is_null() || StringOr(chunk, "object") == "error")
      return Fail(ReadError(chunk));
    if (!chunk.is_object()) return absl::InternalError("an event of the stream is no object");
    if (head_.is_null()) head_ = {{"model", StringOr(chunk, "model")}, {"id", StringOr(chunk, "id")}};
    if (const Json& usage = Member(chunk, "usage"); usage.is_object())
      ReadUsage(usage, result_.mutable_usage());
    const Json& choices = Member(chunk, "choices");
    if (!choices.is_array()) return absl::OkStatus();
    for (const Json& choice : choices) {
      if (IntOr(choice, "index") != 0) continue;
      if (absl::Status status = OnChoice(choice, deltas); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status OnChoice(const Json& choice, Deltas* deltas) {
    const Json& delta = Member(choice, "delta");
    absl::Status status = builder_.Thinking(kThinking, Reasoning(delta), deltas);
    if (status.ok()) status = builder_.Text(kText, StringOr(delta, "content"), deltas);
    if (const Json& refusal = Member(delta, "refusal"); refusal.is_string()) {
      end_.refused = true;
      absl::StrAppend(&end_.refusal, refusal.get<std::string>());
    }
    const Json& calls = Member(delta, "tool_calls");
    for (size_t i = 0; status.ok() && calls.is_array() && i < calls.size(); ++i) {
      status = OnCall(calls[i], static_cast<int64_t>(i), deltas);
    }
    ReadLogprobs(choice, result_.mutable_logprobs());
    end_.reason = StringOr(choice, "finish_reason", end_.reason);
    end_.sequence = end_.sequence || Member(choice, "stop_reason").is_string();
    return status;
  }

  absl::Status OnCall(const Json& call, int64_t position, Deltas* deltas) {
    const int64_t index = IntOr(call, "index", position);
    if (index < 0) return absl::InternalError("a tool call of the stream has a negative index");
    const Json& function = Member(call, "function");
    if (!builder_.Has(index)) {
      const auto number = static_cast<size_t>(builder_.tool_calls());
      absl::Status status =
          builder_.StartToolCall(index, CallId(call, turn_, number), StringOr(function, "name"), deltas);
      if (!status.ok()) return status;
    }
    const Json& arguments = Member(function, "arguments");
    if (arguments.is_null()) return absl::OkStatus();
    return builder_.Arguments(index, arguments.is_string() ? arguments.get<std::string>() : Dump(arguments),
                              deltas);
  }

  const int turn_;
  SseParser parser_;
  AnswerBuilder builder_;
  llm::GenerateResponse result_;
  Json head_;
  End end_;
  bool done_ = false;
};

class OpenAiCodec : public Codec {
 public:
  std::string provider() const override { return "openai"; }
  Offer offer() const override { return {.seed = true, .samples = true, .logprobs = true}; }
  std::string Path(const llm::GenerateRequest&, const ModelConfig&, bool) const override {
    return "/chat/completions";
  }

  absl::Status Authorize(const ModelConfig&, const Credentials& credentials, absl::Time,
                         HttpRequest* request) const override {
    request->headers.emplace_back("content-type", "application/json");
    if (!credentials.key.empty())
      request->headers.emplace_back("authorization", absl::StrCat("Bearer ", credentials.key));
    return absl::OkStatus();
  }

  std::string Encode(const llm::GenerateRequest& request, const ModelConfig& config,
                     bool stream) const override {
    const llm::SamplingOptions& sampling = request.sampling();
    OrderedJson messages = OrderedJson::array();
    if (!request.system().empty()) messages.push_back({{"role", "system"}, {"content", request.system()}});
    for (const llm::Message& message : request.messages()) {
      if (message.role() == llm::ROLE_ASSISTANT) {
        EncodeAssistant(message, &messages);
      } else {
        EncodeUser(message, &messages);
      }
    }
    OrderedJson body;
    body["model"] = config.ProviderModel(request.model());
    body["messages"] = std::move(messages);
    body["n"] = std::max(1, sampling.samples());
    if (sampling.has_max_output_tokens()) {
      body[config.max_tokens_field] = sampling.max_output_tokens();
    } else if (config.max_output_tokens > 0) {
      body[config.max_tokens_field] = config.max_output_tokens;
    }
    if (!request.tools().empty()) {
      body["tools"] = EncodeTools(request);
      body["tool_choice"] = EncodeToolChoice(request.tool_choice());
    }
    if (sampling.has_temperature()) body["temperature"] = sampling.temperature();
    if (sampling.has_top_p()) body["top_p"] = sampling.top_p();
    if (!sampling.stop_sequences().empty()) body["stop"] = sampling.stop_sequences();
    if (sampling.has_seed()) body["seed"] = sampling.seed();
    if (sampling.has_top_logprobs()) {
      body["logprobs"] = true;
      body["top_logprobs"] = sampling.top_logprobs();
    }
    if (stream) {
      body["stream"] = true;
      body["stream_options"] = {{"include_usage", true}};
    }
    return body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  }

  absl::StatusOr<llm::GenerateResponse> Decode(const llm::GenerateRequest& request,
                                               const HttpResponse& response) const override {
    absl::StatusOr<Json> json = ParseJson(response.body);
    if (!json.ok()) return absl::InternalError(json.status().message());
    const Json& choices = Member(*json, "choices");
    if (!choices.is_array() || choices.empty()) return absl::InternalError("the answer has no choices");
    const int turn = AssistantMessages(request);
    llm::GenerateResponse result;
    for (size_t i = 0; i < choices.size(); ++i) {
      llm::Sample sample;
      if (absl::Status status = DecodeChoice(choices[i], turn, &sample); !status.ok()) return status;
      if (i > 0) {
        *result.add_alternatives() = std::move(sample);
        continue;
      }
      *result.mutable_message() = std::move(*sample.mutable_message());
      result.set_stop_reason(sample.stop_reason());
      if (sample.has_refusal()) *result.mutable_refusal() = sample.refusal();
      *result.mutable_logprobs() = std::move(*sample.mutable_logprobs());
    }
    ReadUsage(Member(*json, "usage"), result.mutable_usage());
    ReadEnvelope(*json, response, &result);
    return result;
  }

  std::unique_ptr<StreamDecoder> NewStream(const llm::GenerateRequest& request) const override {
    return std::make_unique<OpenAiStream>(AssistantMessages(request));
  }

  ProviderError DecodeError(const HttpResponse& response) const override {
    const absl::StatusOr<Json> json = ParseJson(response.body);
    return json.ok() ? ReadError(*json) : ProviderError{};
  }

 private:
  static absl::Status DecodeChoice(const Json& choice, int turn, llm::Sample* sample) {
    const Json& message = Member(choice, "message");
    if (!message.is_object()) return absl::InternalError("a choice has no message");
    llm::Message* out = sample->mutable_message();
    out->set_role(llm::ROLE_ASSISTANT);
    const std::string reasoning = Reasoning(message);
    if (!reasoning.empty()) out->add_content()->mutable_thinking()->set_text(reasoning);
    const std::string text = StringOr(message, "content");
    if (!text.empty()) out->add_content()->set_text(text);
    absl::StatusOr<bool> called = DecodeToolCalls(Member(message, "tool_calls"), turn, out);
    if (!called.ok()) return called.status();
    const Json& refusal = Member(message, "refusal");
    SetEnd({.reason = StringOr(choice, "finish_reason"),
            .sequence = Member(choice, "stop_reason").is_string(),
            .refused = refusal.is_string(),
            .refusal = refusal.is_string() ? refusal.get<std::string>() : ""},
           text, *called, sample);
    ReadLogprobs(choice, sample->mutable_logprobs());
    return absl::OkStatus();
  }

  // Whether there was any.
  static absl::StatusOr<bool> DecodeToolCalls(const Json& calls, int turn, llm::Message* out) {
    if (calls.is_null()) return false;
    if (!calls.is_array()) return absl::InternalError("tool_calls is no list");
    for (size_t i = 0; i < calls.size(); ++i) {
      const Json& function = Member(calls[i], "function");
      const std::string name = StringOr(function, "name");
      if (name.empty()) return absl::InternalError(absl::StrCat("tool call ", i, " has no function name"));
      llm::ToolCall* call = out->add_content()->mutable_tool_call();
      call->set_name(name);
      call->set_id(CallId(calls[i], turn, i));
      const Json& arguments = Member(function, "arguments");
      // A text by the protocol, but some servers send the object itself.
      std::string arguments_text = arguments.is_string() ? arguments.get<std::string>() : Dump(arguments);
      if (arguments.is_null() || arguments_text.empty()) arguments_text = "{}";
      const absl::StatusOr<Json> parsed = ParseJson(arguments_text);
      call->set_arguments_valid(parsed.ok() && parsed->is_object());
      call->set_arguments_json(std::move(arguments_text));
    }
    return !calls.empty();
  }
};

}  // namespace

std::unique_ptr<Codec> MakeOpenAiCodec() { return std::make_unique<OpenAiCodec>(); }

}  // namespace nkiagent::llm_gateway
