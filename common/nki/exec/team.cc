#include "common/nki/exec/team.h"

#include <algorithm>
#include <atomic>

namespace nkiagent::nki::exec {

Team::Team(int size) : size_(std::max(size, 1)) {
  for (int member = 1; member < size_; ++member) threads_.emplace_back([this, member] { Loop(member); });
}

Team::~Team() {
  {
    const std::lock_guard lock(mu_);
    done_ = true;
  }
  start_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Team::Run(const std::function<void(int)>& work) {
  if (threads_.empty()) return work(0);
  {
    const std::lock_guard lock(mu_);
    work_ = &work;
    running_ = static_cast<int>(threads_.size());
    ++round_;
  }
  start_.notify_all();
  work(0);
  std::unique_lock lock(mu_);
  finish_.wait(lock, [this] { return running_ == 0; });
  work_ = nullptr;
}

void Team::Loop(int member) {
  uint64_t seen = 0;
  while (true) {
    const std::function<void(int)>* work = nullptr;
    {
      std::unique_lock lock(mu_);
      start_.wait(lock, [&] { return done_ || round_ != seen; });
      if (done_) return;
      seen = round_;
      work = work_;
    }
    (*work)(member);
    const std::lock_guard lock(mu_);
    if (--running_ == 0) finish_.notify_one();
  }
}

bool ShareLoop(Team* team, int64_t count, int64_t grain, const std::function<bool(int64_t, int64_t)>& fn) {
  if (team == nullptr || team->size() == 1 || count <= grain) return count <= 0 || fn(0, count);
  std::atomic<int64_t> next{0};
  std::atomic<bool> ok{true};
  team->Run([&](int) {
    while (ok.load(std::memory_order_relaxed)) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      if (!fn(begin, std::min(begin + grain, count))) ok.store(false, std::memory_order_relaxed);
    }
  });
  return ok.load();
}

}  // namespace nkiagent::nki::exec
