// What the tests of this folder share.
#ifndef SERVICES_LLM_GATEWAY_TEST_UTIL_H_
#define SERVICES_LLM_GATEWAY_TEST_UTIL_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/llm_gateway/provider.h"

namespace nkiagent::llm_gateway {

// A conversation of one user message.
inline GenerateRequest Ask(const std::string& model, const std::string& text) {
  GenerateRequest request;
  request.set_model(model);
  nkiagent::llm::v1::Message* message = request.add_messages();
  message->set_role(nkiagent::llm::v1::ROLE_USER);
  message->add_content()->set_text(text);
  return request;
}

inline void AddTool(const std::string& name, GenerateRequest* request) {
  nkiagent::llm::v1::Tool* tool = request->add_tools();
  tool->set_name(name);
  tool->set_description("Tool " + name);
  tool->set_parameters_json_schema(R"({"type": "object", "properties": {"source": {"type": "string"}}})");
}

// Catches one answer.
class Answer {
 public:
  Provider::Done Catch() {
    return [state = state_](absl::StatusOr<GenerateResponse> result) {
      const std::lock_guard lock(state->mutex);
      ++state->times;
      state->result = std::move(result);
      state->changed.notify_all();
    };
  }

  // Waits for it, at most 30 s; INTERNAL if it did not come.
  absl::StatusOr<GenerateResponse> Wait() {
    std::unique_lock lock(state_->mutex);
    if (!state_->changed.wait_for(lock, std::chrono::seconds(30),
                                  [this] { return state_->result.has_value(); })) {
      return absl::InternalError("no answer came");
    }
    return *state_->result;
  }

  bool ready() const {
    const std::lock_guard lock(state_->mutex);
    return state_->result.has_value();
  }
  int times() const {
    const std::lock_guard lock(state_->mutex);
    return state_->times;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<absl::StatusOr<GenerateResponse>> result;
    int times = 0;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// Takes pieces and forgets them.
class DroppingSink : public PieceSink {
 public:
  bool Take(nkiagent::llm::v1::ContentDelta) override { return true; }
  void WhenRoom(std::function<void()> resume) override { resume(); }
};

// A context with a stop source of its own.
struct Caller {
  std::stop_source stop;
  absl::Time deadline = absl::InfiniteFuture();
  CallContext context() const { return CallContext("test", deadline, stop.get_token()); }
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_TEST_UTIL_H_
