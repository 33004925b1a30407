// One call on its way: the models of its route one after the other, each with its checks, cache, budgets and
// queue.
#ifndef SERVICES_LLM_GATEWAY_ROUTED_CALL_H_
#define SERVICES_LLM_GATEWAY_ROUTED_CALL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/llm_gateway/budget.h"
#include "services/llm_gateway/cassette.h"
#include "services/llm_gateway/gateway_metrics.h"
#include "services/llm_gateway/http/event_loop.h"
#include "services/llm_gateway/model_table.h"
#include "services/llm_gateway/pieces.h"
#include "services/llm_gateway/provider.h"
#include "services/llm_gateway/response_cache.h"

namespace nkiagent::llm_gateway {

// What all calls share; outlives them.
struct RoutedCallParts {
  GatewayMetrics* metrics = nullptr;
  BudgetBook* budgets = nullptr;
  Scheduler* scheduler = nullptr;
  ResponseCache* cache = nullptr;  // null: no answers are kept
  Recorder* recorder = nullptr;    // null: nothing is recorded
  // Whether answers of temperature 0 are cached unless the request says otherwise.
  bool cache_temperature_zero = false;
  // What each session may spend, in millionths of a US dollar; 0: as much as it likes.
  int64_t session_budget_micro_usd = 0;
};

class RoutedCall : public std::enable_shared_from_this<RoutedCall> {
 public:
  RoutedCall(const RoutedCallParts* parts, Route route, ModelCall call, Provider::Done done);

  // Asks the first model. `done` is called once, as Provider::Generate does.
  void Begin() { AskNext(); }

 private:
  void AskNext();
  // What is wrong with asking this model.
  absl::Status Check() const;
  // The answer that is kept, if it may be used.
  std::optional<GenerateResponse> Cached();
  absl::Status ReserveBudgets();
  // A copy of the request that asks for no longer an answer than the budgets can pay; null when the caller
  // has set a length, or what can be paid is too short to be of use.
  std::shared_ptr<const GenerateRequest> Shortened(
      const std::vector<nkiagent::llm::v1::Budget>& budgets) const;
  void Ask(std::shared_ptr<CallQueue::Ticket> ticket);
  void Answered(absl::StatusOr<GenerateResponse> result);
  // Books the cost of what came; also of an answer that broke off.
  void Settle(const absl::StatusOr<GenerateResponse>& result);
  // Goes on with the next model, or ends.
  void Failed(absl::Status status);
  bool FallsOver(const absl::Status& status) const;
  void Finish(GenerateResponse response);
  bool LastOfChain() const { return next_ == route_.chain.size(); }

  const RoutedCallParts& parts_;
  const Route route_;
  const ModelCall call_;
  Provider::Done done_;
  const std::shared_ptr<CountingSink> sink_;  // null: not streamed
  const absl::Time start_;

  // One model at a time is asked, so these have one user at a time.
  size_t next_ = 0;
  std::shared_ptr<ModelEntry> entry_;
  absl::Time asked_;
  std::string cache_key_;                             // empty: not to be cached
  std::shared_ptr<const GenerateRequest> shortened_;  // sent instead of the call's; null: that one is
  std::unique_ptr<BudgetBook::Reservation> reservation_;
  std::vector<nkiagent::llm::v1::FailedModel> failed_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_ROUTED_CALL_H_
