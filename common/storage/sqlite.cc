#include "common/storage/sqlite.h"

#include "absl/strings/str_cat.h"

namespace nkiagent::storage {

absl::Status SqliteStatus(sqlite3* database, int code, absl::string_view what) {
  const std::string message =
      absl::StrCat(what, ": ", database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
      return absl::UnavailableError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_CONSTRAINT:
      return absl::AlreadyExistsError(message);
    default:
      return absl::InternalError(message);
  }
}

void Statement::Reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

void Statement::BindInt(int index, int64_t value) { sqlite3_bind_int64(statement_.get(), index, value); }

void Statement::BindText(int index, absl::string_view value) {
  sqlite3_bind_text64(statement_.get(), index, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void Statement::BindBlob(int index, absl::string_view value) {
  // A null pointer would bind NULL; an empty blob is meant.
  sqlite3_bind_blob64(statement_.get(), index, value.empty() ? "" : value.data(), value.size(),
                      SQLITE_TRANSIENT);
}

absl::StatusOr<bool> Statement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  absl::Status status = SqliteStatus(database_, code, "step");
  // A statement left in the middle would keep its lock.
  sqlite3_reset(statement_.get());
  return status;
}

absl::Status Statement::Run() {
  absl::StatusOr<bool> row = Step();
  sqlite3_reset(statement_.get());
  return row.status();
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string Statement::Bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), size);
}

absl::StatusOr<Database> Database::Open(const std::string& path, absl::Duration busy_timeout) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database(raw);
  if (code != SQLITE_OK) return SqliteStatus(raw, code, absl::StrCat("can't open ", path));
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, static_cast<int>(absl::ToInt64Milliseconds(busy_timeout)));
  return database;
}

absl::Status Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : SqliteStatus(database_.get(), code, sql.substr(0, 80));
}

absl::StatusOr<Statement> Database::Prepare(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(database_.get(), sql.c_str(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return SqliteStatus(database_.get(), code, sql.substr(0, 80));
  return Statement(database_.get(), statement);
}

int64_t Database::Changes() const { return sqlite3_changes64(database_.get()); }

absl::StatusOr<Transaction> Transaction::Begin(Database* database) {
  if (absl::Status status = database->Execute("BEGIN IMMEDIATE"); !status.ok()) return status;
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ != nullptr) database_->Execute("ROLLBACK").IgnoreError();
}

absl::Status Transaction::Commit() {
  if (absl::Status status = database_->Execute("COMMIT"); !status.ok()) return status;
  database_ = nullptr;
  return absl::OkStatus();
}

}  // namespace nkiagent::storage
