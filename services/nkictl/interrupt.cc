#include "services/nkictl/interrupt.h"

#include <pthread.h>
#include <unistd.h>

namespace nkiagent::nkictl {
namespace {

// Ends the waiting thread; nothing else sends it to this process.
constexpr int kWakeSignal = SIGUSR2;
// 128 + SIGINT, as shells report it.
constexpr int kInterruptedStatus = 130;

}  // namespace

Interrupt::Interrupt() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGHUP);
  sigaddset(&signals_, kWakeSignal);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  thread_ = std::thread([this] { Wait(); });
}

Interrupt::~Interrupt() {
  pthread_kill(thread_.native_handle(), kWakeSignal);
  thread_.join();
}

void Interrupt::Wait() {
  while (true) {
    int signal = 0;
    if (sigwait(&signals_, &signal) != 0 || signal == kWakeSignal) return;
    if (!stop_.request_stop()) _exit(kInterruptedStatus);
  }
}

}  // namespace nkiagent::nkictl
