#include "services/llm_gateway/http_provider.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rpc/status.h"
#include "services/llm_gateway/error_detail.h"
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
    case HttpFailure::kCertificate:
      return WithUntrustedEndpoint(absl::FailedPreconditionError(message));
    default:
      return absl::UnavailableError(message);
  }
}

// What a call will take of a limit on tokens, as a guess that the answer corrects: a token is four bytes, as
// in English text, and answers are short unless the caller says how long they may be.
int64_t GuessTokens(const GenerateRequest& request, size_t body_bytes) {
  constexpr int64_t kShortAnswer = 1024;
  const int64_t output =
      request.sampling().has_max_output_tokens() ? request.sampling().max_output_tokens() : kShortAnswer;
  return static_cast<int64_t>(body_bytes / 4) + output;
}

}  // namespace

// One call with all its tries. Kept alive by whatever will go on with it: the HTTP client, a timer, the stop
// callback.
class HttpProvider::Operation : public std::enable_shared_from_this<Operation> {
 public:
  Operation(const HttpProvider* provider, const ModelCall& call, Credentials credentials, Done done)
      : provider_(*provider),
        request_(call.request),
        context_(call.context),
        pieces_(call.pieces),
        credentials_(std::move(credentials)),
        body_(std::make_shared<const std::string>(
            provider->codec_->Encode(*request_, provider->config_, pieces_ != nullptr))),
        retry_(provider->options_.retry),
        done_(std::move(done)) {
    if (call.max_attempts > 0) retry_.max_attempts = call.max_attempts;
  }

  void Begin() {
    // Weak: the callback lives in the operation.
    std::weak_ptr<Operation> weak = weak_from_this();
    on_stop_.emplace(context_.stop_token(), [weak] {
      if (auto self = weak.lock()) self->Stop();
    });
    Await();
  }

 private:
  using OnStop = std::stop_callback<std::function<void()>>;

  absl::Time Now() const { return provider_.parts_.scheduler->Now(); }

  // Waits for the call's share of the rate limits, then tries.
  void Await() {
    RateLimiter* limiter = provider_.parts_.limiter;
    if (limiter == nullptr) return Try();
    const absl::Time now = Now();
    absl::Time when = now;
    {
      const std::lock_guard lock(mutex_);
      if (finished_) return;
      if (!taken_.has_value()) {
        taken_ = GuessTokens(*request_, body_->size());
        due_ = limiter->Take(*taken_, now);
      }
      when = std::max(due_, limiter->blocked_until());
    }
    if (when <= now) return Try();
    const absl::Duration wait = when - now;
    if (when >= context_.deadline() || wait > retry_.pause_budget) {
      return Finish(
          WithReason(rpc::WithRetryAfter(absl::ResourceExhaustedError(absl::StrCat(
                                             Prefix(0), "the rate limit lets the next call begin in ",
                                             absl::FormatDuration(absl::Ceil(wait, absl::Milliseconds(1))))),
                                         wait),
                     nkiagent::llm::v1::ERROR_REASON_RATE_LIMITED));
    }
    Schedule(when, [self = shared_from_this()] { self->Await(); });
  }

  void Try() {
    if (provider_.parts_.breaker != nullptr) {
      if (absl::Status status = provider_.parts_.breaker->Admit(Now()); !status.ok()) return Finish(status);
    }
    HttpRequest http;
    http.url = absl::StrCat(provider_.config_.base_url,
                            provider_.codec_->Path(*request_, provider_.config_, pieces_ != nullptr));
    http.body = body_;
    const absl::Status authorized =
        provider_.codec_->Authorize(provider_.config_, credentials_, Now(), &http);
    const std::lock_guard lock(mutex_);
    if (finished_ || !authorized.ok()) {
      Judge(CircuitBreaker::Outcome::kUnknown);
      if (!finished_) {
        provider_.parts_.scheduler->RunAt(
            Now(), [self = shared_from_this(), authorized] { self->Finish(authorized); });
      }
      return;
    }
    timer_.reset();
    ++attempts_;
    http.deadline = std::min(context_.deadline(), Now() + provider_.options_.attempt_timeout);
    http.connect_timeout = provider_.options_.connect_timeout;
    http.body_timeout = provider_.options_.body_timeout;
    http.max_response_bytes = provider_.options_.max_response_bytes;
    if (pieces_ != nullptr) {
      http.body_timeout = provider_.options_.stream_timeout;
      decoder_ = provider_.codec_->NewStream(*request_);
      http.on_body = [this](absl::string_view bytes) { return OnBody(bytes); };
    }
    http_call_ = provider_.parts_.client->Start(
        std::move(http), [self = shared_from_this()](const HttpResult& result) { self->OnResult(result); });
  }

