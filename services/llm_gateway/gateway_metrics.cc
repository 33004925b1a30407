#include "services/llm_gateway/gateway_metrics.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/logging.h"
#include "common/rpc/status.h"

namespace nkiagent::llm_gateway {
namespace {

// From a local answer to the ten minutes that a long one may take.
const prometheus::Histogram::BucketBoundaries& ModelCallBuckets() {
  static const auto& buckets = *new prometheus::Histogram::BucketBoundaries{
      0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600};
  return buckets;
}

const char* FailureName(HttpFailure failure) {
  switch (failure) {
    case HttpFailure::kNone:
      return "none";
    case HttpFailure::kConnect:
      return "connect";
    case HttpFailure::kTls:
      return "tls";
    case HttpFailure::kCertificate:
      return "certificate";
    case HttpFailure::kTransport:
      return "transport";
    case HttpFailure::kTooLarge:
      return "too_large";
    case HttpFailure::kSlowBody:
      return "slow_body";
    case HttpFailure::kDeadline:
      return "deadline";
    case HttpFailure::kCancelled:
      return "cancelled";
    case HttpFailure::kStopped:
      return "broken_stream";
    case HttpFailure::kBadRequest:
      return "bad_request";
  }
  return "other";
}

// Statuses by name where they mean something of their own, by class otherwise.
std::string Outcome(const Attempt& attempt) {
  if (attempt.failure != HttpFailure::kNone) return FailureName(attempt.failure);
  if (attempt.http_status == 429) return "rate_limited";
  if (attempt.http_status == 529) return "overloaded";
  return absl::StrCat(attempt.http_status / 100, "xx");
}

}  // namespace

GatewayMetrics::GatewayMetrics(metrics::Metrics& metrics)
    : calls_total_(
          metrics.Counter("model_calls_total", "Generate calls that ended, by model and status code.")),
      call_duration_seconds_(metrics.Histogram(
          "model_call_duration_seconds", "Time of a Generate call, its queue, tries and pauses included.")),
      tokens_total_(metrics.Counter("tokens_total", "Tokens of answered calls, by model and kind.")),
      cost_usd_total_(metrics.Counter("cost_usd_total", "Cost of answered calls by the price table.")),
      attempts_total_(
          metrics.Counter("provider_attempts_total", "HTTP requests to providers, by model and outcome.")),
      retries_total_(
          metrics.Counter("provider_retries_total", "HTTP requests that were followed by another try.")),
      calls_running_(metrics.Gauge("model_calls_running", "Calls to the model in progress.")),
      calls_waiting_(metrics.Gauge("model_calls_waiting", "Calls that wait for their turn.")),
      rate_limit_remaining_(metrics.Gauge("provider_rate_limit_remaining",
                                          "What the provider's last answer said is left of a limit.")),
      cache_lookups_total_(metrics.Counter("response_cache_lookups_total",
                                           "Questions to the cache of responses, by outcome.")),
      fall_overs_total_(
          metrics.Counter("fall_overs_total", "Times that an alias went on with its next model.")),
      circuit_state_(metrics.Gauge("circuit_state", "An endpoint's circuit: 0 closed, 1 half-open, 2 open.")),
      reloads_total_(metrics.Counter("config_reloads_total", "Configurations read anew, by outcome.")) {}

void GatewayMetrics::RecordCall(const std::string& model, const absl::Status& status, absl::Duration duration,
                                const nkiagent::common::v1::Usage* usage) {
  calls_total_.Add({{"model", model}, {"code", std::string(rpc::CodeName(status.code()))}}).Increment();
  call_duration_seconds_.Add({{"model", model}}, ModelCallBuckets()).Observe(absl::ToDoubleSeconds(duration));
  if (usage == nullptr) return;
  const std::pair<const char*, int64_t> kinds[] = {{"input", usage->input_tokens()},
                                                   {"output", usage->output_tokens()},
                                                   {"cached_input", usage->cached_input_tokens()},
                                                   {"cache_write", usage->cache_write_tokens()},
                                                   {"reasoning", usage->reasoning_tokens()}};
  for (const auto& [kind, count] : kinds) {
    if (count > 0)
      tokens_total_.Add({{"model", model}, {"kind", kind}}).Increment(static_cast<double>(count));
  }
  cost_usd_total_.Add({{"model", model}}).Increment(static_cast<double>(usage->cost_micro_usd()) * 1e-6);
}

void GatewayMetrics::RecordAttempt(const Attempt& attempt) {
  const std::string& model = attempt.config->name;
  attempts_total_.Add({{"model", model}, {"outcome", Outcome(attempt)}}).Increment();
  if (attempt.will_retry) retries_total_.Add({{"model", model}}).Increment();
  if (attempt.headers != nullptr) {
    // Both vendors count requests and tokens; Anthropic also input and output tokens apart.
    const std::pair<const char*, const char*> limits[] = {
        {"anthropic-ratelimit-requests-remaining", "requests"},
        {"anthropic-ratelimit-tokens-remaining", "tokens"},
        {"anthropic-ratelimit-input-tokens-remaining", "input_tokens"},
        {"anthropic-ratelimit-output-tokens-remaining", "output_tokens"},
        {"x-ratelimit-remaining-requests", "requests"},
        {"x-ratelimit-remaining-tokens", "tokens"}};
    for (const auto& [header, limit] : limits) {
      const auto found = attempt.headers->find(header);
      double left = 0;
      if (found != attempt.headers->end() && absl::SimpleAtod(found->second, &left)) {
        rate_limit_remaining_.Add({{"model", model}, {"limit", limit}}).Set(left);
      }
    }
  }
  if (attempt.will_retry) {
    rpc::Logger::Get("provider")
        .Warn("trying again", {{"model", model},
                               {"attempt", attempt.number},
                               {"outcome", Outcome(attempt)},
                               {"http_status", attempt.http_status},
                               {"pause_ms", absl::ToInt64Milliseconds(attempt.pause)}});
  }
}

void GatewayMetrics::RecordQueue(const std::string& model, int running, int waiting) {
  calls_running_.Add({{"model", model}}).Set(running);
  calls_waiting_.Add({{"model", model}}).Set(waiting);
}

void GatewayMetrics::RecordCache(const std::string& model, bool hit) {
  cache_lookups_total_.Add({{"model", model}, {"outcome", hit ? "hit" : "miss"}}).Increment();
}

void GatewayMetrics::RecordFallOver(const std::string& from, const std::string& to) {
  fall_overs_total_.Add({{"from", from}, {"to", to}}).Increment();
}

void GatewayMetrics::RecordCircuit(const std::string& endpoint, int state) {
  circuit_state_.Add({{"endpoint", endpoint}}).Set(state);
  rpc::Logger::Get("provider")
      .Warn(state == 0   ? "circuit closed"
            : state == 1 ? "circuit half-open"
                         : "circuit open",
            {{"endpoint", endpoint}});
}

void GatewayMetrics::RecordReload(const std::string& outcome) {
  reloads_total_.Add({{"outcome", outcome}}).Increment();
}

}  // namespace nkiagent::llm_gateway
