// Asks a slow model a second time, and takes the answer that comes first.
#ifndef SERVICES_LLM_GATEWAY_HEDGING_H_
#define SERVICES_LLM_GATEWAY_HEDGING_H_

#include "absl/time/time.h"
#include "services/llm_gateway/http/event_loop.h"
#include "services/llm_gateway/provider.h"

namespace nkiagent::llm_gateway {

// As provider->Generate(call, done), but when there is no answer after `delay`, a second request is made. The
// first answer cancels the other request, which may have to be paid nonetheless; an error only counts once
// both have ended, or before the second began. Not for streamed answers. `provider` and `scheduler` outlive
// the call.
void GenerateHedged(Provider* provider, Scheduler* scheduler, absl::Duration delay, const ModelCall& call,
                    Provider::Done done);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_HEDGING_H_
