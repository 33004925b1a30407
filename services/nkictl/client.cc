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

using orchestrator::v1::Run;
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

using Stub = orchestrator::v1::OrchestratorService::Stub;

// One short call. `call` says which, as &Stub::GetSession.
template <class Request, class Response>
absl::StatusOr<Response> Call(Stub& stub, const rpc::CallContext& context,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                              const Request& request) {
  rpc::ClientCall call(context);
  Response response;
  const absl::Status status = rpc::FromGrpcStatus((stub.*method)(call.context(), request, &response));
  if (!status.ok()) return status;
  return response;
}

// The same, tried again while the orchestrator is full or away, for up to `patience`.
template <class Request, class Response>
absl::StatusOr<Response> PatientCall(Stub& stub, const std::stop_token& stop, absl::Duration patience,
                                     grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                                  Response*),
                                     const Request& request) {
  const absl::Time give_up = absl::Now() + patience;
  while (true) {
    absl::StatusOr<Response> response =
        Call(stub, rpc::CallContext(request.request_id(), absl::Now() + kCallTimeout, stop), method, request);
    if (response.ok()) return response;
    const absl::Duration pause = rpc::RetryAfter(response.status()).value_or(kWatchPause);
    if (!Transient(response.status()) || absl::Now() + pause >= give_up || !Pause(stop, pause))
      return response;
  }
}

// Hands the events of a stream to `see`; a broken stream is taken up again.
template <class Response, class Open, class See>
absl::Status Follow(const std::stop_token& stop, int64_t from_sequence, const Open& open, const See& see) {
  int64_t next = std::max<int64_t>(1, from_sequence);
  absl::Time give_up = absl::Now() + kWatchPatience;
  while (true) {
    const absl::Time begun = absl::Now();
    rpc::ClientCall call(rpc::CallContext("", absl::InfiniteFuture(), stop));
    auto reader = open(call.context(), next);
    Response response;
    while (reader->Read(&response)) {
      next = response.event().sequence() + 1;
      give_up = absl::Now() + kWatchPatience;
      see(response.event());
    }
    const absl::Status status = rpc::FromGrpcStatus(reader->Finish());
    // A stream that was there for a while without events was none that failed.
    if (absl::Now() - begun > absl::Seconds(1)) give_up = absl::Now() + kWatchPatience;
    if (!Transient(status) || absl::Now() >= give_up || !Pause(stop, kWatchPause)) return status;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const rpc::ChannelOptions& options,
                                                        std::stop_token stop) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = rpc::CreateChannel(options);
  if (!channel.ok()) return channel.status();
  return std::unique_ptr<Client>(new Client(*channel, std::move(stop)));
}

rpc::CallContext Client::Short() const { return rpc::CallContext("", absl::Now() + kCallTimeout, stop_); }

absl::StatusOr<Session> Client::Submit(orchestrator::v1::SubmitTaskRequest request, absl::Duration patience) {
  if (request.request_id().empty()) request.set_request_id(rpc::NewRequestId());
  auto response = PatientCall(*stub_, stop_, patience, &Stub::SubmitTask, request);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_session());
}

absl::StatusOr<Session> Client::Get(const std::string& session_id) {
  orchestrator::v1::GetSessionRequest request;
  request.set_session_id(session_id);
  auto response = Call(*stub_, Short(), &Stub::GetSession, request);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_session());
}

absl::StatusOr<orchestrator::v1::ListSessionsResponse> Client::List(
    const orchestrator::v1::ListSessionsRequest& request) {
  return Call(*stub_, Short(), &Stub::ListSessions, request);
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
  orchestrator::v1::CancelSessionRequest request;
  request.set_session_id(session_id);
  request.set_reason(reason);
  auto response =
      Call(*stub_, rpc::CallContext("", absl::Now() + kCallTimeout), &Stub::CancelSession, request);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_session());
}

absl::Status Client::Watch(const std::string& session_id, int64_t from_sequence,
                           const std::function<void(const orchestrator::v1::SessionEvent&)>& see) {
  orchestrator::v1::WatchSessionRequest request;
  request.set_session_id(session_id);
  const auto open = [&](grpc::ClientContext* context, int64_t from) {
    request.set_from_sequence(from);
    return stub_->WatchSession(context, request);
  };
  return Follow<orchestrator::v1::WatchSessionResponse>(stop_, from_sequence, open, see);
}

absl::StatusOr<Run> Client::CreateRun(const orchestrator::v1::CreateRunRequest& request,
                                      absl::Duration patience) {
  auto response = PatientCall(*stub_, stop_, patience, &Stub::CreateRun, request);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_run());
}

absl::StatusOr<Run> Client::GetRun(const std::string& run_id) {
  orchestrator::v1::GetRunRequest request;
  request.set_run_id(run_id);
  auto response = Call(*stub_, Short(), &Stub::GetRun, request);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_run());
}

absl::StatusOr<std::vector<Run>> Client::ListRuns() {
  std::vector<Run> runs;
  orchestrator::v1::ListRunsRequest request;
  do {
    auto page = Call(*stub_, Short(), &Stub::ListRuns, request);
    if (!page.ok()) return page.status();
    for (Run& run : *page->mutable_runs()) runs.push_back(std::move(run));
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  return runs;
}

absl::StatusOr<Run> Client::CancelRun(const std::string& run_id, const std::string& reason) {
  orchestrator::v1::CancelRunRequest request;
  request.set_run_id(run_id);
  request.set_reason(reason);
  auto response =
      Call(*stub_, rpc::CallContext("", absl::Now() + 3 * kCallTimeout), &Stub::CancelRun, request);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_run());
}

absl::Status Client::WatchRun(const std::string& run_id, int64_t from_sequence,
                              const std::function<void(const orchestrator::v1::RunEvent&)>& see) {
  orchestrator::v1::WatchRunRequest request;
  request.set_run_id(run_id);
  const auto open = [&](grpc::ClientContext* context, int64_t from) {
    request.set_from_sequence(from);
    return stub_->WatchRun(context, request);
  };
  return Follow<orchestrator::v1::WatchRunResponse>(stop_, from_sequence, open, see);
}

absl::StatusOr<std::vector<orchestrator::v1::RunEvent>> Client::ReadRun(const std::string& run_id,
                                                                        int64_t last_sequence) {
  rpc::ClientCall call(rpc::CallContext("", absl::Now() + absl::Minutes(5), stop_));
  orchestrator::v1::WatchRunRequest request;
  request.set_run_id(run_id);
  auto reader = stub_->WatchRun(call.context(), request);
  std::vector<orchestrator::v1::RunEvent> events;
  orchestrator::v1::WatchRunResponse response;
  while (static_cast<int64_t>(events.size()) < last_sequence && reader->Read(&response))
    events.push_back(std::move(*response.mutable_event()));
  if (static_cast<int64_t>(events.size()) == last_sequence) {
    call.context()->TryCancel();  // what is to come is not waited for
    while (reader->Read(&response)) {
    }
    reader->Finish();
    return events;
  }
  const absl::Status status = rpc::FromGrpcStatus(reader->Finish());
  return status.ok()
             ? absl::DataLossError(absl::StrCat("run ", run_id, " ended before event ", last_sequence))
             : status;
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
