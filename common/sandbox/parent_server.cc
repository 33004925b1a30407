#include "common/sandbox/parent_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <list>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/sandbox/child.h"
#include "common/sandbox/output_buffer.h"

namespace nkiagent::sandbox {
namespace {

// A used-up ready child is replaced when nothing else came for this long: forking in the middle of a burst
// would delay it.
constexpr int64_t kReplenishDelayNs = 2'000'000;
// After this many children in a row that died while setting up, none is forked ahead any more.
constexpr int kMaxSetupFailures = 3;

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

struct Child {
  pid_t pid = -1;
  UniqueFd pidfd;
  UniqueFd socket;
  UniqueFd output_pipe;
  OutputBuffer output;
  // Set once a request was handed over.
  bool busy = false;
  uint64_t id = 0;
  int64_t started_ns = 0;
  int64_t deadline_ns = 0;
  uint64_t output_limit = 0;
  KillReason kill_reason = KillReason::kNone;
};

int ThreadCount() {
  int count = 0;
  if (DIR* tasks = opendir("/proc/self/task"); tasks != nullptr) {
    while (const dirent* entry = readdir(tasks)) {
      count += entry->d_name[0] != '.';
    }
    closedir(tasks);
  }
  return count;
}

// fork(2) with flags. The C library's fork takes none, and its bookkeeping serves threads, which a parent
// hasn't; what remains is the cached thread id, whose address the kernel tells where it is built to.
pid_t CloneChild(uint64_t flags, int* pidfd) {
  clone_args args{};
  args.flags = flags | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(pidfd);
  args.exit_signal = SIGCHLD;
  int* tid = nullptr;
  if (prctl(PR_GET_TID_ADDRESS, &tid) == 0 && tid != nullptr) {
    args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    args.child_tid = reinterpret_cast<uint64_t>(tid);
  }
  return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof(args)));
}

// The event loop: control socket, children's ends, children's output, deadlines.
class Loop {
 public:
  Loop(const Hello& hello, ChildContext context, const Handler& handler, const Preparation& prepare,
       const ForkHooks& hooks)
      : hello_(hello), context_(context), handler_(handler), prepare_(prepare), hooks_(hooks) {
    context_.uid = geteuid();
    context_.gid = getegid();
    null_.reset(open("/dev/null", O_RDWR | O_CLOEXEC));
    context_.null = null_.get();
  }

  ~Loop() {
    for (Child& child : children_) {
      Kill(child);
    }
    for (Child& child : children_) {
      Reap(child, nullptr);
    }
  }

  // Returns when the service has closed its end.
  absl::Status Run() {
    while (true) {
      std::vector<pollfd> polled = {{kControlFd, POLLIN, 0}};
      std::vector<Child*> order;
      for (Child& child : children_) {
        polled.push_back({child.pidfd.get(), POLLIN, 0});
        polled.push_back({child.output_pipe.valid() ? child.output_pipe.get() : -1, POLLIN, 0});
        order.push_back(&child);
      }
      const int count = poll(polled.data(), polled.size(), TimeoutMs());
      if (count < 0 && errno != EINTR) {
        return absl::ErrnoToStatus(errno, "poll");
      }
      if (count == 0 && NeedsReadyChild()) {
        Fork();
      }
      for (size_t i = 0; i < order.size(); ++i) {
        if (polled[2 + 2 * i].revents != 0) {
          ReadOutput(*order[i]);
        }
        if (polled[1 + 2 * i].revents != 0) {
          End(*order[i]);
        }
      }
      EnforceDeadlines();
      if (polled[0].revents != 0) {
        if (absl::Status status = ReadControl(); !status.ok()) {
          return absl::IsUnavailable(status) ? absl::OkStatus() : status;
        }
      }
    }
  }

 private:
  size_t Idle() const {
    return static_cast<size_t>(
        std::count_if(children_.begin(), children_.end(), [](auto& c) { return !c.busy; }));
  }
  bool NeedsReadyChild() const {
    return setup_failures_ < kMaxSetupFailures && Idle() < hello_.ready_children;
  }

