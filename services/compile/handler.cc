#include "services/compile/handler.h"

#include <utility>

namespace nkiagent::compile {

grpc::ServerUnaryReactor* Handler::Compile(grpc::CallbackServerContext* context,
                                           const v1::CompileRequest* request, v1::CompileResponse* response) {
  return rpc::RunUnary(runtime_, context, "Compile", [=, this](const rpc::CallContext& call) {
    absl::StatusOr<v1::CompileResponse> answer = compiler_.Compile(call, *request);
    if (!answer.ok()) return answer.status();
    *response = *std::move(answer);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* Handler::GetProgram(grpc::CallbackServerContext* context,
                                              const v1::GetProgramRequest* request,
                                              v1::GetProgramResponse* response) {
  return rpc::RunUnary(runtime_, context, "GetProgram", [=, this](const rpc::CallContext&) {
    absl::StatusOr<v1::GetProgramResponse> answer = compiler_.GetProgram(*request);
    if (!answer.ok()) return answer.status();
    *response = *std::move(answer);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* Handler::LookupApi(grpc::CallbackServerContext* context,
                                             const v1::LookupApiRequest* request,
                                             v1::LookupApiResponse* response) {
  return rpc::RunUnary(runtime_, context, "LookupApi", [=, this](const rpc::CallContext& call) {
    absl::StatusOr<v1::LookupApiResponse> answer = reference_.Lookup(call, *request);
    if (!answer.ok()) return answer.status();
    *response = *std::move(answer);
    return absl::OkStatus();
  });
}

}  // namespace nkiagent::compile
