// The gRPC side of verify-service: hands each call to the Verifier on the runtime's executor.
#ifndef SERVICES_VERIFY_HANDLER_H_
#define SERVICES_VERIFY_HANDLER_H_

#include "common/rpc/runtime.h"
#include "nkiagent/verify/v1/verify_service.grpc.pb.h"
#include "services/verify/verifier.h"

namespace nkiagent::verify {

class Handler final : public v1::VerifyService::CallbackService {
 public:
  // Both outlive the handler.
  Handler(rpc::Runtime& runtime, Verifier& verifier) : runtime_(runtime), verifier_(verifier) {}

  grpc::ServerUnaryReactor* DescribeTask(grpc::CallbackServerContext* context,
                                         const v1::DescribeTaskRequest* request,
                                         v1::DescribeTaskResponse* response) override;
  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context, const v1::VerifyRequest* request,
                                   v1::VerifyResponse* response) override;

 private:
  rpc::Runtime& runtime_;
  Verifier& verifier_;
};

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_HANDLER_H_
