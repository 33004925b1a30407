// The gRPC edge of the orchestrator: translates and delegates to SessionManager and RunManager.
#ifndef SERVICES_ORCHESTRATOR_ORCHESTRATOR_SERVICE_H_
#define SERVICES_ORCHESTRATOR_ORCHESTRATOR_SERVICE_H_

#include <functional>
#include <stop_token>

#include "common/rpc/runtime.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.grpc.pb.h"
#include "services/orchestrator/run_manager.h"
#include "services/orchestrator/session_manager.h"

namespace nkiagent::orchestrator {

class OrchestratorServiceImpl final : public v1::OrchestratorService::CallbackService {
 public:
  // The arguments outlive the service.
  OrchestratorServiceImpl(rpc::Runtime& runtime, SessionManager& manager, RunManager& runs);

  grpc::ServerUnaryReactor* SubmitTask(grpc::CallbackServerContext* context,
                                       const v1::SubmitTaskRequest* request,
                                       v1::SubmitTaskResponse* response) override;
  grpc::ServerUnaryReactor* GetSession(grpc::CallbackServerContext* context,
                                       const v1::GetSessionRequest* request,
                                       v1::GetSessionResponse* response) override;
  grpc::ServerUnaryReactor* ListSessions(grpc::CallbackServerContext* context,
                                         const v1::ListSessionsRequest* request,
                                         v1::ListSessionsResponse* response) override;
  grpc::ServerUnaryReactor* CancelSession(grpc::CallbackServerContext* context,
                                          const v1::CancelSessionRequest* request,
                                          v1::CancelSessionResponse* response) override;
  grpc::ServerUnaryReactor* RenderPrompt(grpc::CallbackServerContext* context,
                                         const v1::RenderPromptRequest* request,
                                         v1::RenderPromptResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchSessionResponse>* WatchSession(
      grpc::CallbackServerContext* context, const v1::WatchSessionRequest* request) override;
  grpc::ServerUnaryReactor* CreateRun(grpc::CallbackServerContext* context,
                                      const v1::CreateRunRequest* request,
                                      v1::CreateRunResponse* response) override;
  grpc::ServerUnaryReactor* GetRun(grpc::CallbackServerContext* context, const v1::GetRunRequest* request,
                                   v1::GetRunResponse* response) override;
  grpc::ServerUnaryReactor* ListRuns(grpc::CallbackServerContext* context, const v1::ListRunsRequest* request,
                                     v1::ListRunsResponse* response) override;
  grpc::ServerUnaryReactor* CancelRun(grpc::CallbackServerContext* context,
                                      const v1::CancelRunRequest* request,
                                      v1::CancelRunResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchRunResponse>* WatchRun(grpc::CallbackServerContext* context,
                                                           const v1::WatchRunRequest* request) override;

 private:
  rpc::Runtime& runtime_;
  SessionManager& manager_;
  RunManager& runs_;
  // Streams have no end of their own; they end when the service drains.
  std::stop_callback<std::function<void()>> on_drain_;
};

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_ORCHESTRATOR_SERVICE_H_
