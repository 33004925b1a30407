#include "services/nkictl/client.h"

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/context.h"
#include "common/rpc/status.h"
#include "services/orchestrator/utf8.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::Session;

// Deadline of the short calls, as the contract suggests.
constexpr absl::Duration kCallTimeout = absl::Seconds(10);
// The reference module is run once; the contract's sensible deadline.
constexpr absl::Duration kDescribeTimeout = absl::Minutes(2);
// Streams that break are taken up again after this pause, for so long without any event.
constexpr absl::Duration kWatchPause = absl::Milliseconds(200);
constexpr absl::Duration kWatchPatience = absl::Minutes(1);
// The limit of Task.reference_source.
constexpr uintmax_t kMaxTaskBytes = uintmax_t{4} << 20;

bool Transient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status);
}

// False if `stop` was requested meanwhile.
bool Pause(const std::stop_token& stop, absl::Duration duration) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock<std::mutex> lock(mutex);
  wake.wait_for(lock, stop, absl::ToChronoNanoseconds(duration), [] { return false; });
  return !stop.stop_requested();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const rpc::ChannelOptions& options,
                                                        std::stop_token stop) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = rpc::CreateChannel(options);
  if (!channel.ok()) return channel.status();
  return std::unique_ptr<Client>(new Client(*channel, std::move(stop)));
}

absl::StatusOr<Session> Client::Submit(orchestrator::v1::SubmitTaskRequest request, absl::Duration patience) {
  if (request.request_id().empty()) request.set_request_id(rpc::NewRequestId());
  const absl::Time give_up = absl::Now() + patience;
  while (true) {
    rpc::ClientCall call(rpc::CallContext(request.request_id(), absl::Now() + kCallTimeout, stop_));
    orchestrator::v1::SubmitTaskResponse response;
    const absl::Status status = rpc::FromGrpcStatus(stub_->SubmitTask(call.context(), request, &response));
    if (status.ok()) return std::move(*response.mutable_session());
    const absl::Duration pause = rpc::RetryAfter(status).value_or(kWatchPause);
    if (!Transient(status) || absl::Now() + pause >= give_up || !Pause(stop_, pause)) return status;
  }
}

absl::StatusOr<Session> Client::Get(const std::string& session_id) {
  rpc::ClientCall call(rpc::CallContext("", absl::Now() + kCallTimeout, stop_));
  orchestrator::v1::GetSessionRequest request;
  request.set_session_id(session_id);
  orchestrator::v1::GetSessionResponse response;
  const absl::Status status = rpc::FromGrpcStatus(stub_->GetSession(call.context(), request, &response));
  if (!status.ok()) return status;
  return std::move(*response.mutable_session());
}

absl::StatusOr<orchestrator::v1::ListSessionsResponse> Client::List(
    const orchestrator::v1::ListSessionsRequest& request) {
  rpc::ClientCall call(rpc::CallContext("", absl::Now() + kCallTimeout, stop_));
  orchestrator::v1::ListSessionsResponse response;
  const absl::Status status = rpc::FromGrpcStatus(stub_->ListSessions(call.context(), request, &response));
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<orchestrator::v1::PromptBuilt> Client::RenderPrompt(
    const orchestrator::v1::RenderPromptRequest& request) {
  rpc::ClientCall call(rpc::CallContext("", absl::Now() + kDescribeTimeout, stop_));
  orchestrator::v1::RenderPromptResponse response;
  const absl::Status status = rpc::FromGrpcStatus(stub_->RenderPrompt(call.context(), request, &response));
  if (!status.ok()) return status;
  return std::move(*response.mutable_prompt());
}

absl::StatusOr<Session> Client::Cancel(const std::string& session_id, const std::string& reason) {
  rpc::ClientCall call(rpc::CallContext("", absl::Now() + kCallTimeout));
  orchestrator::v1::CancelSessionRequest request;
  request.set_session_id(session_id);
  request.set_reason(reason);
  orchestrator::v1::CancelSessionResponse response;
  const absl::Status status = rpc::FromGrpcStatus(stub_->CancelSession(call.context(), request, &response));
  if (!status.ok()) return status;
  return std::move(*response.mutable_session());
}

absl::Status Client::Watch(const std::string& session_id, int64_t from_sequence,
                           const std::function<void(const orchestrator::v1::SessionEvent&)>& see) {
  int64_t next = std::max<int64_t>(1, from_sequence);
  absl::Time give_up = absl::Now() + kWatchPatience;
  while (true) {
    rpc::ClientCall call(rpc::CallContext("", absl::InfiniteFuture(), stop_));
    orchestrator::v1::WatchSessionRequest request;
    request.set_session_id(session_id);
    request.set_from_sequence(next);
    auto reader = stub_->WatchSession(call.context(), request);
    orchestrator::v1::WatchSessionResponse response;
    while (reader->Read(&response)) {
      next = response.event().sequence() + 1;
      give_up = absl::Now() + kWatchPatience;
      see(response.event());
    }
    const absl::Status status = rpc::FromGrpcStatus(reader->Finish());
    if (!Transient(status) || absl::Now() >= give_up || !Pause(stop_, kWatchPause)) return status;
  }
}

absl::StatusOr<common::v1::Task> ReadTaskFile(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return absl::NotFoundError(absl::StrCat("can't read ", path));
  if (size > kMaxTaskBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", size, " bytes; at most ", kMaxTaskBytes, " are allowed"));
  }
  common::v1::Task task;
  std::string source((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (source.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " is empty"));
  if (!orchestrator::IsUtf8(source))
    return absl::InvalidArgumentError(absl::StrCat(path, " is not UTF-8 text"));
  task.set_reference_source(std::move(source));
  task.set_name(std::filesystem::path(path).stem().string());
  return task;
}

}  // namespace nkiagent::nkictl
