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
  BlockingProvider(std::unique_ptr<BlockingModel> model, rpc::Executor* executor, Offer offer)
      : model_(std::move(model)), executor_(executor), offer_(offer) {}

  // RESOURCE_EXHAUSTED when the pool's queue is full.
  void Generate(const ModelCall& call, Done done) override {
    const absl::Status submitted = executor_->Submit([this, call, done] {
      if (absl::Status status = call.context.Check(); !status.ok()) return done(status);
      done(model_->Generate(*call.request, call.context));
    });
    if (!submitted.ok()) done(submitted);
  }

  Offer offer() const override { return offer_; }

 private:
  const std::unique_ptr<BlockingModel> model_;
  rpc::Executor* const executor_;
  const Offer offer_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_BLOCKING_PROVIDER_H_
