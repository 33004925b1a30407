#include "services/llm_gateway/rate_limiter.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/llm_gateway/retry.h"

namespace nkiagent::llm_gateway {
namespace {

// A reset that is further away than this is taken for a mistake.
constexpr absl::Duration kLongestReset = absl::Minutes(10);

const std::string* Find(const std::map<std::string, std::string>& headers, const std::string& name) {
  const auto found = headers.find(name);
  return found == headers.end() ? nullptr : &found->second;
}

bool IsSpent(const std::string* remaining) {
  double left = 0;
  return remaining != nullptr && absl::SimpleAtod(*remaining, &left) && left <= 0;
}

}  // namespace

RateLimiter::RateLimiter(int64_t requests_per_minute, int64_t tokens_per_minute) {
  requests_.per_minute = static_cast<double>(requests_per_minute);
  tokens_.per_minute = static_cast<double>(tokens_per_minute);
}

void RateLimiter::Bucket::Fill(absl::Time now) {
  if (filled == absl::InfinitePast()) level = per_minute;
  if (filled != absl::InfinitePast() && now > filled)
    level = std::min(per_minute, level + per_minute * absl::ToDoubleSeconds(now - filled) / 60);
  filled = std::max(filled, now);
}

absl::Time RateLimiter::Bucket::Take(double count, absl::Time now) {
  if (per_minute <= 0) return now;
  Fill(now);
  level -= std::min(count, per_minute);
  return level >= 0 ? now : now + absl::Seconds(-level * 60 / per_minute);
}

void RateLimiter::Bucket::GiveBack(double count, absl::Time now) {
  if (per_minute <= 0) return;
  Fill(now);
  level = std::min(per_minute, level + std::min(count, per_minute));
}

absl::Time RateLimiter::Take(int64_t tokens, absl::Time now) {
  const std::lock_guard lock(mutex_);
  const absl::Time requests = requests_.Take(1, now);
  return std::max(requests, tokens_.Take(static_cast<double>(tokens), now));
}

void RateLimiter::GiveBack(bool request, int64_t tokens, absl::Time now) {
  const std::lock_guard lock(mutex_);
  if (request) requests_.GiveBack(1, now);
  tokens_.GiveBack(static_cast<double>(tokens), now);
}

absl::Time RateLimiter::blocked_until() const {
  const std::lock_guard lock(mutex_);
  return blocked_until_;
}

void RateLimiter::Observe(int http_status, const std::map<std::string, std::string>& headers,
                          absl::Time now) {
  absl::Time until = absl::InfinitePast();
  if (const std::optional<absl::Duration> asked = AskedPause(headers, now); http_status == 429 && asked)
    until = now + *asked;
  const auto block = [&](absl::Time reset) {
    if (reset > now && reset - now <= kLongestReset) until = std::max(until, reset);
  };
  for (const char* kind : {"requests", "tokens", "input-tokens", "output-tokens"}) {
    const std::string prefix = absl::StrCat("anthropic-ratelimit-", kind);
    const std::string* reset = Find(headers, prefix + "-reset");
    absl::Time time;
    if (reset != nullptr && IsSpent(Find(headers, prefix + "-remaining")) &&
        absl::ParseTime(absl::RFC3339_full, *reset, &time, nullptr)) {
      block(time);
    }
    // "1s", "6m0s", "120ms"
    const std::string* after = Find(headers, absl::StrCat("x-ratelimit-reset-", kind));
    absl::Duration pause;
    if (after != nullptr && IsSpent(Find(headers, absl::StrCat("x-ratelimit-remaining-", kind))) &&
        absl::ParseDuration(*after, &pause)) {
      block(now + pause);
    }
  }
  const std::lock_guard lock(mutex_);
  blocked_until_ = std::max(blocked_until_, until);
}

}  // namespace nkiagent::llm_gateway