  int TimeoutMs() const {
    int64_t wait_ns = NeedsReadyChild() ? kReplenishDelayNs : -1;
    for (const Child& child : children_) {
      if (child.busy && child.kill_reason == KillReason::kNone) {
        const int64_t left = std::max<int64_t>(child.deadline_ns - NowNs(), 0);
        wait_ns = wait_ns < 0 ? left : std::min(wait_ns, left);
      }
    }
    return wait_ns < 0 ? -1 : static_cast<int>(std::min<int64_t>((wait_ns + 999'999) / 1'000'000, 60'000));
  }

  absl::Status ReadControl() {
    while (true) {
      absl::StatusOr<Packet> packet = ReceivePacket(kControlFd, MSG_DONTWAIT);
      if (absl::IsNotFound(packet.status())) {
        return absl::OkStatus();
      }
      if (!packet.ok()) {
        return packet.status();
      }
      switch (TypeOf(*packet)) {
        case MessageType::kRun:
          if (auto message = packet->As<RunMessage>(); message.ok()) {
            Start(*message, *packet);
            break;
          }
          return absl::InternalError("malformed run message");
        case MessageType::kCancel:
          if (auto message = packet->As<CancelMessage>(); message.ok()) {
            Cancel(message->id);
            break;
          }
          return absl::InternalError("malformed cancel message");
        default:
          return absl::InternalError("control message of unknown type");
      }
    }
  }

  // Hands the request to a ready child, or to a new one.
  void Start(const RunMessage& message, const Packet& packet) {
    std::vector<int> fds;
    for (const UniqueFd& fd : packet.fds) {
      fds.push_back(fd.get());
    }
    if (children_.size() - Idle() >= hello_.max_children) {
      Refuse(message.id, "all children are busy");
      return;
    }
    for (int attempt = 0; attempt < 2; ++attempt) {
      auto ready = std::find_if(children_.begin(), children_.end(), [](auto& c) { return !c.busy; });
      Child* child = attempt == 0 && ready != children_.end() ? &*ready : Fork();
      if (child != nullptr && SendMessage(child->socket.get(), message, fds).ok()) {
        child->busy = true;
        child->id = message.id;
        child->started_ns = NowNs();
        child->deadline_ns = child->started_ns + message.wall_limit_ns;
        child->output_limit = message.limits.output_bytes;
        return;
      }
    }
    Refuse(message.id, absl::StrCat("forking a child: ", strerror(errno)));
  }

  void Refuse(uint64_t id, absl::string_view reason) {
    RefusedMessage message;
    message.id = id;
    reason.copy(message.reason, sizeof(message.reason) - 1);
    (void)SendMessage(kControlFd, message).ok();
  }

  void Cancel(uint64_t id) {
    for (Child& child : children_) {
      if (child.busy && child.id == id && child.kill_reason == KillReason::kNone) {
        child.kill_reason = KillReason::kCancelled;
        Kill(child);
      }
    }
  }

  // Returns the new child, or null with errno set.
  Child* Fork() {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
      return nullptr;
    }
    Child child;
    child.socket.reset(sockets[0]);
    UniqueFd child_socket(sockets[1]);
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) != 0) {
      return nullptr;
    }
    child.output_pipe.reset(pipes[0]);
    UniqueFd child_output(pipes[1]);
    fcntl(child.output_pipe.get(), F_SETFL, O_NONBLOCK);

    uint64_t flags = 0;
    if (context_.level == Level::kNamespaces) {
      flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    }
    int pidfd = -1;
    if (hooks_.before != nullptr) {
      hooks_.before();
    }
    const pid_t pid = CloneChild(flags, &pidfd);
    if (pid == 0) {
      if (hooks_.after_in_child != nullptr) {
        hooks_.after_in_child();
      }
      ChildContext context = context_;
      context.socket = child_socket.get();
      context.output = child_output.get();
      RunChild(context, handler_, prepare_);
    }
    const int error = errno;
    if (hooks_.after_in_parent != nullptr) {
      hooks_.after_in_parent();
    }
    if (pid < 0) {
      errno = error;
      ++setup_failures_;
      return nullptr;
    }
    child.pid = pid;
    child.pidfd.reset(pidfd);
    children_.push_back(std::move(child));
    return &children_.back();
  }

  void Kill(Child& child) {
    if (context_.level != Level::kNamespaces) {
      kill(-child.pid, SIGKILL);  // Its session's group; with a pid namespace the kernel sees to the rest.
    }
    syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
  }

  int Reap(Child& child, rusage* usage) {
    int status = 0;
    while (wait4(child.pid, &status, 0, usage) < 0 && errno == EINTR) {
    }
    return status;
  }

  void ReadOutput(Child& child) {
    if (!child.output.ReadFrom(child.output_pipe.get(), child.output_limit)) {
      child.output_pipe.reset();  // The child closed its own stdout and stderr.
    }
    if (child.output.total_bytes() > child.output_limit && child.kill_reason == KillReason::kNone) {
      child.kill_reason = KillReason::kOutputFlood;
      Kill(child);
      child.output_pipe.reset();
    }
  }

  void EnforceDeadlines() {
    const int64_t now = NowNs();
    for (Child& child : children_) {
      if (child.busy && child.kill_reason == KillReason::kNone && now >= child.deadline_ns) {
        child.kill_reason = KillReason::kWallLimit;
        Kill(child);
      }
    }
  }

  // What a dead child had to say about its setup: whether it got as far as untrusted code, or why not.
  static bool Started(Child& child, std::string& failure) {
    failure = "the child ended while it was set up";
    while (true) {
      absl::StatusOr<Packet> packet = ReceivePacket(child.socket.get(), MSG_DONTWAIT);
      if (!packet.ok() || packet->bytes.empty()) {
        return false;
      }
      if (packet->bytes[0] == kStarted) {
        return true;
      }
      failure = packet->bytes.substr(1);
    }
  }

  void End(Child& child) {
    rusage usage{};
    if (context_.level != Level::kNamespaces) {
      kill(-child.pid, SIGKILL);
    }
    const int status = Reap(child, &usage);
    if (child.output_pipe.valid()) {
      child.output.ReadFrom(child.output_pipe.get(), child.output_limit);
    }
    std::string failure;
    const bool started = Started(child, failure);
    setup_failures_ = started ? 0 : setup_failures_ + 1;
    if (child.busy && !started && child.kill_reason == KillReason::kNone) {
      Refuse(child.id, failure);
    } else if (child.busy) {
      EndMessage message;
      message.id = child.id;
      message.wait_status = status;
      message.kill_reason = child.kill_reason;
      message.cpu_ns = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000'000LL +
                       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1'000LL;
      message.wall_ns = NowNs() - child.started_ns;
      message.peak_memory_bytes = static_cast<uint64_t>(usage.ru_maxrss) << 10;
      message.output_bytes = child.output.total_bytes();
      std::vector<int> fds;
      if (child.output.fd() >= 0) {
        fds.push_back(child.output.fd());
      }
      (void)SendMessage(kControlFd, message, fds).ok();
    }
    children_.remove_if([&](const Child& other) { return &other == &child; });
  }

  const Hello hello_;
  ChildContext context_;
  const Handler& handler_;
  const Preparation& prepare_;
  const ForkHooks hooks_;
  UniqueFd null_;
  std::list<Child> children_;  // Addresses stay valid while others come and go.
  int setup_failures_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ParentServer>> ParentServer::Connect(const ParentOptions& options) {
  absl::StatusOr<Packet> packet = ReceivePacket(kControlFd);
  absl::StatusOr<Hello> hello = packet.ok() ? packet->As<Hello>() : packet.status();
  if (!hello.ok() || hello->type != MessageType::kHello || hello->version != kWireVersion) {
    return absl::FailedPreconditionError(absl::StrCat("descriptor ", kControlFd,
                                                      " brings no greeting of version ", kWireVersion,
                                                      ": this program is started by a service, not by hand"));
  }
  fcntl(kControlFd, F_SETFD, FD_CLOEXEC);
  signal(SIGPIPE, SIG_IGN);
  auto server = std::unique_ptr<ParentServer>(new ParentServer());
  server->hello_ = *hello;
  if (hello->max_level >= Level::kSeccomp) {
    absl::StatusOr<SeccompFilter> filter = SeccompFilter::Compile(options.policy);
    if (filter.ok()) {
      server->level_ = Level::kSeccomp;
      server->filter_ = std::make_unique<SeccompFilter>(*std::move(filter));
    } else {
      server->level_detail_ = std::string(filter.status().message());
    }
  }
  if (hello->max_level >= Level::kNamespaces && server->level_ == Level::kSeccomp) {
    JailOptions jail_options;
    jail_options.readonly_paths = options.readonly_paths;
    jail_options.unprivileged_id = hello->unprivileged_id;
    if (absl::Status status = ProbeNamespaces(jail_options); !status.ok()) {
      server->level_detail_ = std::string(status.message());
    } else {
      absl::StatusOr<Jail> jail = Jail::Enter(jail_options);
      if (!jail.ok()) {
        return jail.status();
      }
      server->level_ = Level::kNamespaces;
      server->jail_ = std::make_unique<Jail>(*std::move(jail));
    }
  }
  return server;
}

absl::Status ParentServer::Serve(const Handler& handler, const Preparation& prepare, const ForkHooks& hooks) {
  if (const int threads = ThreadCount(); threads > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("a parent that forks must have one thread, this one has ", threads));
  }
  ChildContext context;
  context.level = level_;
  context.inside_id = hello_.unprivileged_id;
  context.tmp_bytes = hello_.tmp_bytes;
  context.filter = filter_.get();
  if (jail_ != nullptr) {
    context.jail = jail_.get();
    if (absl::Status status = jail_->Close(); !status.ok()) {
      return status;
    }
  }
  Ready ready;
  ready.level = level_;
  level_detail_.copy(ready.detail, sizeof(ready.detail) - 1);
  if (absl::Status status = SendMessage(kControlFd, ready); !status.ok()) {
    return status;
  }
  return Loop(hello_, context, handler, prepare, hooks).Run();
}

}  // namespace nkiagent::sandbox
