// A bounded gate in front of something scarce (child processes, cores): N hold a ticket, at most M wait in
// order of arrival, and whoever comes then is told RESOURCE_EXHAUSTED with a hint when to try again.
//
//   absl::StatusOr<Admission::Ticket> ticket = gate.Enter(call.deadline(), call.stop_token());
//   if (!ticket.ok()) return ticket.status();
//   ... the scarce thing is ours until `ticket` goes out of scope
#ifndef COMMON_RPC_ADMISSION_H_
#define COMMON_RPC_ADMISSION_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nkiagent::rpc {

struct AdmissionOptions {
  // What is scarce, for messages: "trace workers".
  std::string what = "slots";
  int max_running = 1;
  // 0: nobody waits.
  int max_waiting = 16;
};

// Thread safe. Must outlive its tickets.
class Admission {
 public:
  class Ticket {
   public:
    Ticket(Ticket&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)), start_(other.start_) {}
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (gate_ != nullptr) gate_->Leave(start_);
    }

   private:
    friend class Admission;
    Ticket(Admission* gate, absl::Time start) : gate_(gate), start_(start) {}
    Admission* gate_;
    absl::Time start_;
  };

  explicit Admission(AdmissionOptions options);

  // Blocks until a ticket is free. RESOURCE_EXHAUSTED (with RetryAfter) if the queue is full,
  // DEADLINE_EXCEEDED or CANCELLED if the wait ends that way.
  absl::StatusOr<Ticket> Enter(absl::Time deadline, const std::stop_token& stop = {});

  int running() const;
  int waiting() const;

 private:
  void Leave(absl::Time start);
  // Time until a newcomer could expect a ticket, from how long tickets were held lately. Holds mutex_.
  absl::Duration ExpectedWait() const;

  const AdmissionOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  int running_ = 0;
  uint64_t next_number_ = 0;
  std::deque<uint64_t> queue_;  // numbers of those who wait, first come first
  absl::Duration mean_held_ = absl::Milliseconds(100);
};

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_ADMISSION_H_
