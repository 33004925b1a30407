// A bounded number of calls at once to one model, and a bounded queue of those that wait for their turn.
#ifndef SERVICES_LLM_GATEWAY_CALL_QUEUE_H_
#define SERVICES_LLM_GATEWAY_CALL_QUEUE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "common/rpc/context.h"
#include "services/llm_gateway/http/event_loop.h"

namespace nkiagent::llm_gateway {

// Thread-safe; blocks nobody: rpc::Admission for callers that don't have a thread to wait on. Outlives its
// tickets.
class CallQueue {
 public:
  // The right to run one call; given back by its destructor.
  class Ticket {
   public:
    explicit Ticket(CallQueue* queue) : queue_(queue) {}
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    ~Ticket() { queue_->Leave(); }

   private:
    CallQueue* const queue_;
  };
  using Ready = std::function<void(absl::StatusOr<std::shared_ptr<Ticket>>)>;

  // `name` is the model, for messages. `scheduler` outlives the queue.
  CallQueue(std::string name, int max_running, int max_waiting, Scheduler* scheduler);

  // Calls `ready` once: at once when there is room, otherwise on the thread of whoever gives up a ticket. The
  // sessions that wait take turns, and each session's calls are first come, first served; so one that asks
  // much holds up nobody else. RESOURCE_EXHAUSTED with a retry hint when the queue is full; CANCELLED,
  // DEADLINE_EXCEEDED when the call ends while it waits.
  void Enter(const std::string& session, const rpc::CallContext& context, Ready ready);

  int running() const;
  int waiting() const;

 private:
  struct Waiter;

  void Leave();
  // Takes out the waiter of that number, or of the session whose turn it is; null if there is none. Under the
  // mutex.
  std::shared_ptr<Waiter> Remove(uint64_t number);
  std::shared_ptr<Waiter> RemoveNext();
  // Takes the waiter out and tells it `status`; nothing if it is no longer there.
  void Drop(uint64_t number, const absl::Status& status);

  const std::string name_;
  const int max_running_;
  const int max_waiting_;
  Scheduler* const scheduler_;
  mutable std::mutex mutex_;  // guards all that follows
  int running_ = 0;
  uint64_t next_number_ = 0;
  std::map<uint64_t, std::shared_ptr<Waiter>> waiters_;   // by order of arrival
  std::map<std::string, std::set<uint64_t>> by_session_;  // numbers in waiters_; no set is empty
  std::string last_served_;                               // the session that had the last turn
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_CALL_QUEUE_H_
