// Keeps a conversation within its model's context window. The task, the kernels that count and what was said
// last stay whole; what is older shrinks first. A pure function: the same conversation is always cut in the
// same way.
#ifndef SERVICES_ORCHESTRATOR_CONTEXT_H_
#define SERVICES_ORCHESTRATOR_CONTEXT_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "nkiagent/llm/v1/chat.pb.h"

namespace nkiagent::orchestrator {

// What is kept for the answer when the session does not say how long it may be.
inline constexpr int64_t kDefaultOutputTokens = 8192;

struct ContextRequest {
  const std::string& system;
  const std::vector<llm::v1::Tool>& tools;
  // The task first, then for each turn the model's message and, but for the last, the answer to it.
  const std::vector<llm::v1::Message>& conversation;
  // Turns (from 1) whose messages are not cut: those of the best and of the last kernel. The last two turns
  // are kept in any case.
  std::set<int> keep_turns;
  // Input and output together; 0 or less: no limit is known, and nothing is cut.
  int64_t window_tokens = 0;
  int64_t output_tokens = kDefaultOutputTokens;
};

struct FittedContext {
  std::vector<llm::v1::Message> messages;
  int64_t estimated_tokens = 0;  // of the input
  // False when even what must stay is too long; `messages` is then the least that could be made.
  bool fits = true;
};

// While the conversation fits it is sent as it is, so that a provider's prompt cache stays of use. Once it
// doesn't, it is cut to 70 % of the room at once: first old tool results, each to its first line; then old
// answers of the model (its thinking goes, kernels become a line that counts theirs); then whole old turns.
FittedContext FitContext(const ContextRequest& request);

// A cautious guess: code has about three bytes for each token.
int64_t EstimateTokens(int64_t bytes);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_CONTEXT_H_
