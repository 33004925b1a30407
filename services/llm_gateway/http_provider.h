// Any provider that is reached by HTTP: one codec, one client, and the retries.
#ifndef SERVICES_LLM_GATEWAY_HTTP_PROVIDER_H_
#define SERVICES_LLM_GATEWAY_HTTP_PROVIDER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "services/llm_gateway/circuit_breaker.h"
#include "services/llm_gateway/codec.h"
#include "services/llm_gateway/http/event_loop.h"
#include "services/llm_gateway/http/http_client.h"
#include "services/llm_gateway/model_config.h"
#include "services/llm_gateway/provider.h"
#include "services/llm_gateway/rate_limiter.h"
#include "services/llm_gateway/retry.h"

namespace nkiagent::llm_gateway {

struct HttpProviderOptions {
  RetryOptions retry;
  // Longest time of one try, so that a connection that died silently doesn't use up the caller's deadline.
  absl::Duration attempt_timeout = absl::Minutes(10);
  absl::Duration connect_timeout = absl::Seconds(10);
  // Longest time from the first to the last byte of an answer that is not streamed.
  absl::Duration body_timeout = absl::Minutes(2);
  // Longest time without a complete event in a streamed answer.
  absl::Duration stream_timeout = absl::Minutes(2);
  // Largest answer in bytes.
  size_t max_response_bytes = size_t{32} << 20;
};

// What one try came to, for metrics and logs.
struct Attempt {
  const ModelConfig* config = nullptr;
  int number = 1;
  int http_status = 0;  // 0: no answer
  HttpFailure failure = HttpFailure::kNone;
  bool will_retry = false;
  absl::Duration pause;  // before the next
  const std::map<std::string, std::string>* headers = nullptr;
};

// What a provider uses but doesn't own; all outlive it.
struct HttpProviderParts {
  HttpClient* client = nullptr;
  Scheduler* scheduler = nullptr;
  // Uniform over [0, 1); called from any thread.
  std::function<double()> random;
  // Called after each try, on the loop thread; may be null.
  std::function<void(const Attempt&)> on_attempt;
  // Of the model, and of its endpoint; may be null.
  RateLimiter* limiter = nullptr;
  CircuitBreaker* breaker = nullptr;
};

class HttpProvider : public Provider {
 public:
  HttpProvider(ModelConfig config, std::unique_ptr<Codec> codec, HttpProviderOptions options,
               HttpProviderParts parts);

  // Destroyed only when no call is in progress.
  ~HttpProvider() override = default;

  void Generate(const ModelCall& call, Done done) override;
  Offer offer() const override { return codec_->offer(); }
  std::string Identity(const GenerateRequest& request) const override;
  absl::Status Available() const override;

 private:
  class Operation;

  const ModelConfig config_;
  const std::unique_ptr<Codec> codec_;
  const HttpProviderOptions options_;
  const HttpProviderParts parts_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_HTTP_PROVIDER_H_
