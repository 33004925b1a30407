#include "services/llm_gateway/routed_call.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"
#include "google/protobuf/util/time_util.h"
#include "services/llm_gateway/error_detail.h"
#include "services/llm_gateway/hedging.h"
#include "services/llm_gateway/json_util.h"
#include "services/llm_gateway/token_bounds.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;

// An answer that may be no longer than this is not worth its prompt.
constexpr int64_t kFewestUsefulTokens = 512;

absl::Status NotOffered(const ModelConfig& config, absl::string_view what) {
  return WithReason(absl::InvalidArgumentError(absl::StrCat(what, ", which provider ", config.provider,
                                                            " of model ", config.name, " doesn't offer")),
                    llm::ERROR_REASON_NOT_OFFERED);
}

bool HasToolBlocks(const GenerateRequest& request) {
  for (const llm::Message& message : request.messages()) {
    for (const llm::ContentBlock& block : message.content()) {
      if (block.has_tool_call() || block.has_tool_result()) return true;
    }
  }
  return false;
}

absl::Status CheckOffered(const GenerateRequest& request, const ModelConfig& config, const Offer& offer) {
  const llm::SamplingOptions& sampling = request.sampling();
  if (sampling.samples() > 1 && !offer.samples)
    return NotOffered(config, absl::StrCat("sampling.samples is ", sampling.samples()));
  if (sampling.has_top_logprobs() && !offer.logprobs)
    return NotOffered(config, "sampling.top_logprobs asks for log-probabilities");
  if (request.tool_choice() == llm::TOOL_CHOICE_NONE && !offer.no_tool_choice && HasToolBlocks(request))
    return NotOffered(config, "tool_choice is TOOL_CHOICE_NONE in a conversation with tool calls");
  return absl::OkStatus();
}

}  // namespace

RoutedCall::RoutedCall(const RoutedCallParts* parts, Route route, ModelCall call, Provider::Done done)
    : parts_(*parts),
      route_(std::move(route)),
      call_(std::move(call)),
      done_(std::move(done)),
      sink_(call_.pieces == nullptr ? nullptr : std::make_shared<CountingSink>(call_.pieces)),
      start_(absl::Now()) {}

void RoutedCall::AskNext() {
  entry_ = route_.chain[next_++];
  asked_ = absl::Now();
  cache_key_.clear();
  shortened_.reset();
  if (absl::Status status = Check(); !status.ok()) return Failed(std::move(status));
  if (std::optional<GenerateResponse> cached = Cached()) return Finish(*std::move(cached));
  if (absl::Status status = ReserveBudgets(); !status.ok()) return Failed(std::move(status));
  entry_->queue->Enter(
      call_.request->session_id(), call_.context,
      [self = shared_from_this()](absl::StatusOr<std::shared_ptr<CallQueue::Ticket>> ticket) {
        self->parts_.metrics->RecordQueue(MetricLabel(self->entry_->config), self->entry_->queue->running(),
                                          self->entry_->queue->waiting());
        if (!ticket.ok()) return self->Answered(ticket.status());
        self->Ask(*std::move(ticket));
      });
}

absl::Status RoutedCall::Check() const {
  const GenerateRequest& request = *call_.request;
  const ModelConfig& config = entry_->config;
  const int64_t limit = config.max_output_tokens;
  if (limit > 0 && request.sampling().max_output_tokens() > limit) {
    return absl::InvalidArgumentError(absl::StrCat("sampling.max_output_tokens is ",
                                                   request.sampling().max_output_tokens(), "; model ",
                                                   config.name, " gives at most ", limit));
  }
  if (absl::Status status = CheckOffered(request, config, entry_->provider->offer()); !status.ok())
    return status;
  return CheckContextWindow(request, config);
}

