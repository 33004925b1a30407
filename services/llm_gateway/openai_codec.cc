// Chat completions in OpenAI's form, as vLLM, SGLang, llama.cpp and others speak it.
#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/llm_gateway/codec.h"

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

class OpenAiCodec : public Codec {
 public:
  std::string provider() const override { return "openai"; }
  std::string path() const override { return "/chat/completions"; }

  std::vector<std::pair<std::string, std::string>> Headers(absl::string_view key) const override {
    std::vector<std::pair<std::string, std::string>> headers = {{"content-type", "application/json"}};
    if (!key.empty()) headers.emplace_back("authorization", absl::StrCat("Bearer ", key));
    return headers;
  }

  std::string Encode(const llm::GenerateRequest& request, const ModelConfig& config) const override {
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
    body["n"] = 1;
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
    return body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  }

  absl::StatusOr<llm::GenerateResponse> Decode(const llm::GenerateRequest& request,
                                               const HttpResponse& response) const override {
    absl::StatusOr<Json> json = ParseJson(response.body);
    if (!json.ok()) return absl::InternalError(json.status().message());
    const Json& choices = Member(*json, "choices");
    if (!choices.is_array() || choices.empty()) return absl::InternalError("the answer has no choices");
    const Json& choice = choices.front();
    const Json& message = Member(choice, "message");
    if (!message.is_object()) return absl::InternalError("the first choice has no message");

    llm::GenerateResponse result;
    llm::Message* out = result.mutable_message();
    out->set_role(llm::ROLE_ASSISTANT);
    // vLLM, DeepSeek and others give reasoning under one of these names.
    std::string reasoning = StringOr(message, "reasoning_content");
    if (reasoning.empty()) reasoning = StringOr(message, "reasoning");
    if (!reasoning.empty()) out->add_content()->mutable_thinking()->set_text(reasoning);
    const std::string text = StringOr(message, "content");
    if (!text.empty()) out->add_content()->set_text(text);
    absl::StatusOr<bool> called =
        DecodeToolCalls(Member(message, "tool_calls"), AssistantMessages(request), out);
    if (!called.ok()) return called.status();
    DecodeEnd(choice, message, text, *called, &result);
    DecodeUsage(Member(*json, "usage"), result.mutable_usage());
    result.set_provider(provider());
    result.set_provider_model(StringOr(*json, "model"));
    const auto request_id = response.headers.find("x-request-id");
    result.set_provider_request_id(request_id != response.headers.end() ? request_id->second
                                                                        : StringOr(*json, "id"));
    return result;
  }

  ProviderError DecodeError(const HttpResponse& response) const override {
    const absl::StatusOr<Json> json = ParseJson(response.body);
    if (!json.ok()) return {};
    // OpenAI nests the error; older vLLM has its fields at the top; some servers have only a text.
    const Json& nested = Member(*json, "error");
    if (nested.is_string()) return {.type = "", .message = nested.get<std::string>()};
    const Json& error = nested.is_object() ? nested : *json;
    ProviderError result{.type = StringOr(error, "type"), .message = StringOr(error, "message")};
    if (result.message.empty()) result.message = StringOr(*json, "detail");
    const std::string code = StringOr(error, "code");
    if (result.type.empty()) result.type = code;
    result.permanent = code == "insufficient_quota" || result.type == "insufficient_quota";
    return result;
  }

 private:
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
      call->set_id(StringOr(calls[i], "id"));
      // Some servers give no ids; results need one that is unique in the conversation.
      if (call->id().empty()) call->set_id(absl::StrCat("call_", turn, "_", i));
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

  static void DecodeEnd(const Json& choice, const Json& message, const std::string& text, bool called,
                        llm::GenerateResponse* result) {
    const std::string reason = StringOr(choice, "finish_reason");
    const Json& refusal = Member(message, "refusal");
    if (refusal.is_string() || reason == "content_filter") {
      result->set_stop_reason(llm::STOP_REASON_REFUSAL);
      result->mutable_refusal()->set_message(refusal.is_string() ? refusal.get<std::string>() : text);
      result->mutable_refusal()->set_provider_reason(reason == "content_filter" ? reason : "refusal");
    } else if (reason == "length") {
      result->set_stop_reason(llm::STOP_REASON_MAX_TOKENS);
    } else if (called) {
      // Some servers say "stop" beside tool calls.
      result->set_stop_reason(llm::STOP_REASON_TOOL_USE);
    } else if (reason == "stop") {
      // vLLM names the stop sequence that it met beside the reason.
      const bool sequence = Member(choice, "stop_reason").is_string();
      result->set_stop_reason(sequence ? llm::STOP_REASON_STOP_SEQUENCE : llm::STOP_REASON_END_TURN);
    } else {
      result->set_stop_reason(llm::STOP_REASON_OTHER);
    }
  }

  static void DecodeUsage(const Json& usage, nkiagent::common::v1::Usage* out) {
    const int64_t prompt = std::max<int64_t>(0, IntOr(usage, "prompt_tokens"));
    const int64_t cached = IntOr(Member(usage, "prompt_tokens_details"), "cached_tokens");
    out->set_cached_input_tokens(std::clamp<int64_t>(cached, 0, prompt));
    out->set_input_tokens(prompt - out->cached_input_tokens());
    out->set_output_tokens(std::max<int64_t>(0, IntOr(usage, "completion_tokens")));
    out->set_reasoning_tokens(
        std::max<int64_t>(0, IntOr(Member(usage, "completion_tokens_details"), "reasoning_tokens")));
  }
};

}  // namespace

std::unique_ptr<Codec> MakeOpenAiCodec() { return std::make_unique<OpenAiCodec>(); }

}  // namespace nkiagent::llm_gateway
