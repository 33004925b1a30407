#include "common/storage/sqlite_event_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/storage/sqlite.h"

namespace nkiagent::storage {
namespace {

// Raised with every change of the tables; Open() refuses a file of a newer version and migrates older ones.
constexpr int kSchemaVersion = 1;

// `ordinal` is the rowid, so it grows with creation and is never reused (AUTOINCREMENT).
constexpr char kSchema[] = R"sql(
CREATE TABLE sessions (
  ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
  session_id TEXT NOT NULL UNIQUE,
  request_id TEXT UNIQUE,
  request_hash TEXT NOT NULL,
  last_sequence INTEGER NOT NULL,
  state INTEGER NOT NULL,
  open INTEGER NOT NULL,
  model TEXT NOT NULL,
  grp TEXT NOT NULL,
  summary BLOB NOT NULL,
  owner TEXT NOT NULL DEFAULT '',
  lease_until_us INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX sessions_open ON sessions (ordinal) WHERE open = 1;
CREATE TABLE events (
  ordinal INTEGER NOT NULL REFERENCES sessions (ordinal),
  sequence INTEGER NOT NULL,
  payload BLOB NOT NULL,
  PRIMARY KEY (ordinal, sequence)
) WITHOUT ROWID;
)sql";

constexpr char kRecordColumns[] = "session_id, ordinal, last_sequence, state, open, model, grp, summary";

SessionRecord ReadRecord(const Statement& row) {
  SessionRecord record;
  record.session_id = row.Bytes(0);
  record.ordinal = row.Int(1);
  record.last_sequence = row.Int(2);
  record.index.state = static_cast<int>(row.Int(3));
  record.index.open = row.Int(4) != 0;
  record.index.model = row.Bytes(5);
  record.index.group = row.Bytes(6);
  record.index.summary = row.Bytes(7);
  return record;
}

// An exclusive lock on a file, held until the process ends, however it ends.
class LockFile {
 public:
  static absl::StatusOr<LockFile> Take(const std::string& path, absl::Duration wait) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return absl::UnavailableError(absl::StrCat("can't open ", path, ": ", strerror(errno)));
    LockFile file(fd);
    // flock() has no time-out of its own.
    constexpr absl::Duration kPoll = absl::Milliseconds(20);
    const absl::Time deadline = absl::Now() + wait;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (absl::Now() >= deadline) {
        return absl::FailedPreconditionError(
            absl::StrCat("another process uses this store: ", path, " is locked"));
      }
      absl::SleepFor(kPoll);
    }
    return file;
  }
  LockFile(LockFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~LockFile() {
    if (fd_ >= 0) close(fd_);
  }
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;
  LockFile& operator=(LockFile&&) = delete;

 private:
  explicit LockFile(int fd) : fd_(fd) {}
  int fd_;
};

class SqliteEventStore : public EventStore {
 public:
  SqliteEventStore(LockFile lock, Database writer, Database reader)
      : lock_(std::move(lock)), writer_(std::move(writer)), reader_(std::move(reader)) {}

