// The gRPC side of compile-service: hands each call to the Compiler or the ApiReference on the runtime's
// executor.
#ifndef SERVICES_COMPILE_HANDLER_H_
#define SERVICES_COMPILE_HANDLER_H_

#include "common/rpc/runtime.h"
#include "nkiagent/compile/v1/compile_service.grpc.pb.h"
#include "services/compile/api_reference.h"
#include "services/compile/compiler.h"

namespace nkiagent::compile {

class Handler final : public v1::CompileService::CallbackService {
 public:
  // All outlive the handler.
  Handler(rpc::Runtime& runtime, Compiler& compiler, ApiReference& reference)
      : runtime_(runtime), compiler_(compiler), reference_(reference) {}

  grpc::ServerUnaryReactor* Compile(grpc::CallbackServerContext* context, const v1::CompileRequest* request,
                                    v1::CompileResponse* response) override;
  grpc::ServerUnaryReactor* GetProgram(grpc::CallbackServerContext* context,
                                       const v1::GetProgramRequest* request,
                                       v1::GetProgramResponse* response) override;
  grpc::ServerUnaryReactor* LookupApi(grpc::CallbackServerContext* context,
                                      const v1::LookupApiRequest* request,
                                      v1::LookupApiResponse* response) override;

 private:
  rpc::Runtime& runtime_;
  Compiler& compiler_;
  ApiReference& reference_;
};

}  // namespace nkiagent::compile

#endif  // SERVICES_COMPILE_HANDLER_H_
