#include "services/orchestrator/session_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"
#include "services/orchestrator/prompts.h"
#include "services/orchestrator/session_runner.h"

namespace nkiagent::orchestrator {
namespace {

// A canceller that races with the session's own steps tries this often; each step it loses to takes at least
// a commit.
constexpr int kCancelTries = 20;
constexpr size_t kMaxReasonBytes = 1024;

std::string NewSessionId() { return absl::StrCat("s-", rpc::NewRequestId().substr(0, 16)); }

}  // namespace

SessionManager::SessionManager(const ManagerOptions& options, storage::EventStore& store, Backends& backends,
                               OrchestratorMetrics& metrics)
    : options_(options),
      store_(store),
      backends_(backends),
      metrics_(metrics),
      owner_(rpc::NewRequestId()),
      hub_(options.max_watchers, [&metrics](int watchers) { metrics.SetWatchers(watchers); }) {}

SessionManager::~SessionManager() { Drain(); }

void SessionManager::Start() {
  for (int i = 0; i < options_.max_running; ++i) threads_.emplace_back([this] { Work(); });
  threads_.emplace_back([this] { RenewLeases(); });
}

void SessionManager::Drain() {
  draining_.request_stop();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& [id, running] : running_) running.stop.request_stop();
    changed_.notify_all();
  }
  hub_.NotifyAll();
  for (std::jthread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  store_.Release(owner_, "").IgnoreError();
}

template <class Predicate>
void SessionManager::Wait(absl::Duration interval, const Predicate& wake) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_until(lock, draining_.get_token(), absl::ToChronoTime(absl::Now() + interval), wake);
}

void SessionManager::Work() {
  const rpc::Logger log = rpc::Logger::Get("manager");
  while (!draining_.stop_requested()) {
    int64_t seen = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      seen = submissions_;
    }
    const absl::Time now = absl::Now();
    absl::StatusOr<std::vector<storage::SessionRecord>> claimed =
        store_.Claim(owner_, now, now + options_.lease, /*limit=*/1);
    if (!claimed.ok()) {
      log.Error("the store fails", {{"error", claimed.status().message()}});
      Wait(options_.store_retry_pause, [] { return false; });
      continue;
    }
    if (claimed->empty()) {
      Wait(options_.claim_interval, [&] { return submissions_ != seen; });
      continue;
    }
    RunOne(claimed->front().session_id);
  }
}

void SessionManager::RunOne(const std::string& session_id) {
  rpc::CallContext call(session_id);
  const rpc::Logger logger = call.Log("manager");
  std::stop_token stop;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop = running_[session_id].stop.get_token();
    if (draining_.stop_requested()) running_[session_id].stop.request_stop();
  }
  UpdateGauges();
  call = rpc::CallContext(session_id, absl::InfiniteFuture(), stop);

  RunResult result{RunOutcome::kStoreFailed, absl::OkStatus()};
  absl::StatusOr<std::shared_ptr<SessionLog>> log =
      SessionLog::Load(&store_, session_id, owner_, ObserverFor(session_id));
  if (!log.ok()) {
    result.status = log.status();
  } else {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      running_[session_id].log = *log;
    }
    result.status = (*log)->MarkRunning();
    if (const int64_t last = (*log)->session().last_sequence(); result.status.ok() && last > 1) {
      std::vector<v1::SessionEvent> events(1);
      events[0].mutable_resumed()->set_from_sequence(last);
      result.status = (*log)->Append(std::move(events));
    }
    // A session that ended in between has nothing left to do, and the runner sees that at once.
    if (result.status.ok() || result.status.code() == absl::StatusCode::kFailedPrecondition) {
      result = RunSession(call, **log, backends_);
    } else if (result.status.code() == absl::StatusCode::kAborted) {
      result.outcome = RunOutcome::kLost;
    }
  }
  if (result.outcome == RunOutcome::kEnded) {
    const v1::Session session = (*log)->session();
    logger.Info("session ended", {{"state", v1::SessionState_Name(session.state())},
                                  {"reason", v1::EndReason_Name(session.end_reason())},
                                  {"turns", session.turns_used()}});
  } else {
    logger.Warn("session left", {{"status", result.status.ToString()}});
  }
  if (result.outcome == RunOutcome::kStoreFailed) Wait(options_.store_retry_pause, [] { return false; });
  if (result.outcome != RunOutcome::kLost) store_.Release(owner_, session_id).IgnoreError();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    running_.erase(session_id);
  }
  UpdateGauges();
}

