// A fixed pool of threads with a bounded queue: where handlers do their work, so that gRPC's own threads stay
// free.
#ifndef COMMON_RPC_EXECUTOR_H_
#define COMMON_RPC_EXECUTOR_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace nkiagent::rpc {

struct ExecutorOptions {
  // Jobs that run at once. Jobs of ours mostly wait (for a child, for a provider), so this may exceed the
  // cores.
  int threads = 8;
  // Jobs that may wait for a thread.
  int max_queued = 64;
};

// Thread safe. The destructor lets queued and running jobs end.
class Executor {
 public:
  explicit Executor(ExecutorOptions options);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs `job` on a thread of the pool, soon. RESOURCE_EXHAUSTED (with RetryAfter) if the queue is full.
  // Jobs don't throw.
  absl::Status Submit(std::function<void()> job);

  int running() const;
  int queued() const;

 private:
  void Work();

  const ExecutorOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  int running_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_EXECUTOR_H_
