// Asks execute children to run programs on inputs in shared memory.
#ifndef SERVICES_VERIFY_EXECUTE_ROLE_H_
#define SERVICES_VERIFY_EXECUTE_ROLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/rpc/context.h"
#include "common/sandbox/outcome.h"
#include "common/sandbox/shared_memory.h"
#include "common/sandbox/tensor_arena.h"
#include "services/verify/reference_role.h"
#include "services/verify/task_data.h"
#include "services/worker/execute/protocol.h"

namespace nkiagent::verify {

struct ExecuteOptions {
  // Wall limit of one trial. A child runs all trials of a call.
  absl::Duration max_wall_time = absl::Seconds(30);
  // RLIMIT_AS of the child.
  int64_t max_address_space_bytes = int64_t{4} << 30;
  // What an execution may allocate besides arguments and results.
  int64_t max_program_bytes = int64_t{2} << 30;
  // Largest sum of the outputs of a trial.
  int64_t max_tensor_bytes = int64_t{1} << 30;
  // Threads of one execution.
  int threads = 2;
};

// What became of an execution. The outputs are sealed and mapped: the child is gone and nothing can change
// them.
struct Execution {
  sandbox::Outcome outcome;  // Its reply has been taken out.
  // Why the child's reply is not one; the reports are empty then, as they are if the child did not end well.
  std::string bad_answer;
  // In the order of the trials, up to the first that did not complete.
  std::vector<worker::execute::TrialReport> reports;
  std::vector<sandbox::SharedMemory> outputs;  // One for each trial.
  std::vector<sandbox::ArenaSlot> output_slots;
};

// Thread safe.
class ExecuteRole {
 public:
  ExecuteRole(ExecuteOptions options, RunChild run) : options_(options), run_(std::move(run)) {}

  // Runs `program`, whose arguments and results are those of `data.facts`, on each trial's inputs.
  // `wall_limit`: of one trial, at most the option's. Errors are those of WarmParent::Run, and
  // ResourceExhausted for outputs over the limit.
  absl::StatusOr<Execution> Execute(const rpc::CallContext& call, absl::string_view program,
                                    const TaskData& data, absl::Span<const TrialDataPtr> trials,
                                    std::optional<absl::Duration> wall_limit);

 private:
  const ExecuteOptions options_;
  const RunChild run_;
};

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_EXECUTE_ROLE_H_
