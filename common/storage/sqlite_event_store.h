// EventStore in one SQLite file, for one process.
//
// Write-ahead log with synchronous=FULL: a commit has reached the disk before it is acknowledged. A lock file
// beside the database keeps a second process out; a process that finds the lock free knows that every earlier
// owner is dead, so Open() frees all sessions and a restart does not wait for leases to pass.
#ifndef COMMON_STORAGE_SQLITE_EVENT_STORE_H_
#define COMMON_STORAGE_SQLITE_EVENT_STORE_H_

#include <memory>
#include <string>

#include "common/storage/event_store.h"

namespace nkiagent::storage {

struct SqliteOptions {
  std::string path;  // of the database; its folder must exist. "-wal", "-shm" and ".lock" files lie beside it
  // Longest wait for a lock inside the database. One process has one writer, so this only bounds outside
  // tools.
  absl::Duration busy_timeout = absl::Seconds(5);
  // Longest wait for another process that has the store to end.
  absl::Duration lock_wait = absl::ZeroDuration();
};

// INVALID_ARGUMENT: no path. FAILED_PRECONDITION: another process has the store, or a newer version wrote it.
// UNAVAILABLE, DATA_LOSS: the file can't be used.
absl::StatusOr<std::unique_ptr<EventStore>> OpenSqliteEventStore(const SqliteOptions& options);

}  // namespace nkiagent::storage

#endif  // COMMON_STORAGE_SQLITE_EVENT_STORE_H_
