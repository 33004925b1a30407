#include "services/llm_gateway/llm_handler.h"

#include <functional>
#include <utility>

#include "absl/time/clock.h"
#include "common/rpc/status.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;

class EndedStream final : public grpc::ServerWriteReactor<llm::StreamGenerateResponse> {
 public:
  explicit EndedStream(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerUnaryReactor* LlmHandler::Generate(grpc::CallbackServerContext* context,
                                               const llm::GenerateRequest* request,
                                               llm::GenerateResponse* response) {
  return rpc::RunUnaryAsync(
      runtime_, context, "Generate",
      [=, this](const rpc::CallContext& call, std::function<void(const absl::Status&)> done) {
        gateway_.Generate(*request, call, [=](absl::StatusOr<llm::GenerateResponse> result) {
          if (result.ok()) *response = *std::move(result);
          done(result.status());
        });
      });
}

grpc::ServerWriteReactor<llm::StreamGenerateResponse>* LlmHandler::StreamGenerate(
    grpc::CallbackServerContext* context, const llm::StreamGenerateRequest*) {
  const rpc::CallContext call = rpc::CallContext::FromServer(*context, {});
  const absl::Status status = absl::UnimplementedError("this gateway doesn't stream; ask with Generate");
  runtime_.RecordCall(call, "StreamGenerate", status, absl::ZeroDuration());
  return new EndedStream(rpc::ToGrpcStatus(status));  // OnDone deletes it
}

grpc::ServerUnaryReactor* LlmHandler::ListModels(grpc::CallbackServerContext* context,
                                                 const llm::ListModelsRequest*,
                                                 llm::ListModelsResponse* response) {
  return rpc::RunUnary(runtime_, context, "ListModels", [=, this](const rpc::CallContext&) {
    for (llm::Model& model : gateway_.ListModels()) *response->add_models() = std::move(model);
    return absl::OkStatus();
  });
}

}  // namespace nkiagent::llm_gateway
