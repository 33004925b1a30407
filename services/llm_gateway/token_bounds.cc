#include "services/llm_gateway/token_bounds.h"

#include <algorithm>
#include <functional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/error_detail.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;

constexpr int64_t kTokensOfEnvelope = 64;

// Calls `visit` with each text of the request that reaches a model.
void ForEachText(const llm::GenerateRequest& request, const std::function<void(absl::string_view)>& visit) {
  visit(request.system());
  for (const llm::Message& message : request.messages()) {
    for (const llm::ContentBlock& block : message.content()) {
      visit(block.text());
      visit(block.tool_call().name());
      visit(block.tool_call().arguments_json());
      visit(block.tool_result().text());
    }
  }
  for (const llm::Tool& tool : request.tools()) {
    visit(tool.name());
    visit(tool.description());
    visit(tool.parameters_json_schema());
  }
}

// The most that the call may cost with so many output tokens in each sample.
int64_t BoundOfCost(const llm::GenerateRequest& request, const ModelConfig& config, int64_t output_tokens) {
  Prices highest = config.prices;
  highest.input = std::max({highest.input, highest.cached_input, highest.cache_write});
  nkiagent::common::v1::Usage usage;
  usage.set_input_tokens(MostInputTokens(request));
  usage.set_output_tokens(output_tokens * std::max(1, request.sampling().samples()));
  const int64_t cost = CostMicroUsd(highest, usage);
  return config.hedge_after > absl::ZeroDuration() ? 2 * cost : cost;
}

int64_t Words(absl::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool blank = absl::ascii_isspace(static_cast<unsigned char>(c));
    if (!blank && !inside) ++words;
    inside = !blank;
  }
  return words;
}

}  // namespace

int64_t FewestInputTokens(const llm::GenerateRequest& request) {
  int64_t words = 0;
  // Schemas are sent in another form than they came in, so their blanks prove nothing.
  words += Words(request.system());
  for (const llm::Message& message : request.messages()) {
    for (const llm::ContentBlock& block : message.content())
      words += Words(block.text()) + Words(block.tool_result().text());
  }
  return words;
}

int64_t MostInputTokens(const llm::GenerateRequest& request) {
  int64_t bytes = kTokensOfEnvelope * (1 + request.messages_size() + request.tools_size());
  ForEachText(request, [&](absl::string_view text) { bytes += static_cast<int64_t>(text.size()); });
  for (const llm::Message& message : request.messages()) {
    for (const llm::ContentBlock& block : message.content())
      bytes += static_cast<int64_t>(block.thinking().ByteSizeLong());
  }
  return bytes;
}

int64_t MostOutputTokens(const llm::GenerateRequest& request, const ModelConfig& config) {
  return request.sampling().has_max_output_tokens() ? request.sampling().max_output_tokens()
                                                    : config.max_output_tokens;
}

absl::Status CheckContextWindow(const llm::GenerateRequest& request, const ModelConfig& config) {
  if (config.context_window_tokens <= 0) return absl::OkStatus();
  const int64_t input = FewestInputTokens(request);
  // An answer that is not limited by the caller may be as short as it has to be.
  const int64_t output =
      request.sampling().has_max_output_tokens() ? request.sampling().max_output_tokens() : 1;
  if (input + output <= config.context_window_tokens) return absl::OkStatus();
  return WithReason(absl::InvalidArgumentError(
                        absl::StrCat("the conversation has at least ", input, " tokens; with ", output,
                                     " for the answer that is more than the ", config.context_window_tokens,
                                     " of the context window of model ", config.name)),
                    llm::ERROR_REASON_CONTEXT_OVERFLOW);
}

absl::StatusOr<int64_t> MostCostMicroUsd(const llm::GenerateRequest& request, const ModelConfig& config) {
  if (config.local) return 0;
  if (!config.priced) {
    return absl::FailedPreconditionError(absl::StrCat(
        "model ", config.name, " has no prices in the configuration, so no budget can pay for it"));
  }
  const int64_t output = MostOutputTokens(request, config);
  if (output <= 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("neither sampling.max_output_tokens nor max_output_tokens of model ", config.name,
                     " limits the answer, so no budget can pay for it"));
  }
  return BoundOfCost(request, config, output);
}

int64_t AffordableOutputTokens(const llm::GenerateRequest& request, const ModelConfig& config,
                               int64_t micro_usd) {
  // The bound grows with the tokens: the most of them that it lets through.
  int64_t least = 0;
  int64_t most = int64_t{1} << 24;
  while (least < most) {
    const int64_t middle = least + (most - least + 1) / 2;
    if (BoundOfCost(request, config, middle) <= micro_usd) {
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  return least;
}

}  // namespace nkiagent::llm_gateway
