// What a session does next: a pure function of where it stands. The loop around it (session_runner.h) carries
// the action out, stores what came of it as events, and asks again.
//
// The rules, by mode:
//   single-shot  one model call without tools; the kernel in its text is compiled and verified; the end.
//   multi-turn   `max_turns` model calls without tools or results; between them the model is asked to check
//   its code
//                again; the kernel of the last answer that holds one is compiled and verified; the end.
//   agent        the model calls tools, at most `max_turns` answers. A kernel that compiles is verified at
//   once. A kernel
//                in the text without a tool call is treated as if compile_kernel had been called.
// In agent mode the session ends with the first verified kernel, unless `optimize` asks to go on for a faster
// one. What was verified first is kept whatever later turns do.
#ifndef SERVICES_ORCHESTRATOR_NEXT_ACTION_H_
#define SERVICES_ORCHESTRATOR_NEXT_ACTION_H_

#include <optional>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nkiagent/orchestrator/v1/session.pb.h"
#include "services/orchestrator/context.h"
#include "services/orchestrator/snapshot.h"

namespace nkiagent::orchestrator {

// Answers in a row without a kernel and without a tool call after which the model is taken to have given up.
inline constexpr int kMaxIdleTurns = 3;

// Nothing: the session has ended.
struct Nothing {};
// Ask verify-service what the task is.
struct DescribeTask {};
// Build and store the prompt.
struct BuildPrompt {};
// Store that a model call begins.
struct StartModelCall {
  int turn;
  std::string request_id;
};
// Make the model call that was stored as begun.
struct CallModel {
  int turn;
  std::string request_id;
};
// Store that a tool call begins.
struct StartTool {
  llm::v1::ToolCall call;
};
// Compile; `call_id` is empty when no tool call asked for it.
struct CompileKernel {
  std::string call_id;
  common::v1::KernelSource kernel;
};
// Verify a kernel that compiled to `program_id`.
struct VerifyKernel {
  std::string call_id;
  common::v1::KernelSource kernel;
  std::string program_id;
};
// Ask compile-service what a name is, and store that as the answer to the call.
struct LookUpApi {
  std::string call_id;
  std::string name;
};
// Store the answer to a tool call.
struct FinishTool {
  llm::v1::ToolResult result;
};
// Add a message of the user's role to the conversation.
struct AddMessage {
  llm::v1::Message message;
};
// End the session.
struct Finish {
  v1::SessionState state;
  v1::EndReason reason;
  std::string message;
};

using Action = std::variant<Nothing, DescribeTask, BuildPrompt, StartModelCall, CallModel, StartTool,
                            CompileKernel, VerifyKernel, LookUpApi, FinishTool, AddMessage, Finish>;

Action NextAction(const Snapshot& snapshot, absl::Time now);

// The end of a session whose next model call its budget can't pay, as the gateway says in `why`.
Finish BudgetExhausted(const Snapshot& snapshot, absl::string_view why);

// How the message of a session begins that ended for want of money.
inline constexpr char kCostMessage[] = "model calls have cost ";

// The conversation as the next model call carries it.
FittedContext ContextFor(const Snapshot& snapshot);

// The change of the best kernel that a verification brings, if any: the first pass, or with `optimize` a
// faster one.
std::optional<v1::BestKernelChanged> BestAfter(const Snapshot& snapshot, const v1::KernelVerified& verified);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_NEXT_ACTION_H_
