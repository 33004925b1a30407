// Asks reference children about tasks, and believes nothing that they answer before it has been checked.
#ifndef SERVICES_VERIFY_REFERENCE_ROLE_H_
#define SERVICES_VERIFY_REFERENCE_ROLE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/rpc/context.h"
#include "common/sandbox/outcome.h"
#include "common/sandbox/warm_parent.h"
#include "services/verify/task_data.h"

namespace nkiagent::verify {

// Runs one request in one confined child: WarmParent::Run of a role.
using RunChild =
    std::function<absl::StatusOr<sandbox::Outcome>(const sandbox::Request&, const rpc::CallContext&)>;

struct ReferenceOptions {
  // Wall and CPU limit of a child that describes a task, or runs all trials of a call.
  absl::Duration max_wall_time = absl::Seconds(60);
  // RLIMIT_AS. PyTorch itself takes 0.7 GiB of it.
  int64_t max_address_space_bytes = int64_t{4} << 30;
  // Largest sum of a task's parameters, of the inputs of a trial, of its outputs.
  int64_t max_tensor_bytes = int64_t{1} << 30;
};

// Thread safe.
class ReferenceRole {
 public:
  ReferenceRole(ReferenceOptions options, RunChild run) : options_(options), run_(std::move(run)) {}

  // Runs the task once. Fills everything of TaskFacts but the task's hash and toolchain's version. Errors are
  // those of WarmParent::Run.
  absl::StatusOr<OrProblem<TaskDataPtr>> Describe(const rpc::CallContext& call, const common::v1::Task& task);

  // Inputs and expected outputs for each plan, in one child. Families that can't be tried come back as
  // skipped.
  absl::StatusOr<OrProblem<std::vector<TrialDataPtr>>> RunTrials(const rpc::CallContext& call,
                                                                 const common::v1::Task& task,
                                                                 const TaskData& data,
                                                                 absl::Span<const TrialPlan> plans);

 private:
  sandbox::Request MakeRequest(const rpc::CallContext& call) const;

  const ReferenceOptions options_;
  const RunChild run_;
};

// True for problems that the task has wherever and whenever it runs; the others may be the machine's or the
// limits'.
bool IsLasting(const v1::TaskProblem& problem);

// The wall limit of a child: `own`, or what is left of the call but for a margin in which the answer can
// still be sent.
absl::Duration ChildWallLimit(absl::Duration own, const rpc::CallContext& call);

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_REFERENCE_ROLE_H_
