// Answers by the content of what was asked: in memory, or in a file that outlives the process (SQLite).
#ifndef SERVICES_LLM_GATEWAY_RESPONSE_CACHE_H_
#define SERVICES_LLM_GATEWAY_RESPONSE_CACHE_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/storage/sqlite.h"
#include "nkiagent/llm/v1/llm_service.pb.h"

namespace nkiagent::llm_gateway {

// Thread-safe. A failure of the file is a miss: the cache never fails a call.
class ResponseCache {
 public:
  // `path` empty: in memory. `max_bytes`: of all answers together; those used longest ago go first. Errors
  // are those of opening the file.
  static absl::StatusOr<std::unique_ptr<ResponseCache>> Open(const std::string& path, int64_t max_bytes);

  // The key of a question: a hash of all that decides about the answer.
  static std::string Key(absl::string_view identity);

  std::optional<nkiagent::llm::v1::GenerateResponse> Find(const std::string& key);
  // Replaces what is there. Answers larger than an eighth of the cache are not kept.
  void Store(const std::string& key, const nkiagent::llm::v1::GenerateResponse& answer);

  // Bytes of all answers, for tests.
  int64_t bytes() const;

 private:
  ResponseCache(storage::Database database, int64_t max_bytes)
      : max_bytes_(max_bytes), database_(std::move(database)) {}
  absl::Status Prepare();
  absl::Status Put(const std::string& key, const std::string& bytes);
  absl::Status Shrink();

  const int64_t max_bytes_;
  mutable std::mutex mutex_;  // guards all that follows
  storage::Database database_;
  storage::Statement find_;
  storage::Statement touch_;
  storage::Statement put_;
  storage::Statement remove_;
  storage::Statement oldest_;
  int64_t bytes_ = 0;
  int64_t clock_ = 0;  // counts uses
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_RESPONSE_CACHE_H_
