// Ctrl-C and SIGTERM as a stop token, for a program with threads.
#ifndef SERVICES_NKICTL_INTERRUPT_H_
#define SERVICES_NKICTL_INTERRUPT_H_

#include <signal.h>

#include <stop_token>
#include <thread>

namespace nkiagent::nkictl {

// Made first in main(), before any other thread: the signals are blocked for all threads and waited for by
// one. The second signal ends the process at once, with status 130.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  bool requested() const { return stop_.stop_requested(); }

 private:
  void Wait();

  sigset_t signals_;
  std::stop_source stop_;
  std::thread thread_;
};

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_INTERRUPT_H_
