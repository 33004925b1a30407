// A bounded cache of shared, immutable values: the least recently used go when the sum of their bytes passes
// the bound.
#ifndef SERVICES_VERIFY_LRU_CACHE_H_
#define SERVICES_VERIFY_LRU_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace nkiagent::verify {

// Thread safe. A value lives on for those who hold it after it has left the cache.
template <typename Value>
class LruCache {
 public:
  using Pointer = std::shared_ptr<const Value>;

  LruCache(int64_t max_bytes, size_t max_entries) : max_bytes_(max_bytes), max_entries_(max_entries) {}

  // Null if it isn't there.
  Pointer Get(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto it = by_key_.find(key);
    if (it == by_key_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, it->second);
    return it->second->value;
  }

  // Replaces what was there. A value larger than the bound is not kept.
  void Put(const std::string& key, Pointer value, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (const auto it = by_key_.find(key); it != by_key_.end()) Erase(it->second);
    if (bytes > max_bytes_) return;
    entries_.push_front({key, std::move(value), bytes});
    by_key_[key] = entries_.begin();
    bytes_ += bytes;
    while (bytes_ > max_bytes_ || entries_.size() > max_entries_) Erase(std::prev(entries_.end()));
  }

  int64_t bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }

 private:
  struct Entry {
    std::string key;
    Pointer value;
    int64_t bytes;
  };

  void Erase(typename std::list<Entry>::iterator entry) {
    bytes_ -= entry->bytes;
    by_key_.erase(entry->key);
    entries_.erase(entry);
  }

  const int64_t max_bytes_;
  const size_t max_entries_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // Most recently used first.
  std::unordered_map<std::string, typename std::list<Entry>::iterator> by_key_;
  int64_t bytes_ = 0;
};

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_LRU_CACHE_H_
