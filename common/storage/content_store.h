// Bytes by name, for results that can be made again: a bounded LRU in memory over an optional bounded
// directory.
//
// Names are the caller's hash of what made the bytes, so an entry never changes and any replica may share a
// directory. Losing an entry is never an error: a damaged or missing file is a miss.
#ifndef COMMON_STORAGE_CONTENT_STORE_H_
#define COMMON_STORAGE_CONTENT_STORE_H_

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nkiagent::storage {

struct ContentStoreOptions {
  // Bytes of entries (names included) kept in memory; the least recently used go first.
  int64_t memory_bytes = int64_t{16} << 20;
  // Empty: memory only. Made if it doesn't exist; its parent must.
  std::string directory;
  // Bytes of files kept in the directory; the longest unread go first.
  int64_t directory_bytes = int64_t{1} << 30;
};

// Thread safe.
class ContentStore {
 public:
  // INVALID_ARGUMENT for bounds under zero, UNAVAILABLE for a directory that can't be used.
  static absl::StatusOr<std::unique_ptr<ContentStore>> Open(ContentStoreOptions options);

  // The bytes put under `name`, or null. Names are 1..128 characters of [a-z0-9-]; others are never found.
  std::shared_ptr<const std::string> Get(absl::string_view name);

  // Keeps `bytes` under `name`, replacing what was there. Bytes larger than a bound are not kept at that
  // level.
  void Put(absl::string_view name, std::string bytes);

  struct Usage {
    int64_t memory_bytes = 0;
    int64_t memory_entries = 0;
    int64_t directory_bytes = 0;
  };
  Usage usage() const;

 private:
  using Value = std::shared_ptr<const std::string>;
  struct Entry {
    std::string name;
    Value value;
  };

  explicit ContentStore(ContentStoreOptions options) : options_(std::move(options)) {}

  std::string PathOf(absl::string_view name) const;
  void Remember(const std::string& name, Value value);
  Value ReadFile(const std::string& name);
  void WriteFile(const std::string& name, const std::string& bytes);
  // Deletes the longest unread files until a tenth of the directory's bound is free.
  void PruneDirectory();

  const ContentStoreOptions options_;
  mutable std::mutex mutex_;  // guards the memory
  std::list<Entry> recent_;   // most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_name_;
  int64_t memory_bytes_ = 0;
  mutable std::mutex directory_mutex_;  // guards the directory's total, and pruning
  int64_t directory_bytes_ = 0;
};

}  // namespace nkiagent::storage

#endif  // COMMON_STORAGE_CONTENT_STORE_H_
