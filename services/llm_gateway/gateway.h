// The gateway without its RPCs: finds the model, waits for a turn, asks its provider, counts what it cost.
#ifndef SERVICES_LLM_GATEWAY_GATEWAY_H_
#define SERVICES_LLM_GATEWAY_GATEWAY_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/metrics/metrics.h"
#include "common/rpc/executor.h"
#include "services/llm_gateway/call_memory.h"
#include "services/llm_gateway/call_queue.h"
#include "services/llm_gateway/cassette.h"
#include "services/llm_gateway/gateway_metrics.h"
#include "services/llm_gateway/http/event_loop.h"
#include "services/llm_gateway/http/http_client.h"
#include "services/llm_gateway/http_provider.h"
#include "services/llm_gateway/model_config.h"
#include "services/llm_gateway/provider.h"

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
  // Threads for models that compute their answers here.
  rpc::ExecutorOptions local_models = {.threads = 4, .max_queued = 256};
};

// Thread-safe. Destroyed when no call is in progress.
class Gateway {
 public:
  // `metrics` outlives the gateway. `builtin` is the model "builtin"; null: there is none. INTERNAL when the
  // event loop can't start, INVALID_ARGUMENT when record_dir is no folder.
  static absl::StatusOr<std::unique_ptr<Gateway>> Create(GatewayOptions options,
                                                         std::vector<ModelConfig> models,
                                                         std::unique_ptr<BlockingModel> builtin,
                                                         metrics::Metrics& metrics);
  ~Gateway();

  // LlmService.Generate, with its status codes. `done` is called once, on any thread. `request` need not
  // outlive the call.
  void Generate(const GenerateRequest& request, const CallContext& context, Provider::Done done);

  // LlmService.ListModels: entries of the configuration, "builtin" and, if there is a cassette folder,
  // "replay:*".
  std::vector<nkiagent::llm::v1::Model> ListModels() const;

 private:
  struct Entry {
    ModelConfig config;
    std::unique_ptr<Provider> provider;
    std::unique_ptr<CallQueue> queue;
  };

  Gateway(GatewayOptions options, metrics::Metrics& metrics);

  absl::Status Start(std::vector<ModelConfig> models, std::unique_ptr<BlockingModel> builtin);
  void AddEntry(ModelConfig config, std::unique_ptr<Provider> provider);
  // NOT_FOUND names the known models. Exact names come before patterns, longer patterns before shorter.
  absl::StatusOr<Entry*> Find(const std::string& model);
  absl::Status Check(const GenerateRequest& request, const Entry& entry) const;
  // Waits for the model's turn and asks it.
  void Call(Entry* entry, const std::shared_ptr<const GenerateRequest>& request, const CallContext& context,
            Provider::Done done);
  // Fills in what the provider left to us, counts and records.
  absl::StatusOr<GenerateResponse> Complete(const Entry& entry, const GenerateRequest& request,
                                            absl::Time start, absl::StatusOr<GenerateResponse> result);

  const GatewayOptions options_;
  GatewayMetrics metrics_;
  CallMemory memory_;
  std::unique_ptr<Recorder> recorder_;
  std::vector<std::unique_ptr<Entry>> entries_;
  // After what its tasks use, so destroyed before it; client before loop.
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<rpc::Executor> local_models_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_GATEWAY_H_
