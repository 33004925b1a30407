// One stream of a session's or a run's events: stored events first, then those to come, until the last.
#ifndef SERVICES_ORCHESTRATOR_WATCH_STREAM_H_
#define SERVICES_ORCHESTRATOR_WATCH_STREAM_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "common/rpc/runtime.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.pb.h"
#include "services/orchestrator/run_manager.h"
#include "services/orchestrator/session_manager.h"

namespace nkiagent::orchestrator {

// Starts the stream; gRPC deletes the reactor once it is done. `runtime` and `manager` outlive it.
grpc::ServerWriteReactor<v1::WatchSessionResponse>* StartWatchStream(rpc::Runtime& runtime,
                                                                     SessionManager& manager,
                                                                     grpc::CallbackServerContext* context,
                                                                     const v1::WatchSessionRequest& request);
grpc::ServerWriteReactor<v1::WatchRunResponse>* StartWatchStream(rpc::Runtime& runtime, RunManager& manager,
                                                                 grpc::CallbackServerContext* context,
                                                                 const v1::WatchRunRequest& request);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_WATCH_STREAM_H_
