#include "services/llm_gateway/hedging.h"

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

namespace nkiagent::llm_gateway {
namespace {

class Hedge : public std::enable_shared_from_this<Hedge> {
 public:
  Hedge(Provider* provider, Scheduler* scheduler, const ModelCall& call, Provider::Done done)
      : provider_(provider), scheduler_(scheduler), call_(call), done_(std::move(done)) {}

  void Begin(absl::Duration delay) {
    on_stop_.emplace(call_.context.stop_token(), [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->stop_.request_stop();
    });
    {
      const std::lock_guard lock(mutex_);
      timer_ = scheduler_->RunAt(scheduler_->Now() + delay, [self = shared_from_this()] { self->Second(); });
    }
    Ask();
  }

 private:
  void Second() {
    {
      const std::lock_guard lock(mutex_);
      if (!done_ || asked_ > 1) return;
    }
    Ask();
  }

  void Ask() {
    ModelCall call = call_;
    {
      const std::lock_guard lock(mutex_);
      ++asked_;
      ++running_;
    }
    call.context = CallContext(call_.context.request_id(), call_.context.deadline(), stop_.get_token());
    provider_->Generate(call, [self = shared_from_this()](absl::StatusOr<GenerateResponse> result) {
      self->Ended(std::move(result));
    });
  }

  void Ended(absl::StatusOr<GenerateResponse> result) {
    Provider::Done done;
    std::optional<Scheduler::TimerId> timer;
    {
      const std::lock_guard lock(mutex_);
      --running_;
      if (!done_ || (!result.ok() && running_ > 0)) return;
      done = std::exchange(done_, nullptr);
      timer = timer_;
      if (result.ok()) result->set_attempts(result->attempts() + asked_ - 1);
    }
    if (timer.has_value()) scheduler_->CancelTimer(*timer);
    stop_.request_stop();  // the other request
    done(std::move(result));
  }

  Provider* const provider_;
  Scheduler* const scheduler_;
  const ModelCall call_;
  std::stop_source stop_;
  std::mutex mutex_;  // guards the next four
  Provider::Done done_;
  std::optional<Scheduler::TimerId> timer_;
  int asked_ = 0;
  int running_ = 0;
  std::optional<std::stop_callback<std::function<void()>>> on_stop_;
};

}  // namespace

void GenerateHedged(Provider* provider, Scheduler* scheduler, absl::Duration delay, const ModelCall& call,
                    Provider::Done done) {
  std::make_shared<Hedge>(provider, scheduler, call, std::move(done))->Begin(delay);
}

}  // namespace nkiagent::llm_gateway
