// Why a call failed, attached to its status for programs.
#ifndef SERVICES_LLM_GATEWAY_ERROR_DETAIL_H_
#define SERVICES_LLM_GATEWAY_ERROR_DETAIL_H_

#include "absl/status/status.h"
#include "nkiagent/llm/v1/llm_service.pb.h"

namespace nkiagent::llm_gateway {

// `status` with an ErrorDetail; replaces one that it has.
absl::Status WithReason(absl::Status status, nkiagent::llm::v1::ErrorReason reason);

// The reason that WithReason attached; ERROR_REASON_UNSPECIFIED if there is none.
nkiagent::llm::v1::ErrorReason ReasonOf(const absl::Status& status);

// Marks the failure of an endpoint that could not show who it is. Within the gateway only: callers have the
// code and the message.
absl::Status WithUntrustedEndpoint(absl::Status status);
bool IsUntrustedEndpoint(const absl::Status& status);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_ERROR_DETAIL_H_
