// The gateway without its RPCs: finds the model, waits for a turn, asks its provider, counts what it cost.
#ifndef SERVICES_LLM_GATEWAY_GATEWAY_H_
#define SERVICES_LLM_GATEWAY_GATEWAY_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/metrics/metrics.h"
#include "common/rpc/executor.h"
#include "services/llm_gateway/budget.h"
#include "services/llm_gateway/call_memory.h"
#include "services/llm_gateway/cassette.h"
#include "services/llm_gateway/gateway_metrics.h"
#include "services/llm_gateway/http/event_loop.h"
#include "services/llm_gateway/http/http_client.h"
#include "services/llm_gateway/http_provider.h"
#include "services/llm_gateway/model_config.h"
#include "services/llm_gateway/model_table.h"
#include "services/llm_gateway/provider.h"
#include "services/llm_gateway/response_cache.h"
#include "services/llm_gateway/routed_call.h"

namespace nkiagent::llm_gateway {

struct GatewayOptions {
  HttpProviderOptions http;
  HttpClient::Options client;
  CallMemoryOptions memory;
  // For callers that set none, so that every wait has one.
  absl::Duration default_deadline = absl::Minutes(15);
  // Where "replay:NAME" finds its cassettes; empty: nothing can be replayed.
  std::string cassette_dir;
  // Where every answered call is recorded, prompts and all; empty: nowhere.
  std::string record_dir;
  // Answers that requests may share (GenerateRequest.response_cache). Bytes of all of them; 0: none are kept.
  int64_t response_cache_bytes = int64_t{64} << 20;
  // A file that keeps them over a restart; empty: they are kept in memory.
  std::string response_cache_file;
  // Whether answers of temperature 0 are cached without being asked to.
  bool response_cache_temperature_zero = false;
  // What each session may spend, in millionths of a US dollar; 0: as much as it likes.
  int64_t session_budget_micro_usd = 0;
  // When an endpoint that fails is left alone.
  CircuitBreakerOptions breaker;
  // Threads for models that compute their answers here.
  rpc::ExecutorOptions local_models = {.threads = 4, .max_queued = 256};
};

// What a configuration offers.
struct ModelSet {
  std::vector<ModelConfig> models;
  std::vector<AliasConfig> aliases;
};

// Thread-safe. Destroyed when no call is in progress.
class Gateway {
 public:
  // `metrics` outlives the gateway. `builtin` is the model "builtin"; null: there is none. INTERNAL when the
  // event loop can't start, INVALID_ARGUMENT when record_dir is no folder, and errors of opening the cache's
  // file.
  static absl::StatusOr<std::unique_ptr<Gateway>> Create(GatewayOptions options,
                                                         std::vector<ModelConfig> models,
                                                         std::unique_ptr<BlockingModel> builtin,
                                                         metrics::Metrics& metrics,
                                                         std::vector<AliasConfig> aliases = {});
  ~Gateway();

  // LlmService.Generate, with its status codes. `done` is called once, on any thread.
  void Generate(const GenerateRequest& request, const CallContext& context, Provider::Done done);

  // As Generate; `pieces` gets the answer as it is made, if it is made bit by bit, and otherwise all of it
  // before `done`. Null: as Generate.
  void Stream(const std::shared_ptr<const GenerateRequest>& request, const CallContext& context,
              std::shared_ptr<PieceSink> pieces, Provider::Done done);

  // Offers other models and aliases from now on, all at once. Calls in progress go on as they began; entries
  // that stay the same keep their queues, limits and circuits.
  void Replace(const ModelSet& models);

  // Replace for a configuration that was read anew; an error is logged and counted, and the old one stays.
  void Reload(const absl::StatusOr<ModelSet>& models);

  // LlmService.ListModels: entries of the configuration, "builtin" and, if there is a cassette folder,
  // "replay:*".
  std::vector<nkiagent::llm::v1::Model> ListModels() const { return table()->List(); }

 private:
  Gateway(GatewayOptions options, metrics::Metrics& metrics);

  absl::Status Start(std::unique_ptr<BlockingModel> builtin);
  std::shared_ptr<const ModelTable> table() const;
  std::shared_ptr<ModelEntry> MakeEntry(const ModelConfig& config);
  std::shared_ptr<ModelEntry> MakeLocalEntry(const char* name, std::unique_ptr<BlockingModel> model,
                                             Offer offer);
  // All keys of all models, for the recorder.
  std::vector<std::string> Secrets() const;
  std::shared_ptr<CircuitBreaker> BreakerOf(const std::string& endpoint);

  const GatewayOptions options_;
  GatewayMetrics metrics_;
  CallMemory memory_;
  BudgetBook budgets_;
  std::unique_ptr<ResponseCache> cache_;
  std::unique_ptr<Recorder> recorder_;
  RoutedCallParts parts_;
  std::vector<std::shared_ptr<ModelEntry>> local_;
  std::mutex replace_mutex_;                                       // one Replace at a time; guards breakers_
  std::map<std::string, std::weak_ptr<CircuitBreaker>> breakers_;  // by base URL
  mutable std::mutex table_mutex_;                                 // guards the pointer
  std::shared_ptr<const ModelTable> table_;
  // After what its tasks use, so destroyed before it; client before loop.
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<rpc::Executor> local_models_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_GATEWAY_H_
