#include "services/orchestrator/session_runner.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"
#include "services/orchestrator/next_action.h"
#include "services/orchestrator/prompts.h"
#include "services/orchestrator/proto_time.h"
#include "services/orchestrator/tool_results.h"
#include "services/orchestrator/tools.h"
#include "services/orchestrator/utf8.h"

namespace nkiagent::orchestrator {
namespace {

using v1::SessionEvent;

// A failed call to a service.
struct Failure {
  std::string service;
  absl::Status status;
};

bool IsBudgetExceeded(const absl::Status& status) {
  const auto payload = status.GetPayload("type.googleapis.com/nkiagent.llm.v1.ErrorDetail");
  llm::v1::ErrorDetail detail;
  return payload.has_value() && detail.ParseFromString(std::string(*payload)) &&
         detail.reason() == llm::v1::ERROR_REASON_BUDGET_EXCEEDED;
}

class Runner {
 public:
  Runner(const rpc::CallContext& call, SessionLog& log, Backends& backends)
      : call_(call), log_(log), backends_(backends), logger_(call.Log("session")) {}

  RunResult Run() {
    while (true) {
      if (absl::Status status = call_.Check(); !status.ok()) return {RunOutcome::kInterrupted, status};
      const Action action = log_.Next(absl::Now());
      if (std::holds_alternative<Nothing>(action)) return {RunOutcome::kEnded, absl::OkStatus()};
      absl::Status stored = std::visit([this](const auto& step) { return Do(step); }, action);
      if (stored.ok() && failure_) stored = Fail();
      if (stored.ok()) continue;
      switch (stored.code()) {
        case absl::StatusCode::kCancelled:
          return {RunOutcome::kInterrupted, stored};
        case absl::StatusCode::kFailedPrecondition:
          return {RunOutcome::kEnded, absl::OkStatus()};  // ended by a canceller meanwhile
        case absl::StatusCode::kAborted:
          return {RunOutcome::kLost, stored};
        default:
          return {RunOutcome::kStoreFailed, stored};
      }
    }
  }

 private:
  absl::Status Store(SessionEvent event) {
    std::vector<SessionEvent> events;
    events.push_back(std::move(event));
    return log_.Append(std::move(events));
  }

  // Notes a failed call; the loop stores it as the session's end, unless the call ended because ours was
  // cancelled or because the session's wall limit passed, which NextAction finds out by itself.
  absl::Status Note(std::string service, const absl::Status& status) {
    if (call_.stop_token().stop_requested()) return absl::CancelledError("interrupted");
    if (absl::Now() >= wall_deadline_) return absl::OkStatus();
    failure_ = Failure{std::move(service), status};
    return absl::OkStatus();
  }

  absl::Status Fail() {
    SessionEvent event;
    event.mutable_failed()->set_service(failure_->service);
    event.mutable_failed()->set_code(std::string(rpc::CodeName(failure_->status.code())));
    event.mutable_failed()->set_message(CleanUtf8(failure_->status.message()));
    logger_.Warn("session failed", {{"service", failure_->service},
                                    {"code", rpc::CodeName(failure_->status.code())},
                                    {"error", absl::string_view(failure_->status.message()).substr(0, 500)}});
    failure_.reset();
    return Store(std::move(event));
  }

  // The context of an onward call: ends with the session's wall limit.
  rpc::CallContext Onward(const Snapshot& snapshot) {
    wall_deadline_ = absl::InfiniteFuture();
    if (snapshot.session.options().has_wall_limit() && snapshot.started != absl::InfiniteFuture()) {
      wall_deadline_ = snapshot.started + FromProto(snapshot.session.options().wall_limit());
    }
    return wall_deadline_ == absl::InfiniteFuture() ? call_ : call_.WithTimeout(wall_deadline_ - absl::Now());
  }

  absl::Status Do(const Nothing&) { return absl::OkStatus(); }

