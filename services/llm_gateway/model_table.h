// The models and aliases of one configuration. Never changed: a new configuration makes a new table, which
// takes over the entries that stayed the same, with their queues and limits.
#ifndef SERVICES_LLM_GATEWAY_MODEL_TABLE_H_
#define SERVICES_LLM_GATEWAY_MODEL_TABLE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/llm_gateway/call_queue.h"
#include "services/llm_gateway/circuit_breaker.h"
#include "services/llm_gateway/model_config.h"
#include "services/llm_gateway/provider.h"
#include "services/llm_gateway/rate_limiter.h"

namespace nkiagent::llm_gateway {

// A model with all that calls of it share. Calls in progress keep it alive.
struct ModelEntry {
  ModelConfig config;
  // Null for models of the gateway itself.
  std::unique_ptr<RateLimiter> limiter;
  std::shared_ptr<CircuitBreaker> breaker;  // shared by all models of one endpoint
  std::unique_ptr<Provider> provider;
  std::unique_ptr<CallQueue> queue;
};

// The models to ask, in order, until one answers.
struct Route {
  std::vector<std::shared_ptr<ModelEntry>> chain;  // not empty
  FallOver fall_over;                              // when to ask the next
  int attempts = 0;  // tries of each but the last; 0: as many as the provider's options allow
};

// Metrics speak of "replay", not of each cassette.
std::string MetricLabel(const ModelConfig& config);

class ModelTable {
 public:
  using MakeEntry = std::function<std::shared_ptr<ModelEntry>(const ModelConfig& config)>;

  // `local` are the entries of the gateway itself, which no configuration names. Entries of `previous` (may
  // be null) whose configuration is the same are taken over, `make` makes the others.
  ModelTable(const std::vector<ModelConfig>& models, std::vector<AliasConfig> aliases,
             std::vector<std::shared_ptr<ModelEntry>> local, const ModelTable* previous,
             const MakeEntry& make);

  // NOT_FOUND names the known models. Aliases and exact names come before patterns, longer patterns before
  // shorter.
  absl::StatusOr<Route> Find(const std::string& model) const;

  // What LlmService.ListModels answers, ordered by name.
  std::vector<nkiagent::llm::v1::Model> List() const;

  const std::vector<std::shared_ptr<ModelEntry>>& entries() const { return entries_; }

 private:
  std::shared_ptr<ModelEntry> FindEntry(const std::string& model) const;

  std::vector<std::shared_ptr<ModelEntry>> entries_;
  std::vector<AliasConfig> aliases_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_MODEL_TABLE_H_
