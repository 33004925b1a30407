// A fixed team of threads that share loops.
#ifndef NKIAGENT_COMMON_NKI_EXEC_TEAM_H_
#define NKIAGENT_COMMON_NKI_EXEC_TEAM_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace nkiagent::nki::exec {

// The caller is member 0; the others are threads that live as long as the team and sleep between loops. Run
// is called by member 0 only, and not from inside itself.
class Team {
 public:
  explicit Team(int size);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Calls work(member) on every member at once and returns when all have returned.
  void Run(const std::function<void(int member)>& work);

 private:
  void Loop(int member);

  const int size_;
  // Standard locks, which ThreadSanitizer sees through. Guards what follows.
  std::mutex mu_;
  std::condition_variable start_, finish_;
  uint64_t round_ = 0;
  int running_ = 0;
  bool done_ = false;
  const std::function<void(int)>* work_ = nullptr;
  std::vector<std::thread> threads_;
};

// Splits 0..count-1 into pieces of `grain` and lets the members take them in order; fn(begin, end) returns
// false to stop. With a null team, or when one piece is all, runs on the caller. True if no piece returned
// false.
bool ShareLoop(Team* team, int64_t count, int64_t grain, const std::function<bool(int64_t, int64_t)>& fn);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_TEAM_H_
