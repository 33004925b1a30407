// Retries of calls to our own services: only what a retry can help (RESOURCE_EXHAUSTED, UNAVAILABLE), under
// one budget of time, no sooner than the service asked for. Providers of models are not retried here:
// llm-gateway alone does that.
#ifndef SERVICES_ORCHESTRATOR_RETRY_H_
#define SERVICES_ORCHESTRATOR_RETRY_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/context.h"

namespace nkiagent::orchestrator {

struct RetryPolicy {
  // Time after the first failure in which new tries may begin.
  absl::Duration budget = absl::Seconds(60);
  // Pause before the second try; doubled each time, up to `max_pause`; a random part of up to half is taken
  // off, so that many sessions do not come back at once.
  absl::Duration first_pause = absl::Milliseconds(100);
  absl::Duration max_pause = absl::Seconds(5);
};

// Runs `attempt` until it succeeds, fails for good, or the budget is spent; the last error then says so.
// Pauses end early with the call's deadline or cancellation. `on_retry` is told each failure that is tried
// again.
absl::Status Retry(const rpc::CallContext& call, const RetryPolicy& policy,
                   const std::function<absl::Status()>& attempt,
                   const std::function<void(const absl::Status&)>& on_retry = {});

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_RETRY_H_
