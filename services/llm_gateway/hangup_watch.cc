#include "services/llm_gateway/hangup_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"

namespace nkiagent::llm_gateway {
namespace {

sigset_t Hangup() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

void HangupWatch::BlockSignal() {
  const sigset_t set = Hangup();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

absl::StatusOr<std::unique_ptr<HangupWatch>> HangupWatch::Start(std::function<void()> hung_up) {
  const sigset_t set = Hangup();
  const int signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
  if (signal_fd < 0) return absl::ErrnoToStatus(errno, "signalfd");
  const int stop_fd = eventfd(0, EFD_CLOEXEC);
  if (stop_fd < 0) {
    const int error = errno;
    close(signal_fd);
    return absl::ErrnoToStatus(error, "eventfd");
  }
  return std::unique_ptr<HangupWatch>(new HangupWatch(signal_fd, stop_fd, std::move(hung_up)));
}

HangupWatch::HangupWatch(int signal_fd, int stop_fd, std::function<void()> hung_up)
    : signal_fd_(signal_fd), stop_fd_(stop_fd), hung_up_(std::move(hung_up)), thread_([this] { Run(); }) {}

HangupWatch::~HangupWatch() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_fd_, &one, sizeof(one));
  thread_.join();
  close(stop_fd_);
  close(signal_fd_);
}

void HangupWatch::Run() const {
  pollfd fds[] = {{.fd = signal_fd_, .events = POLLIN, .revents = 0},
                  {.fd = stop_fd_, .events = POLLIN, .revents = 0}};
  while (true) {
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (fds[1].revents != 0) return;
    signalfd_siginfo info;
    if (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) hung_up_();
  }
}

}  // namespace nkiagent::llm_gateway
