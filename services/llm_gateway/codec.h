// A provider's protocol as pure functions: request message to HTTP request, HTTP response to answer. No
// sockets, no clock, no memory; so each protocol is tested by tables, and one HttpProvider speaks them all.
#ifndef SERVICES_LLM_GATEWAY_CODEC_H_
#define SERVICES_LLM_GATEWAY_CODEC_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nkiagent/llm/v1/llm_service.pb.h"
#include "services/llm_gateway/http/http_client.h"
#include "services/llm_gateway/json_util.h"
#include "services/llm_gateway/model_config.h"

namespace nkiagent::llm_gateway {

// An error body, as far as it is one.
struct ProviderError {
  std::string type;     // the provider's own name of it, such as "overloaded_error"; may be empty
  std::string message;  // may be empty
  // True when trying again can't help although the status says so: a quota that is used up.
  bool permanent = false;
};

// Thread-safe: without state.
class Codec {
 public:
  virtual ~Codec() = default;

  // The provider's name in answers, metrics and messages: "anthropic", "openai".
  virtual std::string provider() const = 0;

  // The path after the base URL.
  virtual std::string path() const = 0;

  // The headers of a call with this key (empty: none).
  virtual std::vector<std::pair<std::string, std::string>> Headers(absl::string_view key) const = 0;

  // The body of the HTTP request. The request has been checked (ValidateRequest).
  virtual std::string Encode(const nkiagent::llm::v1::GenerateRequest& request,
                             const ModelConfig& config) const = 0;

  // The answer in the body of a 2xx response: message, stop reason, refusal, usage without cost, provider,
  // its model and its id. INTERNAL says what in it is not of the protocol. `request` is the one that it
  // answers.
  virtual absl::StatusOr<nkiagent::llm::v1::GenerateResponse> Decode(
      const nkiagent::llm::v1::GenerateRequest& request, const HttpResponse& response) const = 0;

  // What the body of another response says.
  virtual ProviderError DecodeError(const HttpResponse& response) const = 0;
};

// https://docs.anthropic.com/en/api/messages, version 2023-06-01.
std::unique_ptr<Codec> MakeAnthropicCodec();

// https://platform.openai.com/docs/api-reference/chat, as vLLM and others speak it too.
std::unique_ptr<Codec> MakeOpenAiCodec();

// The arguments of a tool call as the object that goes back to a provider: the object itself or, where the
// model had sent broken JSON, {"invalid_json": "<that text>"}, since no provider takes anything but an
// object.
Json ArgumentsObject(const nkiagent::llm::v1::ToolCall& call);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_CODEC_H_
