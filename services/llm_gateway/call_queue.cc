#include "services/llm_gateway/call_queue.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/status.h"
#include "services/llm_gateway/error_detail.h"

namespace nkiagent::llm_gateway {

struct CallQueue::Waiter {
  std::string session;
  Ready ready;
  std::optional<Scheduler::TimerId> timer;
  std::optional<std::stop_callback<std::function<void()>>> on_stop;
};

CallQueue::CallQueue(std::string name, int max_running, int max_waiting, Scheduler* scheduler)
    : name_(std::move(name)), max_running_(max_running), max_waiting_(max_waiting), scheduler_(scheduler) {}

void CallQueue::Enter(const std::string& session, const rpc::CallContext& context, Ready ready) {
  auto waiter = std::make_shared<Waiter>();
  uint64_t number = 0;
  {
    std::unique_lock lock(mutex_);
    if (running_ < max_running_) {
      ++running_;
      lock.unlock();
      ready(std::make_shared<Ticket>(this));
      return;
    }
    if (static_cast<int>(waiters_.size()) >= max_waiting_) {
      lock.unlock();
      ready(WithReason(rpc::WithRetryAfter(absl::ResourceExhaustedError(absl::StrCat(
                                               "model ", name_, " has ", max_running_, " calls running and ",
                                               max_waiting_, " waiting, which is as many as it may")),
                                           absl::Seconds(5)),
                       nkiagent::llm::v1::ERROR_REASON_QUEUE_FULL));
      return;
    }
    number = next_number_++;
    waiter->session = session;
    waiter->ready = std::move(ready);
    if (context.deadline() != absl::InfiniteFuture()) {
      waiter->timer = scheduler_->RunAt(context.deadline(), [this, number] {
        Drop(number, absl::DeadlineExceededError("the deadline passed while the call waited for its turn"));
      });
    }
    waiters_.emplace(number, waiter);
    by_session_[session].insert(number);
  }
  // Outside the lock: the callback runs at once if the stop was requested already. It must be complete before
  // anyone destroys the waiter, which `waiter` here guarantees.
  waiter->on_stop.emplace(context.stop_token(), [this, number] {
    Drop(number, absl::CancelledError("the caller cancelled while the call waited for its turn"));
  });
}

std::shared_ptr<CallQueue::Waiter> CallQueue::Remove(uint64_t number) {
  const auto found = waiters_.find(number);
  if (found == waiters_.end()) return nullptr;
  std::shared_ptr<Waiter> waiter = std::move(found->second);
  waiters_.erase(found);
  const auto session = by_session_.find(waiter->session);
  session->second.erase(number);
  if (session->second.empty()) by_session_.erase(session);
  return waiter;
}

std::shared_ptr<CallQueue::Waiter> CallQueue::RemoveNext() {
  if (by_session_.empty()) return nullptr;
  // Round robin in the order of their names, which is as good as any.
  auto session = by_session_.upper_bound(last_served_);
  if (session == by_session_.end()) session = by_session_.begin();
  last_served_ = session->first;
  return Remove(*session->second.begin());
}

void CallQueue::Leave() {
  std::shared_ptr<Waiter> next;
  {
    const std::lock_guard lock(mutex_);
    next = RemoveNext();
    if (next == nullptr) {
      --running_;
      return;
    }
  }
  if (next->timer.has_value()) scheduler_->CancelTimer(*next->timer);
  // The ticket passes from the one who leaves to the next.
  next->ready(std::make_shared<Ticket>(this));
}

void CallQueue::Drop(uint64_t number, const absl::Status& status) {
  std::shared_ptr<Waiter> waiter;
  {
    const std::lock_guard lock(mutex_);
    waiter = Remove(number);
    if (waiter == nullptr) return;
  }
  if (waiter->timer.has_value()) scheduler_->CancelTimer(*waiter->timer);
  waiter->ready(status);
}

int CallQueue::running() const {
  const std::lock_guard lock(mutex_);
  return running_;
}

int CallQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(waiters_.size());
}

}  // namespace nkiagent::llm_gateway
