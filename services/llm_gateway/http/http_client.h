// HTTP over libcurl's multi interface: many requests at once on the thread of one event loop, connections
// kept and reused, HTTP/2 where the server offers it.
#ifndef SERVICES_LLM_GATEWAY_HTTP_HTTP_CLIENT_H_
#define SERVICES_LLM_GATEWAY_HTTP_HTTP_CLIENT_H_

#include <curl/curl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/llm_gateway/http/event_loop.h"

namespace nkiagent::llm_gateway {

// What the reader of a streamed body says to a piece of it.
enum class BodyAction {
  kMore,      // it has taken the piece and waits for the rest of what that begins
  kProgress,  // it has taken something whole
  kPause,     // as kProgress, but the rest is to wait until Resume
  kStop       // the rest is of no use: ends the request with kStopped
};

struct HttpRequest {
  std::string url;  // http or https; redirects are not followed, since a key would go with them
  std::vector<std::pair<std::string, std::string>> headers;
  std::shared_ptr<const std::string> body;  // sent by POST; null is empty
  absl::Time deadline = absl::InfiniteFuture();
  absl::Duration connect_timeout = absl::Seconds(10);
  // Longest time from the first to the last byte of the answer's body: a server that drips is cut off. With
  // on_body the longest time without kProgress, pauses not counted.
  absl::Duration body_timeout = absl::Seconds(120);
  // Reads the body of a 2xx answer as it comes, on the loop thread; the response's own body stays empty then.
  std::function<BodyAction(absl::string_view)> on_body;
  size_t max_response_bytes = size_t{32} << 20;
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of repeated ones the last
  std::string body;
};

// How far a request got that has no complete answer.
enum class HttpFailure {
  kNone,
  kConnect,      // nothing was sent: name not resolved, refused, connect time-out
  kTls,          // the handshake failed
  kCertificate,  // the server's certificate is not to be trusted, or ours of authorities can't be read
  kTransport,    // the connection broke after the request had begun
  kTooLarge,     // body over max_response_bytes, or headers over 256 KiB
  kSlowBody,     // body_timeout
  kDeadline,     // deadline
  kCancelled,    // Cancel, or the client was destroyed
  kStopped,      // on_body said kStop
  kBadRequest    // not an http(s) URL
};

struct HttpResult {
  HttpFailure failure = HttpFailure::kNone;
  std::string message;    // of a failure: a sentence without headers and body, so without keys
  HttpResponse response;  // of a failure: what had come so far
};

// Thread-safe. Destroyed before its loop.
class HttpClient {
 public:
  using CallId = uint64_t;
  using Done = std::function<void(HttpResult)>;

  struct Options {
    // Connections kept open to all servers together while idle.
    int max_idle_connections = 1024;
    // File of trusted certificates in PEM form; empty means the system's.
    std::string ca_file;
  };

  // INTERNAL when libcurl can't be initialised. `loop` must outlive the client.
  static absl::StatusOr<std::unique_ptr<HttpClient>> Create(EventLoop* loop, Options options);

  // Ends all requests with kCancelled. Not from the loop thread.
  ~HttpClient();

  // Begins a request. `done` is called once, on the loop thread, never before this returns on that thread.
  CallId Start(HttpRequest request, Done done);

  // Ends a request with kCancelled; its connection is closed (HTTP/1) or its stream reset (HTTP/2). Ids that
  // are unknown or done are ignored.
  void Cancel(CallId id);

  // Goes on with a body after kPause. Ids that are unknown, done or not paused are ignored.
  void Resume(CallId id);

 private:
  struct Call;

  HttpClient(EventLoop* loop, Options options, CURLM* multi);

  // All on the loop thread.
  void Begin(CallId id, HttpRequest request, Done done);
  bool Configure(Call* call);
  void Act(curl_socket_t socket, int events);
  void ReadFinished();
  void Finish(CallId id, HttpFailure failure, std::string message);
  // Begins to watch over the time that the body takes.
  void WatchBody(Call* call, absl::Duration time);
  size_t ReadPiece(Call* call, absl::string_view piece);
  static int OnSocket(CURL* easy, curl_socket_t socket, int what, void* self, void* socket_data);
  static int OnTimer(CURLM* multi, long timeout_ms, void* self);
  static size_t OnBody(char* data, size_t size, size_t count, void* call);
  static size_t OnHeader(char* data, size_t size, size_t count, void* call);

  EventLoop* const loop_;
  const Options options_;
  CURLM* const multi_;
  std::atomic<CallId> next_id_{1};
  Scheduler::TimerId curl_timer_ = 0;                         // loop thread only
  absl::flat_hash_map<CallId, std::unique_ptr<Call>> calls_;  // loop thread only
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_HTTP_HTTP_CLIENT_H_
