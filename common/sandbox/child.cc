#include "common/sandbox/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <exception>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/sandbox/jail.h"
#include "common/sandbox/shared_memory.h"

namespace nkiagent::sandbox {
namespace {

// Where the child's descriptors end up. The socket is closed before untrusted code runs.
constexpr int kChildSocket = 3;

// The reply's first page, for the signal handler.
ReplyHeader* reply_header = nullptr;

[[noreturn]] void Fail(int socket, absl::string_view reason) {
  const std::string message = absl::StrCat(std::string(1, kSetupFailed), reason);
  (void)!send(socket, message.data(), message.size(), MSG_NOSIGNAL);
  _exit(1);
}

void Require(int socket, const absl::Status& status) {
  if (!status.ok()) {
    Fail(socket, status.message());
  }
}

void Require(int socket, bool ok, absl::string_view step) {
  if (!ok) {
    Fail(socket, absl::StrCat(step, ": ", strerror(errno)));
  }
}

// SIGSYS: the filter's verdict, with the call's number. SIGABRT and SIGXCPU: as pid 1 of its namespace the
// child would not die of them, and abort() would end in a misleading SIGSEGV. Untrusted code may replace this
// handler; then the forbidden call still doesn't happen, the hard CPU limit still kills, and the child is
// judged by what it does next.
void RecordAndExit(int signal, siginfo_t* info, void*) {
  if (reply_header != nullptr) {
    reply_header->recorded_syscall = signal == SIGSYS ? info->si_syscall : -1;
    reply_header->recorded_signal = static_cast<uint32_t>(signal);
  }
  _exit(128 + signal);
}

void RestoreSignals() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) {
    // Python's SIGPIPE and SIGXFSZ stay ignored: a closed pipe is an exception there, and default here.
    if (signal != SIGKILL && signal != SIGSTOP && signal != SIGPIPE && signal != SIGXFSZ &&
        signal != SIGINT) {
      sigaction(signal, &action, nullptr);
    }
  }
  struct sigaction record {};
  record.sa_sigaction = RecordAndExit;
  record.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSYS, &record, nullptr);
  sigaction(SIGABRT, &record, nullptr);
  sigaction(SIGXCPU, &record, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Puts the descriptors in their places and closes everything that the parent had open. /proc must have served
// by then.
void ArrangeDescriptors(const ChildContext& context) {
  // First above all targets, so that no dup2 overwrites a source.
  const int socket = fcntl(context.socket, F_DUPFD, 16);
  const int output = fcntl(context.output, F_DUPFD, 16);
  const int null = fcntl(context.null, F_DUPFD, 16);
  Require(context.socket, socket >= 0 && output >= 0 && null >= 0, "duplicating descriptors");
  dup2(null, 0);
  dup2(output, 1);
  dup2(output, 2);
  dup2(socket, kChildSocket);
  Require(kChildSocket, syscall(SYS_close_range, kChildSocket + 1, ~0U, 0) == 0, "closing descriptors");
}

void EnterNamespaces(const ChildContext& context) {
  Require(context.socket, MapIds(context.jail->proc_fd(), context.inside_id, context.uid, context.gid));
  Require(context.socket, context.jail->MountPrivateTmp(context.tmp_bytes));
}

void DropPrivileges(const ChildContext& context) {
  if (context.level == Level::kNamespaces) {
    for (int capability = 0; capability <= CAP_LAST_CAP; ++capability) {
      // EINVAL: a capability that this kernel doesn't have.
      Require(kChildSocket, prctl(PR_CAPBSET_DROP, capability) == 0 || errno == EINVAL,
              "dropping capabilities");
    }
    Require(kChildSocket, DropCapabilities());
  }
  Require(kChildSocket, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
}

void SetLimit(__rlimit_resource resource, uint64_t soft, uint64_t hard) {
  rlimit limit{};
  getrlimit(resource, &limit);
  // The hard limit can only go down; where the machine's own is tighter, it stays.
  limit.rlim_max = std::min<rlim_t>(hard, limit.rlim_max);
  limit.rlim_cur = std::min<rlim_t>(soft, limit.rlim_max);
  Require(kChildSocket, setrlimit(resource, &limit) == 0, "setting a resource limit");
}

void SetLimit(__rlimit_resource resource, uint64_t value) { SetLimit(resource, value, value); }

void SetLimits(const Limits& limits, Level level) {
  SetLimit(RLIMIT_CORE, 0);
  // A second between the signal that tells and the one that kills.
  SetLimit(RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1);
  SetLimit(RLIMIT_FSIZE, limits.file_size_bytes);
  SetLimit(RLIMIT_NOFILE, limits.open_files);
  // Outside a user namespace this counts all processes of the user on the machine, so it would hit the
  // innocent; at level kSeccomp the filter refuses new processes anyway.
  if (level != Level::kSeccomp) {
    SetLimit(RLIMIT_NPROC, limits.processes);
  }
  SetLimit(RLIMIT_AS, limits.address_space_bytes);
}

HandlerResult RunHandler(const Handler& handler, absl::string_view payload, absl::Span<const int> fds) {
  try {
    return handler(payload, fds);
  } catch (const std::bad_alloc&) {
    return {ReplyState::kMemory, ""};
  } catch (const std::exception& error) {
    return {ReplyState::kException, error.what()};
  }
}

// Writes the reply behind the header and the state last, so that a child killed half-way has not replied.
void WriteReply(SharedMemory& memory, HandlerResult result) {
  const size_t capacity = memory.size() - kReplyHeaderBytes;
  if (result.reply.size() > capacity) {
    result = {ReplyState::kException,
              absl::StrCat("the reply has ", result.reply.size(), " bytes, the limit is ", capacity)};
    result.reply.resize(std::min(result.reply.size(), capacity));
  }
  ReplyHeader* header = reply_header;
  if (!result.reply.empty()) {
    if (!memory.Map(SharedMemory::Access::kReadWrite, kReplyHeaderBytes + result.reply.size()).ok()) {
      header->state = ReplyState::kMemory;
      return;
    }
    memcpy(memory.mutable_bytes().data() + kReplyHeaderBytes, result.reply.data(), result.reply.size());
    header = reinterpret_cast<ReplyHeader*>(memory.mutable_bytes().data());
  }
  header->reply_bytes = result.reply.size();
  header->state = result.state;
}

}  // namespace

void RunChild(const ChildContext& context, const Handler& handler, const Preparation& prepare) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  RestoreSignals();
  if (context.level == Level::kNamespaces) {
    EnterNamespaces(context);
  } else {
    setsid();  // A group of its own, which the parent kills as a whole.
  }
  ArrangeDescriptors(context);
  DropPrivileges(context);
  if (prepare) {
    prepare();
  }

  absl::StatusOr<Packet> packet = ReceivePacket(kChildSocket);
  if (!packet.ok()) {
    _exit(0);  // The parent is gone, or needs this child no longer.
  }
  absl::StatusOr<RunMessage> request = packet->As<RunMessage>();
  Require(kChildSocket, request.status());
  Require(kChildSocket, packet->fds.size() >= 2, "a request without payload and reply");

  absl::StatusOr<SharedMemory> payload = SharedMemory::FromFd(std::move(packet->fds[0]));
  Require(kChildSocket, payload.status());
  Require(kChildSocket, payload->Map(SharedMemory::Access::kReadOnly));
  Require(kChildSocket, request->payload_bytes <= payload->size(),
          "a payload that is longer than its memory");
  absl::StatusOr<SharedMemory> reply = SharedMemory::FromFd(std::move(packet->fds[1]));
  Require(kChildSocket, reply.status());
  Require(kChildSocket, reply->size() >= kReplyHeaderBytes, "a reply memory without room for its header");
  // Mapped apart from the reply's bytes and for as long as the process lives.
  void* header = mmap(nullptr, kReplyHeaderBytes, PROT_READ | PROT_WRITE, MAP_SHARED, reply->fd(), 0);
  Require(kChildSocket, header != MAP_FAILED, "mapping the reply");
  reply_header = static_cast<ReplyHeader*>(header);

  std::vector<int> fds;
  for (size_t i = 2; i < packet->fds.size(); ++i) {
    fds.push_back(packet->fds[i].release());
  }
  SetLimits(request->limits, context.level);
  if (context.filter != nullptr) {
    Require(kChildSocket, context.filter->Install());
  }
  // write, not send: the filter is in force.
  (void)!write(kChildSocket, &kStarted, 1);
  close(kChildSocket);

  const absl::string_view text(reinterpret_cast<const char*>(payload->bytes().data()),
                               request->payload_bytes);
  WriteReply(*reply, RunHandler(handler, text, fds));
  _exit(0);
}

}  // namespace nkiagent::sandbox
