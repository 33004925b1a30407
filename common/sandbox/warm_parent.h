// The service's side: a warm parent process that forks one confined child for each request.
//
//   service (threads, gRPC) --socket--> warm parent (no threads, imports done) --fork--> child (one request,
//   then gone)
//
// A WarmParent is thread-safe: any number of threads may call Run. It owns the parent process, one manager
// thread that reads the parent's answers and its stderr, and restarts the parent within a budget if it dies.
// Its destructor ends the parent and with it all children; calls in progress return Unavailable first.
#ifndef NKIAGENT_COMMON_SANDBOX_WARM_PARENT_H_
#define NKIAGENT_COMMON_SANDBOX_WARM_PARENT_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/sandbox/level.h"
#include "common/sandbox/limits.h"
#include "common/sandbox/outcome.h"
#include "common/sandbox/unique_fd.h"
#include "common/sandbox/wire.h"

namespace nkiagent::sandbox {

struct WarmParentOptions {
  // For log lines, such as "reference".
  std::string name;
  // Program and arguments; argv[0] is an absolute path.
  std::vector<std::string> argv;
  // The parent's whole environment, as NAME=value. Nothing is inherited from the service.
  std::vector<std::string> environment;

  // Start fails if the machine gives less than this.
  Level minimum_level = Level::kNamespaces;
  // Don't go beyond this; for tests of the weaker levels.
  Level maximum_level = Level::kNamespaces;

  // Children at one time. More calls than this wait.
  uint32_t max_children = 4;
  // Calls that may wait for a child; one more gets ResourceExhausted at once.
  uint32_t max_waiting = 64;
  // Children that are forked and confined before their request comes. Each serves one request like any other;
  // what it saves is the time of fork and namespaces.
  uint32_t ready_children = 2;

  uint64_t max_payload_bytes = uint64_t{16} << 20;
  uint64_t tmp_bytes = uint64_t{64} << 20;
  // User and group that the parent becomes when the service runs as root.
  uint32_t unprivileged_id = 65534;

  // How long the imports may take.
  absl::Duration start_timeout = absl::Seconds(60);
  // The parent is restarted at most this often within the window; after that Run says Unavailable for good.
  int max_restarts = 5;
  absl::Duration restart_window = absl::Minutes(5);
};

struct Request {
  absl::string_view payload;
  // Passed to the child in this order; borrowed for the call.
  std::vector<int> fds;
  Limits limits;
  // The child's own wall limit: passing it is an outcome, unlike the call's deadline.
  absl::Duration wall_limit = absl::Seconds(10);
  uint64_t max_reply_bytes = uint64_t{16} << 20;
};

struct ParentHealth {
  bool serving = false;
  Level level = Level::kRlimits;
  std::string detail;  // Why it is not serving, or why the level is not a stronger one.
  int restarts = 0;
  uint32_t running_children = 0;
  uint32_t waiting_calls = 0;
  pid_t pid = -1;
};

class WarmParent {
 public:
  // Starts the parent and waits until it is ready. InvalidArgument for options that make no sense;
  // FailedPrecondition if the machine can't give `minimum_level`; Unavailable or DeadlineExceeded, with the
  // end of the parent's stderr, if it died or wasn't ready in time.
  static absl::StatusOr<std::unique_ptr<WarmParent>> Start(WarmParentOptions options);
  ~WarmParent();
  WarmParent(const WarmParent&) = delete;
  WarmParent& operator=(const WarmParent&) = delete;

  // Runs one request in one child. Whatever the child does is an Outcome. Errors: InvalidArgument (payload
  // too long), ResourceExhausted (queue full), DeadlineExceeded (`deadline` passed first), Cancelled
  // (`stop`), Unavailable (no parent, or it died during the call), Internal (no child could be set up). On
  // every return the child is gone.
  absl::StatusOr<Outcome> Run(const Request& request, absl::Time deadline, const std::stop_token& stop = {});

  ParentHealth Health() const;

 private:
  enum class State { kStarting, kServing, kRestarting, kFailed, kStopping };

  struct Call {
    bool done = false;
    absl::Status error;  // If no child ran.
    EndMessage end;
    std::string output;
  };

  explicit WarmParent(WarmParentOptions options);

  // Manager thread.
  void Manage();
  absl::Status Spawn();
  // Until the parent is gone; returns why.
  absl::Status ServeParent();
  absl::Status HandlePacket(Packet packet);
  void ReadLog();
  void EndParent();
  bool MayRestart(const absl::Status& why);
  std::string LogTail() const;

  absl::Status WaitForChild(absl::Time deadline, const std::stop_token& stop);
  void SendCancel(uint64_t id);

  const WarmParentOptions options_;
  UniqueFd wake_;  // eventfd that interrupts the manager's poll.
  // Written by the manager under mutex_; senders hold it too.
  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;  // Notified after each change below that somebody waits for.
  State state_ = State::kStarting;
  UniqueFd socket_;
  UniqueFd log_pipe_;  // Manager thread only.
  pid_t pid_ = -1;
  bool listens_ = false;  // The parent has said that it is ready.
  Level level_ = Level::kRlimits;
  std::string detail_;
  absl::Status failure_;
  std::string log_tail_;
  int restarts_ = 0;
  uint32_t running_ = 0;
  uint32_t waiting_ = 0;
  uint64_t next_id_ = 1;
  std::map<uint64_t, Call*> calls_;
  std::deque<absl::Time> restart_times_;  // Manager thread only.
  std::thread manager_;
};

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_WARM_PARENT_H_
