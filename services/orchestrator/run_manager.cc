#include "services/orchestrator/run_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/context.h"
#include "common/rpc/status.h"
#include "services/orchestrator/proto_time.h"
#include "services/orchestrator/requests.h"
#include "services/orchestrator/result_record.h"
#include "services/orchestrator/run_requests.h"

namespace nkiagent::orchestrator {
namespace {

// The one list of runs has no filters.
constexpr char kListFilter[] = "runs";
constexpr size_t kMaxReasonBytes = 1024;

std::string NewRunId() { return absl::StrCat("r-", rpc::NewRequestId().substr(0, 16)); }

}  // namespace

RunManager::RunManager(const RunManagerOptions& options, storage::EventStore& runs,
                       storage::EventStore& sessions, SessionManager& manager, const storage::SigningKey& key,
                       OrchestratorMetrics& metrics)
    : options_(options),
      runs_(runs),
      sessions_(sessions),
      manager_(manager),
      key_(key),
      metrics_(metrics),
      owner_(rpc::NewRequestId()),
      hub_(options.max_watchers) {}

RunManager::~RunManager() { Drain(); }

void RunManager::Start() {
  thread_ = std::jthread([this] { Work(); });
}

void RunManager::Drain() {
  draining_.request_stop();
  Wake();
  hub_.NotifyAll();
  if (thread_.joinable()) thread_.join();
  runs_.Release(owner_, "").IgnoreError();
}

void RunManager::Wake() {
  const std::lock_guard<std::mutex> lock(mutex_);
  dirty_ = true;
  changed_.notify_all();
}

void RunManager::SessionEnded() { Wake(); }

std::shared_ptr<RunManager::Driven> RunManager::Find(const std::string& run_id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = driven_.find(run_id);
  return it == driven_.end() ? nullptr : it->second;
}

void RunManager::Forget(const std::string& run_id) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    driven_.erase(run_id);
  }
  runs_.Release(owner_, run_id).IgnoreError();
}

void RunManager::Work() {
  const rpc::Logger log = rpc::Logger::Get("runs");
  absl::Time renewed = absl::Now();
  while (!draining_.stop_requested()) {
    std::map<std::string, std::shared_ptr<Driven>> driven;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      dirty_ = false;
    }
    if (const absl::Status status = ClaimRuns(); !status.ok())
      log.Error("the store of runs fails", {{"error", status.message()}});
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      driven = driven_;
    }
    for (const auto& [run_id, run] : driven) {
      if (!Drive(run_id, *run)) Forget(run_id);
    }
    if (absl::Now() - renewed > options_.lease / 3) {
      renewed = absl::Now();
      if (const auto leases = runs_.RenewLeases(owner_, renewed + options_.lease); !leases.ok())
        log.Error("leases of runs are not renewed", {{"error", leases.status().message()}});
    }
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, draining_.get_token(), absl::ToChronoNanoseconds(options_.interval),
                      [this] { return dirty_; });
  }
}

absl::Status RunManager::ClaimRuns() {
  const absl::Time now = absl::Now();
  absl::StatusOr<std::vector<storage::SessionRecord>> claimed =
      runs_.Claim(owner_, now, now + options_.lease, options_.max_open_runs);
  if (!claimed.ok()) return claimed.status();
  for (const storage::SessionRecord& record : *claimed) {
    auto run = std::make_shared<Driven>();
    absl::StatusOr<RunSnapshot> snapshot = FoldEvents<v1::RunEvent, RunSnapshot>(&runs_, record.session_id);
    if (!snapshot.ok()) {
      rpc::Logger::Get("runs").Error("a run can't be read",
                                     {{"run", record.session_id}, {"error", snapshot.status().message()}});
      continue;
    }
    run->snapshot = *std::move(snapshot);
    const std::lock_guard<std::mutex> lock(run->mutex);
    if (run->snapshot.last_sequence() > 1) {
      v1::RunEvent event;
      event.mutable_resumed()->set_from_sequence(run->snapshot.last_sequence());
      if (absl::Status status = Store(record.session_id, std::move(event), *run); !status.ok()) return status;
    }
    const std::lock_guard<std::mutex> map_lock(mutex_);
    driven_[record.session_id] = std::move(run);
  }
  return absl::OkStatus();
}

