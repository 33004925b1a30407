#include "common/rpc/executor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/rpc/status.h"

namespace nkiagent::rpc {

Executor::Executor(ExecutorOptions options) : options_(options) {
  for (int i = 0; i < std::max(1, options_.threads); ++i) threads_.emplace_back([this] { Work(); });
}

Executor::~Executor() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status Executor::Submit(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    // Threads that idle count as room: a job handed to one of them does not wait.
    const int idle = static_cast<int>(threads_.size()) - running_;
    if (static_cast<int>(queue_.size()) >= options_.max_queued + idle) {
      return WithRetryAfter(absl::ResourceExhaustedError(absl::StrCat(
                                "all ", threads_.size(), " request threads are busy and ", queue_.size(),
                                " requests wait (limit ", options_.max_queued, ")")),
                            absl::Milliseconds(200));
    }
    queue_.push_back(std::move(job));
  }
  changed_.notify_one();
  return absl::OkStatus();
}

void Executor::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::function<void()> job = std::move(queue_.front());
    queue_.pop_front();
    ++running_;
    lock.unlock();
    job();
    job = nullptr;  // what it captured goes before anyone can see the thread idle
    lock.lock();
    --running_;
  }
}

int Executor::running() const {
  std::lock_guard lock(mutex_);
  return running_;
}

int Executor::queued() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(queue_.size());
}

}  // namespace nkiagent::rpc