  // On the loop thread; the client's callback in Try keeps the operation alive.
  BodyAction OnBody(absl::string_view bytes) {
    HttpClient::CallId http_call = 0;
    {
      const std::lock_guard lock(mutex_);
      if (finished_ || !http_call_.has_value()) return BodyAction::kStop;
      http_call = *http_call_;
    }
    const int64_t events = decoder_->events();
    deltas_.clear();
    broken_ = decoder_->Feed(bytes, &deltas_);
    bool room = true;
    for (nkiagent::llm::v1::ContentDelta& delta : deltas_) {
      sent_ = true;
      room = pieces_->Take(std::move(delta));
    }
    if (!broken_.ok()) return BodyAction::kStop;
    if (!room) {
      pieces_->WhenRoom([client = provider_.parts_.client, http_call] { client->Resume(http_call); });
      return BodyAction::kPause;
    }
    return decoder_->events() > events ? BodyAction::kProgress : BodyAction::kMore;
  }

  void OnResult(const HttpResult& result) {
    {
      const std::lock_guard lock(mutex_);
      http_call_.reset();
      // Whoever stopped the call has said all there is to say of it; the provider may be gone by now.
      if (finished_ || stopped_) return;
    }
    const int status = result.response.status;
    if (provider_.parts_.limiter != nullptr)
      provider_.parts_.limiter->Observe(status, result.response.headers, Now());
    const bool success = status >= 200 && status < 300;
    const bool streamed = decoder_ != nullptr && success;
    if (streamed && result.failure == HttpFailure::kStopped) return OnBrokenStream(result);
    const bool answered = result.failure == HttpFailure::kNone;
    Judge(OutcomeOf(result));
    if (answered && success) {
      Report(result, std::nullopt);
      Finish(Decoded(result.response));
      return;
    }
    ProviderError error;
    if (answered) error = provider_.codec_->DecodeError(result.response);
    const bool again =
        answered ? RetryableStatus(status) && !error.permanent : result.failure == HttpFailure::kConnect;
    const std::optional<absl::Duration> asked = AskedPause(result.response.headers, Now());
    if (!again) Report(result, std::nullopt);
    if (again && TryLater(result, asked)) return;
    absl::Status failed =
        answered ? ResponseError(result.response, status, error, asked) : TransportError(result);
    if (streamed) failed = WithReason(std::move(failed), nkiagent::llm::v1::ERROR_REASON_BROKEN_STREAM);
    Finish(std::move(failed));
  }

  // The decoder stopped in mid-stream: the provider said why, or what it sent is not of its protocol.
  void OnBrokenStream(const HttpResult& result) {
    if (!decoder_->error().has_value()) {
      Judge(CircuitBreaker::Outcome::kSuccess);
      Report(result, std::nullopt);
      return Finish(WithReason(
          absl::InternalError(Redacted(absl::StrCat(Prefix(result.response.status), broken_.message()))),
          nkiagent::llm::v1::ERROR_REASON_BROKEN_STREAM));
    }
    const ProviderError& error = *decoder_->error();
    Judge(error.status >= 500 ? CircuitBreaker::Outcome::kFailure : CircuitBreaker::Outcome::kSuccess);
    const bool again = !sent_ && !error.permanent && RetryableStatus(error.status);
    if (!again) Report(result, std::nullopt);
    if (again && TryLater(result, std::nullopt)) return;
    absl::Status failed = ResponseError(result.response, error.status, error, std::nullopt);
    if (sent_) failed = WithReason(std::move(failed), nkiagent::llm::v1::ERROR_REASON_BROKEN_STREAM);
    Finish(std::move(failed));
  }

