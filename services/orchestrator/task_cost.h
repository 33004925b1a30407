// What a task costs at least, and what it costs when its operators run one after another: two marks beside
// the estimated latency of a kernel. Both come from the reference graph (nki.graph.v1) and the machine's peak
// rates (common/nki/timing/machine.h). A pure function; any thread.
#ifndef SERVICES_ORCHESTRATOR_TASK_COST_H_
#define SERVICES_ORCHESTRATOR_TASK_COST_H_

#include "absl/strings/string_view.h"

namespace nkiagent::orchestrator {

struct TaskCost {
  // The larger of: arguments (as far as they can matter) and results moved once by all DMA engines; matrix
  // products at the Tensor engine's peak. No kernel is faster.
  double fused_us = 0;
  // The sum over operators of the same bound for each alone: its operands moved in, its result moved out.
  // Views cost nothing. Nor do start-up latencies, so real operators are slower.
  double op_by_op_us = 0;
};

// Zeros for a text that is no such graph.
TaskCost CostOfGraph(absl::string_view graph);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_TASK_COST_H_
