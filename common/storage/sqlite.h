// A thin wrapper around the SQLite C API: one connection, prepared statements, transactions. Not thread safe:
// a connection and its statements belong to one thread at a time.
#ifndef COMMON_STORAGE_SQLITE_H_
#define COMMON_STORAGE_SQLITE_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nkiagent::storage {

// The status for an SQLite result code: RESOURCE_EXHAUSTED for a full disk, UNAVAILABLE for a busy database,
// DATA_LOSS for a corrupt one, ALREADY_EXISTS for a broken uniqueness, INTERNAL otherwise.
absl::Status SqliteStatus(sqlite3* database, int code, absl::string_view what);

// A prepared statement, used again and again. Reset() comes first, then Bind...(), then Step() until it is
// false.
class Statement {
 public:
  Statement() = default;
  Statement(sqlite3* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}

  void Reset();
  // Parameters are numbered from 1. Text and blobs are copied.
  void BindInt(int index, int64_t value);
  void BindText(int index, absl::string_view value);
  void BindBlob(int index, absl::string_view value);
  // True: there is a row. False: done.
  absl::StatusOr<bool> Step();
  // Runs a statement that gives no rows.
  absl::Status Run();

  // Columns of the current row are numbered from 0.
  int64_t Int(int column) const;
  std::string Bytes(int column) const;

 private:
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  sqlite3* database_ = nullptr;
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
};

class Database {
 public:
  // Opens or creates the file. `busy_timeout` bounds the wait for a lock of another connection.
  static absl::StatusOr<Database> Open(const std::string& path, absl::Duration busy_timeout);

  // Runs one or more statements without parameters.
  absl::Status Execute(const std::string& sql);
  absl::StatusOr<Statement> Prepare(const std::string& sql);
  // Rows that the last statement changed.
  int64_t Changes() const;

 private:
  struct Closer {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  explicit Database(sqlite3* database) : database_(database) {}
  std::unique_ptr<sqlite3, Closer> database_;
};

// Rolls back when it goes out of scope, unless Commit() succeeded.
class Transaction {
 public:
  // Takes the write lock at once, so that what is read inside stays true until the end.
  static absl::StatusOr<Transaction> Begin(Database* database);
  Transaction(Transaction&& other) noexcept : database_(other.database_) { other.database_ = nullptr; }
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  Transaction& operator=(Transaction&&) = delete;
  absl::Status Commit();

 private:
  explicit Transaction(Database* database) : database_(database) {}
  Database* database_;
};

}  // namespace nkiagent::storage

#endif  // COMMON_STORAGE_SQLITE_H_