  CircuitBreaker::Outcome OutcomeOf(const HttpResult& result) const {
    switch (result.failure) {
      case HttpFailure::kNone:
        return result.response.status >= 500 ? CircuitBreaker::Outcome::kFailure
                                             : CircuitBreaker::Outcome::kSuccess;
      case HttpFailure::kTooLarge:
        return CircuitBreaker::Outcome::kSuccess;
      case HttpFailure::kCancelled:
      case HttpFailure::kBadRequest:
      case HttpFailure::kCertificate:  // an open circuit would hide what has to be mended
        return CircuitBreaker::Outcome::kUnknown;
      case HttpFailure::kDeadline:
        // A caller in a hurry says nothing about the endpoint.
        return Now() < context_.deadline() ? CircuitBreaker::Outcome::kFailure
                                           : CircuitBreaker::Outcome::kUnknown;
      default:
        return CircuitBreaker::Outcome::kFailure;
    }
  }

  // Schedules a further try if there is to be one; reports the one that ended.
  bool TryLater(const HttpResult& result, std::optional<absl::Duration> asked) {
    const std::optional<absl::Duration> pause = PauseBefore(asked);
    Report(result, pause);
    if (!pause.has_value()) return false;
    {
      const std::lock_guard lock(mutex_);
      paused_ += *pause;
      // The request that failed has used its share of requests, but no tokens.
      if (taken_.has_value()) provider_.parts_.limiter->GiveBack(false, *taken_, Now());
      taken_.reset();
    }
    Schedule(Now() + *pause, [self = shared_from_this()] { self->Await(); });
    return true;
  }

  void Schedule(absl::Time when, std::function<void()> task) {
    const std::lock_guard lock(mutex_);
    if (!finished_) timer_ = provider_.parts_.scheduler->RunAt(when, std::move(task));
  }

  void Judge(CircuitBreaker::Outcome outcome) const {
    if (provider_.parts_.breaker != nullptr) provider_.parts_.breaker->Record(outcome, Now());
  }

  std::optional<absl::Duration> PauseBefore(std::optional<absl::Duration> asked) {
    const std::lock_guard lock(mutex_);
    return NextPause(retry_, {.attempts_made = attempts_,
                              .paused_so_far = paused_,
                              .time_left = context_.deadline() - Now(),
                              .asked_pause = asked,
                              .random = provider_.parts_.random()});
  }

  void Stop() {
    std::optional<HttpClient::CallId> http_call;
    std::optional<Scheduler::TimerId> timer;
    {
      const std::lock_guard lock(mutex_);
      http_call = std::exchange(http_call_, std::nullopt);
      stopped_ = http_call.has_value();
      timer = timer_;
    }
    if (timer.has_value()) provider_.parts_.scheduler->CancelTimer(*timer);
    if (http_call.has_value()) {
      provider_.parts_.client->Cancel(*http_call);
      Judge(CircuitBreaker::Outcome::kUnknown);
    }
    Finish(absl::CancelledError("the caller cancelled"));
  }

  absl::StatusOr<GenerateResponse> Decoded(const HttpResponse& response) {
    absl::StatusOr<GenerateResponse> result =
        decoder_ != nullptr ? decoder_->Finish(response) : provider_.codec_->Decode(*request_, response);
    if (!result.ok()) {
      std::string text = absl::StrCat(Prefix(response.status), result.status().message());
      if (decoder_ == nullptr) {
        return absl::InternalError(Redacted(absl::StrCat(text, ": ", Excerpt(response.body))));
      }
      return WithReason(absl::Status(result.status().code(), Redacted(text)),
                        nkiagent::llm::v1::ERROR_REASON_BROKEN_STREAM);
    }
    const std::lock_guard lock(mutex_);
    result->set_attempts(attempts_);
    // Not every protocol names the model in its answers.
    if (result->provider_model().empty())
      result->set_provider_model(provider_.config_.ProviderModel(request_->model()));
    used_tokens_ = result->usage().input_tokens() + result->usage().output_tokens();
    return result;
  }

  absl::Status ResponseError(const HttpResponse& response, int http_status, const ProviderError& error,
                             std::optional<absl::Duration> asked) {
    std::string text = Prefix(http_status);
    if (error.message.empty()) {
      absl::StrAppend(&text, Excerpt(response.body));
    } else {
      absl::StrAppend(&text, error.type, error.type.empty() ? "" : ": ", Excerpt(error.message, 1000));
    }
    const absl::StatusCode code = CodeOf(http_status, error.permanent);
    if (code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kResourceExhausted) {
      absl::StrAppend(&text, Tries());
    }
    absl::Status status(code, Redacted(text));
    if (code == absl::StatusCode::kResourceExhausted) {
      return WithReason(rpc::WithRetryAfter(std::move(status), asked.value_or(retry_.max_pause)),
                        nkiagent::llm::v1::ERROR_REASON_RATE_LIMITED);
    }
    if (code == absl::StatusCode::kInvalidArgument && error.context_overflow)
      return WithReason(std::move(status), nkiagent::llm::v1::ERROR_REASON_CONTEXT_OVERFLOW);
    if (http_status == 401 || http_status == 403)
      return WithReason(std::move(status), nkiagent::llm::v1::ERROR_REASON_KEY);
    return status;
  }

