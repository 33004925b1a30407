#include "services/orchestrator/orchestrator_service.h"

#include <utility>

#include "services/orchestrator/watch_stream.h"

namespace nkiagent::orchestrator {
namespace {

// Hands a session over to a response, or says why there is none.
template <class Response>
absl::Status Answer(absl::StatusOr<v1::Session> session, Response* response) {
  if (!session.ok()) return session.status();
  *response->mutable_session() = *std::move(session);
  return absl::OkStatus();
}

}  // namespace

OrchestratorServiceImpl::OrchestratorServiceImpl(rpc::Runtime& runtime, SessionManager& manager)
    : runtime_(runtime),
      manager_(manager),
      on_drain_(runtime.draining(), [&manager] { manager.WakeWatchers(); }) {}

grpc::ServerUnaryReactor* OrchestratorServiceImpl::SubmitTask(grpc::CallbackServerContext* context,
                                                              const v1::SubmitTaskRequest* request,
                                                              v1::SubmitTaskResponse* response) {
  return rpc::RunUnary(runtime_, context, "SubmitTask", [=, this](const rpc::CallContext&) {
    return Answer(manager_.Submit(*request), response);
  });
}

grpc::ServerUnaryReactor* OrchestratorServiceImpl::GetSession(grpc::CallbackServerContext* context,
                                                              const v1::GetSessionRequest* request,
                                                              v1::GetSessionResponse* response) {
  return rpc::RunUnary(runtime_, context, "GetSession", [=, this](const rpc::CallContext&) {
    return Answer(manager_.Get(request->session_id()), response);
  });
}

grpc::ServerUnaryReactor* OrchestratorServiceImpl::ListSessions(grpc::CallbackServerContext* context,
                                                                const v1::ListSessionsRequest* request,
                                                                v1::ListSessionsResponse* response) {
  return rpc::RunUnary(runtime_, context, "ListSessions", [=, this](const rpc::CallContext&) {
    absl::StatusOr<v1::ListSessionsResponse> page = manager_.List(*request);
    if (!page.ok()) return page.status();
    *response = *std::move(page);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* OrchestratorServiceImpl::CancelSession(grpc::CallbackServerContext* context,
                                                                 const v1::CancelSessionRequest* request,
                                                                 v1::CancelSessionResponse* response) {
  return rpc::RunUnary(runtime_, context, "CancelSession", [=, this](const rpc::CallContext&) {
    return Answer(manager_.Cancel(request->session_id(), request->reason()), response);
  });
}

grpc::ServerUnaryReactor* OrchestratorServiceImpl::RenderPrompt(grpc::CallbackServerContext* context,
                                                                const v1::RenderPromptRequest* request,
                                                                v1::RenderPromptResponse* response) {
  return rpc::RunUnary(runtime_, context, "RenderPrompt", [=, this](const rpc::CallContext& call) {
    absl::StatusOr<v1::PromptBuilt> prompt = manager_.RenderPrompt(call, *request);
    if (!prompt.ok()) return prompt.status();
    *response->mutable_prompt() = *std::move(prompt);
    return absl::OkStatus();
  });
}

grpc::ServerWriteReactor<v1::WatchSessionResponse>* OrchestratorServiceImpl::WatchSession(
    grpc::CallbackServerContext* context, const v1::WatchSessionRequest* request) {
  return StartWatchStream(runtime_, manager_, context, *request);
}

}  // namespace nkiagent::orchestrator
