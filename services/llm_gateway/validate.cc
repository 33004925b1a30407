#include "services/llm_gateway/validate.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/llm_gateway/json_util.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;

constexpr int kMaxTools = 64;
constexpr size_t kMaxSchemaBytes = 64 << 10;
constexpr size_t kMaxIdBytes = 128;
constexpr int kMaxStopSequences = 4;
constexpr int kMaxSamples = 16;
constexpr int kMaxTopLogprobs = 20;
constexpr int kMaxBudgets = 4;

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-';
  });
}

absl::Status CheckBlock(const llm::ContentBlock& block, llm::Role role, const std::string& label,
                        std::set<std::string>* calls) {
  const bool assistant = role == llm::ROLE_ASSISTANT;
  switch (block.content_case()) {
    case llm::ContentBlock::kText:
      return absl::OkStatus();
    case llm::ContentBlock::kToolCall:
      if (!assistant) return Invalid(label, " is a tool call, which only the assistant makes");
      if (block.tool_call().id().empty()) return Invalid(label, " is a tool call without an id");
      if (block.tool_call().name().empty()) return Invalid(label, " is a tool call without a name");
      if (!calls->insert(block.tool_call().id()).second) {
        return Invalid(label, " has the id of an earlier tool call: ", Excerpt(block.tool_call().id(), 64));
      }
      return absl::OkStatus();
    case llm::ContentBlock::kToolResult:
      if (assistant) return Invalid(label, " is a tool result, which only the user gives");
      if (!calls->contains(block.tool_result().call_id())) {
        return Invalid(label, " answers no earlier tool call: ", Excerpt(block.tool_result().call_id(), 64));
      }
      return absl::OkStatus();
    case llm::ContentBlock::kThinking:
      if (!assistant) return Invalid(label, " is reasoning, which only the assistant gives");
      return absl::OkStatus();
    case llm::ContentBlock::CONTENT_NOT_SET:
      return Invalid(label, " is empty");
  }
  return Invalid(label, " is of an unknown kind");
}