  std::string Redacted(absl::string_view text) const { return Redact(text, credentials_.Secrets()); }

  absl::Status TransportError(const HttpResult& result) {
    HttpFailure failure = result.failure;
    // The time limit of one try is the gateway's affair; only the caller's own is a deadline to it.
    if (failure == HttpFailure::kDeadline && provider_.parts_.scheduler->Now() < context_.deadline()) {
      failure = HttpFailure::kTransport;
    }
    std::string text = Prefix(result.response.status);
    if (failure == HttpFailure::kCertificate)
      absl::StrAppend(&text, "the certificate of ", provider_.config_.base_url, " is not trusted: ");
    absl::StrAppend(&text, Excerpt(result.message));
    if (failure == HttpFailure::kConnect) absl::StrAppend(&text, Tries());
    return FailureStatus(failure, Redacted(text));
  }

  std::string Prefix(int http_status) const {
    std::string text = absl::StrCat("provider ", provider_.codec_->provider(), ", model ",
                                    provider_.config_.ProviderModel(request_->model()));
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
      if (taken_.has_value()) {
        // What was taken by guess is now known, or was not used.
        const bool used = attempts_ > 0;
        provider_.parts_.limiter->GiveBack(!used, *taken_ - (used ? used_tokens_ : 0), Now());
      }
    }
    done(std::move(result));
  }

  const HttpProvider& provider_;
  const std::shared_ptr<const GenerateRequest> request_;
  const CallContext context_;
  const std::shared_ptr<PieceSink> pieces_;
  const Credentials credentials_;
  const std::shared_ptr<const std::string> body_;
  RetryOptions retry_;

  // Loop thread only, but for decoder_, which is made under the mutex before the request begins.
  std::unique_ptr<StreamDecoder> decoder_;
  StreamDecoder::Deltas deltas_;
  absl::Status broken_;
  bool sent_ = false;

  std::mutex mutex_;  // guards what follows, up to done_
  bool finished_ = false;
  bool stopped_ = false;  // while an HTTP call was under way, whose result is then nobody's
  int attempts_ = 0;
  absl::Duration paused_;
  std::optional<int64_t> taken_;  // tokens of the rate limiter
  absl::Time due_;
  int64_t used_tokens_ = 0;
  std::optional<HttpClient::CallId> http_call_;
  std::optional<Scheduler::TimerId> timer_;
  Done done_;
  std::optional<OnStop> on_stop_;  // last: its destructor waits for a callback that runs, which uses the rest
};

HttpProvider::HttpProvider(ModelConfig config, std::unique_ptr<Codec> codec, HttpProviderOptions options,
                           HttpProviderParts parts)
    : config_(std::move(config)), codec_(std::move(codec)), options_(options), parts_(std::move(parts)) {}

void HttpProvider::Generate(const ModelCall& call, Done done) {
  if (absl::Status status = call.context.Check(); !status.ok()) return done(status);
  absl::StatusOr<Credentials> credentials = ReadCredentials(config_);
  if (!credentials.ok()) {
    return done(
        WithReason(absl::FailedPreconditionError(absl::StrCat(
                       "model ", call.request->model(), " can't be used: ", credentials.status().message())),
                   nkiagent::llm::v1::ERROR_REASON_KEY));
  }
  std::make_shared<Operation>(this, call, *std::move(credentials), std::move(done))->Begin();
}

std::string HttpProvider::Identity(const GenerateRequest& request) const {
  return absl::StrCat(codec_->provider(), "\n", config_.base_url, codec_->Path(request, config_, false), "\n",
                      codec_->Encode(request, config_, false));
}

absl::Status HttpProvider::Available() const { return ReadCredentials(config_).status(); }

}  // namespace nkiagent::llm_gateway
