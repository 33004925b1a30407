#include "services/llm_gateway/stream/answer_builder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/json_util.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using Kind = llm::ContentBlock::ContentCase;

constexpr int kMaxBlocks = 1024;

void Append(absl::string_view piece, std::string* text) { text->append(piece.data(), piece.size()); }

}  // namespace

absl::StatusOr<llm::ContentBlock*> AnswerBuilder::Block(int64_t key, Kind kind) {
  const auto found = blocks_.find(key);
  if (found != blocks_.end()) {
    llm::ContentBlock* block = message_.mutable_content(found->second);
    if (block->content_case() == kind) return block;
    return absl::InternalError(absl::StrCat("the stream has pieces of two kinds for block ", key));
  }
  if (message_.content_size() >= kMaxBlocks) {
    return absl::InternalError(absl::StrCat("the answer has more than ", kMaxBlocks, " blocks"));
  }
  blocks_.emplace(key, message_.content_size());
  llm::ContentBlock* block = message_.add_content();
  switch (kind) {
    case llm::ContentBlock::kText:
      block->mutable_text();
      break;
    case llm::ContentBlock::kToolCall:
      block->mutable_tool_call();
      break;
    default:
      block->mutable_thinking();
  }
  return block;
}

llm::ContentDelta* AnswerBuilder::Add(int64_t key, Deltas* deltas) const {
  llm::ContentDelta* delta = &deltas->emplace_back();
  delta->set_block_index(blocks_.at(key));
  return delta;
}

absl::Status AnswerBuilder::Text(int64_t key, absl::string_view text, Deltas* deltas) {
  if (text.empty()) return absl::OkStatus();
  const auto block = Block(key, llm::ContentBlock::kText);
  if (!block.ok()) return block.status();
  Append(text, (*block)->mutable_text());
  Append(text, Add(key, deltas)->mutable_text());
  return absl::OkStatus();
}

absl::Status AnswerBuilder::Thinking(int64_t key, absl::string_view text, Deltas* deltas) {
  if (text.empty()) return absl::OkStatus();
  const auto block = Block(key, llm::ContentBlock::kThinking);
  if (!block.ok()) return block.status();
  Append(text, (*block)->mutable_thinking()->mutable_text());
  Append(text, Add(key, deltas)->mutable_thinking());
  return absl::OkStatus();
}

absl::Status AnswerBuilder::Signature(int64_t key, absl::string_view signature) {
  const auto block = Block(key, llm::ContentBlock::kThinking);
  if (!block.ok()) return block.status();
  Append(signature, (*block)->mutable_thinking()->mutable_signature());
  return absl::OkStatus();
}

absl::Status AnswerBuilder::Redacted(int64_t key, absl::string_view data) {
  const auto block = Block(key, llm::ContentBlock::kThinking);
  if (!block.ok()) return block.status();
  Append(data, (*block)->mutable_thinking()->mutable_redacted_data());
  return absl::OkStatus();
}

absl::Status AnswerBuilder::StartToolCall(int64_t key, absl::string_view id, absl::string_view name,
                                          Deltas* deltas) {
  if (id.empty() || name.empty())
    return absl::InternalError("a tool call of the stream has no id or no name");
  if (Has(key)) return absl::InternalError(absl::StrCat("block ", key, " of the stream begins twice"));
  const auto block = Block(key, llm::ContentBlock::kToolCall);
  if (!block.ok()) return block.status();
  ++tool_calls_;
  (*block)->mutable_tool_call()->set_id(std::string(id));
  (*block)->mutable_tool_call()->set_name(std::string(name));
  *Add(key, deltas)->mutable_tool_call_start() = (*block)->tool_call();
  return absl::OkStatus();
}

absl::Status AnswerBuilder::Arguments(int64_t key, absl::string_view text, Deltas* deltas) {
  if (text.empty()) return absl::OkStatus();
  if (!Has(key)) return absl::InternalError("the stream has arguments of a tool call that has not begun");
  const auto block = Block(key, llm::ContentBlock::kToolCall);
  if (!block.ok()) return block.status();
  Append(text, (*block)->mutable_tool_call()->mutable_arguments_json());
  Append(text, Add(key, deltas)->mutable_arguments_json());
  return absl::OkStatus();
}

std::string AnswerBuilder::text() const {
  std::string text;
  for (const llm::ContentBlock& block : message_.content()) absl::StrAppend(&text, block.text());
  return text;
}

llm::Message AnswerBuilder::Finish() {
  message_.set_role(llm::ROLE_ASSISTANT);
  for (llm::ContentBlock& block : *message_.mutable_content()) {
    if (!block.has_tool_call()) continue;
    llm::ToolCall* call = block.mutable_tool_call();
    if (call->arguments_json().empty()) call->set_arguments_json("{}");
    const absl::StatusOr<Json> parsed = ParseJson(call->arguments_json());
    call->set_arguments_valid(parsed.ok() && parsed->is_object());
  }
  return std::move(message_);
}

}  // namespace nkiagent::llm_gateway
