// A session as a training episode: one JSON object in the chat format of the open-source trainers, with its
// rewards and where it comes from. A pure function of the session's events.
#ifndef SERVICES_ORCHESTRATOR_EPISODE_H_
#define SERVICES_ORCHESTRATOR_EPISODE_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "nkiagent/compile/v1/compile_service.pb.h"
#include "nkiagent/orchestrator/v1/session.pb.h"
#include "nkiagent/verify/v1/verdict.pb.h"
#include "services/orchestrator/snapshot.h"

namespace nkiagent::orchestrator {

// The published system's reward for GRPO (section 3.3): +1 for a verified kernel, -0.5 for anything else.
inline constexpr double kBinaryPass = 1.0;
inline constexpr double kBinaryFail = -0.5;

// A graded reward, since the published system found the binary one too sparse to learn from:
//   no kernel -0.5 | does not compile -0.3 | compiles, but does not run to its end or has the wrong shapes 0
//   | wrong values 0.1 + 0.4 * share of right elements | passes 1 + 0.5 * roofline / latency
// The share is that of the worst output of the failing trial, and the last term is bounded by 0.5.
double GradedReward(const compile::v1::CompileResult* compiled, const verify::v1::Verdict* verdict);

// The episode of a session that has ended. Keys:
//   messages   system, user, assistant (content, reasoning, tool_calls) and tool messages, as they were
//   exchanged tools      what the model was offered, as OpenAI function schemas task       id, name, level,
//   hash, source outcome    state, reason, message, passed, turns reward     binary and graded of the
//   session, and graded of each turn (null where a turn judged no kernel) verdict    of the best kernel, else
//   of the last: reason, tolerance, seeds, max_abs_error, latency_us, roofline_us kernel     source of that
//   kernel provenance session, model, provider_model, prompt, toolchain, created, ended, usage
nlohmann::ordered_json EpisodeJson(const Snapshot& snapshot, const std::vector<v1::SessionEvent>& events);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_EPISODE_H_
