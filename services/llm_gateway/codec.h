// A provider's protocol as pure functions: request message to HTTP request, HTTP response to answer. No
// sockets, no clock; so each protocol is tested by tables, and one HttpProvider speaks them all.
#ifndef SERVICES_LLM_GATEWAY_CODEC_H_
#define SERVICES_LLM_GATEWAY_CODEC_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nkiagent/llm/v1/llm_service.pb.h"
#include "services/llm_gateway/http/http_client.h"
#include "services/llm_gateway/json_util.h"
#include "services/llm_gateway/model_config.h"
#include "services/llm_gateway/provider.h"
#include "services/llm_gateway/secrets.h"

namespace nkiagent::llm_gateway {

// What an error body, or an error event of a stream, says as far as it is one.
struct ProviderError {
  std::string type;     // the provider's own name of it, such as "overloaded_error"; may be empty
  std::string message;  // may be empty
  // True when trying again can't help although the status says so: a quota that is used up.
  bool permanent = false;
  // True when the conversation is too long for the model.
  bool context_overflow = false;
  // Of an event in a stream: the HTTP status that the error would have had.
  int status = 0;
};

// Reads one streamed answer. Not thread-safe. Memory is bounded by the bytes fed and one event.
class StreamDecoder {
 public:
  using Deltas = std::vector<nkiagent::llm::v1::ContentDelta>;

  virtual ~StreamDecoder() = default;

  // Reads on; what the bytes add to the answer is appended to `deltas`. INTERNAL says what is not of the
  // protocol; or the stream carried an error of the provider, see error(). Not called again after an error.
  virtual absl::Status Feed(absl::string_view bytes, Deltas* deltas) = 0;

  // After the last byte: the answer, as Codec::Decode gives it. UNAVAILABLE when the stream ended before the
  // answer did.
  virtual absl::StatusOr<nkiagent::llm::v1::GenerateResponse> Finish(const HttpResponse& response) = 0;

  const std::optional<ProviderError>& error() const { return error_; }
  // Events read; one that is complete is a sign of life.
  int64_t events() const { return events_; }

 protected:
  absl::Status Fail(ProviderError error) {
    error_ = std::move(error);
    return absl::InternalError("the stream carries an error");
  }

  int64_t events_ = 0;

 private:
  std::optional<ProviderError> error_;
};

// Thread-safe: without state.
class Codec {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  virtual ~Codec() = default;

  // The provider's name in answers, metrics and messages: "anthropic", "openai", "bedrock".
  virtual std::string provider() const = 0;
  virtual Offer offer() const = 0;

  // The path after the base URL, percent-encoded.
  virtual std::string Path(const nkiagent::llm::v1::GenerateRequest& request, const ModelConfig& config,
                           bool stream) const = 0;

  // The body of the HTTP request. The request has been checked (ValidateRequest) and asks only for what is
  // offered.
  virtual std::string Encode(const nkiagent::llm::v1::GenerateRequest& request, const ModelConfig& config,
                             bool stream) const = 0;

  // Adds the headers of the protocol, those that show who asks among them. URL and body are final.
  virtual absl::Status Authorize(const ModelConfig& config, const Credentials& credentials, absl::Time now,
                                 HttpRequest* request) const = 0;

  // The answer in the body of a 2xx response: message, stop reason, refusal, usage without cost, provider,
  // its model and its id. INTERNAL says what in it is not of the protocol. `request` is the one that it
  // answers.
  virtual absl::StatusOr<nkiagent::llm::v1::GenerateResponse> Decode(
      const nkiagent::llm::v1::GenerateRequest& request, const HttpResponse& response) const = 0;

  // A reader of the answer to a request that was encoded with `stream`. `request` outlives it.
  virtual std::unique_ptr<StreamDecoder> NewStream(
      const nkiagent::llm::v1::GenerateRequest& request) const = 0;

  // What the body of another response says.
  virtual ProviderError DecodeError(const HttpResponse& response) const = 0;
};

// https://docs.anthropic.com/en/api/messages, version 2023-06-01.
std::unique_ptr<Codec> MakeAnthropicCodec();

// https://platform.openai.com/docs/api-reference/chat, as vLLM and others speak it too.
std::unique_ptr<Codec> MakeOpenAiCodec();

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and ConverseStream.
std::unique_ptr<Codec> MakeBedrockCodec();

// The codec of ModelConfig::provider.
std::unique_ptr<Codec> MakeCodec(const std::string& provider);

// The arguments of a tool call as the object that goes back to a provider: the object itself or, where the
// model had sent broken JSON, {"invalid_json": "<that text>"}, since no provider takes anything but an
// object.
Json ArgumentsObject(const nkiagent::llm::v1::ToolCall& call);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_CODEC_H_
