#include "services/verify/handler.h"

#include <utility>

namespace nkiagent::verify {

grpc::ServerUnaryReactor* Handler::DescribeTask(grpc::CallbackServerContext* context,
                                                const v1::DescribeTaskRequest* request,
                                                v1::DescribeTaskResponse* response) {
  return rpc::RunUnary(runtime_, context, "DescribeTask", [=, this](const rpc::CallContext& call) {
    absl::StatusOr<v1::DescribeTaskResponse> answer = verifier_.DescribeTask(call, *request);
    if (!answer.ok()) return answer.status();
    *response = *std::move(answer);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* Handler::Verify(grpc::CallbackServerContext* context,
                                          const v1::VerifyRequest* request, v1::VerifyResponse* response) {
  return rpc::RunUnary(runtime_, context, "Verify", [=, this](const rpc::CallContext& call) {
    absl::StatusOr<v1::VerifyResponse> answer = verifier_.Verify(call, *request);
    if (!answer.ok()) return answer.status();
    *response = *std::move(answer);
    return absl::OkStatus();
  });
}

}  // namespace nkiagent::verify
