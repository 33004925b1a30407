#include "services/orchestrator/snapshot.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/orchestrator/kernel_text.h"
#include "services/orchestrator/proto_time.h"
#include "services/orchestrator/tools.h"

namespace nkiagent::orchestrator {
namespace {

using v1::Session;
using v1::SessionEvent;

void End(v1::SessionState state, v1::EndReason reason, const std::string& message, const SessionEvent& event,
         Session* session) {
  session->set_state(state);
  session->set_end_reason(reason);
  session->set_message(message);
  *session->mutable_end_time() = event.time();
}

void ApplyDescribed(const v1::TaskDescribed& described, Snapshot* snapshot) {
  snapshot->described = true;
  if (described.has_problem()) {
    snapshot->problem = described.problem();
  } else {
    *snapshot->session.mutable_facts() = described.facts();
  }
}

void ApplyPrompt(const v1::PromptBuilt& prompt, Snapshot* snapshot) {
  snapshot->prompted = true;
  snapshot->system = prompt.system();
  snapshot->tools.assign(prompt.tools().begin(), prompt.tools().end());
  snapshot->conversation = {prompt.user()};
  snapshot->session.set_prompt_version(absl::StrCat(prompt.name(), "@", prompt.hash()));
}

// The model's message as it goes back to the provider. Providers refuse an empty message, and a tool call
// without a result; the latter is what a call in a mode without tools would be.
llm::v1::Message Sendable(const llm::v1::Message& answer, bool without_tools) {
  llm::v1::Message message;
  message.set_role(llm::v1::ROLE_ASSISTANT);
  for (const llm::v1::ContentBlock& block : answer.content()) {
    if (without_tools && block.has_tool_call()) continue;
    *message.add_content() = block;
  }
  if (message.content().empty()) message.add_content()->set_text("(empty answer)");
  return message;
}

void ApplyAnswer(const v1::ModelCallFinished& answer, Snapshot* snapshot) {
  Session& session = snapshot->session;
  snapshot->turn.answered = true;
  snapshot->turn.answer = answer;
  snapshot->context_window_tokens = answer.context_window_tokens();
  snapshot->conversation.push_back(Sendable(answer.message(), snapshot->tools.empty()));
  session.set_turns_used(session.turns_used() + 1);
  AddUsage(answer.usage(), session.mutable_usage());
  bool calls_tools = false;
  for (const llm::v1::ContentBlock& block : answer.message().content()) calls_tools |= block.has_tool_call();
  const std::optional<std::string> proposed = ProposedKernel(answer.message());
  if (proposed && static_cast<int64_t>(proposed->size()) <= kMaxSourceBytes) {
    common::v1::KernelSource kernel;
    kernel.set_source(*proposed);
    kernel.set_entry_name(kEntryName);
    session.clear_last();
    *session.mutable_last()->mutable_kernel() = kernel;
    session.mutable_last()->set_turn(answer.turn());
    snapshot->proposal = std::move(kernel);
    snapshot->proposal_turn = answer.turn();
  }
  snapshot->idle_turns = calls_tools || proposed ? 0 : snapshot->idle_turns + 1;
}

void ApplyCompiled(const v1::KernelCompiled& compiled, Snapshot* snapshot) {
  Session& session = snapshot->session;
  session.set_compilations(session.compilations() + 1);
  v1::KernelCandidate* last = session.mutable_last();
  last->Clear();
  *last->mutable_kernel() = compiled.kernel();
  last->set_turn(compiled.turn());
  last->set_program_id(compiled.result().program_id());
  if (compiled.result().has_estimate()) *last->mutable_estimate() = compiled.result().estimate();
  snapshot->turn.compiled.push_back(compiled);
  snapshot->last_compiled = compiled;
  snapshot->seen.try_emplace(KernelKey(compiled.kernel()), SeenKernel{compiled.turn(), std::nullopt});
}

void ApplyVerified(const v1::KernelVerified& verified, Snapshot* snapshot) {
  Session& session = snapshot->session;
  session.set_verifications(session.verifications() + 1);
  const std::string key = KernelKey(verified.kernel());
  if (session.has_last() && KernelKey(session.last().kernel()) == key) {
    *session.mutable_last()->mutable_verdict() = verified.verdict();
  }
  snapshot->turn.verified.push_back(verified);
  auto [seen, unused] = snapshot->seen.try_emplace(key, SeenKernel{verified.turn(), std::nullopt});
  seen->second.verdict = verified.verdict();
}

}  // namespace

bool IsEnded(v1::SessionState state) {
  return state == v1::SESSION_STATE_PASSED || state == v1::SESSION_STATE_NOT_SOLVED ||
         state == v1::SESSION_STATE_FAILED || state == v1::SESSION_STATE_CANCELLED;
}

bool Snapshot::Ended() const { return IsEnded(session.state()); }

void AddUsage(const common::v1::Usage& more, common::v1::Usage* usage) {
  usage->set_input_tokens(usage->input_tokens() + more.input_tokens());
  usage->set_output_tokens(usage->output_tokens() + more.output_tokens());
  usage->set_cached_input_tokens(usage->cached_input_tokens() + more.cached_input_tokens());
  usage->set_reasoning_tokens(usage->reasoning_tokens() + more.reasoning_tokens());
  usage->set_cost_micro_usd(usage->cost_micro_usd() + more.cost_micro_usd());
  usage->set_cache_write_tokens(usage->cache_write_tokens() + more.cache_write_tokens());
  usage->set_calls(usage->calls() + more.calls());
}

std::string KernelKey(const common::v1::KernelSource& kernel) {
  return absl::StrCat(kernel.entry_name(), "\n", absl::StrJoin(kernel.grid_dims(), ","), "\n",
                      kernel.source());
}

absl::Status Apply(const SessionEvent& event, Snapshot* snapshot) {
  Session& session = snapshot->session;
  if (event.sequence() != session.last_sequence() + 1) {
    return absl::DataLossError(
        absl::StrCat("event ", event.sequence(), " follows event ", session.last_sequence()));
  }
  const bool creates = event.event_case() == SessionEvent::kCreated;
  if (creates != (event.sequence() == 1)) {
    return absl::DataLossError(
        absl::StrCat("event ", event.sequence(), " must not be of kind ", event.event_case()));
  }
  switch (event.event_case()) {
    case SessionEvent::kCreated:
      session = event.created().session();
      session.set_state(v1::SESSION_STATE_QUEUED);
      *session.mutable_create_time() = event.time();
      break;
    case SessionEvent::kDescribed:
      ApplyDescribed(event.described(), snapshot);
      break;
    case SessionEvent::kPrompt:
      ApplyPrompt(event.prompt(), snapshot);
      break;
    case SessionEvent::kModelCallStarted:
      snapshot->turn = TurnState{};
      snapshot->turn.number = event.model_call_started().turn();
      snapshot->turn.request_id = event.model_call_started().request_id();
      break;
    case SessionEvent::kModelCallFinished:
      ApplyAnswer(event.model_call_finished(), snapshot);
      break;
    case SessionEvent::kToolCallStarted:
      snapshot->turn.tools_started.insert(event.tool_call_started().call().id());
      break;
    case SessionEvent::kToolCallFinished:
      snapshot->turn.tools_finished[event.tool_call_finished().result().call_id()] =
          event.tool_call_finished().result();
      break;
    case SessionEvent::kCompiled:
      ApplyCompiled(event.compiled(), snapshot);
      break;
    case SessionEvent::kVerified:
      ApplyVerified(event.verified(), snapshot);
      break;
    case SessionEvent::kBestKernelChanged:
      *session.mutable_best() = event.best_kernel_changed().best();
      break;
    case SessionEvent::kMessageAdded:
      snapshot->turn.replied = true;
      snapshot->conversation.push_back(event.message_added().message());
      break;
    case SessionEvent::kResumed:
      break;
    case SessionEvent::kFinished:
      End(event.finished().state(), event.finished().reason(), event.finished().message(), event, &session);
      break;
    case SessionEvent::kFailed:
      End(v1::SESSION_STATE_FAILED, v1::END_REASON_SYSTEM_ERROR,
          absl::StrCat(event.failed().service(), ": ", event.failed().code(), ": ", event.failed().message()),
          event, &session);
      break;
    case SessionEvent::kCancelled:
      End(v1::SESSION_STATE_CANCELLED, v1::END_REASON_CANCELLED, event.cancelled().reason(), event, &session);
      break;
    case SessionEvent::EVENT_NOT_SET:
      return absl::DataLossError(absl::StrCat("event ", event.sequence(), " is of no known kind"));
  }
  if (!creates && session.state() == v1::SESSION_STATE_QUEUED) session.set_state(v1::SESSION_STATE_RUNNING);
  if (!creates && snapshot->started == absl::InfiniteFuture()) snapshot->started = FromProto(event.time());
  session.set_last_sequence(event.sequence());
  *session.mutable_update_time() = event.time();
  return absl::OkStatus();
}

}  // namespace nkiagent::orchestrator
