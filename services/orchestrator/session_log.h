// One session's log, open for writing: the snapshot and the store, kept in step. An event counts only once it
// is stored; a failed store leaves the snapshot as it was.
//
// Thread safe: the runner appends steps, a canceller appends the end.
#ifndef SERVICES_ORCHESTRATOR_SESSION_LOG_H_
#define SERVICES_ORCHESTRATOR_SESSION_LOG_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/storage/event_store.h"
#include "nkiagent/orchestrator/v1/session.pb.h"
#include "services/orchestrator/next_action.h"
#include "services/orchestrator/snapshot.h"

namespace nkiagent::orchestrator {

class SessionLog {
 public:
  // Called after events were stored, without a lock held, with the events and the session after them.
  using Observer = std::function<void(const std::vector<v1::SessionEvent>&, const v1::Session&)>;

  // Reads a session's events. `store` outlives the log. `owner` is the token under which it was claimed;
  // empty for one that nobody works on. NOT_FOUND: no such session. DATA_LOSS: its events make no sense.
  static absl::StatusOr<std::shared_ptr<SessionLog>> Load(storage::EventStore* store,
                                                          const std::string& session_id,
                                                          const std::string& owner, Observer observer = {});

  const std::string& session_id() const { return session_id_; }

  // Stores events in one transaction; sequence numbers and times are set here. ABORTED: another writer has
  // the session. FAILED_PRECONDITION: it has ended. Other codes: the store fails.
  absl::Status Append(std::vector<v1::SessionEvent> events);

  // Makes the index say that the session is being worked on; no event.
  absl::Status MarkRunning();

  Action Next(absl::Time now) const;
  Snapshot snapshot() const;
  v1::Session session() const;

 private:
  SessionLog(storage::EventStore* store, std::string session_id, std::string owner, Observer observer)
      : store_(store),
        session_id_(std::move(session_id)),
        owner_(std::move(owner)),
        observer_(std::move(observer)) {}

  storage::EventStore* const store_;
  const std::string session_id_;
  const std::string owner_;
  const Observer observer_;
  mutable std::mutex mutex_;
  Snapshot snapshot_;
};

// The session as lists show it: without sources, facts and trials.
v1::Session Summary(const v1::Session& session);

// What the store's index says of a session.
storage::SessionIndex IndexOf(const v1::Session& session);
storage::SessionIndex IndexOf(const Snapshot& snapshot);

// Reads all events of a session, in order. NOT_FOUND, DATA_LOSS.
absl::StatusOr<Snapshot> ReadSnapshot(storage::EventStore* store, const std::string& session_id);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_SESSION_LOG_H_
