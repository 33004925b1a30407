// A child's end in the terms of the contract, for every service that has workers.
#ifndef SERVICES_WORKER_OUTCOME_PROTO_H_
#define SERVICES_WORKER_OUTCOME_PROTO_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/sandbox/outcome.h"
#include "google/protobuf/duration.pb.h"
#include "nkiagent/common/v1/sandbox.pb.h"

namespace nkiagent::worker {

// kException, a role that failed in a way it should have handled, is SANDBOX_STATUS_BAD_ANSWER.
common::v1::SandboxOutcome ToProto(const sandbox::Outcome& outcome);

google::protobuf::Duration ToProto(absl::Duration duration);

// `text` with invalid UTF-8 replaced by "?", cut to `max_bytes` at a character: what may go into a proto
// string.
std::string CleanText(absl::string_view text, size_t max_bytes);

}  // namespace nkiagent::worker

#endif  // SERVICES_WORKER_OUTCOME_PROTO_H_
