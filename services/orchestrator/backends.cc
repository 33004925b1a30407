#include "services/orchestrator/backends.h"

#include <utility>

#include "common/rpc/status.h"
#include "nkiagent/compile/v1/compile_service.grpc.pb.h"
#include "nkiagent/llm/v1/llm_service.grpc.pb.h"
#include "nkiagent/verify/v1/verify_service.grpc.pb.h"

namespace nkiagent::orchestrator {
namespace {

class GrpcBackends : public Backends {
 public:
  GrpcBackends(const BackendOptions& options, const std::shared_ptr<grpc::Channel>& compile,
               const std::shared_ptr<grpc::Channel>& verify, const std::shared_ptr<grpc::Channel>& llm)
      : options_(options),
        compile_(compile::v1::CompileService::NewStub(compile)),
        verify_(verify::v1::VerifyService::NewStub(verify)),
        llm_(llm::v1::LlmService::NewStub(llm)) {}

  absl::StatusOr<verify::v1::DescribeTaskResponse> DescribeTask(
      const rpc::CallContext& call, const verify::v1::DescribeTaskRequest& request) override {
    return Run<verify::v1::DescribeTaskResponse>("verify", call.WithTimeout(options_.describe_timeout),
                                                 [&](grpc::ClientContext* context, auto* response) {
                                                   return verify_->DescribeTask(context, request, response);
                                                 });
  }

  absl::StatusOr<llm::v1::GenerateResponse> Generate(const rpc::CallContext& call,
                                                     const llm::v1::GenerateRequest& request) override {
    return Run<llm::v1::GenerateResponse>("llm", call.WithTimeout(options_.llm_timeout),
                                          [&](grpc::ClientContext* context, auto* response) {
                                            return llm_->Generate(context, request, response);
                                          });
  }

  absl::StatusOr<compile::v1::CompileResponse> Compile(const rpc::CallContext& call,
                                                       const compile::v1::CompileRequest& request) override {
    return Run<compile::v1::CompileResponse>("compile", call.WithTimeout(options_.compile_timeout),
                                             [&](grpc::ClientContext* context, auto* response) {
                                               return compile_->Compile(context, request, response);
                                             });
  }

  absl::StatusOr<compile::v1::LookupApiResponse> LookupApi(
      const rpc::CallContext& call, const compile::v1::LookupApiRequest& request) override {
    return Run<compile::v1::LookupApiResponse>("compile", call.WithTimeout(options_.lookup_timeout),
                                               [&](grpc::ClientContext* context, auto* response) {
                                                 return compile_->LookupApi(context, request, response);
                                               });
  }

  absl::StatusOr<compile::v1::GetProgramResponse> GetProgram(
      const rpc::CallContext& call, const compile::v1::GetProgramRequest& request) override {
    return Run<compile::v1::GetProgramResponse>("compile", call.WithTimeout(options_.compile_timeout),
                                                [&](grpc::ClientContext* context, auto* response) {
                                                  return compile_->GetProgram(context, request, response);
                                                });
  }

  absl::StatusOr<verify::v1::VerifyResponse> Verify(const rpc::CallContext& call,
                                                    const verify::v1::VerifyRequest& request) override {
    return Run<verify::v1::VerifyResponse>("verify", call.WithTimeout(options_.verify_timeout),
                                           [&](grpc::ClientContext* context, auto* response) {
                                             return verify_->Verify(context, request, response);
                                           });
  }

 private:
  template <class Response, class Send>
  absl::StatusOr<Response> Run(const char* service, const rpc::CallContext& call, const Send& send) {
    Response response;
    const absl::Status status = Retry(
        call, options_.retry,
        [&] {
          response.Clear();
          rpc::ClientCall onward(call);
          return rpc::FromGrpcStatus(send(onward.context(), &response));
        },
        [&](const absl::Status& failure) {
          call.Log(service).Warn("call is tried again",
                                 {{"error", absl::string_view(failure.message()).substr(0, 300)}});
          if (options_.on_retry) options_.on_retry(service, failure);
        });
    if (!status.ok()) return status;
    return response;
  }

  const BackendOptions options_;
  std::unique_ptr<compile::v1::CompileService::Stub> compile_;
  std::unique_ptr<verify::v1::VerifyService::Stub> verify_;
  std::unique_ptr<llm::v1::LlmService::Stub> llm_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backends>> ConnectBackends(const BackendOptions& options) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> compile = rpc::CreateChannel(options.compile);
  if (!compile.ok()) return compile.status();
  absl::StatusOr<std::shared_ptr<grpc::Channel>> verify = rpc::CreateChannel(options.verify);
  if (!verify.ok()) return verify.status();
  absl::StatusOr<std::shared_ptr<grpc::Channel>> llm = rpc::CreateChannel(options.llm);
  if (!llm.ok()) return llm.status();
  return std::make_unique<GrpcBackends>(options, *compile, *verify, *llm);
}

}  // namespace nkiagent::orchestrator
