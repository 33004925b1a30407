// What every provider may take for granted about a request.
#ifndef SERVICES_LLM_GATEWAY_VALIDATE_H_
#define SERVICES_LLM_GATEWAY_VALIDATE_H_

#include "absl/status/status.h"
#include "nkiagent/llm/v1/llm_service.pb.h"

namespace nkiagent::llm_gateway {

// INVALID_ARGUMENT names the message, block or tool and what is wrong with it: no model, no messages, a first
// or last message that is not the user's, roles or blocks that are unset, a block under the wrong role, a
// tool result without its call, more than 64 tools, names of tools that occur twice or have odd characters,
// schemas that are no JSON schema of an object, sampling options out of bounds, budgets without a name or a
// limit, ids over 128 characters.
absl::Status ValidateRequest(const nkiagent::llm::v1::GenerateRequest& request);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_VALIDATE_H_
