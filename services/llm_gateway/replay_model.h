// A "model" that answers from a cassette, and only if it is asked exactly what was recorded.
#ifndef SERVICES_LLM_GATEWAY_REPLAY_MODEL_H_
#define SERVICES_LLM_GATEWAY_REPLAY_MODEL_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "services/llm_gateway/cassette.h"
#include "services/llm_gateway/provider.h"

namespace nkiagent::llm_gateway {

// Serves "replay:NAME" from <folder>/NAME.jsonl (or <folder>/NAME if that is a file). NAME may have folders
// in it, but no "..", and is not absolute, since it comes from a caller. Cassettes are read once and kept.
//
// The answer is that of the recorded exchange whose request equals this one in all that a model sees. When
// there is none: FAILED_PRECONDITION with the first difference to the recorded conversation that agrees
// longest. The answer has the recorded usage and provider model, and cost 0, since nothing was paid.
class ReplayModel : public BlockingModel {
 public:
  explicit ReplayModel(std::string folder) : folder_(std::move(folder)) {}

  absl::StatusOr<GenerateResponse> Generate(const GenerateRequest& request,
                                            const CallContext& context) override;

 private:
  using Cassette = std::vector<Exchange>;

  absl::StatusOr<std::shared_ptr<const Cassette>> Load(const std::string& name);

  const std::string folder_;
  std::mutex mutex_;  // guards cassettes_
  std::map<std::string, std::shared_ptr<const Cassette>> cassettes_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_REPLAY_MODEL_H_