  absl::Status Prepare() {
    const std::lock_guard<std::mutex> write(write_mutex_);
    const std::lock_guard<std::mutex> read(read_mutex_);
    struct {
      Database* database;
      Statement* statement;
      std::string sql;
    } const statements[] = {
        {&writer_, &find_request_, "SELECT session_id, request_hash FROM sessions WHERE request_id = ?1"},
        {&writer_, &insert_session_,
         "INSERT INTO sessions (session_id, request_id, request_hash, last_sequence, state, open, model, "
         "grp, summary)"
         " VALUES (?1, NULLIF(?2, ''), ?3, 1, ?4, ?5, ?6, ?7, ?8) RETURNING ordinal"},
        {&writer_, &insert_event_, "INSERT INTO events (ordinal, sequence, payload) VALUES (?1, ?2, ?3)"},
        {&writer_, &find_head_,
         "SELECT ordinal, last_sequence, open, owner FROM sessions WHERE session_id = ?1"},
        {&writer_, &update_session_,
         "UPDATE sessions SET last_sequence = ?2, state = ?3, open = ?4, model = ?5, grp = ?6, summary = ?7"
         " WHERE ordinal = ?1"},
        {&writer_, &claim_,
         absl::StrCat(
             "UPDATE sessions SET owner = ?1, lease_until_us = ?3 WHERE ordinal IN (SELECT ordinal FROM"
             " sessions WHERE open = 1 AND (owner = '' OR (owner <> ?1 AND lease_until_us < ?2))"
             " ORDER BY ordinal LIMIT ?4) RETURNING ",
             kRecordColumns)},
        {&writer_, &renew_, "UPDATE sessions SET lease_until_us = ?2 WHERE owner = ?1 AND open = 1"},
        {&writer_, &release_,
         "UPDATE sessions SET owner = '', lease_until_us = 0 WHERE owner = ?1 AND (?2 = '' OR session_id = "
         "?2)"},
        {&reader_, &get_, absl::StrCat("SELECT ", kRecordColumns, " FROM sessions WHERE session_id = ?1")},
        {&reader_, &read_,
         "SELECT sequence, payload FROM events WHERE ordinal = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT "
         "?3"},
        {&reader_, &count_open_, "SELECT COUNT(*) FROM sessions WHERE open = 1"},
    };
    for (const auto& entry : statements) {
      absl::StatusOr<Statement> prepared = entry.database->Prepare(entry.sql);
      if (!prepared.ok()) return prepared.status();
      *entry.statement = *std::move(prepared);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Created> CreateSession(const NewSession& session) override {
    const std::lock_guard<std::mutex> lock(write_mutex_);
    absl::StatusOr<Transaction> transaction = Transaction::Begin(&writer_);
    if (!transaction.ok()) return transaction.status();
    absl::StatusOr<std::optional<std::string>> earlier =
        LockedFindRequest(session.request_id, session.request_hash);
    if (!earlier.ok()) return earlier.status();
    if (earlier->has_value()) return Created{**earlier, true};

    insert_session_.Reset();
    insert_session_.BindText(1, session.session_id);
    insert_session_.BindText(2, session.request_id);
    insert_session_.BindText(3, session.request_hash);
    insert_session_.BindInt(4, session.index.state);
    insert_session_.BindInt(5, session.index.open ? 1 : 0);
    insert_session_.BindText(6, session.index.model);
    insert_session_.BindText(7, session.index.group);
    insert_session_.BindBlob(8, session.index.summary);
    absl::StatusOr<bool> row = insert_session_.Step();
    if (!row.ok()) return row.status();
    const int64_t ordinal = insert_session_.Int(0);
    insert_session_.Reset();
    if (absl::Status status = LockedInsertEvent(ordinal, 1, session.first_event); !status.ok()) return status;
    if (absl::Status status = transaction->Commit(); !status.ok()) return status;
    return Created{session.session_id, false};
  }

  absl::StatusOr<std::optional<std::string>> FindRequest(const std::string& request_id,
                                                         const std::string& request_hash) override {
    const std::lock_guard<std::mutex> lock(write_mutex_);
    return LockedFindRequest(request_id, request_hash);
  }

  absl::Status Append(const std::string& session_id, const std::string& owner, int64_t last_sequence,
                      const std::vector<std::string>& payloads, const SessionIndex& index) override {
    const std::lock_guard<std::mutex> lock(write_mutex_);
    absl::StatusOr<Transaction> transaction = Transaction::Begin(&writer_);
    if (!transaction.ok()) return transaction.status();
    find_head_.Reset();
    find_head_.BindText(1, session_id);
    absl::StatusOr<bool> row = find_head_.Step();
    if (!row.ok()) return row.status();
    if (!*row) return NoSuchSession(session_id);
    const int64_t ordinal = find_head_.Int(0);
    const int64_t stored_sequence = find_head_.Int(1);
    const bool open = find_head_.Int(2) != 0;
    const std::string stored_owner = find_head_.Bytes(3);
    find_head_.Reset();
    if (!open) return absl::FailedPreconditionError(absl::StrCat("session ", session_id, " has ended"));
    if (!owner.empty() && owner != stored_owner) {
      return absl::AbortedError(absl::StrCat("session ", session_id, " belongs to another owner"));
    }
    if (last_sequence != stored_sequence) {
      return absl::AbortedError(
          absl::StrCat("session ", session_id, " has ", stored_sequence, " events, not ", last_sequence));
    }
    int64_t sequence = stored_sequence;
    for (const std::string& payload : payloads) {
      if (absl::Status status = LockedInsertEvent(ordinal, ++sequence, payload); !status.ok()) return status;
    }
    update_session_.Reset();
    update_session_.BindInt(1, ordinal);
    update_session_.BindInt(2, sequence);
    update_session_.BindInt(3, index.state);
    update_session_.BindInt(4, index.open ? 1 : 0);
    update_session_.BindText(5, index.model);
    update_session_.BindText(6, index.group);
    update_session_.BindBlob(7, index.summary);
    if (absl::Status status = update_session_.Run(); !status.ok()) return status;
    return transaction->Commit();
  }

  absl::StatusOr<std::vector<StoredEvent>> Read(const std::string& session_id, int64_t from_sequence,
                                                int limit) override {
    const std::lock_guard<std::mutex> lock(read_mutex_);
    absl::StatusOr<SessionRecord> record = LockedGet(session_id);
    if (!record.ok()) return record.status();
    read_.Reset();
    read_.BindInt(1, record->ordinal);
    read_.BindInt(2, from_sequence);
    read_.BindInt(3, limit);
    std::vector<StoredEvent> events;
    while (true) {
      absl::StatusOr<bool> row = read_.Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      events.push_back({read_.Int(0), read_.Bytes(1)});
    }
    read_.Reset();
    return events;
  }

  absl::StatusOr<SessionRecord> Get(const std::string& session_id) override {
    const std::lock_guard<std::mutex> lock(read_mutex_);
    return LockedGet(session_id);
  }

  absl::StatusOr<std::vector<SessionRecord>> List(const ListFilter& filter, int64_t before,
                                                  int limit) override {
    std::string sql =
        absl::StrCat("SELECT ", kRecordColumns, " FROM sessions WHERE (?1 = 0 OR ordinal < ?1)");
    if (!filter.model.empty()) absl::StrAppend(&sql, " AND model = ?3");
    if (!filter.group.empty()) absl::StrAppend(&sql, " AND grp = ?4");
    if (!filter.states.empty()) {
      absl::StrAppend(&sql, " AND state IN (");
      for (size_t i = 0; i < filter.states.size(); ++i)
        absl::StrAppend(&sql, i == 0 ? "" : ",", filter.states[i]);
      absl::StrAppend(&sql, ")");
    }
    absl::StrAppend(&sql, " ORDER BY ordinal DESC LIMIT ?2");
    const std::lock_guard<std::mutex> lock(read_mutex_);
    // Few shapes of this statement exist, but lists are rare: preparing costs microseconds.
    absl::StatusOr<Statement> statement = reader_.Prepare(sql);
    if (!statement.ok()) return statement.status();
    statement->BindInt(1, before);
    statement->BindInt(2, limit);
    if (!filter.model.empty()) statement->BindText(3, filter.model);
    if (!filter.group.empty()) statement->BindText(4, filter.group);
    std::vector<SessionRecord> records;
    while (true) {
      absl::StatusOr<bool> row = statement->Step();
      if (!row.ok()) return row.status();
      if (!*row) return records;
      records.push_back(ReadRecord(*statement));
    }
  }

  absl::StatusOr<int64_t> CountOpen() override {
    const std::lock_guard<std::mutex> lock(read_mutex_);
    count_open_.Reset();
    absl::StatusOr<bool> row = count_open_.Step();
    if (!row.ok()) return row.status();
    const int64_t count = count_open_.Int(0);
    count_open_.Reset();
    return count;
  }

  absl::StatusOr<std::vector<SessionRecord>> Claim(const std::string& owner, absl::Time now,
                                                   absl::Time lease_until, int limit) override {
    if (owner.empty()) return absl::InvalidArgumentError("an owner needs a name");
    const std::lock_guard<std::mutex> lock(write_mutex_);
    claim_.Reset();
    claim_.BindText(1, owner);
    claim_.BindInt(2, absl::ToUnixMicros(now));
    claim_.BindInt(3, absl::ToUnixMicros(lease_until));
    claim_.BindInt(4, limit);
    std::vector<SessionRecord> records;
    while (true) {
      absl::StatusOr<bool> row = claim_.Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      records.push_back(ReadRecord(claim_));
    }
    claim_.Reset();
    return records;
  }

  absl::StatusOr<int64_t> RenewLeases(const std::string& owner, absl::Time lease_until) override {
    const std::lock_guard<std::mutex> lock(write_mutex_);
    renew_.Reset();
    renew_.BindText(1, owner);
    renew_.BindInt(2, absl::ToUnixMicros(lease_until));
    if (absl::Status status = renew_.Run(); !status.ok()) return status;
    return writer_.Changes();
  }

  absl::Status Release(const std::string& owner, const std::string& session_id) override {
    const std::lock_guard<std::mutex> lock(write_mutex_);
    release_.Reset();
    release_.BindText(1, owner);
    release_.BindText(2, session_id);
    return release_.Run();
  }

 private:
  static absl::Status NoSuchSession(const std::string& session_id) {
    return absl::NotFoundError(absl::StrCat("no session has the id \"", session_id.substr(0, 64), "\""));
  }

  absl::StatusOr<std::optional<std::string>> LockedFindRequest(const std::string& request_id,
                                                               const std::string& request_hash) {
    if (request_id.empty()) return std::nullopt;
    find_request_.Reset();
    find_request_.BindText(1, request_id);
    absl::StatusOr<bool> row = find_request_.Step();
    if (!row.ok()) return row.status();
    if (!*row) return std::nullopt;
    std::string session_id = find_request_.Bytes(0);
    const std::string stored_hash = find_request_.Bytes(1);
    find_request_.Reset();
    if (stored_hash != request_hash) {
      return absl::AlreadyExistsError(
          absl::StrCat("request id \"", request_id.substr(0, 128), "\" was used with another request"));
    }
    return std::make_optional(std::move(session_id));
  }

  absl::Status LockedInsertEvent(int64_t ordinal, int64_t sequence, const std::string& payload) {
    insert_event_.Reset();
    insert_event_.BindInt(1, ordinal);
    insert_event_.BindInt(2, sequence);
    insert_event_.BindBlob(3, payload);
    return insert_event_.Run();
  }

  absl::StatusOr<SessionRecord> LockedGet(const std::string& session_id) {
    get_.Reset();
    get_.BindText(1, session_id);
    absl::StatusOr<bool> row = get_.Step();
    if (!row.ok()) return row.status();
    if (!*row) return NoSuchSession(session_id);
    SessionRecord record = ReadRecord(get_);
    get_.Reset();
    return record;
  }

  LockFile lock_;
  // One connection writes, one reads, so that a list does not wait for a disk sync. `write_mutex_` guards the
  // writer and the statements up to release_, `read_mutex_` the reader and the rest; where both are taken,
  // the former first.
  std::mutex write_mutex_;
  std::mutex read_mutex_;
  Database writer_;
  Database reader_;
  // Statements come after their connections, so that they go first.
  Statement find_request_;
  Statement insert_session_;
  Statement insert_event_;
  Statement find_head_;
  Statement update_session_;
  Statement claim_;
  Statement renew_;
  Statement release_;
  Statement get_;
  Statement read_;
  Statement count_open_;
};

absl::Status Migrate(Database* database, const std::string& path) {
  absl::StatusOr<Transaction> transaction = Transaction::Begin(database);
  if (!transaction.ok()) return transaction.status();
  absl::StatusOr<Statement> statement = database->Prepare("PRAGMA user_version");
  if (!statement.ok()) return statement.status();
  absl::StatusOr<bool> row = statement->Step();
  if (!row.ok()) return row.status();
  const int64_t version = statement->Int(0);
  statement->Reset();
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " has schema version ", version, "; this program knows versions up to ", kSchemaVersion));
  }
  if (version == 0) {
    if (absl::Status status = database->Execute(kSchema); !status.ok()) return status;
    if (absl::Status status = database->Execute(absl::StrCat("PRAGMA user_version = ", kSchemaVersion));
        !status.ok()) {
      return status;
    }
  }
  // The lock file is ours, so whoever owned sessions is dead.
  if (absl::Status status =
          database->Execute("UPDATE sessions SET owner = '', lease_until_us = 0 WHERE owner <> ''");
      !status.ok()) {
    return status;
  }
  return transaction->Commit();
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventStore>> OpenSqliteEventStore(const SqliteOptions& options) {
  if (options.path.empty()) return absl::InvalidArgumentError("the store needs a path");
  absl::StatusOr<LockFile> lock = LockFile::Take(absl::StrCat(options.path, ".lock"), options.lock_wait);
  if (!lock.ok()) return lock.status();
  absl::StatusOr<Database> writer = Database::Open(options.path, options.busy_timeout);
  if (!writer.ok()) return writer.status();
  for (const char* pragma :
       {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON"}) {
    if (absl::Status status = writer->Execute(pragma); !status.ok()) return status;
  }
  if (absl::Status status = Migrate(&*writer, options.path); !status.ok()) return status;
  absl::StatusOr<Database> reader = Database::Open(options.path, options.busy_timeout);
  if (!reader.ok()) return reader.status();
  if (absl::Status status = reader->Execute("PRAGMA query_only = ON"); !status.ok()) return status;
  auto store = std::make_unique<SqliteEventStore>(*std::move(lock), *std::move(writer), *std::move(reader));
  if (absl::Status status = store->Prepare(); !status.ok()) return status;
  return store;
}

}  // namespace nkiagent::storage
