#include "services/llm_gateway/circuit_breaker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/status.h"
#include "services/llm_gateway/error_detail.h"

namespace nkiagent::llm_gateway {

CircuitBreaker::CircuitBreaker(std::string endpoint, CircuitBreakerOptions options,
                               std::function<void(State)> on_change)
    : endpoint_(std::move(endpoint)),
      options_(options),
      on_change_(std::move(on_change)),
      pause_(options.pause) {}

void CircuitBreaker::Set(State state) {
  if (state == state_) return;
  state_ = state;
  if (on_change_) on_change_(state);
}

absl::Status CircuitBreaker::Admit(absl::Time now) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::kClosed) return absl::OkStatus();
  if (state_ == State::kOpen && now >= open_until_) Set(State::kHalfOpen);
  if (state_ == State::kHalfOpen && !probing_) {
    probing_ = true;
    return absl::OkStatus();
  }
  const absl::Duration wait = state_ == State::kOpen ? open_until_ - now : absl::Seconds(1);
  return WithReason(
      rpc::WithRetryAfter(absl::UnavailableError(absl::StrCat(endpoint_, " failed ", failures_,
                                                              " times in a row and is left alone for now")),
                          wait),
      nkiagent::llm::v1::ERROR_REASON_CIRCUIT_OPEN);
}

void CircuitBreaker::Record(Outcome outcome, absl::Time now) {
  const std::lock_guard lock(mutex_);
  const bool probe = state_ == State::kHalfOpen;
  probing_ = false;
  if (outcome == Outcome::kUnknown) return;
  if (outcome == Outcome::kSuccess) {
    failures_ = 0;
    pause_ = options_.pause;
    // Late answers to requests from before it opened prove nothing about now.
    if (state_ != State::kOpen) Set(State::kClosed);
    return;
  }
  ++failures_;
  if (probe) pause_ = std::min(pause_ * 2, options_.longest_pause);
  if (state_ == State::kOpen || options_.failures <= 0) return;
  if (!probe && failures_ < options_.failures) return;
  open_until_ = now + pause_;
  Set(State::kOpen);
}

CircuitBreaker::State CircuitBreaker::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

bool CircuitBreaker::Refuses(absl::Time now) const {
  const std::lock_guard lock(mutex_);
  return (state_ == State::kOpen && now < open_until_) || (state_ == State::kHalfOpen && probing_);
}

}  // namespace nkiagent::llm_gateway
