// Runs a BlockingModel on a pool of threads.
#ifndef SERVICES_LLM_GATEWAY_BLOCKING_PROVIDER_H_
#define SERVICES_LLM_GATEWAY_BLOCKING_PROVIDER_H_

#include <memory>
#include <utility>

#include "common/rpc/executor.h"
#include "services/llm_gateway/provider.h"

namespace nkiagent::llm_gateway {

class BlockingProvider : public Provider {
 public:
  // `executor` outlives the provider and ends its jobs before the provider is destroyed.
  BlockingProvider(std::unique_ptr<BlockingModel> model, rpc::Executor* executor)
      : model_(std::move(model)), executor_(executor) {}

  // RESOURCE_EXHAUSTED when the pool's queue is full.
  void Generate(const GenerateRequest& request, const CallContext& context, Done done) override {
    // Copied: a call whose caller is gone ends before its job does, and takes its request with it.
    const absl::Status submitted = executor_->Submit([this, request, context, done] {
      if (absl::Status status = context.Check(); !status.ok()) return done(status);
      done(model_->Generate(request, context));
    });
    if (!submitted.ok()) done(submitted);
  }

 private:
  const std::unique_ptr<BlockingModel> model_;
  rpc::Executor* const executor_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_BLOCKING_PROVIDER_H_
