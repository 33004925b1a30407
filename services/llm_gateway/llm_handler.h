// LlmService at the edge: translates, delegates to the Gateway.
#ifndef SERVICES_LLM_GATEWAY_LLM_HANDLER_H_
#define SERVICES_LLM_GATEWAY_LLM_HANDLER_H_

#include "common/rpc/runtime.h"
#include "nkiagent/llm/v1/llm_service.grpc.pb.h"
#include "services/llm_gateway/gateway.h"

namespace nkiagent::llm_gateway {

class LlmHandler final : public nkiagent::llm::v1::LlmService::CallbackService {
 public:
  // Both outlive the handler.
  LlmHandler(rpc::Runtime& runtime, Gateway& gateway) : runtime_(runtime), gateway_(gateway) {}

  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* context,
                                     const nkiagent::llm::v1::GenerateRequest* request,
                                     nkiagent::llm::v1::GenerateResponse* response) override;

  // Sends pieces as fast as the caller reads them; a slow one makes the provider wait.
  grpc::ServerWriteReactor<nkiagent::llm::v1::StreamGenerateResponse>* StreamGenerate(
      grpc::CallbackServerContext* context, const nkiagent::llm::v1::StreamGenerateRequest* request) override;

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const nkiagent::llm::v1::ListModelsRequest* request,
                                       nkiagent::llm::v1::ListModelsResponse* response) override;

 private:
  rpc::Runtime& runtime_;
  Gateway& gateway_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_LLM_HANDLER_H_
