// What an observation refutes: from a plan that failed to the assumptions of the next one.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_REPAIR_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_REPAIR_H_

#include <optional>
#include <string>

#include "services/llm_gateway/builtin/emitter.h"
#include "services/llm_gateway/builtin/plan.h"
#include "services/llm_gateway/builtin/tool_text.h"

namespace nkiagent::builtin {

struct Revision {
  Assumptions assumptions;
  std::string reason;  // one sentence for the reader of the conversation
};

// The next thing to try after `observation` of the kernel `text` made from `plan`; none when nothing that the
// plan assumed explains it. Each revision takes an assumption back or makes a tile smaller, so that a chain
// of them ends.
std::optional<Revision> Revise(const KernelPlan& plan, const KernelText& text,
                               const Observation& observation);

// The stage whose lines contain `line`; none before the first stage.
std::optional<size_t> StageAtLine(const KernelText& text, int line);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_REPAIR_H_
