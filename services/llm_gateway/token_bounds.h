// How many tokens a request has, without a tokenizer: bounds that hold for every one.
#ifndef SERVICES_LLM_GATEWAY_TOKEN_BOUNDS_H_
#define SERVICES_LLM_GATEWAY_TOKEN_BOUNDS_H_

#include <cstdint>

#include "nkiagent/llm/v1/llm_service.pb.h"
#include "services/llm_gateway/model_config.h"

namespace nkiagent::llm_gateway {

// No fewer than this: the words between white space, since no tokenizer in use joins two of them. Real counts
// are two to four times as high for source code.
int64_t FewestInputTokens(const nkiagent::llm::v1::GenerateRequest& request);

// No more than this: every byte of text a token, and 64 for what each message and tool brings along.
int64_t MostInputTokens(const nkiagent::llm::v1::GenerateRequest& request);

// Output tokens that the answer may have: what the request or else the configuration says; 0 if neither does.
int64_t MostOutputTokens(const nkiagent::llm::v1::GenerateRequest& request, const ModelConfig& config);

// INVALID_ARGUMENT with the reason ERROR_REASON_CONTEXT_OVERFLOW when it is certain that the request and the
// answer that it asks for don't fit into the model's context window; OK when the window is not known.
absl::Status CheckContextWindow(const nkiagent::llm::v1::GenerateRequest& request, const ModelConfig& config);

// The most that the call may cost, in millionths of a US dollar. FAILED_PRECONDITION when that is not known:
// no prices, or no limit of the answer's length.
absl::StatusOr<int64_t> MostCostMicroUsd(const nkiagent::llm::v1::GenerateRequest& request,
                                         const ModelConfig& config);

// Output tokens that `micro_usd` pays for beside the input, by the same bounds; 0 if not even the input. For
// a model with prices.
int64_t AffordableOutputTokens(const nkiagent::llm::v1::GenerateRequest& request, const ModelConfig& config,
                               int64_t micro_usd);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_TOKEN_BOUNDS_H_
