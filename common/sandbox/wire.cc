#include "common/sandbox/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <array>

#include "absl/strings/str_cat.h"

namespace nkiagent::sandbox {

absl::Status SendPacket(int socket, const void* data, size_t size, absl::Span<const int> fds, int flags) {
  if (fds.size() > kMaxFds) {
    return absl::InvalidArgumentError(
        absl::StrCat(fds.size(), " descriptors in one message, limit ", kMaxFds));
  }
  iovec io{const_cast<void*>(data), size};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> control;
  msghdr header{};
  header.msg_iov = &io;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &header, flags | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    return absl::UnavailableError(absl::StrCat("sending a control message: ", strerror(errno)));
  }
  return absl::OkStatus();
}

absl::StatusOr<Packet> ReceivePacket(int socket, int flags) {
  Packet packet;
  packet.bytes.resize(1024);
  iovec io{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> control;
  msghdr header{};
  header.msg_iov = &io;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t received;
  do {
    received = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    return absl::NotFoundError("no control message waits");
  }
  if (received <= 0) {
    return absl::UnavailableError(received == 0 ? "the other end closed the control socket"
                                                : strerror(errno));
  }
  packet.bytes.resize(static_cast<size_t>(received));
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
      const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        packet.fds.emplace_back(fd);
      }
    }
  }
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return absl::InvalidArgumentError("control message is too long");
  }
  return packet;
}

MessageType TypeOf(const Packet& packet) {
  MessageType type{};
  if (packet.bytes.size() >= sizeof(type)) {
    memcpy(&type, packet.bytes.data(), sizeof(type));
  }
  return type;
}

}  // namespace nkiagent::sandbox
