#include "services/llm_gateway/builtin/builtin_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/conversation.h"

namespace nkiagent::builtin {
namespace {

namespace pb = nkiagent::llm::v1;

// The name under which answers are reported; the version changes when the same conversation may get another
// answer.
constexpr char kProviderModel[] = "builtin-1";

Message Read(const pb::Message& message) {
  Message read;
  read.from_assistant = message.role() == pb::ROLE_ASSISTANT;
  for (const pb::ContentBlock& block : message.content()) {
    switch (block.content_case()) {
      case pb::ContentBlock::kText:
        absl::StrAppend(&read.text, read.text.empty() ? "" : "\n", block.text());
        break;
      case pb::ContentBlock::kToolCall:
        read.calls.push_back(
            {block.tool_call().id(), block.tool_call().name(), block.tool_call().arguments_json()});
        break;
      case pb::ContentBlock::kToolResult:
        read.results.push_back({block.tool_result().call_id(), block.tool_result().text()});
        break;
      default:
        break;
    }
  }
  return read;
}

}  // namespace

absl::StatusOr<llm_gateway::GenerateResponse> BuiltinModel::Generate(
    const llm_gateway::GenerateRequest& request, const llm_gateway::CallContext& context) {
  if (absl::Status status = context.Check(); !status.ok()) return status;
  Conversation conversation;
  for (const pb::Message& message : request.messages()) conversation.messages.push_back(Read(message));
  if (request.tool_choice() != pb::TOOL_CHOICE_NONE) {
    for (const pb::Tool& tool : request.tools()) conversation.tools.push_back(tool.name());
  }
  Reply reply = NextMessage(conversation);
  if (absl::Status status = context.Check(); !status.ok()) return status;

  llm_gateway::GenerateResponse response;
  response.set_provider("builtin");
  response.set_provider_model(kProviderModel);
  response.mutable_message()->set_role(pb::ROLE_ASSISTANT);
  response.mutable_message()->add_content()->set_text(std::move(reply.text));
  response.set_stop_reason(pb::STOP_REASON_END_TURN);
  if (reply.call.has_value()) {
    pb::ToolCall* call = response.mutable_message()->add_content()->mutable_tool_call();
    call->set_id(std::move(reply.call->id));
    call->set_name(std::move(reply.call->name));
    call->set_arguments_json(std::move(reply.call->arguments_json));
    call->set_arguments_valid(true);
    response.set_stop_reason(pb::STOP_REASON_TOOL_USE);
  }
  return response;
}

}  // namespace nkiagent::builtin