  absl::Status Do(const DescribeTask&) {
    const Snapshot snapshot = log_.snapshot();
    verify::v1::DescribeTaskRequest request;
    *request.mutable_task() = snapshot.session.task();
    absl::StatusOr<verify::v1::DescribeTaskResponse> response =
        backends_.DescribeTask(Onward(snapshot), request);
    if (!response.ok()) return Note("verify", response.status());
    SessionEvent event;
    if (response->has_problem()) {
      *event.mutable_described()->mutable_problem() = response->problem();
    } else {
      *event.mutable_described()->mutable_facts() = response->facts();
    }
    return Store(std::move(event));
  }

  absl::Status Do(const BuildPrompt&) {
    const v1::Session session = log_.session();
    absl::StatusOr<v1::PromptBuilt> prompt = MakePrompt(session);
    if (!prompt.ok()) return Note("orchestrator", prompt.status());
    SessionEvent event;
    *event.mutable_prompt() = *std::move(prompt);
    return Store(std::move(event));
  }

  absl::Status Do(const StartModelCall& step) {
    SessionEvent event;
    event.mutable_model_call_started()->set_turn(step.turn);
    event.mutable_model_call_started()->set_request_id(step.request_id);
    return Store(std::move(event));
  }

  absl::Status Do(const CallModel& step) {
    const Snapshot snapshot = log_.snapshot();
    llm::v1::GenerateRequest request;
    request.set_request_id(step.request_id);
    request.set_model(snapshot.session.model());
    request.set_system(snapshot.system);
    for (llm::v1::Message& message : ContextFor(snapshot).messages)
      *request.add_messages() = std::move(message);
    for (const llm::v1::Tool& tool : snapshot.tools) *request.add_tools() = tool;
    request.set_tool_choice(snapshot.tools.empty() ? llm::v1::TOOL_CHOICE_NONE : llm::v1::TOOL_CHOICE_AUTO);
    *request.mutable_sampling() = snapshot.session.options().sampling();
    request.set_cache_prompt(true);
    request.set_session_id(snapshot.session.id());
    if (const int64_t limit = snapshot.session.options().max_cost_micro_usd(); limit > 0) {
      // The log knows what the session has cost, whichever replica of the gateway answered, and whether it is
      // still the same process.
      llm::v1::Budget* budget = request.add_budgets();
      budget->set_id(snapshot.session.id());
      budget->set_limit_micro_usd(limit);
      budget->set_spent_micro_usd(snapshot.session.usage().cost_micro_usd());
    }
    const absl::Time start = absl::Now();
    absl::StatusOr<llm::v1::GenerateResponse> response = backends_.Generate(Onward(snapshot), request);
    if (IsBudgetExceeded(response.status()))
      return Do(BudgetExhausted(snapshot, CleanUtf8(response.status().message())));
    if (!response.ok()) return Note("llm", response.status());
    logger_.Info("model answered", {{"turn", step.turn},
                                    {"stop", llm::v1::StopReason_Name(response->stop_reason())},
                                    {"input_tokens", response->usage().input_tokens()},
                                    {"output_tokens", response->usage().output_tokens()}});
    SessionEvent event;
    v1::ModelCallFinished* finished = event.mutable_model_call_finished();
    finished->set_turn(step.turn);
    *finished->mutable_message() = std::move(*response->mutable_message());
    NameCalls(step.turn, finished->mutable_message());
    finished->set_stop_reason(response->stop_reason());
    if (response->has_refusal()) *finished->mutable_refusal() = response->refusal();
    *finished->mutable_usage() = response->usage();
    SetDuration(absl::Now() - start, finished->mutable_latency());
    finished->set_provider_model(response->provider_model());
    finished->set_context_window_tokens(response->context_window_tokens());
    return Store(std::move(event));
  }

