// absl::Status inside, grpc::Status at the edge, and back, with typed details.
//
// Codes are the same numbers. Payloads of an absl::Status travel as google.rpc.Status details (the wire
// format of grpc-status-details-bin, so that standard clients can read them): type URL = payload URL, value =
// payload bytes.
#ifndef COMMON_RPC_STATUS_H_
#define COMMON_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nkiagent::rpc {

// Status messages travel in HTTP/2 headers, which gRPC bounds at 8 KiB in all; longer ones are cut and say
// so.
inline constexpr size_t kMaxStatusMessageBytes = 4096;

// Beyond this size in all, details are left out rather than the whole status.
inline constexpr size_t kMaxStatusDetailsBytes = 2048;

grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

// `status` with a google.rpc.RetryInfo: the caller may try again after `delay`. For RESOURCE_EXHAUSTED and
// UNAVAILABLE.
absl::Status WithRetryAfter(absl::Status status, absl::Duration delay);

// The delay that WithRetryAfter attached on this or the other side of a call; nothing if there is none.
std::optional<absl::Duration> RetryAfter(const absl::Status& status);

// The name of a code as metrics and logs spell it: "OK", "INVALID_ARGUMENT", …
absl::string_view CodeName(absl::StatusCode code);

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_STATUS_H_
