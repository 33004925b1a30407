// What a model is told: the system prompt by name and mode, the first message about a task, the request to
// check again. Texts are files in prompts/, carried inside the binary. Pure functions; any thread.
#ifndef SERVICES_ORCHESTRATOR_PROMPTS_H_
#define SERVICES_ORCHESTRATOR_PROMPTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nkiagent/common/v1/task.pb.h"
#include "nkiagent/llm/v1/chat.pb.h"
#include "nkiagent/orchestrator/v1/session.pb.h"
#include "nkiagent/verify/v1/verdict.pb.h"

namespace nkiagent::orchestrator {

// The prompt that is used when a session names none: it teaches to read ranks and shapes.
inline constexpr char kDefaultPrompt[] = "rank-aware";

// A system prompt, ready to send.
struct SystemPrompt {
  std::string name;  // such as "rank-aware"
  std::string hash;  // lower-case hex SHA-256 over the templates it was made from
  std::string text;
};

// Names that MakeSystemPrompt takes.
std::vector<std::string> PromptNames();

// The prompt `name` (empty: the default) for a mode. INVALID_ARGUMENT: no such prompt; the message lists the
// known ones.
absl::StatusOr<SystemPrompt> MakeSystemPrompt(const std::string& name, v1::Mode mode, int max_turns);

// The first message: task name, reference source, shapes, tolerance, reference graph and signature.
llm::v1::Message FirstMessage(const common::v1::Task& task, const verify::v1::TaskFacts& facts);

// The message between the turns of MODE_MULTI_TURN.
llm::v1::Message RecheckMessage();

// The message after a kernel in free text in MODE_AGENT, before what came of it.
std::string RepairText();

// The message after an answer without a kernel; `cut` when a token limit ended it.
llm::v1::Message NoKernelMessage(bool cut);

// A message of the user's role with one text block.
llm::v1::Message UserText(std::string text);

// Everything that the first model call of a session carries, but its sampling: system prompt, first message,
// tools. The session has its task, mode, options and facts. INVALID_ARGUMENT: as MakeSystemPrompt.
absl::StatusOr<v1::PromptBuilt> MakePrompt(const v1::Session& session);

// Model calls that the options allow: `max_turns`, or the mode's default (1, 5, 10). Single-shot always has
// one.
int MaxTurns(v1::Mode mode, const v1::SessionOptions& options);

// The `shapes` block of the first message: one line for each argument and each output.
std::string ShapesBlock(const verify::v1::TaskFacts& facts);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_PROMPTS_H_
