// The rule-based writer as a model of the gateway.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_BUILTIN_MODEL_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_BUILTIN_MODEL_H_

#include "services/llm_gateway/provider.h"

namespace nkiagent::builtin {

// Thread-safe and without state: an answer depends on the request's messages, tools and tool choice alone. It
// costs nothing and counts no tokens. Sampling options are ignored; there is nothing to sample.
class BuiltinModel : public llm_gateway::BlockingModel {
 public:
  // Never INVALID_ARGUMENT: a conversation without a graph is answered in words.
  absl::StatusOr<llm_gateway::GenerateResponse> Generate(const llm_gateway::GenerateRequest& request,
                                                         const llm_gateway::CallContext& context) override;
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_BUILTIN_MODEL_H_