  // Gives calls without an id, or with one that another call of the message has, an id of their own: results
  // are matched by it.
  static void NameCalls(int turn, llm::v1::Message* message) {
    std::set<std::string> ids;
    int index = 0;
    for (llm::v1::ContentBlock& block : *message->mutable_content()) {
      if (!block.has_tool_call()) continue;
      ++index;
      if (block.tool_call().id().empty() || ids.contains(block.tool_call().id())) {
        block.mutable_tool_call()->set_id(absl::StrCat("call_", turn, "_", index));
      }
      ids.insert(block.tool_call().id());
    }
  }

  absl::Status Do(const StartTool& step) {
    tool_start_ = absl::Now();
    SessionEvent event;
    event.mutable_tool_call_started()->set_turn(log_.session().turns_used());
    *event.mutable_tool_call_started()->mutable_call() = step.call;
    return Store(std::move(event));
  }

  absl::Status Do(const LookUpApi& step) {
    const Snapshot snapshot = log_.snapshot();
    compile::v1::LookupApiRequest request;
    request.set_name(step.name);
    *request.mutable_target() = snapshot.session.options().target();
    absl::StatusOr<compile::v1::LookupApiResponse> response = backends_.LookupApi(Onward(snapshot), request);
    llm::v1::ToolResult result;
    result.set_call_id(step.call_id);
    if (response.ok()) {
      result.set_text(DescribeApi(step.name, *response));
      result.set_is_error(!response->found());
    } else if (response.status().code() == absl::StatusCode::kInvalidArgument) {
      result.set_text(CleanUtf8(response.status().message()));
      result.set_is_error(true);
    } else {
      return Note("compile", response.status());
    }
    return Do(FinishTool{std::move(result)});
  }

  absl::Status Do(const FinishTool& step) {
    SessionEvent event;
    event.mutable_tool_call_finished()->set_turn(log_.session().turns_used());
    *event.mutable_tool_call_finished()->mutable_result() = step.result;
    // Zero when the call was begun by an earlier process.
    if (tool_start_ != absl::InfinitePast()) {
      SetDuration(absl::Now() - tool_start_, event.mutable_tool_call_finished()->mutable_latency());
    }
    tool_start_ = absl::InfinitePast();
    return Store(std::move(event));
  }

  compile::v1::CompileRequest CompileRequestFor(const Snapshot& snapshot,
                                                const common::v1::KernelSource& kernel) {
    compile::v1::CompileRequest request;
    *request.mutable_kernel() = kernel;
    *request.mutable_arguments() = snapshot.session.facts().arguments();
    *request.mutable_target() = snapshot.session.options().target();
    request.set_include_program(true);
    return request;
  }

  absl::Status Do(const CompileKernel& step) {
    const Snapshot snapshot = log_.snapshot();
    absl::StatusOr<compile::v1::CompileResponse> response =
        backends_.Compile(Onward(snapshot), CompileRequestFor(snapshot, step.kernel));
    SessionEvent event;
    v1::KernelCompiled* compiled = event.mutable_compiled();
    compiled->set_turn(snapshot.turn.number);
    compiled->set_call_id(step.call_id);
    *compiled->mutable_kernel() = step.kernel;
    if (response.ok()) {
      *compiled->mutable_result() = response->result();
      KeepProgram(response->result().program_id(), response->program());
    } else if (response.status().code() == absl::StatusCode::kInvalidArgument) {
      // The model wrote what the service refuses to look at: the model's to mend.
      compiled->mutable_result()->set_outcome(compile::v1::COMPILE_OUTCOME_REJECTED);
      common::v1::Diagnostic* diagnostic = compiled->mutable_result()->add_diagnostics();
      diagnostic->set_severity(common::v1::SEVERITY_ERROR);
      diagnostic->set_rule("invalid_request");
      diagnostic->set_message(CleanUtf8(response.status().message()));
    } else {
      return Note("compile", response.status());
    }
    logger_.Info("kernel compiled",
                 {{"turn", snapshot.turn.number},
                  {"outcome", compile::v1::CompileOutcome_Name(compiled->result().outcome())},
                  {"findings", compiled->result().diagnostics_size()}});
    return Store(std::move(event));
  }

