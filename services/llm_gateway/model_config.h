// The models that the gateway offers, as the section `models` of its YAML file describes them:
//
//   models:
//     - name: claude-sonnet-4                # what requests ask for; "claude-*" takes every name that begins
//     so
//       provider: anthropic                  # anthropic | openai
//       model: claude-sonnet-4-20250514      # the provider's name; by default `name` (or what the pattern
//       matched) base_url: https://api.anthropic.com  # openai: with the version, such as
//       http://127.0.0.1:8000/v1 key_env: ANTHROPIC_API_KEY           # where the key is: this variable, or
//       key_file: /run/secrets/anthropic     # this file, read anew for each call; neither means no key
//       prices: {input: 3, output: 15, cached_input: 0.3, cache_write: 3.75}   # USD for a million tokens
//       context_window_tokens: 200000
//       max_output_tokens: 64000
//       max_concurrency: 64                  # calls to the provider at once
//       max_queue: 256                       # calls that wait for one of these
//       max_tokens_field: max_tokens         # openai: some servers want max_completion_tokens
#ifndef SERVICES_LLM_GATEWAY_MODEL_CONFIG_H_
#define SERVICES_LLM_GATEWAY_MODEL_CONFIG_H_

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nkiagent/common/v1/usage.pb.h"
#include "nkiagent/llm/v1/llm_service.pb.h"

namespace nkiagent::llm_gateway {

// Millionths of a US dollar for a million tokens.
struct Prices {
  int64_t input = 0;
  int64_t output = 0;
  int64_t cached_input = 0;
  int64_t cache_write = 0;
};

struct ModelConfig {
  std::string name;  // may end in '*'
  std::string provider;
  std::string provider_model;
  std::string base_url;  // without a slash at the end
  std::string key_env;
  std::string key_file;
  Prices prices;
  int64_t context_window_tokens = 0;  // 0: unknown
  int64_t max_output_tokens = 0;      // 0: unknown
  int max_concurrency = 64;
  int max_queue = 256;
  std::string max_tokens_field = "max_tokens";

  bool IsPattern() const { return !name.empty() && name.back() == '*'; }
  // Whether requests for `model` are for this entry.
  bool Matches(absl::string_view model) const;
  // The provider's name of the model when `model` was asked for.
  std::string ProviderModel(absl::string_view model) const;
};

// Reads the section. INVALID_ARGUMENT names the entry and the field: unknown fields, missing names, names
// that occur twice or that are the gateway's own ("builtin", "replay:..."), negative prices, URLs that are
// not http(s).
absl::StatusOr<std::vector<ModelConfig>> ParseModels(const YAML::Node& section);

// The cost of `usage` in millionths of a US dollar, rounded up.
int64_t CostMicroUsd(const Prices& prices, const nkiagent::common::v1::Usage& usage);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_MODEL_CONFIG_H_
