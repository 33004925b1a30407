#include "services/llm_gateway/retry.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"

namespace nkiagent::llm_gateway {

std::optional<absl::Duration> NextPause(const RetryOptions& options, const RetrySituation& situation) {
  if (situation.attempts_made >= options.max_attempts) return std::nullopt;
  absl::Duration pause;
  if (situation.asked_pause.has_value()) {
    pause = *situation.asked_pause * (1.0 + 0.1 * situation.random);
  } else {
    const double doublings = std::min(situation.attempts_made - 1, 30);
    pause = std::min(options.max_pause, options.first_pause * std::exp2(doublings));
    pause *= 0.5 + 0.5 * situation.random;
  }
  if (situation.paused_so_far + pause > options.pause_budget) return std::nullopt;
  if (pause >= situation.time_left) return std::nullopt;
  return pause;
}

std::optional<absl::Duration> AskedPause(const std::map<std::string, std::string>& headers, absl::Time now) {
  const auto number = [&](const char* name, absl::Duration unit) -> std::optional<absl::Duration> {
    const auto found = headers.find(name);
    double value = 0;
    if (found == headers.end() || !absl::SimpleAtod(found->second, &value)) return std::nullopt;
    if (!std::isfinite(value)) return std::nullopt;
    return std::max(absl::ZeroDuration(), unit * value);
  };
  if (auto pause = number("retry-after-ms", absl::Milliseconds(1))) return pause;
  if (auto pause = number("retry-after", absl::Seconds(1))) return pause;
  const auto found = headers.find("retry-after");
  if (found == headers.end()) return std::nullopt;
  // IMF-fixdate, as in RFC 9110 section 5.6.7: Sun, 06 Nov 1994 08:49:37 GMT.
  absl::Time date;
  if (!absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", found->second, &date, nullptr)) return std::nullopt;
  return std::max(absl::ZeroDuration(), date - now);
}

bool RetryableStatus(int http_status) {
  if (http_status == 408 || http_status == 429) return true;
  return http_status >= 500 && http_status <= 599 && http_status != 501 && http_status != 505;
}

}  // namespace nkiagent::llm_gateway
