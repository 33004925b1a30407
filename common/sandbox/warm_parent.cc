#include "common/sandbox/warm_parent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/logging.h"
#include "common/sandbox/output_buffer.h"
#include "common/sandbox/shared_memory.h"

namespace nkiagent::sandbox {
namespace {

constexpr size_t kLogTailBytes = 8192;
// How long a parent may take to confirm that a cancelled child is gone before it counts as hung.
constexpr absl::Duration kCancelGrace = absl::Seconds(10);
// How long a parent may take to end its children and exit.
constexpr int kExitGraceMs = 2000;
// Between the death of a parent and the next start.
constexpr absl::Duration kRestartDelay = absl::Milliseconds(200);

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) {
    pointers.push_back(const_cast<char*>(text.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

rpc::Logger Log() { return rpc::Logger::Get("sandbox"); }

// For waiting. Capped because the standard library's clocks overflow on an infinite deadline.
std::chrono::system_clock::time_point Until(absl::Time deadline) {
  return absl::ToChronoTime(std::min(deadline, absl::Now() + absl::Hours(24)));
}

absl::Status Validate(const WarmParentOptions& options) {
  if (options.argv.empty() || options.argv[0].empty() || options.argv[0][0] != '/') {
    return absl::InvalidArgumentError("warm parent: argv[0] must be an absolute path");
  }
  if (options.max_children == 0) {
    return absl::InvalidArgumentError("warm parent: max_children must be at least 1");
  }
  if (options.minimum_level > options.maximum_level) {
    return absl::InvalidArgumentError(absl::StrCat("warm parent: minimum level ",
                                                   LevelName(options.minimum_level), " is above the maximum ",
                                                   LevelName(options.maximum_level)));
  }
  return absl::OkStatus();
}

// Copies the reply out of memory that the dead child alone could write.
absl::Status ReadReply(SharedMemory& memory, ExitFacts& facts, Outcome& outcome) {
  if (absl::Status status = memory.Map(SharedMemory::Access::kReadOnly); !status.ok()) {
    return status;
  }
  ReplyHeader header;
  memcpy(static_cast<void*>(&header), memory.bytes().data(), sizeof(header));
  facts.reply_state = static_cast<uint32_t>(header.state);
  facts.recorded_signal = header.recorded_signal;
  facts.recorded_syscall = header.recorded_syscall;
  const uint64_t capacity = memory.size() - kReplyHeaderBytes;
  if (header.reply_bytes > capacity) {
    facts.reply_state = static_cast<uint32_t>(ReplyState::kNone);
    return absl::OkStatus();
  }
  if (header.state == ReplyState::kOk || header.state == ReplyState::kException) {
    outcome.reply.assign(reinterpret_cast<const char*>(memory.bytes().data()) + kReplyHeaderBytes,
                         header.reply_bytes);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<WarmParent>> WarmParent::Start(WarmParentOptions options) {
  if (absl::Status status = Validate(options); !status.ok()) {
    return status;
  }
  auto parent = std::unique_ptr<WarmParent>(new WarmParent(std::move(options)));
  parent->wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!parent->wake_.valid()) {
    return absl::ErrnoToStatus(errno, "eventfd");
  }
  parent->manager_ = std::thread([p = parent.get()] { p->Manage(); });
  absl::Status failure;
  {
    std::unique_lock lock(parent->mutex_);
    const auto settled = [p = parent.get()] {
      return p->state_ == State::kServing || p->state_ == State::kFailed;
    };
    if (!parent->changed_.wait_until(lock, Until(absl::Now() + parent->options_.start_timeout), settled)) {
      failure = absl::DeadlineExceededError(
          absl::StrCat("warm parent ", parent->options_.name, " was not ready within ",
                       absl::FormatDuration(parent->options_.start_timeout), parent->LogTail()));
    } else if (parent->state_ == State::kFailed) {
      failure = parent->failure_;
    }
  }
  if (!failure.ok()) {
    return failure;
  }
  return parent;
}

WarmParent::WarmParent(WarmParentOptions options) : options_(std::move(options)) {}

WarmParent::~WarmParent() {
  {
    const std::lock_guard lock(mutex_);
    state_ = State::kStopping;
    changed_.notify_all();
  }
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
  if (manager_.joinable()) {
    manager_.join();
  }
}

// ------------------------------------------------------------------------------------------------ Calls

absl::Status WarmParent::WaitForChild(absl::Time deadline, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const auto possible = [this] {
    return state_ == State::kFailed || state_ == State::kStopping ||
           (state_ == State::kServing && running_ < options_.max_children);
  };
  if (!possible()) {
    if (waiting_ >= options_.max_waiting) {
      return absl::ResourceExhaustedError(absl::StrCat("sandbox ", options_.name, ": ", running_,
                                                       " children run and ", waiting_,
                                                       " calls wait, which is the limit"));
    }
    ++waiting_;
    const bool in_time = changed_.wait_until(lock, stop, Until(deadline), possible);
    --waiting_;
    if (!in_time && !stop.stop_requested()) {
      return absl::DeadlineExceededError(
          absl::StrCat("sandbox ", options_.name, ": no child was free in time"));
    }
  }
  if (stop.stop_requested()) {
    return absl::CancelledError("cancelled while waiting for a child");
  }
  if (state_ != State::kServing) {
    return absl::UnavailableError(
        absl::StrCat("sandbox ", options_.name, " has stopped: ", failure_.message()));
  }
  ++running_;
  return absl::OkStatus();
}

void WarmParent::SendCancel(uint64_t id) {
  CancelMessage message;
  message.id = id;
  (void)SendMessage(socket_.get(), message, {}, MSG_DONTWAIT).ok();
}

absl::StatusOr<Outcome> WarmParent::Run(const Request& request, absl::Time deadline,
                                        const std::stop_token& stop) {
  if (request.payload.size() > options_.max_payload_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("sandbox payload of ", request.payload.size(),
                                                   " bytes, limit ", options_.max_payload_bytes));
  }
  if (request.fds.size() + 2 > kMaxFds) {
    return absl::InvalidArgumentError(
        absl::StrCat("sandbox request with ", request.fds.size(), " descriptors"));
  }
  if (absl::Now() >= deadline) {
    return absl::DeadlineExceededError("the deadline had passed before a child was started");
  }
  if (absl::Status status = WaitForChild(deadline, stop); !status.ok()) {
    return status;
  }
  absl::Cleanup release = [this] {
    const std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
  };

  absl::StatusOr<SharedMemory> payload =
      SharedMemory::Create("payload", std::max<size_t>(request.payload.size(), 1));
  if (!payload.ok()) {
    return payload.status();
  }
  if (!request.payload.empty() && pwrite(payload->fd(), request.payload.data(), request.payload.size(), 0) !=
                                      static_cast<ssize_t>(request.payload.size())) {
    return absl::ErrnoToStatus(errno, "writing the payload");
  }
  absl::StatusOr<SharedMemory> reply =
      SharedMemory::Create("reply", kReplyHeaderBytes + request.max_reply_bytes);
  if (!reply.ok()) {
    return reply.status();
  }

  Call call;
  RunMessage message;
  message.payload_bytes = request.payload.size();
  message.wall_limit_ns = absl::ToInt64Nanoseconds(request.wall_limit);
  message.limits = request.limits;
  std::vector<int> fds = {payload->fd(), reply->fd()};
  fds.insert(fds.end(), request.fds.begin(), request.fds.end());
  {
    const std::lock_guard lock(mutex_);
    if (state_ != State::kServing) {
      return absl::UnavailableError(absl::StrCat("sandbox ", options_.name, " is being restarted"));
    }
    message.id = next_id_++;
    if (absl::Status status = SendMessage(socket_.get(), message, fds, MSG_DONTWAIT); !status.ok()) {
      return status;
    }
    calls_[message.id] = &call;
  }
  {
    std::unique_lock lock(mutex_);
    const auto done = [&call] { return call.done; };
    if (!changed_.wait_until(lock, stop, Until(deadline), done)) {
      SendCancel(message.id);
      if (!changed_.wait_until(lock, Until(absl::Now() + kCancelGrace), done)) {
        // The manager sees the socket close, tells all calls, and starts another parent.
        Log().Error("the parent doesn't answer, ending it", {{"role", options_.name}, {"pid", pid_}});
        if (pid_ > 0) {
          kill(pid_, SIGKILL);
        }
        changed_.wait(lock, done);
      }
    }
    calls_.erase(message.id);
  }
  if (!call.error.ok()) {
    return call.error;
  }
  if (call.end.kill_reason == KillReason::kCancelled) {
    return stop.stop_requested() ? absl::CancelledError("cancelled while the child ran")
                                 : absl::DeadlineExceededError("the deadline passed while the child ran");
  }
  Outcome outcome;
  ExitFacts facts;
  facts.wait_status = call.end.wait_status;
  facts.kill_reason = call.end.kill_reason;
  facts.cpu_time = outcome.cpu_time = absl::Nanoseconds(call.end.cpu_ns);
  outcome.wall_time = absl::Nanoseconds(call.end.wall_ns);
  outcome.peak_memory_bytes = call.end.peak_memory_bytes;
  outcome.output_bytes = call.end.output_bytes;
  outcome.output = std::move(call.output);
  if (absl::Status status = ReadReply(*reply, facts, outcome); !status.ok()) {
    return status;
  }
  Classify(facts, request.limits, request.wall_limit, outcome);
  if (outcome.kind != OutcomeKind::kOk && outcome.kind != OutcomeKind::kException) {
    outcome.reply.clear();
  }
  return outcome;
}

ParentHealth WarmParent::Health() const {
  const std::lock_guard lock(mutex_);
  ParentHealth health;
  health.serving = state_ == State::kServing;
  health.level = level_;
  health.detail = health.serving ? detail_ : std::string(failure_.message());
  health.restarts = restarts_;
  health.running_children = running_;
  health.waiting_calls = waiting_;
  health.pid = pid_;
  return health;
}

// ---------------------------------------------------------------------------------------------- Manager

absl::Status WarmParent::Spawn() {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  UniqueFd ours(sockets[0]);
  UniqueFd theirs(sockets[1]);
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0) {
    return absl::ErrnoToStatus(errno, "pipe");
  }
  log_pipe_.reset(pipes[0]);
  UniqueFd log(pipes[1]);
  fcntl(log_pipe_.get(), F_SETFL, O_NONBLOCK);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  absl::Cleanup destroy = [&] {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  };
  // posix_spawn shares memory with its caller until exec, so it is safe with threads and costs nothing in a
  // large process. dup2 to the same number clears close-on-exec too (POSIX.1-2024, as glibc does).
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), kControlFd);
  posix_spawn_file_actions_adddup2(&actions, log.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_addclosefrom_np(&actions, kControlFd + 1);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  // A session of its own: Ctrl-C at the terminal is for the service, which drains.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, options_.argv[0].c_str(), &actions, &attributes,
                                Pointers(options_.argv).data(), Pointers(options_.environment).data());
  if (error != 0) {
    return absl::ErrnoToStatus(error, absl::StrCat("starting ", options_.argv[0]));
  }
  Hello hello;
  hello.max_level = options_.maximum_level;
  hello.max_children = options_.max_children;
  hello.ready_children = std::min(options_.ready_children, options_.max_children);
  hello.unprivileged_id = options_.unprivileged_id;
  hello.tmp_bytes = options_.tmp_bytes;
  const std::lock_guard lock(mutex_);
  pid_ = pid;
  socket_ = std::move(ours);
  log_tail_.clear();
  return SendMessage(socket_.get(), hello);
}

void WarmParent::ReadLog() {
  std::array<char, 4096> chunk;
  ssize_t n;
  while ((n = read(log_pipe_.get(), chunk.data(), chunk.size())) > 0) {
    const std::lock_guard lock(mutex_);
    log_tail_.append(chunk.data(), static_cast<size_t>(n));
    if (log_tail_.size() > kLogTailBytes) {
      log_tail_.erase(0, log_tail_.size() - kLogTailBytes);
    }
  }
  if (n == 0) {
    log_pipe_.reset();
  }
}

std::string WarmParent::LogTail() const {
  return log_tail_.empty() ? std::string() : absl::StrCat("; it said:\n", log_tail_);
}

absl::Status WarmParent::HandlePacket(Packet packet) {
  switch (TypeOf(packet)) {
    case MessageType::kReady: {
      absl::StatusOr<Ready> ready = packet.As<Ready>();
      if (!ready.ok()) {
        return ready.status();
      }
      const std::lock_guard lock(mutex_);
      listens_ = true;
      level_ = ready->level;
      detail_.assign(ready->detail, strnlen(ready->detail, sizeof(ready->detail)));
      if (level_ < options_.minimum_level) {
        return absl::FailedPreconditionError(
            absl::StrCat("sandbox ", options_.name, ": this machine gives level '", LevelName(level_),
                         "', the configuration asks for '", LevelName(options_.minimum_level),
                         "' (--sandbox_level): ", detail_));
      }
      if (state_ != State::kStopping) {
        state_ = State::kServing;
      }
      changed_.notify_all();
      Log().Info("parent is ready", {{"role", options_.name}, {"pid", pid_}, {"level", LevelName(level_)}});
      return absl::OkStatus();
    }
    case MessageType::kEnd: {
      absl::StatusOr<EndMessage> end = packet.As<EndMessage>();
      if (!end.ok()) {
        return end.status();
      }
      std::string output;
      if (!packet.fds.empty()) {
        output = OutputBuffer::Assemble(packet.fds[0].get(), end->output_bytes);
      }
      const std::lock_guard lock(mutex_);
      if (auto it = calls_.find(end->id); it != calls_.end()) {
        it->second->end = *end;
        it->second->output = std::move(output);
        it->second->done = true;
        changed_.notify_all();
      }
      return absl::OkStatus();
    }
    case MessageType::kRefused: {
      absl::StatusOr<RefusedMessage> refused = packet.As<RefusedMessage>();
      if (!refused.ok()) {
        return refused.status();
      }
      const std::lock_guard lock(mutex_);
      if (auto it = calls_.find(refused->id); it != calls_.end()) {
        it->second->error = absl::InternalError(
            absl::StrCat("sandbox ", options_.name, ": ",
                         std::string(refused->reason, strnlen(refused->reason, sizeof(refused->reason)))));
        it->second->done = true;
        changed_.notify_all();
      }
      return absl::OkStatus();
    }
    default:
      return absl::InternalError("unknown message from the parent");
  }
}

absl::Status WarmParent::ServeParent() {
  int socket;
  {
    const std::lock_guard lock(mutex_);
    socket = socket_.get();
  }
  const absl::Time ready_by = absl::Now() + options_.start_timeout;
  while (true) {
    bool starting;
    {
      const std::lock_guard lock(mutex_);
      if (state_ == State::kStopping) {
        return absl::CancelledError("stopping");
      }
      starting = state_ != State::kServing;
    }
    if (starting && absl::Now() >= ready_by) {
      return absl::DeadlineExceededError("the parent was not ready in time");
    }
    pollfd polled[] = {{socket, POLLIN, 0}, {wake_.get(), POLLIN, 0}, {log_pipe_.get(), POLLIN, 0}};
    const absl::Duration wait = ready_by - absl::Now();
    poll(polled, log_pipe_.valid() ? 3 : 2,
         starting ? std::max(1, static_cast<int>(absl::ToInt64Milliseconds(wait))) : -1);
    if (log_pipe_.valid() && polled[2].revents != 0) {
      ReadLog();
    }
    if (polled[0].revents != 0) {
      absl::StatusOr<Packet> packet = ReceivePacket(socket, MSG_DONTWAIT);
      if (absl::IsNotFound(packet.status())) {
        continue;
      }
      if (!packet.ok()) {
        if (log_pipe_.valid()) {
          ReadLog();
        }
        return packet.status();
      }
      if (absl::Status status = HandlePacket(*std::move(packet)); !status.ok()) {
        return status;
      }
    }
  }
}

void WarmParent::EndParent() {
  pid_t pid;
  bool listens;
  {
    const std::lock_guard lock(mutex_);
    socket_.reset();
    pid = std::exchange(pid_, -1);
    listens = std::exchange(listens_, false);
  }
  if (pid > 0) {
    // A parent whose socket closes ends its children and exits. One that hangs is killed, and the kernel ends
    // its children (PR_SET_PDEATHSIG).
    if (listens) {
      UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
      pollfd polled = {pidfd.get(), POLLIN, 0};
      poll(&polled, 1, kExitGraceMs);
    }
    kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
  }
  log_pipe_.reset();
}

bool WarmParent::MayRestart(const absl::Status& why) {
  const absl::Time now = absl::Now();
  while (!restart_times_.empty() && now - restart_times_.front() > options_.restart_window) {
    restart_times_.pop_front();
  }
  const std::lock_guard lock(mutex_);
  for (auto& [id, call] : calls_) {
    if (!call->done) {
      call->error = absl::UnavailableError(
          absl::StrCat("sandbox ", options_.name, ": the parent died during the call"));
      call->done = true;
    }
  }
  changed_.notify_all();  // At the end of the scope: the lock is held until then.
  if (state_ == State::kStopping) {
    return false;
  }
  failure_ = absl::Status(
      why.code() == absl::StatusCode::kFailedPrecondition ? why.code() : absl::StatusCode::kUnavailable,
      absl::StrCat("warm parent ", options_.name, ": ", why.message(), LogTail()));
  const bool first_start = state_ == State::kStarting;
  if (first_start || restart_times_.size() >= static_cast<size_t>(options_.max_restarts)) {
    state_ = State::kFailed;
    return false;
  }
  state_ = State::kRestarting;
  ++restarts_;
  restart_times_.push_back(now);
  Log().Warn("restarting the parent", {{"role", options_.name}, {"why", why.message()}});
  return true;
}

void WarmParent::Manage() {
  while (true) {
    absl::Status status = Spawn();
    if (status.ok()) {
      status = ServeParent();
    }
    EndParent();
    if (!MayRestart(status)) {
      return;
    }
    pollfd polled = {wake_.get(), POLLIN, 0};
    poll(&polled, 1, static_cast<int>(absl::ToInt64Milliseconds(kRestartDelay)));
  }
}

}  // namespace nkiagent::sandbox
