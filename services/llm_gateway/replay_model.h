// A "model" that answers from a cassette, and only if it is asked exactly what was recorded.
#ifndef SERVICES_LLM_GATEWAY_REPLAY_MODEL_H_
#define SERVICES_LLM_GATEWAY_REPLAY_MODEL_H_

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "services/llm_gateway/cassette.h"
#include "services/llm_gateway/provider.h"

namespace nkiagent::llm_gateway {

// Serves "replay:NAME" from <folder>/NAME.jsonl (or <folder>/NAME if that is a file). NAME may have folders
// in it, but no "..", and is not absolute, since it comes from a caller. Cassettes are read once and kept.
//
// The answer is that of the recorded exchange whose request equals this one in all that a model sees. When
// there are several of them, a session gets one after the other, and the last again and again; without a
// session id it is always the first. When there is none: FAILED_PRECONDITION with the first difference to the
// recorded conversation that agrees longest. The answer has the recorded usage and provider model, and cost
// 0, since nothing was paid.
class ReplayModel : public BlockingModel {
 public:
  explicit ReplayModel(std::string folder) : folder_(std::move(folder)) {}

  absl::StatusOr<GenerateResponse> Generate(const GenerateRequest& request,
                                            const CallContext& context) override;

 private:
  using Cassette = std::vector<Exchange>;

  absl::StatusOr<std::shared_ptr<const Cassette>> Load(const std::string& name);

  // How often the session has asked this before; counts this time.
  size_t CountAsked(const std::string& name, const std::string& session, const std::string& hash);

  const std::string folder_;
  std::mutex mutex_;  // guards all that follows
  std::map<std::string, std::shared_ptr<const Cassette>> cassettes_;
  // By cassette and session: how often each request was asked. The oldest are forgotten.
  std::map<std::pair<std::string, std::string>, std::map<std::string, size_t>> asked_;
  std::deque<std::pair<std::string, std::string>> ages_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_REPLAY_MODEL_H_
