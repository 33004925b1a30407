// Puts a message together from the pieces of a stream, and says what each piece adds.
#ifndef SERVICES_LLM_GATEWAY_STREAM_ANSWER_BUILDER_H_
#define SERVICES_LLM_GATEWAY_STREAM_ANSWER_BUILDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nkiagent/llm/v1/llm_service.pb.h"

namespace nkiagent::llm_gateway {

// Not thread-safe. Blocks are named by keys that the protocol chooses (its own index); a block begins with
// its first piece. Empty pieces add nothing. Errors are INTERNAL: a piece of another kind than its block, a
// tool call without name, more than 1024 blocks.
class AnswerBuilder {
 public:
  using Deltas = std::vector<nkiagent::llm::v1::ContentDelta>;

  absl::Status Text(int64_t key, absl::string_view text, Deltas* deltas);
  absl::Status Thinking(int64_t key, absl::string_view text, Deltas* deltas);
  absl::Status Signature(int64_t key, absl::string_view signature);
  absl::Status Redacted(int64_t key, absl::string_view data);
  absl::Status StartToolCall(int64_t key, absl::string_view id, absl::string_view name, Deltas* deltas);
  absl::Status Arguments(int64_t key, absl::string_view text, Deltas* deltas);

  bool Has(int64_t key) const { return blocks_.contains(key); }
  bool has_tool_calls() const { return tool_calls_ > 0; }
  int tool_calls() const { return tool_calls_; }
  // All text so far.
  std::string text() const;

  // The message. Arguments of tool calls that are no JSON object are marked so.
  nkiagent::llm::v1::Message Finish();

 private:
  // The block of that key, which is made if there is none; an error if it is of another kind.
  absl::StatusOr<nkiagent::llm::v1::ContentBlock*> Block(int64_t key,
                                                         nkiagent::llm::v1::ContentBlock::ContentCase kind);
  nkiagent::llm::v1::ContentDelta* Add(int64_t key, Deltas* deltas) const;

  nkiagent::llm::v1::Message message_;
  absl::flat_hash_map<int64_t, int> blocks_;  // index in the message
  int tool_calls_ = 0;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_STREAM_ANSWER_BUILDER_H_
