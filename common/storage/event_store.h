// A durable log of events, one sequence for each session, and an index over sessions. What a call has
// acknowledged survives a kill of the process and a loss of power.
//
// The store knows nothing of what events mean: payloads and summaries are bytes, states are numbers of the
// caller's. Writers are fenced in two ways. Append names the last sequence number that the writer has seen,
// so two writers can't both extend one session; and it names the writer's owner token, so a process whose
// lease was taken over can't write any more. Both are conditions of one transaction, which fits SQLite (one
// process) and PostgreSQL (many).
//
// Thread safe.
#ifndef COMMON_STORAGE_EVENT_STORE_H_
#define COMMON_STORAGE_EVENT_STORE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nkiagent::storage {

// One stored event.
struct StoredEvent {
  int64_t sequence = 0;  // from 1, without gaps
  std::string payload;
};

// What lists and queues need to know of a session without reading its events. Replaced as a whole by each
// Append.
struct SessionIndex {
  int state = 0;      // the caller's number
  bool open = true;   // false once the session has ended: it is not claimed and not appended to any more
  std::string model;  // filter of List
  std::string group;  // filter of List; empty for none
  std::string summary;
};

struct SessionRecord {
  std::string session_id;
  int64_t ordinal = 0;  // grows with creation; the cursor of List
  int64_t last_sequence = 0;
  SessionIndex index;
};

struct NewSession {
  std::string session_id;
  // Makes a retry safe: at most one session is created for one non-empty request id. `request_hash` tells a
  // repeat from another request under the same id.
  std::string request_id;
  std::string request_hash;
  std::string first_event;  // becomes sequence 1
  SessionIndex index;
};

struct Created {
  std::string session_id;  // of the earlier session, for a repeat
  bool repeated = false;
};

struct ListFilter {
  std::vector<int> states;  // none means all
  std::string model;        // empty means all
  std::string group;        // empty means all
};

class EventStore {
 public:
  virtual ~EventStore() = default;

  // Stores a session with its first event, unless `request_id` was stored before; then it tells which session
  // that made. ALREADY_EXISTS: the request id was used with another hash, or the session id is taken.
  virtual absl::StatusOr<Created> CreateSession(const NewSession& session) = 0;

  // The session that a request id made; absent if none did. ALREADY_EXISTS as above.
  virtual absl::StatusOr<std::optional<std::string>> FindRequest(const std::string& request_id,
                                                                 const std::string& request_hash) = 0;

  // Adds events after `last_sequence` and replaces the index, in one transaction. No events means the index
  // alone. ABORTED: the session's last event is another one, or `owner` is not its owner (an empty owner is
  // not checked; only for ending a session that nobody works on). NOT_FOUND: no such session.
  // FAILED_PRECONDITION: it has ended.
  virtual absl::Status Append(const std::string& session_id, const std::string& owner, int64_t last_sequence,
                              const std::vector<std::string>& payloads, const SessionIndex& index) = 0;

  // Events from a sequence number on, in order, at most `limit`. NOT_FOUND: no such session.
  virtual absl::StatusOr<std::vector<StoredEvent>> Read(const std::string& session_id, int64_t from_sequence,
                                                        int limit) = 0;

  // NOT_FOUND: no such session.
  virtual absl::StatusOr<SessionRecord> Get(const std::string& session_id) = 0;

  // Sessions with ordinals below `before` (0: from the newest), newest first, at most `limit`.
  virtual absl::StatusOr<std::vector<SessionRecord>> List(const ListFilter& filter, int64_t before,
                                                          int limit) = 0;

  // Sessions that are open.
  virtual absl::StatusOr<int64_t> CountOpen() = 0;

  // Takes up to `limit` open sessions that nobody owns or whose owner's lease has passed, oldest first, for
  // `owner`, until `lease_until`. Take-over of a dead replica's sessions is this call.
  virtual absl::StatusOr<std::vector<SessionRecord>> Claim(const std::string& owner, absl::Time now,
                                                           absl::Time lease_until, int limit) = 0;

  // Moves the lease of all of the owner's open sessions. Returns how many it still owns.
  virtual absl::StatusOr<int64_t> RenewLeases(const std::string& owner, absl::Time lease_until) = 0;

  // Gives up a session, or all of the owner's when `session_id` is empty, so that another may claim it at
  // once.
  virtual absl::Status Release(const std::string& owner, const std::string& session_id) = 0;
};

}  // namespace nkiagent::storage

#endif  // COMMON_STORAGE_EVENT_STORE_H_
