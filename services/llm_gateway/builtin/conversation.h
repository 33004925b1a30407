// The writer as a model: from a conversation to its next message. Pure and stateless: what it tried before,
// and what came of it, it reads from the conversation.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_CONVERSATION_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_CONVERSATION_H_

#include <optional>
#include <string>
#include <vector>

namespace nkiagent::builtin {

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments_json;
};

struct ToolResult {
  std::string call_id;
  std::string text;
};

struct Message {
  bool from_assistant = false;
  std::string text;
  std::vector<ToolCall> calls;      // of the assistant
  std::vector<ToolResult> results;  // of the user
};

struct Conversation {
  std::vector<Message> messages;
  std::vector<std::string> tools;  // names of those offered; empty when none may be called
};

struct Reply {
  std::string text;
  std::optional<ToolCall> call;
};

// The next message. Never fails: what can't be done is said in the text, without a call. The graph is taken
// from the first fenced block with the info string `graph` in a message of the user. With `compile_kernel`
// among the tools the kernel goes out as a call, otherwise as a fenced Python block.
Reply NextMessage(const Conversation& conversation);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_CONVERSATION_H_
