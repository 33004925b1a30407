#include "services/llm_gateway/http_provider.h"

#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/status.h"
#include "services/llm_gateway/json_util.h"
#include "services/llm_gateway/secrets.h"

namespace nkiagent::llm_gateway {
namespace {

// What the caller gets to hear when a response is an error and there will be no further try.
absl::StatusCode CodeOf(int http_status, bool permanent) {
  switch (http_status) {
    case 400:
    case 413:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
    case 402:
    case 403:
      return absl::StatusCode::kFailedPrecondition;
    case 404:
      return absl::StatusCode::kNotFound;
    case 429:
      return permanent ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kResourceExhausted;
    default:
      return RetryableStatus(http_status) ? absl::StatusCode::kUnavailable : absl::StatusCode::kInternal;
  }
}

absl::Status FailureStatus(HttpFailure failure, absl::string_view message) {
  switch (failure) {
    case HttpFailure::kCancelled:
      return absl::CancelledError(message);
    case HttpFailure::kDeadline:
      return absl::DeadlineExceededError(message);
    case HttpFailure::kTooLarge:
      return absl::InternalError(message);
    case HttpFailure::kBadRequest:
      return absl::FailedPreconditionError(message);
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace

// One call with all its tries. Kept alive by whatever will go on with it: the HTTP client, a timer, the stop
// callback.
class HttpProvider::Operation : public std::enable_shared_from_this<Operation> {
 public:
  Operation(const HttpProvider* provider, const GenerateRequest& request, const CallContext& context,
            std::string key, Done done)
      : provider_(*provider),
        request_(request),
        context_(context),
        key_(std::move(key)),
        body_(provider->codec_->Encode(request, provider->config_)),
        done_(std::move(done)) {}

  void Begin() {
    // Weak: the callback lives in the operation.
    std::weak_ptr<Operation> weak = weak_from_this();
    on_stop_.emplace(context_.stop_token(), [weak] {
      if (auto self = weak.lock()) self->Stop();
    });
    Try();
  }

 private:
  using OnStop = std::stop_callback<std::function<void()>>;

  void Try() {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    timer_.reset();
    ++attempts_;
    HttpRequest http;
    http.url = absl::StrCat(provider_.config_.base_url, provider_.codec_->path());
    http.headers = provider_.codec_->Headers(key_);
    http.body = body_;
    http.deadline =
        std::min(context_.deadline(), provider_.parts_.scheduler->Now() + provider_.options_.attempt_timeout);
    http.connect_timeout = provider_.options_.connect_timeout;
    http.body_timeout = provider_.options_.body_timeout;
    http.max_response_bytes = provider_.options_.max_response_bytes;
    http_call_ = provider_.parts_.client->Start(
        std::move(http), [self = shared_from_this()](const HttpResult& result) { self->OnResult(result); });
  }

  void OnResult(const HttpResult& result) {
    {
      const std::lock_guard lock(mutex_);
      http_call_.reset();
      if (finished_) return;
    }
    const bool answered = result.failure == HttpFailure::kNone;
    const int status = result.response.status;
    if (answered && status >= 200 && status < 300) {
      Report(result, std::nullopt);
      Finish(Decoded(result.response));
      return;
    }
    ProviderError error;
    if (answered) error = provider_.codec_->DecodeError(result.response);
    std::optional<absl::Duration> pause;
    const std::optional<absl::Duration> asked =
        AskedPause(result.response.headers, provider_.parts_.scheduler->Now());
    if (answered ? RetryableStatus(status) && !error.permanent : result.failure == HttpFailure::kConnect) {
      pause = PauseBefore(asked);
    }
    Report(result, pause);
    if (pause.has_value()) {
      Pause(*pause);
      return;
    }
    Finish(answered ? ResponseError(result.response, error, asked) : TransportError(result));
  }

  std::optional<absl::Duration> PauseBefore(std::optional<absl::Duration> asked) {
    const std::lock_guard lock(mutex_);
    return NextPause(provider_.options_.retry,
                     {.attempts_made = attempts_,
                      .paused_so_far = paused_,
                      .time_left = context_.deadline() - provider_.parts_.scheduler->Now(),
                      .asked_pause = asked,
                      .random = provider_.parts_.random()});
  }

  void Pause(absl::Duration pause) {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    paused_ += pause;
    timer_ = provider_.parts_.scheduler->RunAt(provider_.parts_.scheduler->Now() + pause,
                                               [self = shared_from_this()] { self->Try(); });
  }

  void Stop() {
    std::optional<HttpClient::CallId> http_call;
    std::optional<Scheduler::TimerId> timer;
    {
      const std::lock_guard lock(mutex_);
      http_call = http_call_;
      timer = timer_;
    }
    if (timer.has_value()) provider_.parts_.scheduler->CancelTimer(*timer);
    if (http_call.has_value()) provider_.parts_.client->Cancel(*http_call);
    Finish(absl::CancelledError("the caller cancelled"));
  }

  absl::StatusOr<GenerateResponse> Decoded(const HttpResponse& response) {
    absl::StatusOr<GenerateResponse> result = provider_.codec_->Decode(request_, response);
    if (!result.ok()) {
      return absl::InternalError(Redact(
          absl::StrCat(Prefix(response.status), result.status().message(), ": ", Excerpt(response.body)),
          key_));
    }
    const std::lock_guard lock(mutex_);
    result->set_attempts(attempts_);
    return result;
  }

  absl::Status ResponseError(const HttpResponse& response, const ProviderError& error,
                             std::optional<absl::Duration> asked) {
    std::string text = Prefix(response.status);
    if (error.message.empty()) {
      absl::StrAppend(&text, Excerpt(response.body));
    } else {
      absl::StrAppend(&text, error.type, error.type.empty() ? "" : ": ", Excerpt(error.message, 1000));
    }
    const absl::StatusCode code = CodeOf(response.status, error.permanent);
    if (code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kResourceExhausted) {
      absl::StrAppend(&text, Tries());
    }
    absl::Status status(code, Redact(text, key_));
    if (code == absl::StatusCode::kResourceExhausted) {
      status = rpc::WithRetryAfter(std::move(status), asked.value_or(provider_.options_.retry.max_pause));
    }
    return status;
  }

  absl::Status TransportError(const HttpResult& result) {
    HttpFailure failure = result.failure;
    // The time limit of one try is the gateway's affair; only the caller's own is a deadline to it.
    if (failure == HttpFailure::kDeadline && provider_.parts_.scheduler->Now() < context_.deadline()) {
      failure = HttpFailure::kTransport;
    }
    std::string text = Prefix(result.response.status);
    absl::StrAppend(&text, Excerpt(result.message));
    if (failure == HttpFailure::kConnect) absl::StrAppend(&text, Tries());
    return FailureStatus(failure, Redact(text, key_));
  }

  std::string Prefix(int http_status) const {
    std::string text = absl::StrCat("provider ", provider_.codec_->provider(), ", model ",
                                    provider_.config_.ProviderModel(request_.model()));
    if (http_status != 0) absl::StrAppend(&text, ", HTTP status ", http_status);
    return absl::StrCat(text, ": ");
  }

  std::string Tries() {
    const std::lock_guard lock(mutex_);
    return absl::StrCat(" (tried ", attempts_, attempts_ == 1 ? " time)" : " times)");
  }

  void Report(const HttpResult& result, std::optional<absl::Duration> pause) {
    if (!provider_.parts_.on_attempt) return;
    int number = 0;
    {
      const std::lock_guard lock(mutex_);
      number = attempts_;
    }
    provider_.parts_.on_attempt({.config = &provider_.config_,
                                 .number = number,
                                 .http_status = result.response.status,
                                 .failure = result.failure,
                                 .will_retry = pause.has_value(),
                                 .pause = pause.value_or(absl::ZeroDuration()),
                                 .headers = &result.response.headers});
  }

  void Finish(absl::StatusOr<GenerateResponse> result) {
    Done done;
    {
      const std::lock_guard lock(mutex_);
      if (finished_) return;
      finished_ = true;
      done = std::move(done_);
    }
    done(std::move(result));
  }

  const HttpProvider& provider_;
  const GenerateRequest request_;
  const CallContext context_;
  const std::string key_;
  const std::string body_;

  std::mutex mutex_;  // guards what follows, up to done_
  bool finished_ = false;
  int attempts_ = 0;
  absl::Duration paused_;
  std::optional<HttpClient::CallId> http_call_;
  std::optional<Scheduler::TimerId> timer_;
  Done done_;
  std::optional<OnStop> on_stop_;  // last: its destructor waits for a callback that runs, which uses the rest
};

HttpProvider::HttpProvider(ModelConfig config, std::unique_ptr<Codec> codec, HttpProviderOptions options,
                           HttpProviderParts parts)
    : config_(std::move(config)), codec_(std::move(codec)), options_(options), parts_(std::move(parts)) {}

void HttpProvider::Generate(const GenerateRequest& request, const CallContext& context, Done done) {
  if (absl::Status status = context.Check(); !status.ok()) return done(status);
  absl::StatusOr<std::string> key = ReadKey(config_);
  if (!key.ok()) {
    return done(absl::FailedPreconditionError(
        absl::StrCat("model ", request.model(), " can't be used: ", key.status().message())));
  }
  std::make_shared<Operation>(this, request, context, *std::move(key), std::move(done))->Begin();
}

absl::Status HttpProvider::Available() const { return ReadKey(config_).status(); }

}  // namespace nkiagent::llm_gateway
