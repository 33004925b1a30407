// A one-way switch that tells work in progress to stop.
#ifndef SERVICES_LLM_GATEWAY_CANCELLATION_H_
#define SERVICES_LLM_GATEWAY_CANCELLATION_H_

#include <cstdint>
#include <functional>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace nkiagent::llm_gateway {

// Thread-safe. Shared between the one who cancels (a gRPC reactor) and the one who works (a provider).
class Cancellation {
 public:
  using ListenerId = uint64_t;

  Cancellation() = default;
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Cancels, and runs the listeners on this thread before it returns. Further calls do nothing.
  void Cancel();

  // Cheap enough to ask between two steps of a long loop.
  bool cancelled() const;

  // Runs `listener` once, when Cancel is called; at once, on this thread, if it already was. The listener must not
  // call back into this object.
  ListenerId AddListener(std::function<void()> listener);

  // Afterwards the listener will not begin to run; it may still be running on the thread that cancels. Ids that are
  // unknown or have run are ignored.
  void RemoveListener(ListenerId id);

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  ListenerId next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<ListenerId, std::function<void()>> listeners_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_CANCELLATION_H_
