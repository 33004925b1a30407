// The parent's side: a process without threads that forks one confined child for each request.
//
// main() of a parent, in C++ or Python, calls Connect (socket from the service, jail), does its imports, then
// Serve, which returns when the service has gone. See warm_parent.h for the service's side.
#ifndef NKIAGENT_COMMON_SANDBOX_PARENT_SERVER_H_
#define NKIAGENT_COMMON_SANDBOX_PARENT_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/sandbox/jail.h"
#include "common/sandbox/seccomp_policy.h"
#include "common/sandbox/wire.h"

namespace nkiagent::sandbox {

struct HandlerResult {
  ReplyState state = ReplyState::kOk;
  std::string reply;  // The answer, or the text of the error.
};

// Runs in the child. `fds` are the request's own descriptors, in order; they are the child's to use and are
// closed by its exit. A std::bad_alloc that escapes becomes ReplyState::kMemory, any other exception
// kException.
using Handler = std::function<HandlerResult(absl::string_view payload, absl::Span<const int> fds)>;

// Runs in each child before its request is known, so that what it touches (pages that a write copies, thread
// pools) costs the request nothing. Trusted code, already confined but for the system call filter, which then
// covers its threads too.
using Preparation = std::function<void()>;

// Called around the fork, for runtimes that must know of it (Python).
struct ForkHooks {
  void (*before)() = nullptr;
  void (*after_in_parent)() = nullptr;
  void (*after_in_child)() = nullptr;
};

struct ParentOptions {
  Policy policy = Policy::kPython;
  // See JailOptions::readonly_paths.
  std::vector<std::string> readonly_paths;
};

class ParentServer {
 public:
  // Reads the service's greeting from kControlFd and enters the jail, or settles on a weaker level.
  // FailedPrecondition if the process wasn't started by a service.
  static absl::StatusOr<std::unique_ptr<ParentServer>> Connect(const ParentOptions& options);

  // Tells the service that it is ready, then serves until the service closes the socket. Children that still
  // run then are killed. FailedPrecondition if the process has more than one thread.
  absl::Status Serve(const Handler& handler, const Preparation& prepare, const ForkHooks& hooks);

  Level level() const { return level_; }

 private:
  ParentServer() = default;

  Hello hello_;
  Level level_ = Level::kRlimits;
  std::string level_detail_;
  std::unique_ptr<Jail> jail_;
  std::unique_ptr<SeccompFilter> filter_;
};

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_PARENT_SERVER_H_
