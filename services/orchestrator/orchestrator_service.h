// The gRPC edge of the orchestrator: translates and delegates to SessionManager.
#ifndef SERVICES_ORCHESTRATOR_ORCHESTRATOR_SERVICE_H_
#define SERVICES_ORCHESTRATOR_ORCHESTRATOR_SERVICE_H_

#include <functional>
#include <stop_token>

#include "common/rpc/runtime.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.grpc.pb.h"
#include "services/orchestrator/session_manager.h"

namespace nkiagent::orchestrator {

// Benchmark runs are not done by this service: their calls answer UNIMPLEMENTED, as the contract allows.
class OrchestratorServiceImpl final : public v1::OrchestratorService::CallbackService {
 public:
  // The arguments outlive the service.
  OrchestratorServiceImpl(rpc::Runtime& runtime, SessionManager& manager);

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

 private:
  rpc::Runtime& runtime_;
  SessionManager& manager_;
  // Streams have no end of their own; they end when the service drains.
  std::stop_callback<std::function<void()>> on_drain_;
};

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_ORCHESTRATOR_SERVICE_H_
