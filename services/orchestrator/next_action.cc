#include "services/orchestrator/next_action.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/orchestrator/kernel_text.h"
#include "services/orchestrator/prompts.h"
#include "services/orchestrator/tool_results.h"
#include "services/orchestrator/tools.h"
#include "services/orchestrator/utf8.h"

namespace nkiagent::orchestrator {
namespace {

using common::v1::KernelSource;
using compile::v1::COMPILE_OUTCOME_COMPILED;
using v1::KernelCompiled;
using v1::KernelVerified;

// Tool calls of one answer that are carried out; each may take a worker for a minute.
constexpr size_t kMaxCallsPerAnswer = 16;

std::vector<llm::v1::ToolCall> ToolCalls(const llm::v1::Message& message) {
  std::vector<llm::v1::ToolCall> calls;
  for (const llm::v1::ContentBlock& block : message.content()) {
    if (block.has_tool_call()) calls.push_back(block.tool_call());
  }
  return calls;
}

// What a model that wrote no kernel said instead: often the reason, which is all that its user will want to
// know.
std::string LastWords(const TurnState& turn) {
  constexpr size_t kMaxBytes = 400;
  const std::string text(absl::StripAsciiWhitespace(PlainText(turn.answer.message())));
  if (text.empty()) return "";
  const absl::string_view shown = CutUtf8(text, kMaxBytes);
  return absl::StrCat("; it said: ", shown, shown.size() < text.size() ? " ..." : "");
}

const KernelCompiled* CompiledFor(const TurnState& turn, const std::string& call_id) {
  for (const KernelCompiled& compiled : turn.compiled) {
    if (compiled.call_id() == call_id) return &compiled;
  }
  return nullptr;
}

// The verdict on a kernel of this turn: its own, or one that this session reached earlier for the same kernel
// and that another run would repeat. Limits of time and memory depend on the machine's load, so those are
// tried again.
const verify::v1::Verdict* VerdictFor(const Snapshot& snapshot, const KernelCompiled& compiled) {
  for (const KernelVerified& verified : snapshot.turn.verified) {
    if (verified.call_id() == compiled.call_id()) return &verified.verdict();
  }
  const auto seen = snapshot.seen.find(KernelKey(compiled.kernel()));
  if (seen == snapshot.seen.end() || !seen->second.verdict) return nullptr;
  switch (seen->second.verdict->reason()) {
    case verify::v1::VERDICT_REASON_TIMEOUT:
    case verify::v1::VERDICT_REASON_MEMORY:
    case verify::v1::VERDICT_REASON_CRASH:
    case verify::v1::VERDICT_REASON_UNSPECIFIED:
      return nullptr;
    default:
      return &*seen->second.verdict;
  }
}

// Compile, then verify what compiles; nothing when both are done.
std::optional<Action> Judge(const Snapshot& snapshot, const std::string& call_id,
                            const KernelSource& kernel) {
  const KernelCompiled* compiled = CompiledFor(snapshot.turn, call_id);
  if (compiled == nullptr) return CompileKernel{call_id, kernel};
  if (compiled->result().outcome() != COMPILE_OUTCOME_COMPILED) return std::nullopt;
  if (VerdictFor(snapshot, *compiled) != nullptr) return std::nullopt;
  return VerifyKernel{call_id, compiled->kernel(), compiled->result().program_id()};
}

// The first line of a compilation's or a verdict's text.
std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// What came of a kernel, for the model. What an earlier turn said of the same kernel is not said again.
std::string JudgementText(const Snapshot& snapshot, const KernelCompiled& compiled) {
  const verify::v1::Verdict* verdict = VerdictFor(snapshot, compiled);
  const bool is_compiled = compiled.result().outcome() == COMPILE_OUTCOME_COMPILED;
  const auto seen = snapshot.seen.find(KernelKey(compiled.kernel()));
  const bool judged_now =
      std::any_of(snapshot.turn.verified.begin(), snapshot.turn.verified.end(),
                  [&](const KernelVerified& verified) { return verified.call_id() == compiled.call_id(); });
  if (seen != snapshot.seen.end() && seen->second.turn < snapshot.turn.number && !judged_now &&
      (!is_compiled || verdict != nullptr)) {
    return absl::StrCat(
        "This is the kernel of turn ", seen->second.turn, " again, unchanged, with the same result:\n",
        FirstLine(DescribeCompile(compiled.result())), "\n",
        verdict == nullptr ? "" : absl::StrCat(FirstLine(DescribeVerdict(*verdict)), "\n"),
        "What that turn was told still holds. Change the kernel where it says, or try another approach.\n");
  }
  std::string text = DescribeCompile(compiled.result());
  if (!is_compiled) return Bounded(text);
  if (const std::string estimate = DescribeEstimate(compiled.result().estimate()); !estimate.empty()) {
    absl::StrAppend(&text, "estimated latency: ", estimate, "\n");
  }
  if (verdict != nullptr) {
    absl::StrAppend(&text, DescribeVerdict(*verdict));
    if (verdict->passed() && snapshot.session.options().optimize()) {
      absl::StrAppend(&text,
                      "This kernel is kept. Send a faster one, or answer without a tool call to end.\n");
    }
  }
  return Bounded(text);
}

std::string ProfileText(const KernelCompiled& compiled) {
  if (compiled.result().outcome() != COMPILE_OUTCOME_COMPILED) return DescribeCompile(compiled.result());
  return DescribeProfile(compiled.result().estimate());
}

bool Passed(const Snapshot& snapshot) { return snapshot.session.has_best(); }

// The end of a session: passed if anything was verified, whatever the reason to stop.
Finish End(const Snapshot& snapshot, v1::EndReason reason, std::string message) {
  if (Passed(snapshot)) {
    return Finish{v1::SESSION_STATE_PASSED, v1::END_REASON_VERIFIED,
                  absl::StrCat("verified in turn ", snapshot.session.best().turn())};
  }
  return Finish{v1::SESSION_STATE_NOT_SOLVED, reason, std::move(message)};
}

// One line on the last kernel, for the session's message.
std::string LastOutcome(const Snapshot& snapshot) {
  if (!snapshot.last_compiled) return "no kernel was compiled";
  const verify::v1::Verdict* verdict = VerdictFor(snapshot, *snapshot.last_compiled);
  if (verdict != nullptr)
    return absl::StrCat("the last kernel failed verification (", ReasonName(verdict->reason()), ")");
  for (const auto& diagnostic : snapshot.last_compiled->result().diagnostics()) {
    if (diagnostic.severity() == common::v1::SEVERITY_ERROR) {
      return absl::StrCat("the last kernel did not compile (", diagnostic.rule(), ")");
    }
  }
  return "the last kernel did not compile";
}

Finish TurnsExhausted(const Snapshot& snapshot) {
  const int turns = snapshot.session.turns_used();
  return End(snapshot, v1::END_REASON_TURNS_EXHAUSTED,
             absl::StrCat("no kernel was verified in ", turns,
                          turns == 1 ? " turn: " : " turns: ", LastOutcome(snapshot)));
}

// The next model call, unless a limit forbids it.
Action NextTurn(const Snapshot& snapshot) {
  const v1::Session& session = snapshot.session;
  if (session.turns_used() >= MaxTurns(session.mode(), session.options())) return TurnsExhausted(snapshot);
  const int64_t cost_limit = session.options().max_cost_micro_usd();
  if (cost_limit > 0 && session.usage().cost_micro_usd() >= cost_limit) {
    return End(snapshot, v1::END_REASON_BUDGET_EXHAUSTED,
               absl::StrCat(kCostMessage, session.usage().cost_micro_usd(), " of at most ", cost_limit,
                            " millionths of a dollar"));
  }
  if (const FittedContext context = ContextFor(snapshot); !context.fits) {
    return End(
        snapshot, v1::END_REASON_BUDGET_EXHAUSTED,
        absl::StrCat("the task and the last turns need about ", context.estimated_tokens,
                     " tokens beside the answer; the model's window has ", snapshot.context_window_tokens));
  }
  const int turn = snapshot.turn.number + 1;
  // Fixed by session and turn: whoever repeats the call names the same one to the gateway.
  return StartModelCall{turn, absl::StrCat(session.id(), "/", turn)};
}

// The loop's own message is the last step of a turn; nobody reads it after the last turn.
Action Reply(const Snapshot& snapshot, llm::v1::Message message) {
  const v1::Session& session = snapshot.session;
  if (session.turns_used() >= MaxTurns(session.mode(), session.options())) return TurnsExhausted(snapshot);
  return AddMessage{std::move(message)};
}

Action AfterToolCalls(const Snapshot& snapshot, const std::vector<llm::v1::ToolCall>& calls) {
  std::vector<std::string> offered;
  for (const llm::v1::Tool& tool : snapshot.tools) offered.push_back(tool.name());
  for (size_t i = 0; i < calls.size(); ++i) {
    const llm::v1::ToolCall& call = calls[i];
    if (snapshot.turn.tools_finished.contains(call.id())) continue;
    if (!snapshot.turn.tools_started.contains(call.id())) return StartTool{call};
    llm::v1::ToolResult result;
    result.set_call_id(call.id());
    if (i >= kMaxCallsPerAnswer) {
      result.set_text(absl::StrCat("This answer made ", calls.size(), " tool calls; only the first ",
                                   kMaxCallsPerAnswer, " were carried out, and this one was not."));
      result.set_is_error(true);
      return FinishTool{std::move(result)};
    }
    const std::variant<ToolRequest, ToolProblem> read = ReadToolCall(call, offered);
    if (const auto* problem = std::get_if<ToolProblem>(&read)) {
      result.set_text(problem->text);
      result.set_is_error(true);
      return FinishTool{std::move(result)};
    }
    const ToolRequest& request = std::get<ToolRequest>(read);
    if (request.kind == ToolKind::kLookup) return LookUpApi{call.id(), request.api_name};
    KernelSource kernel = request.kernel;
    if (!request.has_kernel) {
      // This call's own compilation may already be the last one, of the same kernel.
      if (!snapshot.last_compiled) {
        result.set_text(absl::StrCat("No kernel has been compiled yet, so there is nothing to ",
                                     request.kind == ToolKind::kProfile ? "profile" : "verify",
                                     ". Send `source`."));
        result.set_is_error(true);
        return FinishTool{std::move(result)};
      }
      kernel = snapshot.last_compiled->kernel();
    }
    if (request.kind == ToolKind::kProfile) {
      const KernelCompiled* compiled = CompiledFor(snapshot.turn, call.id());
      if (compiled == nullptr) return CompileKernel{call.id(), kernel};
      result.set_text(ProfileText(*compiled));
      return FinishTool{std::move(result)};
    }
    if (std::optional<Action> step = Judge(snapshot, call.id(), kernel)) return *std::move(step);
    result.set_text(JudgementText(snapshot, *CompiledFor(snapshot.turn, call.id())));
    return FinishTool{std::move(result)};
  }
  if (Passed(snapshot) && !snapshot.session.options().optimize())
    return End(snapshot, v1::END_REASON_VERIFIED, "");
  llm::v1::Message message;
  message.set_role(llm::v1::ROLE_USER);
  for (const llm::v1::ToolCall& call : calls) {
    *message.add_content()->mutable_tool_result() = snapshot.turn.tools_finished.at(call.id());
  }
  return Reply(snapshot, std::move(message));
}

Action AfterAgentAnswer(const Snapshot& snapshot) {
  const TurnState& turn = snapshot.turn;
  const std::vector<llm::v1::ToolCall> calls = ToolCalls(turn.answer.message());
  if (!calls.empty()) return AfterToolCalls(snapshot, calls);
  if (snapshot.proposal && snapshot.proposal_turn == turn.number) {
    if (std::optional<Action> step = Judge(snapshot, "", *snapshot.proposal)) return *std::move(step);
    if (Passed(snapshot) && !snapshot.session.options().optimize())
      return End(snapshot, v1::END_REASON_VERIFIED, "");
    return Reply(snapshot,
                 UserText(absl::StrCat(RepairText(), "\n", JudgementText(snapshot, *CompiledFor(turn, "")))));
  }
  if (Passed(snapshot)) return End(snapshot, v1::END_REASON_VERIFIED, "");
  if (snapshot.idle_turns >= kMaxIdleTurns) {
    return End(snapshot, v1::END_REASON_MODEL_GAVE_UP,
               absl::StrCat(snapshot.idle_turns, " answers in a row held neither a tool call nor a kernel",
                            LastWords(turn)));
  }
  return Reply(snapshot, NoKernelMessage(turn.answer.stop_reason() == llm::v1::STOP_REASON_MAX_TOKENS));
}

// The modes without tools judge one kernel at the end: the last one that the model wrote.
Action JudgeAtTheEnd(const Snapshot& snapshot) {
  if (!snapshot.proposal) {
    return End(snapshot, v1::END_REASON_MODEL_GAVE_UP,
               absl::StrCat("no answer held a kernel in a fenced Python block", LastWords(snapshot.turn)));
  }
  if (std::optional<Action> step = Judge(snapshot, "", *snapshot.proposal)) return *std::move(step);
  return TurnsExhausted(snapshot);
}

Action AfterAnswer(const Snapshot& snapshot) {
  const v1::Session& session = snapshot.session;
  const TurnState& turn = snapshot.turn;
  if (turn.answer.stop_reason() == llm::v1::STOP_REASON_REFUSAL) {
    const llm::v1::Refusal& refusal = turn.answer.refusal();
    return End(snapshot, v1::END_REASON_REFUSED,
               absl::StrCat("the model refused", refusal.provider_reason().empty() ? "" : " (",
                            refusal.provider_reason(), refusal.provider_reason().empty() ? "" : ")",
                            refusal.message().empty() ? "" : ": ", CutUtf8(refusal.message(), 500)));
  }
  switch (session.mode()) {
    case v1::MODE_SINGLE_SHOT:
      return JudgeAtTheEnd(snapshot);
    case v1::MODE_MULTI_TURN:
      if (session.turns_used() >= MaxTurns(session.mode(), session.options())) return JudgeAtTheEnd(snapshot);
      return turn.replied ? NextTurn(snapshot) : Action(AddMessage{RecheckMessage()});
    default:
      return turn.replied ? NextTurn(snapshot) : AfterAgentAnswer(snapshot);
  }
}

}  // namespace

FittedContext ContextFor(const Snapshot& snapshot) {
  std::set<int> keep;
  if (snapshot.session.has_best()) keep.insert(snapshot.session.best().turn());
  if (snapshot.last_compiled) keep.insert(snapshot.last_compiled->turn());
  const auto& sampling = snapshot.session.options().sampling();
  return FitContext({.system = snapshot.system,
                     .tools = snapshot.tools,
                     .conversation = snapshot.conversation,
                     .keep_turns = std::move(keep),
                     .window_tokens = snapshot.context_window_tokens,
                     .output_tokens = sampling.has_max_output_tokens() ? sampling.max_output_tokens()
                                                                       : kDefaultOutputTokens});
}

Finish BudgetExhausted(const Snapshot& snapshot, absl::string_view why) {
  const v1::Session& session = snapshot.session;
  return End(snapshot, v1::END_REASON_BUDGET_EXHAUSTED,
             absl::StrCat(kCostMessage, session.usage().cost_micro_usd(), " of at most ",
                          session.options().max_cost_micro_usd(),
                          " millionths of a dollar, and the next might cost more than is left: ", why));
}

Action NextAction(const Snapshot& snapshot, absl::Time now) {
  const v1::Session& session = snapshot.session;
  if (snapshot.Ended()) return Nothing{};
  if (session.options().has_wall_limit()) {
    const absl::Duration limit = absl::Seconds(session.options().wall_limit().seconds()) +
                                 absl::Nanoseconds(session.options().wall_limit().nanos());
    if (snapshot.started != absl::InfiniteFuture() && now >= snapshot.started + limit) {
      return End(snapshot, v1::END_REASON_BUDGET_EXHAUSTED,
                 absl::StrCat("the wall-clock limit of ", absl::FormatDuration(limit), " has passed"));
    }
  }
  if (!snapshot.described) return DescribeTask{};
  if (snapshot.problem) {
    return End(snapshot, v1::END_REASON_TASK_PROBLEM, snapshot.problem->message());
  }
  if (!snapshot.prompted) return BuildPrompt{};
  if (snapshot.turn.number == 0) return NextTurn(snapshot);
  if (!snapshot.turn.answered) return CallModel{snapshot.turn.number, snapshot.turn.request_id};
  return AfterAnswer(snapshot);
}

std::optional<v1::BestKernelChanged> BestAfter(const Snapshot& snapshot, const KernelVerified& verified) {
  if (!verified.verdict().passed()) return std::nullopt;
  v1::BestKernelChanged change;
  v1::KernelCandidate* best = change.mutable_best();
  *best->mutable_kernel() = verified.kernel();
  best->set_turn(verified.turn());
  best->set_program_id(verified.verdict().program_id());
  *best->mutable_verdict() = verified.verdict();
  if (verified.verdict().has_estimate()) *best->mutable_estimate() = verified.verdict().estimate();
  for (const KernelCompiled& compiled : snapshot.turn.compiled) {
    if (KernelKey(compiled.kernel()) != KernelKey(verified.kernel())) continue;
    best->set_program_id(compiled.result().program_id());
    if (compiled.result().has_estimate()) *best->mutable_estimate() = compiled.result().estimate();
  }
  if (!snapshot.session.has_best()) return change;
  if (!snapshot.session.options().optimize()) return std::nullopt;
  const double before = snapshot.session.best().estimate().total_us();
  const double after = best->estimate().total_us();
  if (after > 0 && (before <= 0 || after < before)) return change;
  return std::nullopt;
}

}  // namespace nkiagent::orchestrator
