#include "services/orchestrator/watch_hub.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rpc/status.h"

namespace nkiagent::orchestrator {

absl::StatusOr<WatchHub::Subscription> WatchHub::Subscribe(const std::string& session_id,
                                                           std::function<void()> changed) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (static_cast<int>(watchers_.size()) >= max_watchers_) {
    return rpc::WithRetryAfter(absl::ResourceExhaustedError(absl::StrCat("there are ", watchers_.size(),
                                                                         " watchers, which is the limit")),
                               absl::Seconds(1));
  }
  const int64_t id = next_id_++;
  watchers_[id] = {session_id, std::make_shared<std::function<void()>>(std::move(changed))};
  if (counted_) counted_(static_cast<int>(watchers_.size()));
  return Subscription(this, id);
}

void WatchHub::Notify(const std::string& session_id) {
  std::vector<std::shared_ptr<std::function<void()>>> callbacks;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [id, watcher] : watchers_) {
      if (watcher.session_id == session_id) callbacks.push_back(watcher.changed);
    }
  }
  for (const auto& callback : callbacks) (*callback)();
}

void WatchHub::NotifyAll() {
  std::vector<std::shared_ptr<std::function<void()>>> callbacks;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [id, watcher] : watchers_) callbacks.push_back(watcher.changed);
  }
  for (const auto& callback : callbacks) (*callback)();
}

void WatchHub::Remove(int64_t id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  watchers_.erase(id);
  if (counted_) counted_(static_cast<int>(watchers_.size()));
}

}  // namespace nkiagent::orchestrator
