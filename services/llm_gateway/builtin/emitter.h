// From a plan to the source of an NKI kernel for SDK 2.24 (neuronxcc.nki).
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_EMITTER_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_EMITTER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/llm_gateway/builtin/plan.h"

namespace nkiagent::builtin {

struct KernelText {
  std::string source;
  // For each stage its first line in the source, counted from 1; a diagnostic's line tells the stage by them.
  std::vector<int> stage_first_line;
};

// One `@nki.jit` function `nki_kernel` whose parameters are the program's arguments in order. Deterministic.
absl::StatusOr<KernelText> EmitKernel(const KernelPlan& plan);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_EMITTER_H_