  void KeepProgram(const std::string& program_id, const std::string& bytes) {
    program_id_ = program_id;
    program_ = bytes;
  }

  // The bytes of a program that an earlier step compiled: kept, stored by compile-service, or compiled again.
  absl::StatusOr<std::string> Program(const rpc::CallContext& call, const Snapshot& snapshot,
                                      const VerifyKernel& step) {
    if (step.program_id == program_id_ && !program_.empty()) return program_;
    compile::v1::GetProgramRequest request;
    request.set_program_id(step.program_id);
    absl::StatusOr<compile::v1::GetProgramResponse> stored = backends_.GetProgram(call, request);
    if (stored.ok()) return stored->program();
    if (stored.status().code() != absl::StatusCode::kNotFound) return stored.status();
    absl::StatusOr<compile::v1::CompileResponse> compiled =
        backends_.Compile(call, CompileRequestFor(snapshot, step.kernel));
    if (!compiled.ok()) return compiled.status();
    if (compiled->program().empty()) {
      return absl::InternalError("a kernel that compiled earlier in this session does not compile any more");
    }
    return compiled->program();
  }

  absl::Status Do(const VerifyKernel& step) {
    const Snapshot snapshot = log_.snapshot();
    const rpc::CallContext call = Onward(snapshot);
    absl::StatusOr<std::string> program = Program(call, snapshot, step);
    if (!program.ok()) return Note("compile", program.status());
    KeepProgram(step.program_id, *program);
    const v1::SessionOptions& options = snapshot.session.options();
    verify::v1::VerifyRequest request;
    *request.mutable_task() = snapshot.session.task();
    request.set_program_bytes(*std::move(program));
    request.set_trials(options.trials());
    *request.mutable_seeds() = options.seeds();
    request.set_rigor(options.rigor());
    if (options.has_tolerance()) *request.mutable_tolerance() = options.tolerance();
    absl::StatusOr<verify::v1::VerifyResponse> response = backends_.Verify(call, request);
    if (!response.ok()) return Note("verify", response.status());
    std::vector<SessionEvent> events(1);
    v1::KernelVerified* verified = events[0].mutable_verified();
    verified->set_turn(snapshot.turn.number);
    verified->set_call_id(step.call_id);
    *verified->mutable_kernel() = step.kernel;
    *verified->mutable_verdict() = std::move(*response->mutable_verdict());
    logger_.Info("kernel verified",
                 {{"turn", snapshot.turn.number},
                  {"passed", verified->verdict().passed()},
                  {"reason", verify::v1::VerdictReason_Name(verified->verdict().reason())}});
    // In one transaction with the verdict: a pass can't be lost.
    if (std::optional<v1::BestKernelChanged> change = BestAfter(snapshot, *verified)) {
      *events.emplace_back().mutable_best_kernel_changed() = *std::move(change);
    }
    return log_.Append(std::move(events));
  }

  absl::Status Do(const AddMessage& step) {
    SessionEvent event;
    event.mutable_message_added()->set_turn(log_.session().turns_used());
    *event.mutable_message_added()->mutable_message() = step.message;
    return Store(std::move(event));
  }

  absl::Status Do(const Finish& step) {
    SessionEvent event;
    event.mutable_finished()->set_state(step.state);
    event.mutable_finished()->set_reason(step.reason);
    event.mutable_finished()->set_message(step.message);
    return Store(std::move(event));
  }

  const rpc::CallContext call_;
  SessionLog& log_;
  Backends& backends_;
  const rpc::Logger logger_;
  std::optional<Failure> failure_;
  absl::Time wall_deadline_ = absl::InfiniteFuture();
  absl::Time tool_start_ = absl::InfinitePast();
  // The program compiled last, which is mostly the one to verify next.
  std::string program_id_;
  std::string program_;
};

}  // namespace

RunResult RunSession(const rpc::CallContext& call, SessionLog& log, Backends& backends) {
  return Runner(call, log, backends).Run();
}

}  // namespace nkiagent::orchestrator
