#include "services/llm_gateway/cancellation.h"

#include <utility>

namespace nkiagent::llm_gateway {

void Cancellation::Cancel() {
  std::map<ListenerId, std::function<void()>> listeners;
  {
    absl::MutexLock lock(&mutex_);
    if (cancelled_) return;
    cancelled_ = true;
    listeners.swap(listeners_);
  }
  for (auto& [id, listener] : listeners) listener();
}

bool Cancellation::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

Cancellation::ListenerId Cancellation::AddListener(std::function<void()> listener) {
  {
    absl::MutexLock lock(&mutex_);
    if (!cancelled_) {
      const ListenerId id = next_id_++;
      listeners_.emplace(id, std::move(listener));
      return id;
    }
  }
  listener();
  return 0;
}

void Cancellation::RemoveListener(ListenerId id) {
  absl::MutexLock lock(&mutex_);
  listeners_.erase(id);
}

}  // namespace nkiagent::llm_gateway
