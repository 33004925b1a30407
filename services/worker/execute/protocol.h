// What verify-service asks of a child that executes a program, and what it hears back. Control data only;
// tensors lie in arenas whose descriptors come with the request.
//
// Request: one line of JSON, then the program's bytes. Reply: JSON.
#ifndef SERVICES_WORKER_EXECUTE_PROTOCOL_H_
#define SERVICES_WORKER_EXECUTE_PROTOCOL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/nki/exec/execute.h"
#include "common/sandbox/tensor_arena.h"

namespace nkiagent::worker::execute {

// A tensor in the arena that is the request's `fd`-th descriptor.
struct TensorPlace {
  int fd = 0;
  sandbox::ArenaSlot slot;
};

struct Trial {
  std::vector<TensorPlace> inputs;   // In the order of Program::inputs.
  std::vector<TensorPlace> outputs;  // In the order of Program::outputs.
};

struct Request {
  std::vector<Trial> trials;
  absl::string_view program;  // Serialised; borrowed.
  int threads = 1;
  int64_t max_bytes = int64_t{2} << 30;  // ExecOptions::max_bytes.
  absl::Duration wall_limit;             // Of each trial.
};

enum class TrialStatus { kCompleted = 0, kFault = 1, kTimeout = 2, kMemory = 3, kNotRun = 4 };

struct TrialReport {
  TrialStatus status = TrialStatus::kNotRun;
  std::string message;  // Unless completed.
  absl::Duration time;
  std::vector<nki::exec::OutputReport> outputs;  // If completed.
  std::vector<nki::Diagnostic> diagnostics;      // Run-time findings.
};

std::string EncodeRequest(const Request& request);
absl::StatusOr<Request> DecodeRequest(absl::string_view payload);

// Trials stop at the first that doesn't complete, so there may be fewer reports than trials.
std::string EncodeReply(const std::vector<TrialReport>& reports);
// The reply comes from a process that ran a hostile program: anything malformed is INVALID_ARGUMENT.
absl::StatusOr<std::vector<TrialReport>> DecodeReply(absl::string_view reply);

}  // namespace nkiagent::worker::execute

#endif  // SERVICES_WORKER_EXECUTE_PROTOCOL_H_
