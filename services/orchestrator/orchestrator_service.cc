#include "services/orchestrator/orchestrator_service.h"

#include <utility>

#include "services/orchestrator/watch_stream.h"

namespace nkiagent::orchestrator {
namespace {

// Hands a session or a run over to a response, or says why there is none.
template <class Response>
absl::Status Answer(absl::StatusOr<v1::Session> session, Response* response) {
  if (!session.ok()) return session.status();
  *response->mutable_session() = *std::move(session);
  return absl::OkStatus();
}

template <class Response>
absl::Status Answer(absl::StatusOr<v1::Run> run, Response* response) {
  if (!run.ok()) return run.status();
  *response->mutable_run() = *std::move(run);
  return absl::OkStatus();
}

// The same for a page of a list.
template <class Response>
absl::Status AnswerPage(absl::StatusOr<Response> page, Response* response) {
  if (!page.ok()) return page.status();
  *response = *std::move(page);
  return absl::OkStatus();
}

}  // namespace

OrchestratorServiceImpl::OrchestratorServiceImpl(rpc::Runtime& runtime, SessionManager& manager,
                                                 RunManager& runs)
    : runtime_(runtime), manager_(manager), runs_(runs), on_drain_(runtime.draining(), [&manager, &runs] {
        manager.WakeWatchers();
        runs.WakeWatchers();
      }) {}

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
    return AnswerPage(manager_.List(*request), response);
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

grpc::ServerUnaryReactor* OrchestratorServiceImpl::CreateRun(grpc::CallbackServerContext* context,
                                                             const v1::CreateRunRequest* request,
                                                             v1::CreateRunResponse* response) {
  return rpc::RunUnary(runtime_, context, "CreateRun", [=, this](const rpc::CallContext&) {
    return Answer(runs_.Create(*request), response);
  });
}

grpc::ServerUnaryReactor* OrchestratorServiceImpl::GetRun(grpc::CallbackServerContext* context,
                                                          const v1::GetRunRequest* request,
                                                          v1::GetRunResponse* response) {
  return rpc::RunUnary(runtime_, context, "GetRun", [=, this](const rpc::CallContext&) {
    return Answer(runs_.Get(request->run_id()), response);
  });
}

grpc::ServerUnaryReactor* OrchestratorServiceImpl::ListRuns(grpc::CallbackServerContext* context,
                                                            const v1::ListRunsRequest* request,
                                                            v1::ListRunsResponse* response) {
  return rpc::RunUnary(runtime_, context, "ListRuns", [=, this](const rpc::CallContext&) {
    return AnswerPage(runs_.List(*request), response);
  });
}

grpc::ServerUnaryReactor* OrchestratorServiceImpl::CancelRun(grpc::CallbackServerContext* context,
                                                             const v1::CancelRunRequest* request,
                                                             v1::CancelRunResponse* response) {
  return rpc::RunUnary(runtime_, context, "CancelRun", [=, this](const rpc::CallContext&) {
    return Answer(runs_.Cancel(request->run_id(), request->reason()), response);
  });
}

grpc::ServerWriteReactor<v1::WatchRunResponse>* OrchestratorServiceImpl::WatchRun(
    grpc::CallbackServerContext* context, const v1::WatchRunRequest* request) {
  return StartWatchStream(runtime_, runs_, context, *request);
}

}  // namespace nkiagent::orchestrator
