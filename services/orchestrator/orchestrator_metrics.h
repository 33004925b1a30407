// Every metric of the orchestrator, named once. Labels come from small closed sets: models appear only once a
// gateway has answered for them, so that callers can't make up series.
//
// Thread safe.
#ifndef SERVICES_ORCHESTRATOR_ORCHESTRATOR_METRICS_H_
#define SERVICES_ORCHESTRATOR_ORCHESTRATOR_METRICS_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "common/metrics/metrics.h"
#include "nkiagent/orchestrator/v1/session.pb.h"

namespace nkiagent::orchestrator {

class OrchestratorMetrics {
 public:
  // `metrics` outlives this.
  explicit OrchestratorMetrics(metrics::Metrics& metrics);

  void SetSessions(int64_t queued, int64_t running);
  void SetWatchers(int watchers);
  void Submitted(v1::Mode mode);
  void Resumed();
  void Retried(const std::string& service, const absl::Status& failure);
  // Counts tokens, cost and times as events are stored, and the outcome once a session ends. `session` is the
  // session after the event.
  void Stored(const v1::SessionEvent& event, const v1::Session& session);
  // A session of a benchmark run has ended and its record is stored. `model` as in the session metrics:
  // "none" if no call was answered.
  void RunSessionEnded(int level, v1::Mode mode, const std::string& model, v1::SessionState state);

 private:
  using Counters = prometheus::Family<prometheus::Counter>;
  using Gauges = prometheus::Family<prometheus::Gauge>;
  using Histograms = prometheus::Family<prometheus::Histogram>;

  void Ended(const v1::Session& session);

  struct Tally {
    int64_t passed = 0;
    int64_t ended = 0;
  };

  Gauges& sessions_;
  Gauges& watchers_;
  Counters& submitted_;
  Counters& ended_;
  Counters& resumed_;
  Counters& retries_;
  Counters& events_;
  Counters& compilations_;
  Counters& verifications_;
  Counters& tokens_;
  Counters& cost_usd_;
  Histograms& turns_;
  Histograms& session_seconds_;
  Histograms& model_call_seconds_;
  Counters& run_sessions_;
  Gauges& run_pass_ratio_;

  std::mutex mutex_;
  // Of all runs since this process began, by level, mode and model.
  std::map<std::tuple<int, v1::Mode, std::string>, Tally> tallies_;
};

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_ORCHESTRATOR_METRICS_H_
