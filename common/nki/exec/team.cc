#include "common/nki/exec/team.h"

#include <algorithm>
#include <atomic>
#include <system_error>

namespace nkiagent::nki::exec {

Team::Team(int size) : size_(std::max(size, 1)) {
  for (int member = 1; member < size_; ++member) threads_.emplace_back([this, member] { Loop(member); });
}

Team::~Team() {
  {
    absl::MutexLock lock(&mu_);
    done_ = true;
  }
  for (std::thread& t : threads_) t.join();
}

void Team::Run(const std::function<void(int)>& work) {
  if (!threads_.empty()) {
    absl::MutexLock lock(&mu_);
    work_ = &work;
    running_ = static_cast<int>(threads_.size());
    ++round_;
  }
  work(0);
  if (threads_.empty()) return;
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(
      +[](int* running) { return *running == 0; }, &running_));
  work_ = nullptr;
}

void Team::Loop(int member) {
  uint64_t seen = 0;
  while (true) {
    const std::function<void(int)>* work = nullptr;
    {
      absl::MutexLock lock(&mu_);
      const auto ready = [this, &seen]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return done_ || round_ != seen; };
      mu_.Await(absl::Condition(&ready));
      if (done_) return;
      seen = round_;
      work = work_;
    }
    (*work)(member);
    absl::MutexLock lock(&mu_);
    --running_;
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
