#include "services/llm_gateway/http/http_client.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace nkiagent::llm_gateway {
namespace {

constexpr size_t kMaxHeaderBytes = size_t{256} << 10;

// libcurl's global state is initialised once for the process and never torn down.
bool InitCurl() {
  static const bool ok = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return ok;
}

HttpFailure Classify(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return HttpFailure::kNone;
    case CURLE_URL_MALFORMAT:
      return HttpFailure::kBadRequest;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:  // connecting is the only thing that libcurl itself times here
      return HttpFailure::kConnect;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
      return HttpFailure::kCertificate;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
      return HttpFailure::kTls;
    default:
      return HttpFailure::kTransport;
  }
}

}  // namespace

// One request in progress. Lives on the loop thread.
struct HttpClient::Call {
  HttpClient* client = nullptr;
  CallId id = 0;
  HttpRequest request;
  Done done;
  CURL* easy = nullptr;
  curl_slist* header_list = nullptr;
  HttpResponse response;
  size_t header_bytes = 0;
  size_t body_bytes = 0;
  bool too_large = false;
  bool stopped = false;  // by on_body
  bool paused = false;   // by on_body
  absl::Time progress;   // when on_body last had something whole, or went on after a pause
  Scheduler::TimerId deadline_timer = 0;
  Scheduler::TimerId body_timer = 0;
  char error[CURL_ERROR_SIZE] = "";

  ~Call() {
    if (easy != nullptr) curl_easy_cleanup(easy);
    curl_slist_free_all(header_list);
  }
};

absl::StatusOr<std::unique_ptr<HttpClient>> HttpClient::Create(EventLoop* loop, Options options) {
  if (!InitCurl()) return absl::InternalError("curl_global_init failed");
  CURLM* multi = curl_multi_init();
  if (multi == nullptr) return absl::InternalError("curl_multi_init failed");
  return std::unique_ptr<HttpClient>(new HttpClient(loop, std::move(options), multi));
}

HttpClient::HttpClient(EventLoop* loop, Options options, CURLM* multi)
    : loop_(loop), options_(std::move(options)), multi_(multi) {
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &HttpClient::OnSocket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &HttpClient::OnTimer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(options_.max_idle_connections));
}

HttpClient::~HttpClient() {
  loop_->PostAndWait([this] {
    while (!calls_.empty())
      Finish(calls_.begin()->first, HttpFailure::kCancelled, "the HTTP client is closing");
    curl_multi_cleanup(multi_);
    if (curl_timer_ != 0) loop_->CancelTimer(curl_timer_);
  });
}

HttpClient::CallId HttpClient::Start(HttpRequest request, Done done) {
  const CallId id = next_id_.fetch_add(1);
  loop_->Post([this, id, request = std::move(request), done = std::move(done)]() mutable {
    Begin(id, std::move(request), std::move(done));
  });
  return id;
}

void HttpClient::Cancel(CallId id) {
  loop_->Post([this, id] { Finish(id, HttpFailure::kCancelled, "cancelled"); });
}

void HttpClient::Begin(CallId id, HttpRequest request, Done done) {
  auto owned = std::make_unique<Call>();
  Call* call = owned.get();
  call->client = this;
  call->id = id;
  call->request = std::move(request);
  call->done = std::move(done);
  if (call->request.body == nullptr) call->request.body = std::make_shared<const std::string>();
  call->easy = curl_easy_init();
  calls_.emplace(id, std::move(owned));
  if (call->easy == nullptr || !Configure(call)) {
    Finish(id, HttpFailure::kBadRequest, "libcurl refused the request's options");
    return;
  }
  if (call->request.deadline != absl::InfiniteFuture()) {
    call->deadline_timer = loop_->RunAt(call->request.deadline, [this, id] {
      Finish(id, HttpFailure::kDeadline, "the deadline passed before the answer was complete");
    });
  }
  const CURLMcode code = curl_multi_add_handle(multi_, call->easy);
  if (code != CURLM_OK) Finish(id, HttpFailure::kTransport, curl_multi_strerror(code));
}

