#include "common/rpc/admission.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"

namespace nkiagent::rpc {

Admission::Admission(AdmissionOptions options) : options_(std::move(options)) {}

absl::StatusOr<Admission::Ticket> Admission::Enter(absl::Time deadline, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (running_ < options_.max_running && queue_.empty()) {
    ++running_;
    return Ticket(this, absl::Now());
  }
  if (static_cast<int>(queue_.size()) >= options_.max_waiting) {
    return WithRetryAfter(absl::ResourceExhaustedError(
                              absl::StrCat("all ", options_.max_running, " ", options_.what, " are busy and ",
                                           queue_.size(), " calls wait (limit ", options_.max_waiting, ")")),
                          ExpectedWait());
  }
  const uint64_t number = next_number_++;
  queue_.push_back(number);
  const auto my_turn = [&] { return running_ < options_.max_running && queue_.front() == number; };
  // Capped because the standard library's clocks overflow on an infinite deadline.
  const auto until = absl::ToChronoTime(std::min(deadline, absl::Now() + absl::Hours(24)));
  const bool admitted = changed_.wait_until(lock, stop, until, my_turn);
  queue_.erase(std::find(queue_.begin(), queue_.end(), number));
  if (admitted) ++running_;
  changed_.notify_all();  // whoever is first now may be admitted
  if (admitted) return Ticket(this, absl::Now());
  if (stop.stop_requested())
    return absl::CancelledError(absl::StrCat("cancelled while waiting for ", options_.what));
  return absl::DeadlineExceededError(absl::StrCat("the deadline passed while waiting for ", options_.what));
}

void Admission::Leave(absl::Time start) {
  std::lock_guard lock(mutex_);
  --running_;
  mean_held_ = 0.8 * mean_held_ + 0.2 * (absl::Now() - start);
  changed_.notify_all();
}

absl::Duration Admission::ExpectedWait() const {
  const double rounds = static_cast<double>(queue_.size() + 1) / std::max(1, options_.max_running);
  return std::clamp(mean_held_ * rounds, absl::Milliseconds(20), absl::Seconds(30));
}

int Admission::running() const {
  std::lock_guard lock(mutex_);
  return running_;
}

int Admission::waiting() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(queue_.size());
}

}  // namespace nkiagent::rpc