absl::Status RunManager::Store(const std::string& run_id, v1::RunEvent event, Driven& run) {
  if (run.snapshot.Ended()) return absl::FailedPreconditionError(absl::StrCat("run ", run_id, " has ended"));
  std::vector<v1::RunEvent> events(1);
  events[0] = std::move(event);
  if (absl::Status status = StoreEvents(&runs_, run_id, owner_, &events, &run.snapshot); !status.ok())
    return status;
  hub_.Notify(run_id);
  return absl::OkStatus();
}

bool RunManager::Drive(const std::string& run_id, Driven& run) {
  absl::Status status = CollectEnded(run_id, run);
  if (status.ok()) status = StartMore(run_id, run);
  const std::lock_guard<std::mutex> lock(run.mutex);
  if (run.snapshot.Ended()) {
    rpc::Logger::Get("runs").Info("run ended", {{"run", run_id},
                                                {"state", v1::RunState_Name(run.snapshot.run.state())},
                                                {"passed", run.snapshot.run.counts().passed()},
                                                {"total", run.snapshot.run.counts().total()}});
    return false;
  }
  // Another process has taken the run over, or a caller has ended it.
  if (absl::IsAborted(status) || absl::IsFailedPrecondition(status)) return false;
  if (!status.ok() && !absl::IsUnavailable(status) && !absl::IsResourceExhausted(status)) {
    rpc::Logger::Get("runs").Error("a run does not get on", {{"run", run_id}, {"error", status.message()}});
  }
  return true;
}

