// Tells watchers of a session that it has new events. What the events are, a watcher reads from the store.
//
// Thread safe.
#ifndef SERVICES_ORCHESTRATOR_WATCH_HUB_H_
#define SERVICES_ORCHESTRATOR_WATCH_HUB_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace nkiagent::orchestrator {

class WatchHub {
 public:
  // `counted` is told the number of watchers after each change, with a lock held: it must be quick.
  explicit WatchHub(int max_watchers, std::function<void(int)> counted = {})
      : max_watchers_(max_watchers), counted_(std::move(counted)) {}

  // Ends the subscription when it goes out of scope; the callback may still be running on another thread
  // then, so what it uses must be shared with it.
  class Subscription {
   public:
    Subscription() = default;
    Subscription(Subscription&& other) noexcept : hub_(std::exchange(other.hub_, nullptr)), id_(other.id_) {}
    Subscription& operator=(Subscription&& other) noexcept {
      std::swap(hub_, other.hub_);
      std::swap(id_, other.id_);
      return *this;
    }
    ~Subscription() {
      if (hub_ != nullptr) hub_->Remove(id_);
    }

   private:
    friend class WatchHub;
    Subscription(WatchHub* hub, int64_t id) : hub_(hub), id_(id) {}
    WatchHub* hub_ = nullptr;
    int64_t id_ = 0;
  };

  // RESOURCE_EXHAUSTED: too many watchers. `changed` is called from the thread that stored the events; it
  // must be quick.
  absl::StatusOr<Subscription> Subscribe(const std::string& session_id, std::function<void()> changed);

  void Notify(const std::string& session_id);
  // Calls everyone, for the drain.
  void NotifyAll();

 private:
  struct Watcher {
    std::string session_id;
    std::shared_ptr<std::function<void()>> changed;
  };
  void Remove(int64_t id);

  const int max_watchers_;
  const std::function<void(int)> counted_;
  std::mutex mutex_;
  int64_t next_id_ = 1;
  std::map<int64_t, Watcher> watchers_;
};

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_WATCH_HUB_H_
