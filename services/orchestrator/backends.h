// The three services that a session's work is done by, as plain calls. A failure says which of them failed.
#ifndef SERVICES_ORCHESTRATOR_BACKENDS_H_
#define SERVICES_ORCHESTRATOR_BACKENDS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/channel.h"
#include "common/rpc/context.h"
#include "nkiagent/compile/v1/compile_service.pb.h"
#include "nkiagent/llm/v1/llm_service.pb.h"
#include "nkiagent/verify/v1/verify_service.pb.h"
#include "services/orchestrator/retry.h"

namespace nkiagent::orchestrator {

// Thread safe. Each call ends by the context's deadline or soon after its cancellation, and is retried as
// retry.h says.
class Backends {
 public:
  virtual ~Backends() = default;
  virtual absl::StatusOr<verify::v1::DescribeTaskResponse> DescribeTask(
      const rpc::CallContext& call, const verify::v1::DescribeTaskRequest& request) = 0;
  virtual absl::StatusOr<llm::v1::GenerateResponse> Generate(const rpc::CallContext& call,
                                                             const llm::v1::GenerateRequest& request) = 0;
  virtual absl::StatusOr<compile::v1::CompileResponse> Compile(
      const rpc::CallContext& call, const compile::v1::CompileRequest& request) = 0;
  virtual absl::StatusOr<compile::v1::LookupApiResponse> LookupApi(
      const rpc::CallContext& call, const compile::v1::LookupApiRequest& request) = 0;
  virtual absl::StatusOr<compile::v1::GetProgramResponse> GetProgram(
      const rpc::CallContext& call, const compile::v1::GetProgramRequest& request) = 0;
  virtual absl::StatusOr<verify::v1::VerifyResponse> Verify(const rpc::CallContext& call,
                                                            const verify::v1::VerifyRequest& request) = 0;
};

struct BackendOptions {
  rpc::ChannelOptions compile{.target = "127.0.0.1:7601"};
  rpc::ChannelOptions verify{.target = "127.0.0.1:7602"};
  rpc::ChannelOptions llm{.target = "127.0.0.1:7603"};
  // Longest wait for one answer, all tries together: the sensible deadlines of the contracts.
  absl::Duration compile_timeout = absl::Seconds(60);
  absl::Duration describe_timeout = absl::Seconds(120);
  absl::Duration verify_timeout = absl::Seconds(180);
  absl::Duration llm_timeout = absl::Minutes(10);
  absl::Duration lookup_timeout = absl::Seconds(20);
  RetryPolicy retry;
  // Told each failure that is tried again: "compile", "verify" or "llm", and the failure.
  std::function<void(const std::string& service, const absl::Status&)> on_retry;
};

// Does not connect yet. Errors are those of rpc::CreateChannel.
absl::StatusOr<std::unique_ptr<Backends>> ConnectBackends(const BackendOptions& options);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_BACKENDS_H_
