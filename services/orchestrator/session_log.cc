#include "services/orchestrator/session_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/orchestrator/event_log.h"

namespace nkiagent::orchestrator {
namespace {

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

storage::SessionIndex IndexOf(const Snapshot& snapshot) { return IndexOf(snapshot.session); }

absl::StatusOr<Snapshot> ReadSnapshot(storage::EventStore* store, const std::string& session_id) {
  return FoldEvents<v1::SessionEvent, Snapshot>(store, session_id);
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
    if (absl::Status stored = StoreEvents(store_, session_id_, owner_, &events, &snapshot_); !stored.ok())
      return stored;
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
