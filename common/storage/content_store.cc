#include "common/storage/content_store.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/logging.h"
#include "common/storage/content_hash.h"

namespace nkiagent::storage {
namespace {

namespace fs = std::filesystem;

// A file is the hash of the bytes, a newline, then the bytes: half-written and damaged files are told apart.
constexpr size_t kHashBytes = 64;

bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

int64_t Cost(const std::string& name, const std::string& bytes) {
  return static_cast<int64_t>(2 * name.size() + bytes.size());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ContentStore>> ContentStore::Open(ContentStoreOptions options) {
  if (options.memory_bytes < 0 || options.directory_bytes < 0) {
    return absl::InvalidArgumentError("the bounds of the store are under zero");
  }
  std::unique_ptr<ContentStore> store(new ContentStore(std::move(options)));
  const std::string& directory = store->options_.directory;
  if (directory.empty()) return store;
  std::error_code error;
  fs::create_directory(directory, error);
  if (!fs::is_directory(directory, error) || access(directory.c_str(), W_OK | X_OK) != 0) {
    return absl::UnavailableError(absl::StrCat("store directory ", directory, " can't be used"));
  }
  std::lock_guard lock(store->directory_mutex_);
  store->PruneDirectory();
  return store;
}

std::string ContentStore::PathOf(absl::string_view name) const {
  return absl::StrCat(options_.directory, "/", name);
}

ContentStore::Value ContentStore::Get(absl::string_view name_view) {
  if (!IsName(name_view)) return nullptr;
  const std::string name(name_view);
  {
    std::lock_guard lock(mutex_);
    if (const auto found = by_name_.find(name); found != by_name_.end()) {
      recent_.splice(recent_.begin(), recent_, found->second);
      return found->second->value;
    }
  }
  if (options_.directory.empty()) return nullptr;
  Value value = ReadFile(name);
  if (value != nullptr) Remember(name, value);
  return value;
}

void ContentStore::Put(absl::string_view name_view, std::string bytes) {
  if (!IsName(name_view)) return;
  const std::string name(name_view);
  if (!options_.directory.empty()) WriteFile(name, bytes);
  Remember(name, std::make_shared<const std::string>(std::move(bytes)));
}

void ContentStore::Remember(const std::string& name, Value value) {
  std::lock_guard lock(mutex_);
  if (const auto found = by_name_.find(name); found != by_name_.end()) {
    memory_bytes_ -= Cost(name, *found->second->value);
    recent_.erase(found->second);
    by_name_.erase(found);
  }
  const int64_t cost = Cost(name, *value);
  if (cost > options_.memory_bytes) return;
  recent_.push_front({name, std::move(value)});
  by_name_[name] = recent_.begin();
  memory_bytes_ += cost;
  while (memory_bytes_ > options_.memory_bytes) {
    const Entry& last = recent_.back();
    memory_bytes_ -= Cost(last.name, *last.value);
    by_name_.erase(last.name);
    recent_.pop_back();
  }
}

ContentStore::Value ContentStore::ReadFile(const std::string& name) {
  const std::string path = PathOf(name);
  std::ifstream file(path, std::ios::binary);
  if (!file) return nullptr;
  std::stringstream text;
  text << file.rdbuf();
  const std::string content = std::move(text).str();
  std::error_code error;
  std::string bytes = content.size() > kHashBytes ? content.substr(kHashBytes + 1) : "";
  if (content.size() <= kHashBytes || content.compare(0, kHashBytes, Sha256Hex(bytes)) != 0) {
    rpc::Logger::Get("store").Warn("damaged entry removed", {{"path", path}});
    fs::remove(path, error);
    return nullptr;
  }
  fs::last_write_time(path, fs::file_time_type::clock::now(), error);  // "read lately", for pruning
  return std::make_shared<const std::string>(std::move(bytes));
}

void ContentStore::WriteFile(const std::string& name, const std::string& bytes) {
  const auto size = static_cast<int64_t>(bytes.size() + kHashBytes + 1);
  if (size > options_.directory_bytes) return;
  static std::atomic<uint64_t> counter = 0;
  const std::string temporary = absl::StrCat(PathOf("tmp."), getpid(), ".", counter++);
  {
    std::ofstream file(temporary, std::ios::binary);
    file << Sha256Hex(bytes) << '\n' << bytes;
    file.close();
    if (!file) {
      rpc::Logger::Get("store").Warn("entry not written", {{"path", temporary}});
      std::error_code error;
      fs::remove(temporary, error);
      return;
    }
  }
  std::error_code error;
  std::lock_guard lock(directory_mutex_);
  const auto replaced = fs::file_size(PathOf(name), error);
  if (!error) directory_bytes_ -= static_cast<int64_t>(replaced);
  fs::rename(temporary, PathOf(name), error);
  if (error) return;
  directory_bytes_ += size;
  if (directory_bytes_ > options_.directory_bytes) PruneDirectory();
}

void ContentStore::PruneDirectory() {
  struct File {
    fs::path path;
    fs::file_time_type used;
    int64_t size;
  };
  std::vector<File> files;
  std::error_code error;
  directory_bytes_ = 0;
  const auto now = fs::file_time_type::clock::now();
  for (const auto& entry : fs::directory_iterator(options_.directory, error)) {
    const std::string name = entry.path().filename();
    const auto used = entry.last_write_time(error);
    if (absl::StartsWith(name, "tmp.")) {  // left by a writer that died; a living one takes no hour
      if (now - used > std::chrono::hours(1)) fs::remove(entry.path(), error);
      continue;
    }
    if (!IsName(name) || !entry.is_regular_file(error)) continue;
    files.push_back({entry.path(), used, static_cast<int64_t>(entry.file_size(error))});
    directory_bytes_ += files.back().size;
  }
  if (directory_bytes_ <= options_.directory_bytes) return;
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.used < b.used; });
  for (const File& file : files) {
    if (directory_bytes_ <= options_.directory_bytes - options_.directory_bytes / 10) break;
    if (fs::remove(file.path, error)) directory_bytes_ -= file.size;
  }
}

ContentStore::Usage ContentStore::usage() const {
  Usage usage;
  {
    std::lock_guard lock(mutex_);
    usage.memory_bytes = memory_bytes_;
    usage.memory_entries = static_cast<int64_t>(recent_.size());
  }
  std::lock_guard lock(directory_mutex_);
  usage.directory_bytes = directory_bytes_;
  return usage;
}

}  // namespace nkiagent::storage
