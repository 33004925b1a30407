// A model server for measurements, as fast as one thread can be: chat completions over HTTP/1.1, whole or
// streamed.
//
//   nki_load_standin [PORT]
//
// Prints {"port": N} once it serves, and ends when its standard input ends. The request's model says what to
// play:
//
//   chat          answers at once
//   stream-N-MS   N pieces, one every MS milliseconds; each piece is the time at which it was sent, in
//   nanoseconds
//                 of the monotonic clock
//   hold          one piece, and then nothing until the client goes
//   large         an answer of 256 KiB, whole or in pieces of 4 KiB
//   cut           one piece, and then the connection ends
//   silent        nothing until the client goes
//   fails         status 500
//   refuses       status 400
//   garbage       status 200, and what is no answer
//
// It reads of a request what it needs and no more; chat_standin.py is the one that is strict.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

constexpr size_t kMaxRequestBytes = size_t{16} << 20;
constexpr size_t kLargeBytes = 256 << 10;
constexpr size_t kLargePieceBytes = 4 << 10;
constexpr int kMaxPieces = 1'000'000;
constexpr int kMaxPauseMs = 60'000;

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct Connection {
  int fd = -1;
  std::string in;
  std::string out;
  bool streaming = false;
  bool ends = false;    // when all is sent
  int pieces_left = 0;  // -1: holds
  int64_t pause_ns = 0;
  int64_t due_ns = 0;
};

std::string Chunk(const std::string& data) {
  char size[32];
  std::snprintf(size, sizeof(size), "%zx\r\n", data.size());
  return size + data + "\r\n";
}

std::string Piece(const std::string& content, const char* reason) {
  return Chunk(R"(data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"load","choices":)"
               R"([{"index":0,"delta":{"content":")" +
               content + R"("},"finish_reason":)" + reason + "}]}\n\n");
}