std::optional<GenerateResponse> RoutedCall::Cached() {
  if (parts_.cache == nullptr) return std::nullopt;
  const llm::SamplingOptions& sampling = call_.request->sampling();
  llm::ResponseCache mode = call_.request->response_cache();
  if (mode == llm::RESPONSE_CACHE_UNSPECIFIED && parts_.cache_temperature_zero &&
      sampling.has_temperature() && sampling.temperature() == 0) {
    mode = llm::RESPONSE_CACHE_USE;
  }
  if (mode != llm::RESPONSE_CACHE_USE && mode != llm::RESPONSE_CACHE_REFRESH) return std::nullopt;
  const std::string identity = entry_->provider->Identity(*call_.request);
  if (identity.empty()) return std::nullopt;
  cache_key_ = ResponseCache::Key(identity);
  if (mode == llm::RESPONSE_CACHE_REFRESH) return std::nullopt;
  std::optional<GenerateResponse> found = parts_.cache->Find(cache_key_);
  parts_.metrics->RecordCache(MetricLabel(entry_->config), found.has_value());
  if (found.has_value()) found->set_cached(true);
  return found;
}

absl::Status RoutedCall::ReserveBudgets() {
  std::vector<llm::Budget> budgets(call_.request->budgets().begin(), call_.request->budgets().end());
  if (parts_.session_budget_micro_usd > 0 && !call_.request->session_id().empty()) {
    llm::Budget& session = budgets.emplace_back();
    session.set_id(absl::StrCat("session:", call_.request->session_id()));
    session.set_limit_micro_usd(parts_.session_budget_micro_usd);
  }
  if (budgets.empty()) return absl::OkStatus();
  const absl::StatusOr<int64_t> most = MostCostMicroUsd(*call_.request, entry_->config);
  if (!most.ok()) return most.status();
  absl::StatusOr<std::unique_ptr<BudgetBook::Reservation>> reserved = parts_.budgets->Reserve(budgets, *most);
  if (!reserved.ok()) {
    std::shared_ptr<const GenerateRequest> shorter = Shortened(budgets);
    if (shorter == nullptr) return reserved.status();
    const absl::StatusOr<int64_t> less = MostCostMicroUsd(*shorter, entry_->config);
    if (!less.ok()) return less.status();
    reserved = parts_.budgets->Reserve(budgets, *less);
    if (!reserved.ok()) return reserved.status();
    shortened_ = std::move(shorter);
    cache_key_.clear();  // an answer that was cut short for want of money is nobody else's
  }
  reservation_ = *std::move(reserved);
  return absl::OkStatus();
}

std::shared_ptr<const GenerateRequest> RoutedCall::Shortened(const std::vector<llm::Budget>& budgets) const {
  if (call_.request->sampling().has_max_output_tokens()) return nullptr;
  const int64_t tokens =
      AffordableOutputTokens(*call_.request, entry_->config, parts_.budgets->Left(budgets));
  if (tokens < kFewestUsefulTokens + call_.request->sampling().thinking_budget_tokens()) return nullptr;
  auto shorter = std::make_shared<GenerateRequest>(*call_.request);
  shorter->mutable_sampling()->set_max_output_tokens(static_cast<int32_t>(tokens));
  return shorter;
}

void RoutedCall::Ask(std::shared_ptr<CallQueue::Ticket> ticket) {
  ModelCall call = call_;
  if (shortened_ != nullptr) call.request = shortened_;
  call.pieces = sink_;
  call.max_attempts = LastOfChain() ? 0 : route_.attempts;
  Provider::Done done = [self = shared_from_this(),
                         ticket = std::move(ticket)](absl::StatusOr<GenerateResponse> result) mutable {
    // The next call begins before this one's answer is worked on.
    ticket.reset();
    self->Answered(std::move(result));
  };
  const absl::Duration hedge_after = entry_->config.hedge_after;
  if (hedge_after > absl::ZeroDuration() && sink_ == nullptr) {
    GenerateHedged(entry_->provider.get(), parts_.scheduler, hedge_after, call, std::move(done));
  } else {
    entry_->provider->Generate(call, std::move(done));
  }
}

