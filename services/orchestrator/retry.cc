#include "services/orchestrator/retry.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"

namespace nkiagent::orchestrator {
namespace {

bool Transient(const absl::Status& status) {
  return status.code() == absl::StatusCode::kResourceExhausted ||
         status.code() == absl::StatusCode::kUnavailable;
}

absl::Duration Jittered(absl::Duration pause) {
  thread_local std::minstd_rand random(std::random_device{}());
  return pause * std::uniform_real_distribution<double>(0.5, 1.0)(random);
}

// Sleeps until `time` or until the call is cancelled.
void Pause(const rpc::CallContext& call, absl::Time time) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock<std::mutex> lock(mutex);
  wake.wait_until(lock, call.stop_token(), absl::ToChronoTime(time), [] { return false; });
}

}  // namespace

absl::Status Retry(const rpc::CallContext& call, const RetryPolicy& policy,
                   const std::function<absl::Status()>& attempt,
                   const std::function<void(const absl::Status&)>& on_retry) {
  std::optional<absl::Time> give_up;
  absl::Duration pause = policy.first_pause;
  for (int tries = 1;; ++tries) {
    if (absl::Status status = call.Check(); !status.ok()) return status;
    absl::Status status = attempt();
    if (status.ok() || !Transient(status)) return status;
    // A call that ended because ours did is no failure of the service.
    if (absl::Status ours = call.Check(); !ours.ok()) return ours;
    const absl::Time now = absl::Now();
    if (!give_up) give_up = now + policy.budget;
    const absl::Time again =
        now + std::max(Jittered(pause), rpc::RetryAfter(status).value_or(absl::ZeroDuration()));
    if (again >= *give_up || again >= call.deadline()) {
      return absl::Status(status.code(), absl::StrCat(status.message(), " (given up after ", tries,
                                                      tries == 1 ? " try)" : " tries)"));
    }
    if (on_retry) on_retry(status);
    Pause(call, again);
    pause = std::min(pause * 2, policy.max_pause);
  }
}

}  // namespace nkiagent::orchestrator
