#include "services/orchestrator/result_record.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/storage/content_hash.h"
#include "services/orchestrator/enum_name.h"
#include "services/orchestrator/next_action.h"
#include "services/orchestrator/proto_time.h"
#include "services/orchestrator/task_cost.h"
#include "services/orchestrator/tool_results.h"

namespace nkiagent::orchestrator {
namespace {

using compile::v1::COMPILE_OUTCOME_COMPILED;

// The limit of ResultRecord.attempts.
constexpr int kMaxAttempts = 256;

// The rule of the first error, or how the child ended.
std::string FirstError(const compile::v1::CompileResult& result) {
  for (const common::v1::Diagnostic& diagnostic : result.diagnostics()) {
    if (diagnostic.severity() == common::v1::SEVERITY_ERROR) return diagnostic.rule();
  }
  return "sandbox_failure";
}

bool RanOutOfTime(const common::v1::SandboxOutcome& sandbox) {
  return sandbox.status() == common::v1::SANDBOX_STATUS_WALL_TIMEOUT ||
         sandbox.status() == common::v1::SANDBOX_STATUS_CPU_LIMIT;
}

v1::FailureClass ClassOfVerdict(verify::v1::VerdictReason reason) {
  switch (reason) {
    case verify::v1::VERDICT_REASON_TIMEOUT:
      return v1::FAILURE_CLASS_TIMEOUT;
    case verify::v1::VERDICT_REASON_RUNTIME_ERROR:
    case verify::v1::VERDICT_REASON_MEMORY:
    case verify::v1::VERDICT_REASON_CRASH:
    case verify::v1::VERDICT_REASON_INVALID_PROGRAM:
      return v1::FAILURE_CLASS_RUNTIME;
    case verify::v1::VERDICT_REASON_TASK_PROBLEM:
      return v1::FAILURE_CLASS_TASK_PROBLEM;
    default:
      return v1::FAILURE_CLASS_MISMATCH;
  }
}

Failure FailureOfCompilation(const compile::v1::CompileResult& result) {
  const std::string rule = FirstError(result);
  if (result.outcome() != compile::v1::COMPILE_OUTCOME_SANDBOX_FAILURE) return {ClassOfRule(rule), rule};
  return {RanOutOfTime(result.sandbox()) ? v1::FAILURE_CLASS_TIMEOUT : v1::FAILURE_CLASS_TRACE, rule};
}

Failure FailureOf(const Snapshot& snapshot, const std::optional<v1::KernelCompiled>& compiled,
                  const std::optional<v1::KernelVerified>& verified) {
  const v1::Session& session = snapshot.session;
  // What the last kernel failed by, if there was one.
  Failure kernel;
  if (verified) {
    kernel = {ClassOfVerdict(verified->verdict().reason()), ReasonName(verified->verdict().reason())};
  } else if (compiled && compiled->result().outcome() != COMPILE_OUTCOME_COMPILED) {
    kernel = FailureOfCompilation(compiled->result());
  }
  switch (session.end_reason()) {
    case v1::END_REASON_SYSTEM_ERROR:
      return {v1::FAILURE_CLASS_SYSTEM, session.message().substr(0, session.message().find(':'))};
    case v1::END_REASON_CANCELLED:
      return {v1::FAILURE_CLASS_CANCELLED, ""};
    case v1::END_REASON_TASK_PROBLEM:
      return {v1::FAILURE_CLASS_TASK_PROBLEM,
              snapshot.problem
                  ? EnumName(verify::v1::TaskProblemKind_Name(snapshot.problem->kind()), "TASK_PROBLEM_KIND_")
                  : ""};
    case v1::END_REASON_MODEL_GAVE_UP:
    case v1::END_REASON_REFUSED:
      return {v1::FAILURE_CLASS_GAVE_UP,
              session.end_reason() == v1::END_REASON_REFUSED ? "refused" : kernel.name};
    case v1::END_REASON_BUDGET_EXHAUSTED: {
      const bool cost = absl::StartsWith(session.message(), kCostMessage);
      return {cost ? v1::FAILURE_CLASS_BUDGET : v1::FAILURE_CLASS_TIMEOUT, cost ? "cost" : "session"};
    }
    default:
      return kernel.kind == v1::FAILURE_CLASS_UNSPECIFIED ? Failure{v1::FAILURE_CLASS_GAVE_UP, "no_kernel"}
                                                          : kernel;
  }
}

}  // namespace

v1::FailureClass ClassOfRule(absl::string_view rule) {
  const bool python = absl::StartsWith(rule, "err_python_") || rule == "err_kernel_assertion" ||
                      rule == "err_kernel_entry_missing" || rule == "sandbox_failure";
  return python ? v1::FAILURE_CLASS_TRACE : v1::FAILURE_CLASS_COMPILE;
}

absl::Status SessionHistory::Add(const v1::SessionEvent& event) {
  if (absl::Status status = Apply(event, &snapshot_); !status.ok()) return status;
  const auto attempt = [this](int turn, const std::string& outcome) {
    if (static_cast<int>(attempts_.size()) >= kMaxAttempts) return;
    attempts_.emplace_back().set_turn(turn);
    attempts_.back().set_outcome(outcome);
  };
  const bool solved = verified_ && verified_->verdict().passed();
  if (event.has_compiled()) {
    const compile::v1::CompileResult& result = event.compiled().result();
    if (result.outcome() != COMPILE_OUTCOME_COMPILED) attempt(event.compiled().turn(), FirstError(result));
    if (!solved) {
      compiled_ = event.compiled();
      verified_.reset();
    }
  } else if (event.has_verified()) {
    const verify::v1::Verdict& verdict = event.verified().verdict();
    attempt(event.verified().turn(), verdict.passed() ? "passed" : ReasonName(verdict.reason()));
    if (!solved) verified_ = event.verified();
  } else if (event.has_best_kernel_changed()) {
    // The kernel of the record is the one that the session ended with.
    const v1::KernelCandidate& best = event.best_kernel_changed().best();
    verified_.emplace();
    verified_->set_turn(best.turn());
    *verified_->mutable_kernel() = best.kernel();
    *verified_->mutable_verdict() = best.verdict();
  } else if (event.has_model_call_finished()) {
    SetDuration(FromProto(model_time_) + FromProto(event.model_call_finished().latency()), &model_time_);
  }
  return absl::OkStatus();
}

v1::ResultRecord SessionHistory::Record() const {
  const v1::Session& session = snapshot_.session;
  v1::ResultRecord record;
  record.set_format(kRecordFormat);
  record.set_task_id(session.task().id());
  record.set_task_name(session.task().name());
  record.set_level(session.task().level());
  if (const auto category = session.task().labels().find("category");
      category != session.task().labels().end())
    record.set_category(category->second);
  record.set_model(session.model());
  record.set_mode(session.mode());
  record.set_prompt_version(session.prompt_version());
  record.set_session_id(session.id());
  record.set_passed(session.state() == v1::SESSION_STATE_PASSED);
  record.set_state(session.state());
  record.set_end_reason(session.end_reason());
  record.set_message(session.message());
  if (!record.passed()) {
    const Failure failure = FailureOf(snapshot_, compiled_, verified_);
    record.set_failure_class(failure.kind);
    record.set_failure(failure.name);
  }
  record.set_task_hash(session.facts().task_hash());
  record.set_reference_hash(storage::Sha256Hex(session.task().reference_source()));
  record.set_weight_seed(session.task().weight_seed());
  *record.mutable_target() = session.options().target();
  const v1::KernelCandidate& kernel = session.has_best() ? session.best() : session.last();
  const std::string key = KernelKey(kernel.kernel());
  if (!kernel.kernel().source().empty()) {
    record.set_kernel_hash(storage::Sha256Hex(key));
    record.set_program_hash(kernel.program_id());
  }
  if (compiled_) *record.mutable_compiler() = compiled_->result().toolchain();
  // A later kernel, cut off before its own verdict, has none.
  if (verified_ && KernelKey(verified_->kernel()) == key) {
    const verify::v1::Verdict& verdict = verified_->verdict();
    record.set_verdict(verdict.reason());
    for (const verify::v1::TrialResult& trial : verdict.trials()) {
      if (trial.family() <= verify::v1::INPUT_FAMILY_DRAWN) record.add_seeds(trial.seed());
    }
    record.set_rigor(verdict.rigor());
    *record.mutable_tolerance() = verdict.tolerance();
    if (verdict.has_total_time()) *record.mutable_verify_time() = verdict.total_time();
    *record.mutable_verifier() = verdict.toolchain();
  }
  record.set_turns_used(session.turns_used());
  record.set_max_turns(session.options().max_turns());
  if (session.has_best()) {
    record.set_turn_of_success(session.best().turn());
    record.set_latency_us(session.best().estimate().total_us());
    record.set_kernel_roofline_us(session.best().estimate().roofline_us());
  }
  for (const v1::Attempt& attempt : attempts_) *record.add_attempts() = attempt;
  *record.mutable_usage() = session.usage();
  *record.mutable_create_time() = session.create_time();
  *record.mutable_end_time() = session.end_time();
  const absl::Duration wall = snapshot_.started == absl::InfiniteFuture()
                                  ? absl::ZeroDuration()
                                  : FromProto(session.end_time()) - snapshot_.started;
  SetDuration(wall, record.mutable_wall_time());
  *record.mutable_model_time() = model_time_;
  SetDuration(std::max(absl::ZeroDuration(), wall - FromProto(model_time_)), record.mutable_tool_time());
  const TaskCost cost = CostOfGraph(session.facts().reference_graph());
  record.set_fused_roofline_us(cost.fused_us);
  record.set_op_by_op_us(cost.op_by_op_us);
  return record;
}

absl::StatusOr<v1::SignedText> SignMessage(const google::protobuf::Message& message,
                                           const storage::SigningKey& key) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  v1::SignedText signed_text;
  if (const auto status =
          google::protobuf::util::MessageToJsonString(message, signed_text.mutable_text(), options);
      !status.ok()) {
    return absl::InternalError(absl::StrCat("a record can't be written as JSON: ", status.ToString()));
  }
  absl::StatusOr<std::string> signature = key.Sign(signed_text.text());
  if (!signature.ok()) return signature.status();
  signed_text.set_signature(*std::move(signature));
  return signed_text;
}

}  // namespace nkiagent::orchestrator
