#include "services/llm_gateway/call_memory.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace nkiagent::llm_gateway {

// One caller of a call in progress.
struct CallMemory::Waiter {
  Done done;
  std::optional<std::stop_callback<std::function<void()>>> on_stop;
};

struct CallMemory::Entry {
  std::string fingerprint;
  std::optional<GenerateResponse> answer;        // of a call that is done
  std::vector<std::shared_ptr<Waiter>> waiters;  // of a call in progress
  std::stop_source stop;                         // cancels it
  size_t bytes = 0;
  absl::Time answered;                   // of a call that is done
  std::list<std::string>::iterator age;  // likewise: its place in `ages`
};

struct CallMemory::State {
  explicit State(CallMemoryOptions o) : options(std::move(o)) {}

  const CallMemoryOptions options;
  mutable std::mutex mutex;  // guards the next three, and what is in entries
  std::map<std::string, std::shared_ptr<Entry>> entries;
  std::list<std::string> ages;  // ids of answers, oldest first
  size_t bytes = 0;

  // Remembers the answer, or forgets the call; then tells all who wait.
  void Complete(const std::string& id, const std::shared_ptr<Entry>& entry,
                const absl::StatusOr<GenerateResponse>& result) {
    std::vector<std::shared_ptr<Waiter>> waiters;
    {
      const std::lock_guard lock(mutex);
      waiters.swap(entry->waiters);
      // An entry that was abandoned has made room for another call with its id.
      const auto found = entries.find(id);
      if (found != entries.end() && found->second == entry) {
        if (result.ok()) {
          Remember(id, entry, *result);
        } else {
          entries.erase(found);
        }
      }
    }
    for (size_t i = 0; i < waiters.size(); ++i) {
      absl::StatusOr<GenerateResponse> copy = result;
      if (i > 0 && copy.ok()) copy->set_cached(true);
      waiters[i]->done(std::move(copy));
    }
  }

  // Under the mutex.
  void Remember(const std::string& id, const std::shared_ptr<Entry>& entry, const GenerateResponse& answer) {
    entry->answer = answer;
    entry->bytes = answer.ByteSizeLong() + id.size() + entry->fingerprint.size();
    entry->age = ages.insert(ages.end(), id);
    entry->answered = options.now();
    bytes += entry->bytes;
    Forget();
  }

  // What is too much or too old. Under the mutex.
  void Forget() {
    const absl::Time oldest_kept = options.now() - options.max_age;
    while (!ages.empty()) {
      const auto oldest = entries.find(ages.front());
      if (ages.size() <= options.max_answers && bytes <= options.max_bytes &&
          oldest->second->answered >= oldest_kept)
        return;
      bytes -= oldest->second->bytes;
      entries.erase(oldest);
      ages.pop_front();
    }
  }

  // A caller is gone. With the last of them the call is cancelled, and its id is free.
  void Abandon(const std::string& id, const std::shared_ptr<Entry>& entry, const Waiter* waiter) {
    std::shared_ptr<Waiter> gone;
    bool last = false;
    {
      const std::lock_guard lock(mutex);
      const auto found = std::find_if(entry->waiters.begin(), entry->waiters.end(),
                                      [&](const auto& w) { return w.get() == waiter; });
      if (found == entry->waiters.end()) return;
      gone = std::move(*found);
      entry->waiters.erase(found);
      last = entry->waiters.empty();
      if (last) {
        const auto current = entries.find(id);
        if (current != entries.end() && current->second == entry) entries.erase(current);
      }
    }
    if (last) entry->stop.request_stop();
    gone->done(absl::CancelledError("the caller cancelled"));
  }
};

CallMemory::CallMemory(CallMemoryOptions options) : state_(std::make_shared<State>(std::move(options))) {}

CallMemory::~CallMemory() = default;

void CallMemory::Run(const std::string& id, const std::string& fingerprint, const CallContext& context,
                     const Call& call, Done done) {
  auto waiter = std::make_shared<Waiter>();
  std::shared_ptr<Entry> entry;
  bool first = false;
  {
    std::unique_lock lock(state_->mutex);
    state_->Forget();
    std::shared_ptr<Entry>& slot = state_->entries[id];
    if (slot != nullptr && slot->fingerprint != fingerprint) {
      lock.unlock();
      return done(absl::AlreadyExistsError(absl::StrCat("request_id ", id, " stands for another request")));
    }
    if (slot != nullptr && slot->answer.has_value()) {
      GenerateResponse answer = *slot->answer;
      lock.unlock();
      answer.set_cached(true);
      return done(std::move(answer));
    }
    first = slot == nullptr;
    if (first) {
      slot = std::make_shared<Entry>();
      slot->fingerprint = fingerprint;
    }
    entry = slot;
    waiter->done = std::move(done);
    entry->waiters.push_back(waiter);
  }
  // Weak: entry and state own the waiter, which owns the callback.
  waiter->on_stop.emplace(context.stop_token(), [weak_state = std::weak_ptr(state_), id,
                                                 weak_entry = std::weak_ptr(entry), raw = waiter.get()] {
    const std::shared_ptr<State> state = weak_state.lock();
    const std::shared_ptr<Entry> current = weak_entry.lock();
    if (state != nullptr && current != nullptr) state->Abandon(id, current, raw);
  });
  if (!first) return;
  const CallContext shared(context.request_id(), context.deadline(), entry->stop.get_token());
  call(shared, [state = state_, id, entry](const absl::StatusOr<GenerateResponse>& result) {
    state->Complete(id, entry, result);
  });
}

size_t CallMemory::in_progress() const {
  const std::lock_guard lock(state_->mutex);
  return state_->entries.size() - state_->ages.size();
}

size_t CallMemory::remembered() const {
  const std::lock_guard lock(state_->mutex);
  return state_->ages.size();
}

}  // namespace nkiagent::llm_gateway
