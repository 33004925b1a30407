// A child's end in the terms of the contract, for every service that has workers.
#ifndef SERVICES_WORKER_OUTCOME_PROTO_H_
#define SERVICES_WORKER_OUTCOME_PROTO_H_

#include "absl/time/time.h"
#include "common/sandbox/outcome.h"
#include "google/protobuf/duration.pb.h"
#include "nkiagent/common/v1/sandbox.pb.h"

namespace nkiagent::worker {

// kException, a role that failed in a way it should have handled, is SANDBOX_STATUS_BAD_ANSWER.
common::v1::SandboxOutcome ToProto(const sandbox::Outcome& outcome);

google::protobuf::Duration ToProto(absl::Duration duration);

}  // namespace nkiagent::worker

#endif  // SERVICES_WORKER_OUTCOME_PROTO_H_
