// What every model behind the gateway looks like: messages and tools in, one message out.
//
// There are two forms. A BlockingModel computes its answer on the calling thread (the rule-based writer, a
// replay); a Provider answers later from some other thread (anything that waits for a network). The gateway
// runs the first kind on a small pool of threads through BlockingProvider (blocking_provider.h) and so knows
// only the second.
#ifndef SERVICES_LLM_GATEWAY_PROVIDER_H_
#define SERVICES_LLM_GATEWAY_PROVIDER_H_

#include <functional>
#include <memory>
#include <string>

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

// Takes the pieces of an answer that is being made.
class PieceSink {
 public:
  virtual ~PieceSink() = default;
  // Takes the next piece. Calls come one after the other, and before the call's `done`. False: it holds as
  // many as it wants to; who can make the model wait does so until WhenRoom says that there is room. Pieces
  // that come nonetheless are taken.
  virtual bool Take(nkiagent::llm::v1::ContentDelta piece) = 0;
  // Calls `resume` once, on any thread, when there is room again; at once if there is, or if nobody reads any
  // more.
  virtual void WhenRoom(std::function<void()> resume) = 0;
};

// One question to a model.
struct ModelCall {
  std::shared_ptr<const GenerateRequest> request;
  CallContext context;
  // Gets the pieces of a model that streams; null: only the whole is wanted.
  std::shared_ptr<PieceSink> pieces;
  // Tries; 0: as many as the provider's own options allow.
  int max_attempts = 0;
};

// What a provider can do beyond the common ground.
struct Offer {
  bool seed = false;
  bool samples = false;
  bool logprobs = false;
  // Whether TOOL_CHOICE_NONE can be said in a conversation that has tool calls.
  bool no_tool_choice = true;
};

// A model that answers later. Thread-safe.
class Provider {
 public:
  using Done = std::function<void(absl::StatusOr<GenerateResponse>)>;

  virtual ~Provider() = default;

  // As BlockingModel::Generate, but `done` is called exactly once, on any thread, maybe before this returns.
  // It is called soon after the context's deadline or cancellation at the latest.
  virtual void Generate(const ModelCall& call, Done done) = 0;

  virtual Offer offer() const { return {}; }

  // All that decides about an answer, as bytes: equal ones may share a cached answer. Empty: never cached.
  virtual std::string Identity(const GenerateRequest&) const { return ""; }

  // OK when the provider can be used as it is configured; otherwise FAILED_PRECONDITION naming what is
  // missing, such as the environment variable that should hold its key. Talks to nobody.
  virtual absl::Status Available() const { return absl::OkStatus(); }
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_PROVIDER_H_
