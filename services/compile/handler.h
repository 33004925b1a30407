// The gRPC side of compile-service: hands each call to the Compiler on the runtime's executor.
#ifndef SERVICES_COMPILE_HANDLER_H_
#define SERVICES_COMPILE_HANDLER_H_

#include "common/rpc/runtime.h"
#include "nkiagent/compile/v1/compile_service.grpc.pb.h"
#include "services/compile/compiler.h"

namespace nkiagent::compile {

class Handler final : public v1::CompileService::CallbackService {
 public:
  // Both outlive the handler.
  Handler(rpc::Runtime& runtime, Compiler& compiler) : runtime_(runtime), compiler_(compiler) {}

  grpc::ServerUnaryReactor* Compile(grpc::CallbackServerContext* context, const v1::CompileRequest* request,
                                    v1::CompileResponse* response) override;
  grpc::ServerUnaryReactor* GetProgram(grpc::CallbackServerContext* context,
                                       const v1::GetProgramRequest* request,
                                       v1::GetProgramResponse* response) override;

 private:
  rpc::Runtime& runtime_;
  Compiler& compiler_;
};

}  // namespace nkiagent::compile

#endif  // SERVICES_COMPILE_HANDLER_H_
