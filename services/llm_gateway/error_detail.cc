#include "services/llm_gateway/error_detail.h"

#include <string>

#include "absl/strings/cord.h"

namespace nkiagent::llm_gateway {
namespace {
constexpr char kUrl[] = "type.googleapis.com/nkiagent.llm.v1.ErrorDetail";
constexpr char kUntrustedUrl[] = "nkiagent.llm/untrusted-endpoint";
}  // namespace

absl::Status WithReason(absl::Status status, nkiagent::llm::v1::ErrorReason reason) {
  nkiagent::llm::v1::ErrorDetail detail;
  detail.set_reason(reason);
  status.SetPayload(kUrl, absl::Cord(detail.SerializeAsString()));
  return status;
}

nkiagent::llm::v1::ErrorReason ReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kUrl);
  nkiagent::llm::v1::ErrorDetail detail;
  if (!payload.has_value() || !detail.ParseFromString(std::string(*payload))) {
    return nkiagent::llm::v1::ERROR_REASON_UNSPECIFIED;
  }
  return detail.reason();
}

absl::Status WithUntrustedEndpoint(absl::Status status) {
  status.SetPayload(kUntrustedUrl, absl::Cord());
  return status;
}

bool IsUntrustedEndpoint(const absl::Status& status) { return status.GetPayload(kUntrustedUrl).has_value(); }

}  // namespace nkiagent::llm_gateway
