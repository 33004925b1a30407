// Answers conversations as the rule-based writer would, one JSON object a line on standard input and output;
// for tests and for looking at kernels by hand.
//
//   {"messages": [{"role": "user", "text": "```graph\n…\n```"}], "tools": ["compile_kernel"]}
//   -> {"text": "…", "call": {"id": "…", "name": "compile_kernel", "arguments": {"source": "…"}}}
//
// Messages may have "calls" (assistant: id, name, arguments) and "results" (user: call_id, text).
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "services/llm_gateway/builtin/conversation.h"

namespace nkiagent::builtin {
namespace {

using Json = nlohmann::json;

Conversation Read(const Json& json) {
  Conversation conversation;
  conversation.tools = json.value("tools", std::vector<std::string>{});
  for (const Json& m : json.at("messages")) {
    Message message;
    message.from_assistant = m.at("role") == "assistant";
    message.text = m.value("text", "");
    for (const Json& call : m.value("calls", Json::array())) {
      message.calls.push_back({call.at("id"), call.at("name"), call.at("arguments").dump()});
    }
    for (const Json& result : m.value("results", Json::array())) {
      message.results.push_back({result.at("call_id"), result.at("text")});
    }
    conversation.messages.push_back(std::move(message));
  }
  return conversation;
}

int Main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    Json answer;
    try {
      const Reply reply = NextMessage(Read(Json::parse(line)));
      answer["text"] = reply.text;
      if (reply.call.has_value()) {
        answer["call"] = {{"id", reply.call->id},
                          {"name", reply.call->name},
                          {"arguments", Json::parse(reply.call->arguments_json)}};
      }
    } catch (const Json::exception& e) {
      answer["error"] = e.what();
    }
    std::cout << answer.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace nkiagent::builtin

int main() { return nkiagent::builtin::Main(); }