class Server {
 public:
  explicit Server(int port)
      : epoll_(epoll_create1(EPOLL_CLOEXEC)),
        listener_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    socklen_t size = sizeof(address);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 4096) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::perror("listen");
      std::exit(1);
    }
    Add(listener_, EPOLLIN);
    Add(STDIN_FILENO, EPOLLIN);
    std::printf("{\"port\": %d}\n", ntohs(address.sin_port));
    std::fflush(stdout);
  }

  void Run() {
    std::array<epoll_event, 512> events;
    while (true) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), WaitMs());
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (fd == STDIN_FILENO) return;
        if (fd == listener_) {
          Accept();
        } else if (const auto found = connections_.find(fd); found != connections_.end()) {
          if ((events[i].events & EPOLLOUT) != 0) Flush(found->second.get());
          if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) Read(fd);
        }
      }
      SendDue();
    }
  }

 private:
  void Add(int fd, uint32_t what) {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  int WaitMs() const {
    if (due_.empty()) return -1;
    const int64_t left = due_.begin()->first - NowNs();
    return left <= 0 ? 0 : static_cast<int>(left / 1'000'000 + 1);
  }

  void Accept() {
    while (true) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      auto connection = std::make_unique<Connection>();
      connection->fd = fd;
      connections_[fd] = std::move(connection);
      waiting_[fd] = false;
      Add(fd, EPOLLIN | EPOLLRDHUP);
    }
  }

  void Close(Connection* connection) {
    Unschedule(connection);
    const int fd = connection->fd;
    close(fd);
    connections_.erase(fd);
  }

  void Unschedule(Connection* connection) {
    auto [begin, end] = due_.equal_range(connection->due_ns);
    for (auto it = begin; it != end; ++it) {
      if (it->second != connection) continue;
      due_.erase(it);
      return;
    }
  }

  void Read(int fd) {
    Connection* connection = connections_.at(fd).get();
    std::array<char, 65536> buffer;
    while (true) {
      const ssize_t got = read(fd, buffer.data(), buffer.size());
      if (got > 0) {
        connection->in.append(buffer.data(), static_cast<size_t>(got));
        if (connection->in.size() > kMaxRequestBytes) return Close(connection);
        if (static_cast<size_t>(got) < buffer.size()) break;
        continue;
      }
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
      return Close(connection);
    }
    while (!connection->streaming && TakeRequest(connection)) {
    }
    Flush(connection);
  }

  // Takes a request off the input, if it is complete, and begins its answer.
  bool TakeRequest(Connection* connection) {
    const size_t head = connection->in.find("\r\n\r\n");
    if (head == std::string::npos) return false;
    size_t length = 0;
    for (const char* name : {"Content-Length:", "content-length:"}) {
      const size_t at = connection->in.find(name);
      if (at < head) length = std::strtoull(connection->in.c_str() + at + std::strlen(name), nullptr, 10);
    }
    const size_t total = head + 4 + std::min(length, kMaxRequestBytes);
    if (connection->in.size() < total) return false;
    const std::string body = connection->in.substr(head + 4, total - head - 4);
    connection->in.erase(0, total);
    Answer(connection, body);
    return true;
  }

  static std::string Response(const char* status, const std::string& body) {
    return std::string("HTTP/1.1 ") + status +
           "\r\ncontent-type: application/json\r\ncontent-length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  }

  static std::string Whole(const std::string& content) {
    return R"({"id":"c1","object":"chat.completion","created":1,"model":"load","choices":[{"index":0,"message":)"
           R"({"role":"assistant","content":")" +
           content +
           R"("},"finish_reason":"stop"}],)"
           R"("usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14}})";
  }

  // Whether the request's model is `play`; bodies come with and without a blank after the colon.
  static bool Plays(const std::string& body, const std::string& play) {
    return body.find("\"model\":\"" + play + "\"") != std::string::npos ||
           body.find("\"model\": \"" + play + "\"") != std::string::npos;
  }

  // True if the request is for a play that fails.
  static bool Fails(Connection* connection, const std::string& body) {
    if (Plays(body, "silent")) {
      connection->streaming = true;  // it takes no further request
    } else if (Plays(body, "fails")) {
      connection->out += Response("500 Internal Server Error", R"({"error":{"message":"it failed"}})");
    } else if (Plays(body, "refuses")) {
      connection->out += Response("400 Bad Request", R"({"error":{"message":"it is refused"}})");
    } else if (Plays(body, "garbage")) {
      connection->out += Response("200 OK", "<html>no answer</html>");
    } else {
      return false;
    }
    return true;
  }

  void Answer(Connection* connection, const std::string& body) {
    if (Fails(connection, body)) return;
    if (body.find("\"stream\":true") == std::string::npos &&
        body.find("\"stream\": true") == std::string::npos) {
      static const std::string answer = Response("200 OK", Whole("A short answer."));
      static const std::string large = Response("200 OK", Whole(std::string(kLargeBytes, 'x')));
      connection->out += Plays(body, "large") ? large : answer;
      return;
    }
    connection->out +=
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    connection->streaming = true;
    connection->pieces_left = 1;
    connection->pause_ns = 0;
    int pieces = 0;
    int pause_ms = 0;
    if (const size_t at = body.find("stream-");
        at != std::string::npos && std::sscanf(body.c_str() + at, "stream-%d-%d", &pieces, &pause_ms) == 2) {
      connection->pieces_left = std::clamp(pieces, 1, kMaxPieces);
      connection->pause_ns = int64_t{std::clamp(pause_ms, 0, kMaxPauseMs)} * 1'000'000;
    } else if (Plays(body, "hold")) {
      connection->out += Piece("held", "null");
      connection->pieces_left = -1;
      return;
    } else if (Plays(body, "cut")) {
      connection->out += Piece("cut", "null");
      connection->ends = true;
      return;
    } else if (Plays(body, "large")) {
      const std::string piece = Piece(std::string(kLargePieceBytes, 'x'), "null");
      for (size_t sent = 0; sent < kLargeBytes; sent += kLargePieceBytes) connection->out += piece;
    }
    Schedule(connection, NowNs() + connection->pause_ns);
  }

  void Schedule(Connection* connection, int64_t due_ns) {
    connection->due_ns = due_ns;
    due_.emplace(due_ns, connection);
  }

  void SendDue() {
    const int64_t now = NowNs();
    while (!due_.empty() && due_.begin()->first <= now) {
      Connection* connection = due_.begin()->second;
      due_.erase(due_.begin());
      connection->out += Piece(std::to_string(NowNs()) + " ", "null");
      if (--connection->pieces_left > 0) {
        // On its own clock, so that a late piece doesn't make the next one late.
        Schedule(connection, connection->due_ns + connection->pause_ns);
      } else {
        connection->out += Piece("", "\"stop\"");
        connection->out += Chunk(
            "data: "
            "{\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":4}}\n\n");
        connection->out += Chunk("data: [DONE]\n\n") + "0\r\n\r\n";
        connection->streaming = false;
      }
      Flush(connection);
    }
  }

  void Flush(Connection* connection) {
    while (!connection->out.empty()) {
      const ssize_t sent = send(connection->fd, connection->out.data(), connection->out.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;  // what is left goes out when the socket takes it, or the client is gone
      connection->out.erase(0, static_cast<size_t>(sent));
    }
    // The client closes next, and Read sees it.
    if (connection->ends && connection->out.empty()) shutdown(connection->fd, SHUT_WR);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP | (connection->out.empty() ? 0U : uint32_t{EPOLLOUT});
    event.data.fd = connection->fd;
    const bool wants = !connection->out.empty();
    if (wants != waiting_[connection->fd]) epoll_ctl(epoll_, EPOLL_CTL_MOD, connection->fd, &event);
    waiting_[connection->fd] = wants;
  }

  const int epoll_;
  const int listener_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
  std::unordered_map<int, bool> waiting_;
  std::multimap<int64_t, Connection*> due_;
};

}  // namespace

int main(int argc, char** argv) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  Server(argc > 1 ? std::atoi(argv[1]) : 0).Run();
}
