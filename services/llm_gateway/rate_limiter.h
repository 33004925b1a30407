// Requests and tokens for each minute, as configured, and the pauses that a provider asks for.
#ifndef SERVICES_LLM_GATEWAY_RATE_LIMITER_H_
#define SERVICES_LLM_GATEWAY_RATE_LIMITER_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "absl/time/time.h"

namespace nkiagent::llm_gateway {

// Thread-safe. Two token buckets that may go into debt: who comes is told when its share is there, so callers
// are served in the order of their arrival. A bucket holds one minute's worth.
class RateLimiter {
 public:
  // 0: no limit of that kind.
  RateLimiter(int64_t requests_per_minute, int64_t tokens_per_minute);

  // Takes one request with so many tokens: the time at which it may be sent. Requests over the bucket's size
  // take all of it.
  absl::Time Take(int64_t tokens, absl::Time now);
  // Gives back what was taken and not used. A request that was sent counts even if its tokens didn't.
  void GiveBack(bool request, int64_t tokens, absl::Time now);

  // Nothing is to be sent before this time: a provider said so.
  absl::Time blocked_until() const;

  // Reads a response's headers (names in lower case): Retry-After of a 429, and limits that have nothing left
  // (anthropic-ratelimit-*, x-ratelimit-*) until they are said to be reset, at most 10 min ahead.
  void Observe(int http_status, const std::map<std::string, std::string>& headers, absl::Time now);

 private:
  struct Bucket {
    double per_minute = 0;  // 0: no limit
    double level = 0;
    absl::Time filled = absl::InfinitePast();

    void Fill(absl::Time now);
    absl::Time Take(double count, absl::Time now);
    void GiveBack(double count, absl::Time now);
  };

  mutable std::mutex mutex_;  // guards all that follows
  Bucket requests_;
  Bucket tokens_;
  absl::Time blocked_until_ = absl::InfinitePast();
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_RATE_LIMITER_H_
