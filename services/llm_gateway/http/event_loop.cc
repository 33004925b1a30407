#include "services/llm_gateway/http/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <latch>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"

namespace nkiagent::llm_gateway {

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return absl::ErrnoToStatus(errno, "epoll_create1");
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    const int error = errno;
    close(epoll_fd);
    return absl::ErrnoToStatus(error, "eventfd");
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_fd;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) != 0) {
    const int error = errno;
    close(wake_fd);
    close(epoll_fd);
    return absl::ErrnoToStatus(error, "epoll_ctl");
  }
  std::unique_ptr<EventLoop> loop(new EventLoop(epoll_fd, wake_fd));
  // The thread reads thread_ only by way of InLoopThread in tasks, and no task can be posted before this
  // returns.
  loop->thread_ = std::thread([raw = loop.get()] { raw->Run(); });
  return loop;
}

EventLoop::EventLoop(int epoll_fd, int wake_fd) : epoll_fd_(epoll_fd), wake_fd_(wake_fd) {}

EventLoop::~EventLoop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
  close(wake_fd_);
  close(epoll_fd_);
}

void EventLoop::Post(std::function<void()> task) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    wake = posted_.empty();
    posted_.push_back(std::move(task));
  }
  if (wake) Wake();
}

void EventLoop::PostAndWait(std::function<void()> task) {
  if (InLoopThread()) {
    task();
    return;
  }
  std::latch done(1);
  Post([&] {
    task();
    done.count_down();
  });
  done.wait();
}

absl::Time EventLoop::Now() const { return absl::Now(); }

Scheduler::TimerId EventLoop::RunAt(absl::Time time, std::function<void()> task) {
  TimerId id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = next_timer_++;
    timers_.emplace(std::make_pair(time, id), std::move(task));
    timer_times_.emplace(id, time);
  }
  Wake();
  return id;
}

void EventLoop::CancelTimer(TimerId id) {
  std::function<void()> task;  // destroyed without the lock: what it owns may call back
  const std::lock_guard lock(mutex_);
  auto time = timer_times_.find(id);
  if (time == timer_times_.end()) return;
  auto timer = timers_.find({time->second, id});
  task = std::move(timer->second);
  timers_.erase(timer);
  timer_times_.erase(time);
}

void EventLoop::Watch(int fd, uint32_t epoll_events, std::function<void(uint32_t)> ready) {
  epoll_event event{};
  event.events = epoll_events;
  event.data.fd = fd;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0 && errno == ENOENT) {
    epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event);
  }
  watches_[fd] = std::make_shared<std::function<void(uint32_t)>>(std::move(ready));
}

void EventLoop::Unwatch(int fd) {
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  watches_.erase(fd);
}

void EventLoop::Wake() {
  const uint64_t one = 1;
  // A full counter (EAGAIN) means that the loop is about to wake anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
}

int EventLoop::RunTasks() {
  std::vector<std::function<void()>> posted;
  {
    const std::lock_guard lock(mutex_);
    posted.swap(posted_);
  }
  for (auto& task : posted) {
    task();
    task = nullptr;
  }
  // One timer at a time, since each may cancel the next. Timers that these set for now wait for the next
  // round.
  const absl::Time now = Now();
  while (true) {
    std::function<void()> task;
    {
      const std::lock_guard lock(mutex_);
      if (timers_.empty() || timers_.begin()->first.first > now) break;
      auto timer = timers_.begin();
      timer_times_.erase(timer->first.second);
      task = std::move(timer->second);
      timers_.erase(timer);
    }
    task();
  }
  const std::lock_guard lock(mutex_);
  if (!posted_.empty()) return 0;
  if (timers_.empty()) return -1;
  // Rounded up, so that the timer is due when epoll returns.
  const int64_t ms = absl::ToInt64Milliseconds(timers_.begin()->first.first - Now()) + 1;
  return static_cast<int>(std::clamp<int64_t>(ms, 0, 60'000));
}

void EventLoop::Run() {
  std::array<epoll_event, 64> events;
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    const int wait_ms = RunTasks();
    const int count = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), wait_ms);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == wake_fd_) {
        uint64_t value = 0;
        [[maybe_unused]] const ssize_t got = read(wake_fd_, &value, sizeof(value));
        continue;
      }
      // An earlier event of this round may have ended this watch; a copy outlives one that ends itself.
      auto watch = watches_.find(fd);
      if (watch == watches_.end()) continue;
      const std::shared_ptr<std::function<void(uint32_t)>> ready = watch->second;
      (*ready)(events[i].events);
    }
  }
}

}  // namespace nkiagent::llm_gateway
