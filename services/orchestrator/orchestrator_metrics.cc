#include "services/orchestrator/orchestrator_metrics.h"

#include "absl/strings/str_cat.h"
#include "common/rpc/status.h"
#include "services/orchestrator/enum_name.h"
#include "services/orchestrator/snapshot.h"
#include "services/orchestrator/tool_results.h"

namespace nkiagent::orchestrator {
namespace {

// Turns: each count up to the default limit, then coarser up to the largest allowed.
const prometheus::Histogram::BucketBoundaries kTurnBuckets = {0, 1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 100};
// Seconds of a session: from a builtin kernel to the default wall limit.
const prometheus::Histogram::BucketBoundaries kSessionBuckets = {0.1, 0.25, 0.5, 1,   2.5, 5,
                                                                 10,  30,   60,  300, 900, 1800};

std::string ModeLabel(v1::Mode mode) { return EnumName(v1::Mode_Name(mode), "MODE_"); }

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

double Seconds(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + 1e-9 * time.nanos();
}

std::string ModelLabel(const v1::Session& session) {
  return session.usage().calls() > 0 || session.turns_used() > 0 ? session.model() : "none";
}

}  // namespace

OrchestratorMetrics::OrchestratorMetrics(metrics::Metrics& metrics)
    : sessions_(metrics.Gauge("sessions", "Sessions that have not ended, by state.")),
      watchers_(metrics.Gauge("watchers", "WatchSession streams that are open.")),
      submitted_(metrics.Counter("sessions_submitted_total", "Sessions stored, by mode.")),
      ended_(metrics.Counter(
          "sessions_ended_total",
          "Sessions that ended, by state, reason, level, mode and model (none: no call was answered).")),
      resumed_(metrics.Counter("sessions_resumed_total",
                               "Sessions taken up again after a process had left them.")),
      retries_(metrics.Counter("backend_retries_total",
                               "Calls to other services that were tried again, by service and code.")),
      events_(metrics.Counter("events_stored_total", "Session events stored.")),
      compilations_(metrics.Counter("compilations_total", "Kernels compiled for sessions, by outcome.")),
      verifications_(
          metrics.Counter("verifications_total", "Kernels verified for sessions, by reason of the verdict.")),
      tokens_(metrics.Counter("tokens_total", "Tokens of answered model calls, by model and kind.")),
      cost_usd_(metrics.Counter("cost_usd_total", "Cost of answered model calls in US dollars, by model.")),
      turns_(metrics.Histogram("session_turns", "Model calls of ended sessions, by state and mode.")),
      session_seconds_(metrics.Histogram("session_duration_seconds",
                                         "Time from submission to the end of a session, by state and mode.")),
      model_call_seconds_(
          metrics.Histogram("model_call_duration_seconds", "Time of answered model calls, by model.")),
      run_sessions_(
          metrics.Counter("run_sessions_ended_total",
                          "Sessions of benchmark runs that ended, by level, mode, model and state.")),
      run_pass_ratio_(
          metrics.Gauge("run_pass_ratio",
                        "Share of ended sessions of benchmark runs that passed, since the process began, "
                        "by level, mode and model. Errors of the system and cancellations don't count.")) {
  SetSessions(0, 0);
  SetWatchers(0);
}

void OrchestratorMetrics::SetSessions(int64_t queued, int64_t running) {
  sessions_.Add({{"state", "queued"}}).Set(static_cast<double>(queued));
  sessions_.Add({{"state", "running"}}).Set(static_cast<double>(running));
}

void OrchestratorMetrics::SetWatchers(int watchers) { watchers_.Add({}).Set(watchers); }

void OrchestratorMetrics::Submitted(v1::Mode mode) {
  submitted_.Add({{"mode", ModeLabel(mode)}}).Increment();
}

void OrchestratorMetrics::Resumed() { resumed_.Add({}).Increment(); }

void OrchestratorMetrics::Retried(const std::string& service, const absl::Status& failure) {
  retries_.Add({{"service", service}, {"code", std::string(rpc::CodeName(failure.code()))}}).Increment();
}

void OrchestratorMetrics::Stored(const v1::SessionEvent& event, const v1::Session& session) {
  events_.Add({}).Increment();
  if (event.has_model_call_finished()) {
    const v1::ModelCallFinished& call = event.model_call_finished();
    const std::string& model = session.model();
    const auto count = [&](const char* kind, int64_t tokens) {
      if (tokens > 0) tokens_.Add({{"model", model}, {"kind", kind}}).Increment(static_cast<double>(tokens));
    };
    count("input", call.usage().input_tokens());
    count("cached_input", call.usage().cached_input_tokens());
    count("cache_write", call.usage().cache_write_tokens());
    count("output", call.usage().output_tokens());
    cost_usd_.Add({{"model", model}}).Increment(1e-6 * static_cast<double>(call.usage().cost_micro_usd()));
    model_call_seconds_.Add({{"model", model}}, metrics::CallDurationBuckets())
        .Observe(Seconds(call.latency()));
  } else if (event.has_compiled()) {
    const std::string outcome =
        EnumName(compile::v1::CompileOutcome_Name(event.compiled().result().outcome()), "COMPILE_OUTCOME_");
    compilations_.Add({{"outcome", outcome}}).Increment();
  } else if (event.has_verified()) {
    verifications_.Add({{"reason", ReasonName(event.verified().verdict().reason())}}).Increment();
  } else if (event.has_resumed()) {
    Resumed();
  } else if (event.has_finished() || event.has_failed() || event.has_cancelled()) {
    Ended(session);
  }
}

void OrchestratorMetrics::Ended(const v1::Session& session) {
  const std::string state = EnumName(v1::SessionState_Name(session.state()), "SESSION_STATE_");
  const std::string mode = ModeLabel(session.mode());
  ended_
      .Add({{"state", state},
            {"reason", EnumName(v1::EndReason_Name(session.end_reason()), "END_REASON_")},
            {"level", absl::StrCat(session.task().level())},
            {"mode", mode},
            {"model", ModelLabel(session)}})
      .Increment();
  turns_.Add({{"state", state}, {"mode", mode}}, kTurnBuckets).Observe(session.turns_used());
  session_seconds_.Add({{"state", state}, {"mode", mode}}, kSessionBuckets)
      .Observe(Seconds(session.end_time()) - Seconds(session.create_time()));
}

void OrchestratorMetrics::RunSessionEnded(int level, v1::Mode mode, const std::string& model,
                                          v1::SessionState state) {
  const prometheus::Labels labels = {
      {"level", absl::StrCat(level)}, {"mode", ModeLabel(mode)}, {"model", model}};
  prometheus::Labels with_state = labels;
  with_state["state"] = EnumName(v1::SessionState_Name(state), "SESSION_STATE_");
  run_sessions_.Add(with_state).Increment();
  // These say nothing about the model.
  if (state != v1::SESSION_STATE_PASSED && state != v1::SESSION_STATE_NOT_SOLVED) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  Tally& tally = tallies_[{level, mode, model}];
  ++tally.ended;
  tally.passed += state == v1::SESSION_STATE_PASSED ? 1 : 0;
  run_pass_ratio_.Add(labels).Set(static_cast<double>(tally.passed) / static_cast<double>(tally.ended));
}

}  // namespace nkiagent::orchestrator