void SessionManager::RenewLeases() {
  while (!draining_.stop_requested()) {
    Wait(options_.lease / 3, [] { return false; });
    if (draining_.stop_requested()) return;
    const absl::StatusOr<int64_t> renewed = store_.RenewLeases(owner_, absl::Now() + options_.lease);
    if (!renewed.ok())
      rpc::Logger::Get("manager").Error("leases are not renewed", {{"error", renewed.status().message()}});
  }
}

SessionLog::Observer SessionManager::ObserverFor(const std::string& session_id) {
  return [this, session_id](const std::vector<v1::SessionEvent>& events, const v1::Session& session) {
    for (const v1::SessionEvent& event : events) metrics_.Stored(event, session);
    hub_.Notify(session_id);
    if (options_.run_session_ended && !session.run_id().empty() && IsEnded(session.state()))
      options_.run_session_ended(session.run_id());
  };
}

void SessionManager::UpdateGauges() {
  const absl::StatusOr<int64_t> open = store_.CountOpen();
  int64_t running = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    running = static_cast<int64_t>(running_.size());
  }
  if (open.ok()) metrics_.SetSessions(std::max<int64_t>(0, *open - running), running);
}

absl::StatusOr<v1::Session> SessionManager::Submit(const v1::SubmitTaskRequest& request,
                                                   const std::string& run_id) {
  if (absl::Status status = CheckSubmit(request, options_.limits); !status.ok()) return status;
  const std::string hash = RequestHash(request);
  // A repeat is answered even when there is no room for more.
  absl::StatusOr<std::optional<std::string>> earlier = store_.FindRequest(request.request_id(), hash);
  if (!earlier.ok()) return earlier.status();
  if (earlier->has_value()) return Get(**earlier);
  if (draining_.stop_requested()) return absl::UnavailableError("the orchestrator is draining");
  const absl::StatusOr<int64_t> open = store_.CountOpen();
  if (!open.ok()) return open.status();
  if (*open >= options_.max_running + options_.max_queued) {
    return rpc::WithRetryAfter(absl::ResourceExhaustedError(absl::StrCat(
                                   *open, " sessions are running or waiting; at most ", options_.max_running,
                                   " run and ", options_.max_queued, " wait")),
                               absl::Seconds(2));
  }
  v1::SessionEvent event;
  event.set_sequence(1);
  SetTime(absl::Now(), event.mutable_time());
  *event.mutable_created()->mutable_session() = NewSessionFor(request, NewSessionId(), options_.limits);
  event.mutable_created()->mutable_session()->set_run_id(run_id);
  Snapshot snapshot;
  if (absl::Status status = Apply(event, &snapshot); !status.ok()) return status;

  storage::NewSession session;
  session.session_id = snapshot.session.id();
  session.request_id = request.request_id();
  session.request_hash = hash;
  session.first_event = event.SerializeAsString();
  session.index = IndexOf(snapshot.session);
  absl::StatusOr<storage::Created> created = store_.CreateSession(session);
  if (!created.ok()) return created.status();
  if (created->repeated) return Get(created->session_id);
  metrics_.Submitted(snapshot.session.mode());
  metrics_.Stored(event, snapshot.session);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++submissions_;
    changed_.notify_all();
  }
  UpdateGauges();
  return snapshot.session;
}

absl::StatusOr<v1::Session> SessionManager::Get(const std::string& session_id) {
  absl::StatusOr<storage::SessionRecord> record = store_.Get(session_id);
  if (!record.ok()) return record.status();
  absl::StatusOr<Snapshot> snapshot = ReadSnapshot(&store_, session_id);
  if (!snapshot.ok()) return snapshot.status();
  // Before its first step a session is running only by the index.
  if (snapshot->session.state() == v1::SESSION_STATE_QUEUED &&
      record->index.state == v1::SESSION_STATE_RUNNING) {
    snapshot->session.set_state(v1::SESSION_STATE_RUNNING);
  }
  return std::move(snapshot->session);
}

