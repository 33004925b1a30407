#include "services/llm_gateway/default_models.h"

#include <yaml-cpp/yaml.h>

namespace nkiagent::llm_gateway {
namespace {

// Prices in USD for a million tokens, cache writes of 5 minutes; only what the vendor's own pages say, as
// read in 2026-11: platform.claude.com, about-claude/pricing and models/*/overview (cache prices of 4.5 by
// that page's factors, 0.1 and 1.25 of the input), and developers.openai.com, api/docs/models/gpt-5-nano. A
// dated snapshot of a model is another name, and what is taken by a pattern has no prices: it costs 0, says
// so in ListModels, and no budget pays for it. Set your own in the models file before you rely on a cost.
constexpr char kModels[] = R"(
- name: claude-opus-4-1
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
  prices: {input: 15, output: 75, cached_input: 1.5, cache_write: 18.75}
  context_window_tokens: 200000
  max_output_tokens: 32000
- name: claude-opus-5
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
  prices: {input: 5, output: 25, cached_input: 0.5, cache_write: 6.25}
  context_window_tokens: 1000000
  max_output_tokens: 128000
- name: claude-sonnet-4-5
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
  prices: {input: 3, output: 15, cached_input: 0.3, cache_write: 3.75}
  context_window_tokens: 200000
  max_output_tokens: 64000
- name: claude-sonnet-5
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
  prices: {input: 2, output: 10, cached_input: 0.2, cache_write: 2.5}
  context_window_tokens: 1000000
  max_output_tokens: 128000
- name: claude-haiku-4-5
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
  prices: {input: 1, output: 5, cached_input: 0.1, cache_write: 1.25}
  context_window_tokens: 200000
  max_output_tokens: 64000
- name: claude-*
  provider: anthropic
  key_env: ANTHROPIC_API_KEY
- name: gpt-5-nano
  provider: openai
  base_url: https://api.openai.com/v1
  key_env: OPENAI_API_KEY
  max_tokens_field: max_completion_tokens
  prices: {input: 0.05, output: 0.4, cached_input: 0.005}
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
