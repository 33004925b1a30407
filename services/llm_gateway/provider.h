// What every model behind the gateway looks like: messages and tools in, one message out.
//
// There are two forms. A BlockingModel computes its answer on the calling thread (the rule-based writer, a
// replay); a Provider answers later from some other thread (anything that waits for a network). The gateway
// runs the first kind on a small pool of threads through BlockingProvider (blocking_provider.h) and so knows
// only the second.
#ifndef SERVICES_LLM_GATEWAY_PROVIDER_H_
#define SERVICES_LLM_GATEWAY_PROVIDER_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rpc/context.h"
#include "nkiagent/llm/v1/llm_service.pb.h"

namespace nkiagent::llm_gateway {

using nkiagent::llm::v1::GenerateRequest;
using nkiagent::llm::v1::GenerateResponse;
using nkiagent::rpc::CallContext;

// A model that computes its answer on the calling thread. Thread-safe: calls come from several threads at
// once, and everything that an answer depends on is in the request (no memory between calls).
class BlockingModel {
 public:
  virtual ~BlockingModel() = default;

  // The next message of the conversation. The caller has checked the request (ValidateRequest): it has
  // messages, the last is the user's, tool names are unique, schemas are JSON objects.
  //
  // Fills `message` (role assistant), `stop_reason`, `provider`, `provider_model` and, where tokens exist,
  // the token counts of `usage`; the gateway fills the rest (`model`, `attempts`, `latency`, cost). A model
  // that has nothing more to offer says so in text and stops with STOP_REASON_END_TURN; an error status means
  // that there is no answer: INVALID_ARGUMENT where the conversation is at fault, CANCELLED or
  // DEADLINE_EXCEEDED from `context.Check()`.
  virtual absl::StatusOr<GenerateResponse> Generate(const GenerateRequest& request,
                                                    const CallContext& context) = 0;
};

// A model that answers later. Thread-safe.
class Provider {
 public:
  using Done = std::function<void(absl::StatusOr<GenerateResponse>)>;

  virtual ~Provider() = default;

  // As BlockingModel::Generate, but `done` is called exactly once, on any thread, maybe before this returns.
  // It is called soon after the context's deadline or cancellation at the latest. `request` need not outlive
  // the call.
  virtual void Generate(const GenerateRequest& request, const CallContext& context, Done done) = 0;

  // OK when the provider can be used as it is configured; otherwise FAILED_PRECONDITION naming what is
  // missing, such as the environment variable that should hold its key. Talks to nobody.
  virtual absl::Status Available() const { return absl::OkStatus(); }
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_PROVIDER_H_
