// What callers may ask of runs: checks, defaults, page tokens. Pure functions; any thread.
#ifndef SERVICES_ORCHESTRATOR_RUN_REQUESTS_H_
#define SERVICES_ORCHESTRATOR_RUN_REQUESTS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.pb.h"
#include "services/orchestrator/requests.h"

namespace nkiagent::orchestrator {

// OK, or INVALID_ARGUMENT with the field or the task, its value and the limit.
absl::Status CheckRun(const v1::CreateRunRequest& request, const RequestLimits& limits);

// The run that a checked request asks for: defaults filled in.
v1::Run NewRunFor(const v1::CreateRunRequest& request, const std::string& run_id);

// What the run promises to do, to be signed.
v1::RunManifest ManifestOf(const v1::Run& run);

// The request of one session of the run. Its request id is fixed by run and row, so that asking again is
// safe.
v1::SubmitTaskRequest SessionRequest(const std::string& run_id, const v1::RunSpec& spec, int row);

// Equal for equal requests, whatever their request ids.
std::string RunRequestHash(const v1::CreateRunRequest& request);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_RUN_REQUESTS_H_
