// The control messages between a service and its warm parent: small, fixed-size, over a SOCK_SEQPACKET pair,
// with descriptors alongside (SCM_RIGHTS). Both ends are built together, so structs travel as they are; a
// version guards against a mixed installation. Bulk data is never here: payloads, replies, tensors and output
// are memfds.
#ifndef NKIAGENT_COMMON_SANDBOX_WIRE_H_
#define NKIAGENT_COMMON_SANDBOX_WIRE_H_

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/sandbox/level.h"
#include "common/sandbox/limits.h"
#include "common/sandbox/outcome.h"
#include "common/sandbox/unique_fd.h"

namespace nkiagent::sandbox {

// Where a parent finds its end of the socket after exec.
inline constexpr int kControlFd = 3;
inline constexpr uint32_t kWireVersion = 1;
// Descriptors that one request may carry, payload and reply included. SCM_MAX_FD of the kernel is 253.
inline constexpr size_t kMaxFds = 200;

enum class MessageType : uint32_t { kHello = 1, kReady = 2, kRun = 3, kCancel = 4, kEnd = 5, kRefused = 6 };

// Service to parent, once, before exec has even happened.
struct Hello {
  MessageType type = MessageType::kHello;
  uint32_t version = kWireVersion;
  Level max_level = Level::kNamespaces;
  uint32_t max_children = 0;
  uint32_t ready_children = 0;
  uint32_t unprivileged_id = 0;  // User and group id to become, when started as root.
  uint64_t tmp_bytes = 0;
};

// Parent to service, once, when it can take requests.
struct Ready {
  MessageType type = MessageType::kReady;
  Level level = Level::kRlimits;
  char detail[400] = {};  // Why the level is not a stronger one; zero-terminated.
};

// Service to parent. Descriptors: payload, reply, then the request's own.
struct RunMessage {
  MessageType type = MessageType::kRun;
  uint32_t padding = 0;
  uint64_t id = 0;
  uint64_t payload_bytes = 0;
  int64_t wall_limit_ns = 0;
  Limits limits;
};

// Service to parent. Unknown ids are ignored: the child may just have ended.
struct CancelMessage {
  MessageType type = MessageType::kCancel;
  uint32_t padding = 0;
  uint64_t id = 0;
};

// Parent to service: the child of a request is gone, with all its descendants. With output_bytes > 0 one
// descriptor comes along: a memfd with the kept output.
struct EndMessage {
  MessageType type = MessageType::kEnd;
  int32_t wait_status = 0;
  uint64_t id = 0;
  KillReason kill_reason = KillReason::kNone;
  uint32_t padding = 0;
  int64_t cpu_ns = 0;
  int64_t wall_ns = 0;
  uint64_t peak_memory_bytes = 0;
  uint64_t output_bytes = 0;
};

// Parent to service: the request started no untrusted code, for `reason`.
struct RefusedMessage {
  MessageType type = MessageType::kRefused;
  uint32_t padding = 0;
  uint64_t id = 0;
  char reason[400] = {};
};

// Start of the reply memfd, written by the child; the reply's bytes follow at kReplyHeaderBytes.
enum class ReplyState : uint32_t { kNone = 0, kOk = 1, kException = 2, kMemory = 3 };
struct ReplyHeader {
  ReplyState state = ReplyState::kNone;
  uint32_t recorded_signal = 0;
  int32_t recorded_syscall = -1;
  uint32_t padding = 0;
  uint64_t reply_bytes = 0;
};
inline constexpr size_t kReplyHeaderBytes = 4096;

// One received message.
struct Packet {
  std::string bytes;
  std::vector<UniqueFd> fds;

  // Copies the message out. InvalidArgument if the length is not that of T.
  template <typename T>
  absl::StatusOr<T> As() const;
};

absl::Status SendPacket(int socket, const void* data, size_t size, absl::Span<const int> fds, int flags = 0);
template <typename T>
absl::Status SendMessage(int socket, const T& message, absl::Span<const int> fds = {}, int flags = 0) {
  static_assert(std::is_trivially_copyable_v<T>);
  return SendPacket(socket, &message, sizeof(message), fds, flags);
}

// The next message. Unavailable when the other end is gone; with MSG_DONTWAIT in `flags`, NotFound when there
// is none.
absl::StatusOr<Packet> ReceivePacket(int socket, int flags = 0);

template <typename T>
absl::StatusOr<T> Packet::As() const {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() != sizeof(T)) {
    return absl::InvalidArgumentError("control message of unexpected length");
  }
  T message;
  __builtin_memcpy(static_cast<void*>(&message), bytes.data(), sizeof(T));
  return message;
}

// The type field that every message starts with; kHello's predecessor 0 if the packet is too short.
MessageType TypeOf(const Packet& packet);

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_WIRE_H_