void RoutedCall::Answered(absl::StatusOr<GenerateResponse> result) {
  if (result.ok()) {
    if (result->attempts() == 0) result->set_attempts(1);
    result->set_context_window_tokens(entry_->config.context_window_tokens);
    result->mutable_usage()->set_calls(1);
    result->mutable_usage()->set_cost_micro_usd(CostMicroUsd(entry_->config.prices, result->usage()));
  }
  Settle(result);
  parts_.metrics->RecordCall(MetricLabel(entry_->config), result.status(), absl::Now() - asked_,
                             result.ok() ? &result->usage() : nullptr);
  parts_.metrics->RecordQueue(MetricLabel(entry_->config), entry_->queue->running(),
                              entry_->queue->waiting());
  if (!result.ok()) return Failed(result.status());
  if (!cache_key_.empty()) parts_.cache->Store(cache_key_, *result);
  Finish(*std::move(result));
}

void RoutedCall::Settle(const absl::StatusOr<GenerateResponse>& result) {
  if (reservation_ == nullptr) return;
  if (result.ok()) return reservation_->Settle(result->usage().cost_micro_usd());
  if (sink_ == nullptr || sink_->bytes() == 0) return reservation_->Settle(0);
  // It broke off or was cancelled in mid-answer, and has to be paid for: the prompt, and what came of the
  // answer.
  nkiagent::common::v1::Usage usage;
  usage.set_input_tokens(MostInputTokens(*call_.request));
  usage.set_output_tokens(sink_->bytes());
  reservation_->Settle(CostMicroUsd(entry_->config.prices, usage));
}

bool RoutedCall::FallsOver(const absl::Status& status) const {
  switch (ReasonOf(status)) {
    case llm::ERROR_REASON_CONTEXT_OVERFLOW:
      return route_.fall_over.context_overflow;
    case llm::ERROR_REASON_KEY:
      return route_.fall_over.key;
    default:
      break;
  }
  // To the next model it is the same whether this one was not reached or not to be trusted.
  if (IsUntrustedEndpoint(status)) return route_.fall_over.unavailable;
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return route_.fall_over.unavailable;
    case absl::StatusCode::kResourceExhausted:
      return route_.fall_over.rate_limited;
    case absl::StatusCode::kInternal:
      return route_.fall_over.broken_answer;
    default:
      return false;
  }
}

void RoutedCall::Failed(absl::Status status) {
  reservation_.reset();
  const bool nothing_sent = sink_ == nullptr || sink_->bytes() == 0;
  if (!LastOfChain() && nothing_sent && FallsOver(status) && call_.context.Check().ok()) {
    llm::FailedModel& failed = failed_.emplace_back();
    failed.set_model(entry_->config.name);
    failed.set_code(std::string(rpc::CodeName(status.code())));
    failed.set_message(std::string(status.message()));
    parts_.metrics->RecordFallOver(MetricLabel(entry_->config), MetricLabel(route_.chain[next_]->config));
    return AskNext();
  }
  if (!failed_.empty()) {
    std::string text(status.message());
    for (const llm::FailedModel& failed : failed_) {
      absl::StrAppend(&text, "; before that, model ", failed.model(), ": ", failed.code(), ": ",
                      Excerpt(failed.message(), 300));
    }
    absl::Status joined(status.code(), text);
    status.ForEachPayload(
        [&](absl::string_view url, const absl::Cord& payload) { joined.SetPayload(url, payload); });
    status = std::move(joined);
  }
  std::exchange(done_, nullptr)(std::move(status));
}

void RoutedCall::Finish(GenerateResponse response) {
  response.set_model(call_.request->model());
  response.set_answered_by(entry_->config.name);
  for (llm::FailedModel& failed : failed_) *response.add_failed_models() = std::move(failed);
  *response.mutable_latency() =
      google::protobuf::util::TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(absl::Now() - start_));
  if (reservation_ != nullptr) {
    for (llm::BudgetState& state : reservation_->States()) *response.add_budget_states() = std::move(state);
  }
  absl::StatusOr<GenerateResponse> result = std::move(response);
  if (parts_.recorder != nullptr) {
    if (absl::Status status = parts_.recorder->Record(*call_.request, *result); !status.ok()) result = status;
  }
  std::exchange(done_, nullptr)(std::move(result));
}

}  // namespace nkiagent::llm_gateway
