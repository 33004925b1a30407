// Leaves an endpoint alone that fails again and again.
#ifndef SERVICES_LLM_GATEWAY_CIRCUIT_BREAKER_H_
#define SERVICES_LLM_GATEWAY_CIRCUIT_BREAKER_H_

#include <functional>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace nkiagent::llm_gateway {

struct CircuitBreakerOptions {
  // Failures in a row that open the circuit; 0: it never opens.
  int failures = 8;
  // How long it stays open at first; doubled with each probe that fails.
  absl::Duration pause = absl::Seconds(10);
  absl::Duration longest_pause = absl::Minutes(2);
};

// Thread-safe. Closed: requests pass. Open: they are refused until the pause is over. Half-open: one request
// passes as a probe, the others are refused; its success closes the circuit, its failure opens it again.
class CircuitBreaker {
 public:
  enum class State { kClosed = 0, kHalfOpen = 1, kOpen = 2 };
  enum class Outcome {
    kSuccess,  // the endpoint answered, if only with a refusal
    kFailure,  // it could not be reached, broke off, or answered 5xx
    kUnknown   // the caller went away
  };

  // `endpoint` is for messages. `on_change` is told each new state, under the lock; may be null.
  CircuitBreaker(std::string endpoint, CircuitBreakerOptions options,
                 std::function<void(State)> on_change = nullptr);

  // OK: the request may be sent, and Record follows. Otherwise UNAVAILABLE with the reason
  // ERROR_REASON_CIRCUIT_OPEN and a hint when to try again.
  absl::Status Admit(absl::Time now);
  void Record(Outcome outcome, absl::Time now);

  State state() const;
  // Whether a request would be refused now.
  bool Refuses(absl::Time now) const;

 private:
  void Set(State state);

  const std::string endpoint_;
  const CircuitBreakerOptions options_;
  const std::function<void(State)> on_change_;
  mutable std::mutex mutex_;  // guards all that follows
  State state_ = State::kClosed;
  int failures_ = 0;  // in a row
  absl::Duration pause_;
  absl::Time open_until_;
  bool probing_ = false;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_CIRCUIT_BREAKER_H_
