// From facts, executions and comparisons to a verdict. Pure functions; the order of the checks is that of
// VerdictReason.
#ifndef SERVICES_VERIFY_JUDGE_H_
#define SERVICES_VERIFY_JUDGE_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/nki/ir/program.h"
#include "nkiagent/verify/v1/verdict.pb.h"
#include "services/verify/execute_role.h"
#include "services/verify/task_data.h"

namespace nkiagent::verify {

// Whether the program takes and returns the tensors of the task, in order. If not, sets reason, message and
// both sides' specs, and returns false.
bool ProgramFitsTask(const nki::ir::Program& program, const v1::TaskFacts& facts, v1::Verdict& verdict);

// Compares what was executed with what the reference gave, and sets passed, reason, message, trials, line,
// evidence. Comparison stops at the first trial that fails, unless `all_trials`. `verdict.tolerance` is
// applied. An error means that the expected outputs could not be mapped.
absl::Status JudgeExecution(const TaskData& data, absl::Span<const TrialDataPtr> trials,
                            const Execution& execution, bool all_trials, v1::Verdict& verdict);

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_JUDGE_H_