absl::Status RunManager::CollectEnded(const std::string& run_id, Driven& run) {
  std::vector<int> ended;
  {
    const std::lock_guard<std::mutex> lock(run.mutex);
    if (run.snapshot.running == 0) return absl::OkStatus();
    for (int row = 0; row < run.snapshot.first_waiting; ++row) {
      const RunRow& state = run.snapshot.rows[row];
      if (state.state != RunRow::State::kRunning) continue;
      absl::StatusOr<storage::SessionRecord> session = sessions_.Get(state.session_id);
      if (!session.ok()) return session.status();
      if (!session->index.open) ended.push_back(row);
    }
  }
  for (const int row : ended) {
    const std::lock_guard<std::mutex> lock(run.mutex);
    if (run.snapshot.Ended()) return absl::OkStatus();
    absl::StatusOr<v1::RunEvent> event = EndedEvent(run.snapshot, run_id, row);
    if (!event.ok()) return event.status();
    const v1::SessionState state = event->session_ended().state();
    const bool answered = event->session_ended().usage().calls() > 0;
    if (absl::Status status = Store(run_id, *std::move(event), run); !status.ok()) return status;
    const v1::RunSpec& spec = *run.snapshot.spec;
    metrics_.RunSessionEnded(run.snapshot.TaskOf(row).level(), spec.mode(), answered ? spec.model() : "none",
                             state);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::RunEvent> RunManager::EndedEvent(const RunSnapshot& snapshot, const std::string& run_id,
                                                    int row) {
  SessionHistory history;
  if (absl::Status status = ForEachEvent<v1::SessionEvent>(
          &sessions_, snapshot.rows[row].session_id,
          [&history](const v1::SessionEvent& event) { return history.Add(event); });
      !status.ok()) {
    return status;
  }
  v1::ResultRecord record = history.Record();
  record.set_run_id(run_id);
  record.set_row(row);
  record.set_repeat(snapshot.RepeatOf(row));
  absl::StatusOr<v1::SignedText> signed_record = SignMessage(record, key_);
  if (!signed_record.ok()) return signed_record.status();
  v1::RunEvent event;
  v1::RunSessionEnded* ended = event.mutable_session_ended();
  ended->set_row(row);
  ended->set_state(record.state());
  *ended->mutable_usage() = record.usage();
  *ended->mutable_record() = *std::move(signed_record);
  return event;
}

absl::Status RunManager::StartMore(const std::string& run_id, Driven& run) {
  while (!draining_.stop_requested()) {
    v1::SubmitTaskRequest request;
    v1::RunEvent event;
    {
      const std::lock_guard<std::mutex> lock(run.mutex);
      if (run.cancelling) return absl::OkStatus();
      NextRunStep step = NextStep(run.snapshot, options_.max_concurrency);
      if (step.end) {
        *event.mutable_ended() = *std::move(step.end);
        return Store(run_id, std::move(event), run);
      }
      if (!step.start) return absl::OkStatus();
      event.mutable_session_started()->set_row(*step.start);
      request = SessionRequest(run_id, *run.snapshot.spec, *step.start);
    }
    absl::StatusOr<v1::Session> session = manager_.Submit(request, run_id);
    if (!session.ok()) return session.status();
    event.mutable_session_started()->set_session_id(session->id());
    const std::lock_guard<std::mutex> lock(run.mutex);
    if (run.cancelling) return manager_.Cancel(session->id(), "its run was cancelled").status();
    if (absl::Status status = Store(run_id, std::move(event), run); !status.ok()) return status;
    // A session that an earlier process saw to its end is not announced again.
    if (IsEnded(session->state())) Wake();
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Run> RunManager::Create(const v1::CreateRunRequest& request) {
  if (absl::Status status = CheckRun(request, options_.limits); !status.ok()) return status;
  const std::string hash = RunRequestHash(request);
  absl::StatusOr<std::optional<std::string>> earlier = runs_.FindRequest(request.request_id(), hash);
  if (!earlier.ok()) return earlier.status();
  if (earlier->has_value()) return Get(**earlier);
  if (draining_.stop_requested()) return absl::UnavailableError("the orchestrator is draining");
  const absl::StatusOr<int64_t> open = runs_.CountOpen();
  if (!open.ok()) return open.status();
  if (*open >= options_.max_open_runs) {
    return rpc::WithRetryAfter(
        absl::ResourceExhaustedError(absl::StrCat(*open, " runs are open, which is the limit")),
        absl::Seconds(10));
  }
  v1::RunEvent event;
  event.set_sequence(1);
  SetTime(absl::Now(), event.mutable_time());
  v1::Run run = NewRunFor(request, NewRunId());
  run.set_public_key(key_.public_key());
  *run.mutable_create_time() = event.time();
  absl::StatusOr<v1::SignedText> manifest = SignMessage(ManifestOf(run), key_);
  if (!manifest.ok()) return manifest.status();
  *event.mutable_created()->mutable_manifest() = *std::move(manifest);
  *event.mutable_created()->mutable_run() = std::move(run);
  RunSnapshot snapshot;
  if (absl::Status status = Apply(event, &snapshot); !status.ok()) return status;
  storage::NewSession stored;
  stored.session_id = snapshot.run.id();
  stored.request_id = request.request_id();
  stored.request_hash = hash;
  stored.first_event = event.SerializeAsString();
  stored.index = IndexOf(snapshot);
  absl::StatusOr<storage::Created> created = runs_.CreateSession(stored);
  if (!created.ok()) return created.status();
  Wake();
  return created->repeated ? Get(created->session_id) : snapshot.Full();
}

absl::StatusOr<v1::Run> RunManager::Get(const std::string& run_id) {
  if (const std::shared_ptr<Driven> run = Find(run_id); run != nullptr) {
    const std::lock_guard<std::mutex> lock(run->mutex);
    return run->snapshot.Full();
  }
  absl::StatusOr<RunSnapshot> snapshot = FoldEvents<v1::RunEvent, RunSnapshot>(&runs_, run_id);
  if (absl::IsNotFound(snapshot.status()))
    return absl::NotFoundError(absl::StrCat("no run has the id \"", run_id.substr(0, 64), "\""));
  if (!snapshot.ok()) return snapshot.status();
  return snapshot->Full();
}

absl::StatusOr<v1::ListRunsResponse> RunManager::List(const v1::ListRunsRequest& request) {
  absl::StatusOr<int> page_size = PageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  absl::StatusOr<int64_t> before = ReadPageToken(kListFilter, request.page_token());
  if (!before.ok()) return before.status();
  absl::StatusOr<std::vector<storage::SessionRecord>> records = runs_.List({}, *before, *page_size + 1);
  if (!records.ok()) return records.status();
  v1::ListRunsResponse response;
  for (const storage::SessionRecord& record : *records) {
    if (response.runs_size() == *page_size) {
      response.set_next_page_token(MakePageToken(kListFilter, records->at(*page_size - 1).ordinal));
      break;
    }
    if (!response.add_runs()->ParseFromString(record.index.summary))
      return absl::DataLossError(absl::StrCat("the summary of run ", record.session_id, " is unreadable"));
  }
  return response;
}

absl::StatusOr<v1::Run> RunManager::Cancel(const std::string& run_id, const std::string& reason) {
  if (reason.size() > kMaxReasonBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("reason has ", reason.size(), " bytes; at most ", kMaxReasonBytes, " are allowed"));
  }
  std::shared_ptr<Driven> run = Find(run_id);
  if (run == nullptr) {
    absl::StatusOr<v1::Run> known = Get(run_id);
    if (!known.ok() || known->state() != v1::RUN_STATE_RUNNING) return known;
    // Stored a moment ago, or left by a process that died.
    if (absl::Status status = ClaimRuns(); !status.ok()) return status;
    run = Find(run_id);
    if (run == nullptr) return absl::UnavailableError(absl::StrCat("another process drives run ", run_id));
  }
  // Its sessions first: should this process die in between, the run goes on and was not said to have ended.
  std::vector<std::string> sessions;
  {
    const std::lock_guard<std::mutex> lock(run->mutex);
    if (run->snapshot.Ended()) return run->snapshot.Full();
    run->cancelling = true;
    for (const RunRow& row : run->snapshot.rows) {
      if (row.state == RunRow::State::kRunning) sessions.push_back(row.session_id);
    }
  }
  for (const std::string& session : sessions) {
    if (absl::StatusOr<v1::Session> ended = manager_.Cancel(session, reason); !ended.ok())
      return ended.status();
  }
  const std::lock_guard<std::mutex> lock(run->mutex);
  if (run->snapshot.Ended()) return run->snapshot.Full();
  v1::RunEvent event;
  event.mutable_ended()->set_state(v1::RUN_STATE_CANCELLED);
  event.mutable_ended()->set_message(reason);
  if (absl::Status status = Store(run_id, std::move(event), *run); !status.ok()) return status;
  Wake();
  return run->snapshot.Full();
}

absl::StatusOr<EventBatch<v1::RunEvent>> RunManager::ReadEvents(const std::string& run_id,
                                                                int64_t from_sequence) {
  absl::StatusOr<EventBatch<v1::RunEvent>> batch = ReadBatch<v1::RunEvent>(&runs_, run_id, from_sequence);
  if (absl::IsNotFound(batch.status()))
    return absl::NotFoundError(absl::StrCat("no run has the id \"", run_id.substr(0, 64), "\""));
  if (!batch.ok()) return batch.status();
  for (v1::RunEvent& event : batch->events) {
    if (!event.has_created()) continue;
    for (common::v1::Task& task : *event.mutable_created()->mutable_run()->mutable_spec()->mutable_tasks())
      task.clear_reference_source();
  }
  return batch;
}

absl::StatusOr<WatchHub::Subscription> RunManager::Watch(const std::string& run_id,
                                                         std::function<void()> changed) {
  return hub_.Subscribe(run_id, std::move(changed));
}

}  // namespace nkiagent::orchestrator
