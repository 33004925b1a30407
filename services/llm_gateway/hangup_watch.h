// SIGHUP, as a call on a thread of its own.
#ifndef SERVICES_LLM_GATEWAY_HANGUP_WATCH_H_
#define SERVICES_LLM_GATEWAY_HANGUP_WATCH_H_

#include <functional>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"

namespace nkiagent::llm_gateway {

class HangupWatch {
 public:
  // Blocks the signal in the calling thread and in all that it starts; called before there are others.
  static void BlockSignal();

  // Calls `hung_up` for each SIGHUP from here on, one call at a time; signals that come during a call are
  // one. INTERNAL when the kernel gives no descriptors.
  static absl::StatusOr<std::unique_ptr<HangupWatch>> Start(std::function<void()> hung_up);

  // Ends after the call that runs.
  ~HangupWatch();

 private:
  HangupWatch(int signal_fd, int stop_fd, std::function<void()> hung_up);
  void Run() const;

  const int signal_fd_;
  const int stop_fd_;
  const std::function<void()> hung_up_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_HANGUP_WATCH_H_
