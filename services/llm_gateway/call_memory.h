// Answers by the caller's request id, so that a repeated call is no second call to a provider.
#ifndef SERVICES_LLM_GATEWAY_CALL_MEMORY_H_
#define SERVICES_LLM_GATEWAY_CALL_MEMORY_H_

#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/llm_gateway/provider.h"

namespace nkiagent::llm_gateway {

struct CallMemoryOptions {
  // Answers that are kept; the oldest go first.
  size_t max_answers = 4096;
  // Their size together, in bytes.
  size_t max_bytes = size_t{32} << 20;
  // How long: nobody repeats a call that is older.
  absl::Duration max_age = absl::Hours(1);
  // The time; replaced in tests.
  std::function<absl::Time()> now = absl::Now;
};

// Thread-safe.
class CallMemory {
 public:
  using Done = Provider::Done;
  // Makes the call: with a context whose cancellation is that of all who wait for it, and a function to call
  // with the answer.
  using Call = std::function<void(const CallContext& context, Done done)>;

  explicit CallMemory(CallMemoryOptions options);
  ~CallMemory();

  // Answers `done` once: from memory (marked `cached`), together with the call of that id that is in
  // progress, or by making the call. ALREADY_EXISTS when `id` stands for a call with another fingerprint.
  // Only answers are remembered, never errors. A caller that is cancelled or whose deadline passes is told so
  // at once by its own context; the call itself is cancelled when the last of its callers is, and runs under
  // the deadline of the first.
  void Run(const std::string& id, const std::string& fingerprint, const CallContext& context,
           const Call& call, Done done);

  // Calls in progress and answers remembered, for tests.
  size_t in_progress() const;
  size_t remembered() const;

 private:
  struct Waiter;
  struct Entry;
  struct State;

  // Shared with calls in progress, which may end after the memory is gone.
  const std::shared_ptr<State> state_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_CALL_MEMORY_H_
