// From a parsed graph of core ATen operations to the writer's own Program.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_LOWERING_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_LOWERING_H_

#include "absl/status/statusor.h"
#include "services/llm_gateway/builtin/graph.h"
#include "services/llm_gateway/builtin/program.h"

namespace nkiagent::builtin {

// What the writer assumes of the data when it takes composites apart; a mismatch may refute it.
struct LoweringOptions {
  // Variance as mean(x^2) - mean(x)^2, in one pass over the data as the vendor's layer norm tutorial has it.
  // It cancels when the mean is large against the spread; otherwise the deviations are squared, which is
  // safe.
  bool one_pass_variance = true;
  // sin and cos arguments lie within the engine's domain of -pi..pi (isa-constraints, activation table).
  bool trigonometry_in_domain = true;
  // Among the largest few of a row no two are equal, so that a value tells its position.
  bool distinct_extremes = true;
  // The scores of attention stay on chip between the two products, and are turned there, which takes finite
  // numbers.
  bool fused_attention = true;
};

// UNIMPLEMENTED, naming the node and the reason, for what the writer can't lower; only nodes that reach a
// result count.
absl::StatusOr<Program> LowerGraph(const Graph& graph, const LoweringOptions& options);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_LOWERING_H_