bool HttpClient::Configure(Call* call) {
  CURL* easy = call->easy;
  bool ok = true;
  const auto set = [&](CURLoption option, auto value) {
    ok = ok && curl_easy_setopt(easy, option, value) == CURLE_OK;
  };
  for (const auto& [name, value] : call->request.headers) {
    call->header_list = curl_slist_append(call->header_list, absl::StrCat(name, ": ", value).c_str());
  }
  // Without this line libcurl waits for "100 Continue" before it sends a large body.
  call->header_list = curl_slist_append(call->header_list, "Expect:");
  set(CURLOPT_URL, call->request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_POST, 1L);
  set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call->request.body->size()));
  set(CURLOPT_POSTFIELDS, call->request.body->data());
  set(CURLOPT_HTTPHEADER, call->header_list);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  set(CURLOPT_PIPEWAIT, 0L);
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(call->request.connect_timeout)));
  set(CURLOPT_WRITEFUNCTION, &HttpClient::OnBody);
  set(CURLOPT_WRITEDATA, call);
  set(CURLOPT_HEADERFUNCTION, &HttpClient::OnHeader);
  set(CURLOPT_HEADERDATA, call);
  set(CURLOPT_ERRORBUFFER, call->error);
  set(CURLOPT_PRIVATE, call);
  if (!options_.ca_file.empty()) set(CURLOPT_CAINFO, options_.ca_file.c_str());
  return ok;
}

void HttpClient::Act(curl_socket_t socket, int events) {
  int running = 0;
  curl_multi_socket_action(multi_, socket, events, &running);
  ReadFinished();
}

void HttpClient::ReadFinished() {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Call* call = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
    HttpFailure failure = Classify(code);
    std::string text;
    if (failure != HttpFailure::kNone) {
      text = call->error[0] != '\0' ? call->error : curl_easy_strerror(code);
    }
    if (call->stopped) {
      failure = HttpFailure::kStopped;
      text = "the reader of the answer stopped";
    }
    if (call->too_large) {
      failure = HttpFailure::kTooLarge;
      text = absl::StrCat("the answer is larger than ", call->request.max_response_bytes, " bytes");
    }
    Finish(call->id, failure, std::move(text));
  }
}

void HttpClient::Finish(CallId id, HttpFailure failure, std::string message) {
  auto found = calls_.find(id);
  if (found == calls_.end()) return;
  std::unique_ptr<Call> call = std::move(found->second);
  calls_.erase(found);
  if (call->deadline_timer != 0) loop_->CancelTimer(call->deadline_timer);
  if (call->body_timer != 0) loop_->CancelTimer(call->body_timer);
  HttpResult result{failure, std::move(message), std::move(call->response)};
  if (call->easy != nullptr) {
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    result.response.status = static_cast<int>(status);
    // Removing a handle in mid-transfer closes its connection, or resets its HTTP/2 stream.
    curl_multi_remove_handle(multi_, call->easy);
  }
  Done done = std::move(call->done);
  call.reset();
  done(std::move(result));
}

