// What logs of sessions and of runs have in common: folding stored events into a snapshot, and storing new
// ones. A snapshot type has `int64_t last_sequence() const`; `Apply(event, &snapshot)` and
// `IndexOf(snapshot)` are found by its namespace.
#ifndef SERVICES_ORCHESTRATOR_EVENT_LOG_H_
#define SERVICES_ORCHESTRATOR_EVENT_LOG_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/storage/event_store.h"
#include "services/orchestrator/proto_time.h"

namespace nkiagent::orchestrator {

// DATA_LOSS: the bytes are not the event of that number.
template <class Event>
absl::StatusOr<Event> ParseEvent(const storage::StoredEvent& stored, const std::string& id) {
  Event event;
  if (!event.ParseFromString(stored.payload) || event.sequence() != stored.sequence) {
    return absl::DataLossError(absl::StrCat("event ", stored.sequence, " of ", id, " is unreadable"));
  }
  return event;
}

// Hands all events of a log to `see`, in order, until it fails. NOT_FOUND, DATA_LOSS, or the status of `see`.
template <class Event, class See>
absl::Status ForEachEvent(storage::EventStore* store, const std::string& id, const See& see) {
  constexpr int kBatch = 256;  // events read at once
  int64_t next = 1;
  while (true) {
    absl::StatusOr<std::vector<storage::StoredEvent>> events = store->Read(id, next, kBatch);
    if (!events.ok()) return events.status();
    for (const storage::StoredEvent& stored : *events) {
      absl::StatusOr<Event> event = ParseEvent<Event>(stored, id);
      if (!event.ok()) return event.status();
      if (absl::Status status = see(*event); !status.ok()) return status;
      next = stored.sequence + 1;
    }
    if (static_cast<int>(events->size()) < kBatch) return absl::OkStatus();
  }
}

// The fold of all events. NOT_FOUND, DATA_LOSS.
template <class Event, class Snapshot>
absl::StatusOr<Snapshot> FoldEvents(storage::EventStore* store, const std::string& id) {
  Snapshot snapshot;
  absl::Status status =
      ForEachEvent<Event>(store, id, [&snapshot](const Event& event) { return Apply(event, &snapshot); });
  if (!status.ok()) return status;
  return snapshot;
}

// Events from a sequence number on; `ended` tells that none will follow those.
template <class Event>
struct EventBatch {
  std::vector<Event> events;
  bool ended = false;
};

// At most a batch for a watcher. NOT_FOUND, DATA_LOSS.
template <class Event>
absl::StatusOr<EventBatch<Event>> ReadBatch(storage::EventStore* store, const std::string& id,
                                            int64_t from_sequence) {
  constexpr int kBatch = 32;
  // The head is read first: if it says that the log has ended, the events up to it are all there are.
  absl::StatusOr<storage::SessionRecord> record = store->Get(id);
  if (!record.ok()) return record.status();
  absl::StatusOr<std::vector<storage::StoredEvent>> stored = store->Read(id, from_sequence, kBatch);
  if (!stored.ok()) return stored.status();
  EventBatch<Event> batch;
  int64_t last = from_sequence - 1;
  for (const storage::StoredEvent& next : *stored) {
    absl::StatusOr<Event> event = ParseEvent<Event>(next, id);
    if (!event.ok()) return event.status();
    batch.events.push_back(*std::move(event));
    last = next.sequence;
  }
  batch.ended = !record->index.open && last >= record->last_sequence;
  return batch;
}

// Numbers the events, stores them in one transaction and applies them; if that fails the snapshot stays as it
// was.
template <class Event, class Snapshot>
absl::Status StoreEvents(storage::EventStore* store, const std::string& id, const std::string& owner,
                         std::vector<Event>* events, Snapshot* snapshot) {
  Snapshot next = *snapshot;
  std::vector<std::string> payloads;
  for (Event& event : *events) {
    event.set_sequence(next.last_sequence() + 1);
    SetTime(absl::Now(), event.mutable_time());
    if (absl::Status status = Apply(event, &next); !status.ok()) return status;
    payloads.push_back(event.SerializeAsString());
  }
  if (absl::Status stored = store->Append(id, owner, snapshot->last_sequence(), payloads, IndexOf(next));
      !stored.ok()) {
    return stored;
  }
  *snapshot = std::move(next);
  return absl::OkStatus();
}

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_EVENT_LOG_H_