absl::StatusOr<v1::ListSessionsResponse> SessionManager::List(const v1::ListSessionsRequest& request) {
  absl::StatusOr<int> page_size = PageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  absl::StatusOr<int64_t> before = ReadPageToken(ListFilterText(request), request.page_token());
  if (!before.ok()) return before.status();
  storage::ListFilter filter;
  filter.states.assign(request.states().begin(), request.states().end());
  filter.model = request.model();
  filter.group = request.run_id();
  // One more than the page tells whether there is a next one.
  absl::StatusOr<std::vector<storage::SessionRecord>> records = store_.List(filter, *before, *page_size + 1);
  if (!records.ok()) return records.status();
  v1::ListSessionsResponse response;
  for (const storage::SessionRecord& record : *records) {
    if (response.sessions_size() == *page_size) {
      response.set_next_page_token(
          MakePageToken(ListFilterText(request), records->at(*page_size - 1).ordinal));
      break;
    }
    v1::Session* session = response.add_sessions();
    if (!session->ParseFromString(record.index.summary)) {
      return absl::DataLossError(
          absl::StrCat("the summary of session ", record.session_id, " is unreadable"));
    }
    session->set_state(static_cast<v1::SessionState>(record.index.state));
  }
  return response;
}

absl::StatusOr<v1::PromptBuilt> SessionManager::RenderPrompt(const rpc::CallContext& call,
                                                             const v1::RenderPromptRequest& request) {
  v1::SubmitTaskRequest submit;
  *submit.mutable_task() = request.task();
  submit.set_mode(request.mode());
  *submit.mutable_options() = request.options();
  submit.set_model("builtin");  // no model sees it, but every session has one
  if (absl::Status status = CheckSubmit(submit, options_.limits); !status.ok()) return status;
  verify::v1::DescribeTaskRequest describe;
  *describe.mutable_task() = request.task();
  absl::StatusOr<verify::v1::DescribeTaskResponse> described = backends_.DescribeTask(call, describe);
  if (!described.ok()) return described.status();
  if (described->has_problem()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the task can't be judged: ", described->problem().message()));
  }
  v1::Session session = NewSessionFor(submit, "", options_.limits);
  *session.mutable_facts() = described->facts();
  return MakePrompt(session);
}

absl::StatusOr<v1::Session> SessionManager::Cancel(const std::string& session_id, const std::string& reason) {
  if (reason.size() > kMaxReasonBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("reason has ", reason.size(), " bytes; at most ", kMaxReasonBytes, " are allowed"));
  }
  absl::Status status;
  for (int tries = 0; tries < kCancelTries; ++tries) {
    std::shared_ptr<SessionLog> log;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (auto it = running_.find(session_id); it != running_.end()) log = it->second.log;
    }
    if (log == nullptr) {
      // Nobody here works on it; the sequence number keeps others' steps from being lost.
      absl::StatusOr<std::shared_ptr<SessionLog>> loaded =
          SessionLog::Load(&store_, session_id, /*owner=*/"", ObserverFor(session_id));
      if (!loaded.ok()) return loaded.status();
      log = *std::move(loaded);
    }
    if (log->snapshot().Ended()) return log->session();
    std::vector<v1::SessionEvent> events(1);
    events[0].mutable_cancelled()->set_reason(reason);
    status = log->Append(std::move(events));
    if (status.ok()) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (auto it = running_.find(session_id); it != running_.end()) it->second.stop.request_stop();
      return log->session();
    }
    if (status.code() == absl::StatusCode::kFailedPrecondition) return Get(session_id);
    if (status.code() != absl::StatusCode::kAborted) return status;
  }
  return status;
}

absl::StatusOr<EventBatch<v1::SessionEvent>> SessionManager::ReadEvents(const std::string& session_id,
                                                                        int64_t from_sequence) {
  return ReadBatch<v1::SessionEvent>(&store_, session_id, from_sequence);
}

absl::StatusOr<WatchHub::Subscription> SessionManager::Watch(const std::string& session_id,
                                                             std::function<void()> changed) {
  return hub_.Subscribe(session_id, std::move(changed));
}

}  // namespace nkiagent::orchestrator
