// The loop around NextAction: carries an action out, stores what came of it, asks again, until the session
// ends or the process is to stop. Everything that costs money or time is stored as begun before and as ended
// after it.
#ifndef SERVICES_ORCHESTRATOR_SESSION_RUNNER_H_
#define SERVICES_ORCHESTRATOR_SESSION_RUNNER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/rpc/context.h"
#include "services/orchestrator/backends.h"
#include "services/orchestrator/session_log.h"

namespace nkiagent::orchestrator {

// How a run of the loop ended.
enum class RunOutcome {
  kEnded,        // the session has ended; its log says how
  kInterrupted,  // the context was cancelled; the session can be taken up again
  kLost,         // another process has the session
  kStoreFailed,  // events can't be stored; the session can be taken up again
};

struct RunResult {
  RunOutcome outcome;
  absl::Status status;  // why, for all but kEnded
};

// Runs one session on the calling thread. `call` bears the session's id as request id, so that each line that
// any service logs for this session can be found by it; its stop token interrupts. `log` and `backends`
// outlive the call.
RunResult RunSession(const rpc::CallContext& call, SessionLog& log, Backends& backends);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_SESSION_RUNNER_H_
