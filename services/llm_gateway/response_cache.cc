#include "services/llm_gateway/response_cache.h"

#include <utility>

#include "absl/time/time.h"
#include "common/rpc/logging.h"
#include "common/storage/content_hash.h"

namespace nkiagent::llm_gateway {
namespace {

// What is lost in a crash is asked again, so nothing waits for the disk.
constexpr char kSchema[] = R"(
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS answers (
  key TEXT PRIMARY KEY, used INTEGER NOT NULL, bytes INTEGER NOT NULL, answer BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS answers_by_use ON answers (used);
)";

// What a row takes beside the answer: its key in the table and in two indices, and SQLite's own.
constexpr int64_t kRowBytes = 512;

constexpr absl::Duration kBusyTimeout = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<ResponseCache>> ResponseCache::Open(const std::string& path,
                                                                   int64_t max_bytes) {
  absl::StatusOr<storage::Database> database =
      storage::Database::Open(path.empty() ? ":memory:" : path, kBusyTimeout);
  if (!database.ok()) return database.status();
  std::unique_ptr<ResponseCache> cache(new ResponseCache(*std::move(database), max_bytes));
  if (absl::Status status = cache->Prepare(); !status.ok()) return status;
  return cache;
}

absl::Status ResponseCache::Prepare() {
  if (absl::Status status = database_.Execute(kSchema); !status.ok()) return status;
  const std::pair<storage::Statement*, const char*> statements[] = {
      {&find_, "SELECT answer FROM answers WHERE key = ?"},
      {&touch_, "UPDATE answers SET used = ? WHERE key = ?"},
      {&put_, "INSERT INTO answers (key, used, bytes, answer) VALUES (?, ?, ?, ?)"},
      {&remove_, "DELETE FROM answers WHERE key = ? RETURNING bytes"},
      {&oldest_, "SELECT key FROM answers ORDER BY used LIMIT 1"}};
  for (const auto& [statement, sql] : statements) {
    absl::StatusOr<storage::Statement> prepared = database_.Prepare(sql);
    if (!prepared.ok()) return prepared.status();
    *statement = *std::move(prepared);
  }
  absl::StatusOr<storage::Statement> sum =
      database_.Prepare("SELECT coalesce(sum(bytes), 0), coalesce(max(used), 0) FROM answers");
  if (!sum.ok()) return sum.status();
  absl::StatusOr<bool> row = sum->Step();
  if (!row.ok()) return row.status();
  bytes_ = sum->Int(0);
  clock_ = sum->Int(1);
  return Shrink();
}

std::string ResponseCache::Key(absl::string_view identity) { return storage::Sha256Hex(identity); }

std::optional<llm::v1::GenerateResponse> ResponseCache::Find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  find_.Reset();
  find_.BindText(1, key);
  const absl::StatusOr<bool> row = find_.Step();
  if (!row.ok() || !*row) return std::nullopt;
  llm::v1::GenerateResponse answer;
  const bool parsed = answer.ParseFromString(find_.Bytes(0));
  find_.Reset();
  if (!parsed) return std::nullopt;
  touch_.Reset();
  touch_.BindInt(1, ++clock_);
  touch_.BindText(2, key);
  (void)touch_.Run();  // a hit whose age is not written is still a hit
  return answer;
}

void ResponseCache::Store(const std::string& key, const llm::v1::GenerateResponse& answer) {
  const std::string bytes = answer.SerializeAsString();
  if (static_cast<int64_t>(bytes.size()) > max_bytes_ / 8) return;
  const std::lock_guard lock(mutex_);
  absl::Status status = Put(key, bytes);
  if (status.ok()) status = Shrink();
  if (!status.ok())
    rpc::Logger::Get("cache").Warn("an answer was not cached", {{"reason", std::string(status.message())}});
}

absl::Status ResponseCache::Put(const std::string& key, const std::string& bytes) {
  remove_.Reset();
  remove_.BindText(1, key);
  absl::StatusOr<bool> removed = remove_.Step();
  if (!removed.ok()) return removed.status();
  if (*removed) bytes_ -= remove_.Int(0);
  remove_.Reset();
  put_.Reset();
  put_.BindText(1, key);
  put_.BindInt(2, ++clock_);
  const int64_t size = static_cast<int64_t>(bytes.size()) + kRowBytes;
  put_.BindInt(3, size);
  put_.BindBlob(4, bytes);
  absl::Status status = put_.Run();
  if (status.ok()) bytes_ += size;
  return status;
}

absl::Status ResponseCache::Shrink() {
  while (bytes_ > max_bytes_) {
    oldest_.Reset();
    absl::StatusOr<bool> row = oldest_.Step();
    if (!row.ok()) return row.status();
    if (!*row) {
      bytes_ = 0;
      break;
    }
    const std::string key = oldest_.Bytes(0);
    oldest_.Reset();
    remove_.Reset();
    remove_.BindText(1, key);
    absl::StatusOr<bool> removed = remove_.Step();
    if (!removed.ok()) return removed.status();
    if (!*removed) return absl::InternalError("an answer that was there could not be removed");
    bytes_ -= remove_.Int(0);
    remove_.Reset();
  }
  return absl::OkStatus();
}

int64_t ResponseCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace nkiagent::llm_gateway