int HttpClient::OnSocket(CURL*, curl_socket_t socket, int what, void* self, void*) {
  auto* client = static_cast<HttpClient*>(self);
  if (what == CURL_POLL_REMOVE) {
    client->loop_->Unwatch(socket);
    return 0;
  }
  const uint32_t events = ((what & CURL_POLL_IN) != 0 ? uint32_t{EPOLLIN} : 0U) |
                          ((what & CURL_POLL_OUT) != 0 ? uint32_t{EPOLLOUT} : 0U);
  client->loop_->Watch(socket, events, [client, socket](uint32_t ready) {
    const int action = ((ready & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                       ((ready & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                       ((ready & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
    client->Act(socket, action);
  });
  return 0;
}

int HttpClient::OnTimer(CURLM*, long timeout_ms, void* self) {
  auto* client = static_cast<HttpClient*>(self);
  if (client->curl_timer_ != 0) client->loop_->CancelTimer(client->curl_timer_);
  client->curl_timer_ = 0;
  if (timeout_ms < 0) return 0;
  const absl::Time due = client->loop_->Now() + absl::Milliseconds(timeout_ms);
  client->curl_timer_ = client->loop_->RunAt(due, [client] {
    client->curl_timer_ = 0;
    client->Act(CURL_SOCKET_TIMEOUT, 0);
  });
  return 0;
}

void HttpClient::Resume(CallId id) {
  loop_->Post([this, id] {
    const auto found = calls_.find(id);
    if (found == calls_.end() || !found->second->paused) return;
    found->second->paused = false;
    found->second->progress = loop_->Now();
    // Hands over what libcurl holds back, maybe at once, and sees to it that the socket is read again.
    curl_easy_pause(found->second->easy, CURLPAUSE_CONT);
    ReadFinished();
  });
}

void HttpClient::WatchBody(Call* call, absl::Duration time) {
  call->body_timer = loop_->RunAt(loop_->Now() + time, [this, id = call->id] {
    const auto found = calls_.find(id);
    if (found == calls_.end()) return;
    Call* late = found->second.get();
    const absl::Duration limit = late->request.body_timeout;
    const bool streamed = late->request.on_body != nullptr;
    if (streamed && late->paused) return WatchBody(late, limit);
    if (const absl::Duration left = late->progress + limit - loop_->Now();
        streamed && left > absl::ZeroDuration())
      return WatchBody(late, left);
    Finish(id, HttpFailure::kSlowBody,
           streamed ? absl::StrCat("the stream gave nothing whole for ", absl::FormatDuration(limit))
                    : absl::StrCat("the answer was not complete ", absl::FormatDuration(limit),
                                   " after its first byte"));
  });
}

size_t HttpClient::ReadPiece(Call* call, absl::string_view piece) {
  switch (call->request.on_body(piece)) {
    case BodyAction::kMore:
      return piece.size();
    case BodyAction::kPause:
      call->paused = true;
      [[fallthrough]];
    case BodyAction::kProgress:
      call->progress = loop_->Now();
      return piece.size();
    case BodyAction::kStop:
      call->stopped = true;
      break;
  }
  return 0;  // libcurl ends the transfer
}

size_t HttpClient::OnBody(char* data, size_t size, size_t count, void* user) {
  auto* call = static_cast<Call*>(user);
  if (call->paused) return CURL_WRITEFUNC_PAUSE;  // libcurl keeps the data
  const size_t bytes = size * count;
  if (bytes > call->request.max_response_bytes - call->body_bytes) {
    call->too_large = true;
    return 0;
  }
  call->body_bytes += bytes;
  if (call->body_timer == 0) {
    call->progress = call->client->loop_->Now();
    call->client->WatchBody(call, call->request.body_timeout);
  }
  if (call->request.on_body) {
    if (call->response.status == 0) {
      long status = 0;
      curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
      call->response.status = static_cast<int>(status);
    }
    if (call->response.status / 100 == 2) return call->client->ReadPiece(call, {data, bytes});
  }
  call->response.body.append(data, bytes);
  return bytes;
}

size_t HttpClient::OnHeader(char* data, size_t size, size_t count, void* user) {
  auto* call = static_cast<Call*>(user);
  const size_t bytes = size * count;
  call->header_bytes += bytes;
  if (call->header_bytes > kMaxHeaderBytes) {
    call->too_large = true;
    return 0;
  }
  absl::string_view line = absl::StripAsciiWhitespace(absl::string_view(data, bytes));
  const size_t colon = line.find(':');
  if (colon != absl::string_view::npos) {
    call->response.headers[absl::AsciiStrToLower(line.substr(0, colon))] =
        std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return bytes;
}

}  // namespace nkiagent::llm_gateway
