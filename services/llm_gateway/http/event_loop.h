// One thread that waits for sockets and timers (epoll).
#ifndef SERVICES_LLM_GATEWAY_HTTP_EVENT_LOOP_H_
#define SERVICES_LLM_GATEWAY_HTTP_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nkiagent::llm_gateway {

// What runs things later. An interface, so that tests of pauses need not wait for them.
class Scheduler {
 public:
  using TimerId = uint64_t;

  virtual ~Scheduler() = default;
  virtual absl::Time Now() const = 0;
  // Runs `task` at `time`, or soon if that is past, on the scheduler's own thread.
  virtual TimerId RunAt(absl::Time time, std::function<void()> task) = 0;
  // Afterwards the task will not begin to run. Unknown ids are ignored. The task is destroyed without having
  // run.
  virtual void CancelTimer(TimerId id) = 0;
};

// Thread-safe unless a method says otherwise. Tasks must be short: everything else on the loop waits for
// them.
class EventLoop : public Scheduler {
 public:
  // Starts the thread. INTERNAL when the kernel gives no epoll or event descriptor.
  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();

  // Stops the thread after the task that runs, and destroys all others without running them. Not from the
  // loop thread.
  ~EventLoop() override;

  // Runs `task` on the loop thread, in the order of the calls.
  void Post(std::function<void()> task);

  // Posts `task` and waits until it has run. Runs it at once on the loop thread itself.
  void PostAndWait(std::function<void()> task);

  absl::Time Now() const override;
  TimerId RunAt(absl::Time time, std::function<void()> task) override;
  void CancelTimer(TimerId id) override;

  bool InLoopThread() const { return std::this_thread::get_id() == thread_.get_id(); }

  // Loop thread only. Calls `ready` with the epoll events of `fd` until Unwatch; a second Watch replaces the
  // first.
  void Watch(int fd, uint32_t epoll_events, std::function<void(uint32_t)> ready);
  // Loop thread only. Fine for a descriptor that is closed already or was never watched.
  void Unwatch(int fd);

 private:
  EventLoop(int epoll_fd, int wake_fd);
  void Run();
  void Wake();
  // Runs what has been posted and what is due; the time to wait in ms until the next timer, -1 for ever.
  int RunTasks();

  const int epoll_fd_;
  const int wake_fd_;
  absl::flat_hash_map<int, std::shared_ptr<std::function<void(uint32_t)>>> watches_;  // loop thread only

  std::mutex mutex_;  // guards the next five
  bool stopping_ = false;
  std::vector<std::function<void()>> posted_;
  std::map<std::pair<absl::Time, TimerId>, std::function<void()>> timers_;
  absl::flat_hash_map<TimerId, absl::Time> timer_times_;
  TimerId next_timer_ = 1;

  std::thread thread_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_HTTP_EVENT_LOOP_H_
