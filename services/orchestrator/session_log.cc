#include "services/orchestrator/session_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace nkiagent::orchestrator {
namespace {

// Events read at once.
constexpr int kReadBatch = 256;

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

void Strip(v1::KernelCandidate* candidate) {
  candidate->mutable_kernel()->clear_source();
  candidate->mutable_verdict()->clear_trials();
}

}  // namespace

v1::Session Summary(const v1::Session& session) {
  v1::Session summary = session;
  summary.clear_facts();
  summary.mutable_task()->clear_reference_source();
  if (summary.has_best()) Strip(summary.mutable_best());
  if (summary.has_last()) Strip(summary.mutable_last());
  return summary;
}

storage::SessionIndex IndexOf(const v1::Session& session) {
  storage::SessionIndex index;
  index.state = session.state();
  index.open = !IsEnded(session.state());
  index.model = session.model();
  index.group = session.run_id();
  index.summary = Summary(session).SerializeAsString();
  return index;
}

absl::StatusOr<Snapshot> ReadSnapshot(storage::EventStore* store, const std::string& session_id) {
  Snapshot snapshot;
  while (true) {
    absl::StatusOr<std::vector<storage::StoredEvent>> events =
        store->Read(session_id, snapshot.session.last_sequence() + 1, kReadBatch);
    if (!events.ok()) return events.status();
    for (const storage::StoredEvent& stored : *events) {
      v1::SessionEvent event;
      if (!event.ParseFromString(stored.payload) || event.sequence() != stored.sequence) {
        return absl::DataLossError(
            absl::StrCat("event ", stored.sequence, " of session ", session_id, " is unreadable"));
      }
      if (absl::Status status = Apply(event, &snapshot); !status.ok()) return status;
    }
    if (static_cast<int>(events->size()) < kReadBatch) return snapshot;
  }
}

absl::StatusOr<std::shared_ptr<SessionLog>> SessionLog::Load(storage::EventStore* store,
                                                             const std::string& session_id,
                                                             const std::string& owner, Observer observer) {
  absl::StatusOr<Snapshot> snapshot = ReadSnapshot(store, session_id);
  if (!snapshot.ok()) return snapshot.status();
  std::shared_ptr<SessionLog> log(new SessionLog(store, session_id, owner, std::move(observer)));
  log->snapshot_ = *std::move(snapshot);
  return log;
}

absl::Status SessionLog::Append(std::vector<v1::SessionEvent> events) {
  v1::Session after;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (snapshot_.Ended())
      return absl::FailedPreconditionError(absl::StrCat("session ", session_id_, " has ended"));
    Snapshot next = snapshot_;
    std::vector<std::string> payloads;
    for (v1::SessionEvent& event : events) {
      event.set_sequence(next.session.last_sequence() + 1);
      SetTime(absl::Now(), event.mutable_time());
      if (absl::Status status = Apply(event, &next); !status.ok()) return status;
      payloads.push_back(event.SerializeAsString());
    }
    absl::Status stored = store_->Append(session_id_, owner_, snapshot_.session.last_sequence(), payloads,
                                         IndexOf(next.session));
    if (!stored.ok()) return stored;
    snapshot_ = std::move(next);
    after = snapshot_.session;
  }
  if (observer_) observer_(events, after);
  return absl::OkStatus();
}

absl::Status SessionLog::MarkRunning() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (snapshot_.Ended()) return absl::OkStatus();
  v1::Session session = snapshot_.session;
  session.set_state(v1::SESSION_STATE_RUNNING);
  return store_->Append(session_id_, owner_, session.last_sequence(), {}, IndexOf(session));
}

Action SessionLog::Next(absl::Time now) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return NextAction(snapshot_, now);
}

Snapshot SessionLog::snapshot() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return snapshot_;
}

v1::Session SessionLog::session() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return snapshot_.session;
}

}  // namespace nkiagent::orchestrator
