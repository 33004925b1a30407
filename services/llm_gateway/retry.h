// When to try a model call again, and after how long. The one place in the project where model calls are
// retried.
#ifndef SERVICES_LLM_GATEWAY_RETRY_H_
#define SERVICES_LLM_GATEWAY_RETRY_H_

#include <map>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nkiagent::llm_gateway {

struct RetryOptions {
  // Tries in all. More help against rate limits, but hide an outage for longer.
  int max_attempts = 6;
  // The pause before the second try; doubled for each further one.
  absl::Duration first_pause = absl::Milliseconds(500);
  // The longest pause of our own choosing. A provider may ask for longer ones.
  absl::Duration max_pause = absl::Seconds(30);
  // All pauses of one call together. A provider that asks for more gets no further try.
  absl::Duration pause_budget = absl::Minutes(3);
};

// What there is to know before a further try.
struct RetrySituation {
  int attempts_made = 1;
  absl::Duration paused_so_far;
  absl::Duration time_left = absl::InfiniteDuration();  // until the caller's deadline
  std::optional<absl::Duration> asked_pause;            // what the provider asked for
  double random = 0.5;                                  // uniform over [0, 1)
};

// The pause before the next try, or nothing when there is to be none. Pure. Our own pauses are jittered over
// the upper half of their range, so that callers that failed together don't come back together; a pause that
// was asked for is lengthened by up to a tenth, never shortened.
std::optional<absl::Duration> NextPause(const RetryOptions& options, const RetrySituation& situation);

// What a response's headers (names in lower case) ask for: retry-after-ms, retry-after in seconds or as an
// HTTP date, at least 0. Nothing if there is no such header or it is unreadable.
std::optional<absl::Duration> AskedPause(const std::map<std::string, std::string>& headers, absl::Time now);

// True for statuses after which the same request may succeed and the model has not been charged: 408, 429,
// 5xx (529 is Anthropic's "overloaded"), except 501 and 505.
bool RetryableStatus(int http_status);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_RETRY_H_
