// What callers may ask: checks, defaults, identity of requests, page tokens. Pure functions; any thread.
#ifndef SERVICES_ORCHESTRATOR_REQUESTS_H_
#define SERVICES_ORCHESTRATOR_REQUESTS_H_

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.pb.h"

namespace nkiagent::orchestrator {

struct RequestLimits {
  absl::Duration default_wall_limit = absl::Minutes(30);
  absl::Duration max_wall_limit = absl::Hours(24);
};

// OK, or INVALID_ARGUMENT with the field, its value and the limit.
absl::Status CheckSubmit(const v1::SubmitTaskRequest& request, const RequestLimits& limits);

// The session that a checked request asks for: defaults filled in, queued.
v1::Session NewSessionFor(const v1::SubmitTaskRequest& request, const std::string& session_id,
                          const RequestLimits& limits);

// Equal for equal requests, whatever their request ids.
std::string RequestHash(const v1::SubmitTaskRequest& request);

// Equal bytes for equal messages, within one version of the contract.
std::string DeterministicBytes(const google::protobuf::Message& message);

// The page size to use: 50 by default, at most 500. INVALID_ARGUMENT: negative.
absl::StatusOr<int> PageSize(int requested);

// A page token says where the next page begins and for which list and filters, told as any text, it was
// given.
std::string MakePageToken(absl::string_view filter, int64_t before);
// The cursor in a token; 0 for none. INVALID_ARGUMENT: not a token of this service, or one of other filters.
absl::StatusOr<int64_t> ReadPageToken(absl::string_view filter, absl::string_view token);
// Equal for equal filters.
std::string ListFilterText(const v1::ListSessionsRequest& request);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_REQUESTS_H_
