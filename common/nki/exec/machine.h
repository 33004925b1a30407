// Runs a plan: bodies, loops and the life of tensors.
#ifndef NKIAGENT_COMMON_NKI_EXEC_MACHINE_H_
#define NKIAGENT_COMMON_NKI_EXEC_MACHINE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/nki/exec/context.h"
#include "common/nki/exec/execute.h"
#include "common/nki/exec/plan.h"
#include "common/nki/exec/team.h"

namespace nkiagent::nki::exec {

// How to execute. kReference: every instruction by its definition, loops in order on one thread, every fresh
// tensor filled with the undefined pattern; what kFast is tested against.
enum class Mode { kFast, kReference };

absl::StatusOr<ExecReport> ExecuteAs(Mode mode, const ir::Program& program,
                                     absl::Span<const InputView> inputs, absl::Span<const OutputView> outputs,
                                     const ExecOptions& options);

class Machine {
 public:
  // `shared`, `plan` and `team` outlive the machine. A null team means one thread.
  Machine(Shared* shared, const Plan* plan, Team* team, Mode mode);

  // The context of the calling thread; its tensors are set up by the caller.
  Context& main() { return *contexts_[0]; }

  // Runs the whole program. False after a fault or a status in main().
  bool Run() { return RunBody(main(), plan_->body); }

  int64_t instructions() const;

 private:
  bool RunBody(Context& context, const BodyPlan& body);
  bool RunStep(Context& context, const StepPlan& step);
  bool RunInstr(Context& context, const InstrPlan& plan);
  bool RunLoop(Context& context, const LoopPlan& loop);
  bool RunIteration(Context& context, const LoopPlan& loop, int64_t i);
  // As RunIteration; no exception leaves it, for team members.
  bool RunIterationSafely(Context& context, const LoopPlan& loop, int64_t i);
  bool RunInParallel(Context& context, const LoopPlan& loop);
  bool Create(Context& context, ir::TensorId storage);
  void Release(Context& context, ir::TensorId storage);

  Shared* const shared_;
  const Plan* const plan_;
  Team* const team_;
  const Mode mode_;
  bool in_parallel_ = false;                        // written by the main thread while no other runs
  std::vector<std::unique_ptr<Context>> contexts_;  // by team member
};

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_MACHINE_H_
