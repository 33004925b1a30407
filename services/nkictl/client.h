// The orchestrator's calls as nkictl makes them: a deadline on each, a request id that makes Submit safe to
// retry, a watch that goes on after a broken stream.
#ifndef SERVICES_NKICTL_CLIENT_H_
#define SERVICES_NKICTL_CLIENT_H_

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rpc/channel.h"
#include "common/rpc/context.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.grpc.pb.h"

namespace nkiagent::nkictl {

// Thread safe. All calls end soon after `stop` is requested, with CANCELLED.
class Client {
 public:
  // Errors are those of rpc::CreateChannel.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const rpc::ChannelOptions& options,
                                                         std::stop_token stop);

  // Tries again while the orchestrator is full or away, for up to `patience`; the request id is set here if
  // it is empty.
  absl::StatusOr<orchestrator::v1::Session> Submit(orchestrator::v1::SubmitTaskRequest request,
                                                   absl::Duration patience = absl::Seconds(30));
  absl::StatusOr<orchestrator::v1::Session> Get(const std::string& session_id);
  absl::StatusOr<orchestrator::v1::ListSessionsResponse> List(
      const orchestrator::v1::ListSessionsRequest& request);
  absl::StatusOr<orchestrator::v1::PromptBuilt> RenderPrompt(
      const orchestrator::v1::RenderPromptRequest& request);
  // Also works after `stop`: ending a session is what an interrupted caller wants.
  absl::StatusOr<orchestrator::v1::Session> Cancel(const std::string& session_id, const std::string& reason);

  // The calls on runs, alike. Cancel works after `stop`, too.
  absl::StatusOr<orchestrator::v1::Run> CreateRun(const orchestrator::v1::CreateRunRequest& request,
                                                  absl::Duration patience = absl::Seconds(30));
  absl::StatusOr<orchestrator::v1::Run> GetRun(const std::string& run_id);
  // All runs, newest first, without their tasks.
  absl::StatusOr<std::vector<orchestrator::v1::Run>> ListRuns();
  absl::StatusOr<orchestrator::v1::Run> CancelRun(const std::string& run_id, const std::string& reason);
  absl::Status WatchRun(const std::string& run_id, int64_t from_sequence,
                        const std::function<void(const orchestrator::v1::RunEvent&)>& see);
  // The events that a run has by now: up to `last_sequence`.
  absl::StatusOr<std::vector<orchestrator::v1::RunEvent>> ReadRun(const std::string& run_id,
                                                                  int64_t last_sequence);

  // Hands each event to `see`, in order and once, until the session's last. A broken stream is taken up again
  // for up to a minute without any event.
  absl::Status Watch(const std::string& session_id, int64_t from_sequence,
                     const std::function<void(const orchestrator::v1::SessionEvent&)>& see);

 private:
  Client(const std::shared_ptr<grpc::Channel>& channel, std::stop_token stop)
      : stub_(orchestrator::v1::OrchestratorService::NewStub(channel)), stop_(std::move(stop)) {}

  // The context of a short call.
  rpc::CallContext Short() const;

  std::unique_ptr<orchestrator::v1::OrchestratorService::Stub> stub_;
  const std::stop_token stop_;
};

// Reads a task file: its text and, as name, its file name without the ending. NOT_FOUND, INVALID_ARGUMENT
// (over 4 MiB, not UTF-8, empty).
absl::StatusOr<common::v1::Task> ReadTaskFile(const std::string& path);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_CLIENT_H_