absl::Status CheckMessages(const llm::GenerateRequest& request) {
  if (request.messages().empty()) return Invalid("messages is empty");
  if (request.messages(0).role() != llm::ROLE_USER) return Invalid("messages[0] is not the user's");
  if (request.messages().rbegin()->role() != llm::ROLE_USER)
    return Invalid("the last message is not the user's");
  std::set<std::string> calls;
  for (int i = 0; i < request.messages_size(); ++i) {
    const llm::Message& message = request.messages(i);
    if (message.role() != llm::ROLE_USER && message.role() != llm::ROLE_ASSISTANT) {
      return Invalid("messages[", i, "] has no role");
    }
    // The assistant may have said nothing; the user may not.
    if (message.content().empty() && message.role() == llm::ROLE_USER) {
      return Invalid("messages[", i, "] has no content");
    }
    for (int j = 0; j < message.content_size(); ++j) {
      const std::string label = absl::StrCat("messages[", i, "].content[", j, "]");
      if (absl::Status status = CheckBlock(message.content(j), message.role(), label, &calls); !status.ok()) {
        return status;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTools(const llm::GenerateRequest& request) {
  if (request.tools_size() > kMaxTools) {
    return Invalid("tools has ", request.tools_size(), " entries, more than ", kMaxTools);
  }
  std::set<std::string> names;
  for (int i = 0; i < request.tools_size(); ++i) {
    const llm::Tool& tool = request.tools(i);
    if (!IsName(tool.name())) {
      return Invalid("tools[", i, "].name '", Excerpt(tool.name(), 64),
                     "' doesn't match [A-Za-z0-9_-]{1,64}");
    }
    if (!names.insert(tool.name()).second)
      return Invalid("tools[", i, "].name '", tool.name(), "' occurs twice");
    const std::string label = absl::StrCat("tools[", i, "].parameters_json_schema (", tool.name(), ")");
    if (tool.parameters_json_schema().size() > kMaxSchemaBytes) {
      return Invalid(label, " has ", tool.parameters_json_schema().size(), " bytes, more than ",
                     kMaxSchemaBytes);
    }
    const absl::StatusOr<Json> schema = ParseJson(tool.parameters_json_schema());
    if (!schema.ok()) return Invalid(label, " is ", schema.status().message());
    if (!schema->is_object() || StringOr(*schema, "type") != "object") {
      return Invalid(label, " is no JSON schema whose type is object");
    }
  }
  if (request.tool_choice() == llm::TOOL_CHOICE_REQUIRED && request.tools().empty()) {
    return Invalid("tool_choice requires a tool, and there is none");
  }
  return absl::OkStatus();
}

absl::Status CheckSampling(const llm::SamplingOptions& sampling) {
  if (sampling.has_temperature() && !(sampling.temperature() >= 0 && sampling.temperature() <= 2)) {
    return Invalid("sampling.temperature is ", sampling.temperature(), ", outside 0 to 2");
  }
  if (sampling.has_top_p() && !(sampling.top_p() > 0 && sampling.top_p() <= 1)) {
    return Invalid("sampling.top_p is ", sampling.top_p(), ", outside over 0 to 1");
  }
  if (sampling.has_max_output_tokens() && sampling.max_output_tokens() < 1) {
    return Invalid("sampling.max_output_tokens is ", sampling.max_output_tokens(), ", less than 1");
  }
  if (sampling.thinking_budget_tokens() < 0) return Invalid("sampling.thinking_budget_tokens is negative");
  if (sampling.stop_sequences_size() > kMaxStopSequences) {
    return Invalid("sampling.stop_sequences has ", sampling.stop_sequences_size(), " entries, more than ",
                   kMaxStopSequences);
  }
  if (sampling.has_samples() && (sampling.samples() < 1 || sampling.samples() > kMaxSamples)) {
    return Invalid("sampling.samples is ", sampling.samples(), ", outside 1 to ", kMaxSamples);
  }
  if (sampling.top_logprobs() < 0 || sampling.top_logprobs() > kMaxTopLogprobs) {
    return Invalid("sampling.top_logprobs is ", sampling.top_logprobs(), ", outside 0 to ", kMaxTopLogprobs);
  }
  for (const std::string& stop : sampling.stop_sequences()) {
    if (stop.empty()) return Invalid("sampling.stop_sequences has an empty entry");
  }
  return absl::OkStatus();
}

absl::Status CheckBudgets(const llm::GenerateRequest& request) {
  if (request.budgets_size() > kMaxBudgets)
    return Invalid("budgets has ", request.budgets_size(), " entries, more than ", kMaxBudgets);
  std::set<std::string> ids;
  for (int i = 0; i < request.budgets_size(); ++i) {
    const llm::Budget& budget = request.budgets(i);
    if (budget.id().empty() || budget.id().size() > kMaxIdBytes)
      return Invalid("budgets[", i, "].id is empty or longer than ", kMaxIdBytes);
    if (!ids.insert(budget.id()).second) return Invalid("budgets[", i, "].id occurs twice");
    if (budget.limit_micro_usd() < 1)
      return Invalid("budgets[", i, "].limit_micro_usd is ", budget.limit_micro_usd(), ", less than 1");
    if (budget.spent_micro_usd() < 0) return Invalid("budgets[", i, "].spent_micro_usd is negative");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateRequest(const llm::GenerateRequest& request) {
  if (request.model().empty()) return Invalid("model is empty");
  if (request.request_id().size() > kMaxIdBytes) return Invalid("request_id is longer than ", kMaxIdBytes);
  if (request.session_id().size() > kMaxIdBytes) return Invalid("session_id is longer than ", kMaxIdBytes);
  if (absl::Status status = CheckMessages(request); !status.ok()) return status;
  if (absl::Status status = CheckTools(request); !status.ok()) return status;
  if (absl::Status status = CheckBudgets(request); !status.ok()) return status;
  return CheckSampling(request.sampling());
}

}  // namespace nkiagent::llm_gateway
