#include "services/llm_gateway/default_models.h"

#include <yaml-cpp/yaml.h>

namespace nkiagent::llm_gateway {
namespace {

// Prices in USD for a million tokens, cache writes of 5 minutes. claude-opus-4-1: docs.anthropic.com,
// about-claude/pricing, as of 2025-10. The others: input and output as told by third parties at that time,
// cache prices by the vendors' usual ratios; set your own in the models file before you rely on a cost. A
// budget needs a price, so what is taken by a pattern without one can't be paid by a budget.
constexpr char kModels[] = R"(
- name: claude-opus-4-1
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
  prices: {input: 15, output: 75, cached_input: 1.5, cache_write: 18.75}
  context_window_tokens: 200000
  max_output_tokens: 32000
- name: claude-sonnet-4-5
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
  prices: {input: 3, output: 15, cached_input: 0.3, cache_write: 3.75}
  context_window_tokens: 200000
  max_output_tokens: 64000
- name: claude-haiku-4-5
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
  prices: {input: 1, output: 5, cached_input: 0.1, cache_write: 1.25}
  context_window_tokens: 200000
  max_output_tokens: 64000
- name: claude-*
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
- name: gpt-4o*
  provider: openai
  base_url: https://api.openai.com/v1
  key_env: OPENAI_API_KEY
  max_tokens_field: max_completion_tokens
  prices: {input: 2.5, output: 10, cached_input: 1.25}
  context_window_tokens: 128000
  max_output_tokens: 16384
- name: gpt-4.1*
  provider: openai
  base_url: https://api.openai.com/v1
  key_env: OPENAI_API_KEY
  max_tokens_field: max_completion_tokens
  prices: {input: 2, output: 8, cached_input: 0.5}
  context_window_tokens: 1047576
  max_output_tokens: 32768
- name: gpt-5*
  provider: openai
  base_url: https://api.openai.com/v1
  key_env: OPENAI_API_KEY
  max_tokens_field: max_completion_tokens
  prices: {input: 1.25, output: 10, cached_input: 0.125}
  context_window_tokens: 400000
  max_output_tokens: 128000
- name: gpt-*
  provider: openai
  base_url: https://api.openai.com/v1
  key_env: OPENAI_API_KEY
  max_tokens_field: max_completion_tokens
)";

}  // namespace

std::vector<ModelConfig> DefaultModels() {
  absl::StatusOr<std::vector<ModelConfig>> models = ParseModels(YAML::Load(kModels));
  // A literal of ours, which a test parses too.
  return models.value();
}

}  // namespace nkiagent::llm_gateway
