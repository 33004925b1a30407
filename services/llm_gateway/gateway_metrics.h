// What the gateway counts. Labels: `model` is the name of a configured entry (a pattern counts as one),
// "builtin" or "replay", so their number is bounded by the configuration.
#ifndef SERVICES_LLM_GATEWAY_GATEWAY_METRICS_H_
#define SERVICES_LLM_GATEWAY_GATEWAY_METRICS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/metrics/metrics.h"
#include "nkiagent/common/v1/usage.pb.h"
#include "services/llm_gateway/http_provider.h"

namespace nkiagent::llm_gateway {

// Thread-safe.
class GatewayMetrics {
 public:
  // `metrics` outlives this.
  explicit GatewayMetrics(metrics::Metrics& metrics);

  // One Generate that ended; `usage` is that of an answer, else null.
  void RecordCall(const std::string& model, const absl::Status& status, absl::Duration duration,
                  const nkiagent::common::v1::Usage* usage);
  // One try over HTTP.
  void RecordAttempt(const Attempt& attempt);
  // The model's queue as it is now.
  void RecordQueue(const std::string& model, int running, int waiting);
  // A question that the cache of responses could or could not answer.
  void RecordCache(const std::string& model, bool hit);
  // An alias that goes on with another model.
  void RecordFallOver(const std::string& from, const std::string& to);
  // An endpoint's circuit: 0 closed, 1 half-open, 2 open.
  void RecordCircuit(const std::string& endpoint, int state);
  // A configuration that was read anew: "ok" or "refused".
  void RecordReload(const std::string& outcome);

 private:
  prometheus::Family<prometheus::Counter>& calls_total_;
  prometheus::Family<prometheus::Histogram>& call_duration_seconds_;
  prometheus::Family<prometheus::Counter>& tokens_total_;
  prometheus::Family<prometheus::Counter>& cost_usd_total_;
  prometheus::Family<prometheus::Counter>& attempts_total_;
  prometheus::Family<prometheus::Counter>& retries_total_;
  prometheus::Family<prometheus::Gauge>& calls_running_;
  prometheus::Family<prometheus::Gauge>& calls_waiting_;
  prometheus::Family<prometheus::Gauge>& rate_limit_remaining_;
  prometheus::Family<prometheus::Counter>& cache_lookups_total_;
  prometheus::Family<prometheus::Counter>& fall_overs_total_;
  prometheus::Family<prometheus::Gauge>& circuit_state_;
  prometheus::Family<prometheus::Counter>& reloads_total_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_GATEWAY_METRICS_H_
