// The models that the gateway offers, as the sections `models` and `aliases` of its YAML file describe them;
// docs/models.md explains every field.
//
//   models:
//     - name: claude-sonnet-4                # what requests ask for; "claude-*" takes all names that begin
//     so
//       provider: anthropic                  # anthropic | openai | bedrock
//       model: claude-sonnet-4-20250514      # the provider's name; by default `name`, or what the pattern
//       matched base_url: https://api.anthropic.com  # openai: with the version, such as
//       http://127.0.0.1:8000/v1 key_env: ANTHROPIC_API_KEY           # where the key is: this variable, or
//       key_file: /run/secrets/anthropic     # this file, read anew for each call; neither means no key
//       region: us-east-1                    # bedrock; by default AWS_REGION or AWS_DEFAULT_REGION
//       aws_profile: default                 # bedrock: signs with this profile of
//       aws_credentials_file: /home/me/.aws/credentials
//       prices: {input: 3, output: 15, cached_input: 0.3, cache_write: 3.75}   # USD for a million tokens
//       context_window_tokens: 200000
//       max_output_tokens: 64000
//       max_concurrency: 64                  # calls to the provider at once
//       max_queue: 256                       # calls that wait for one of these
//       requests_per_minute: 50              # 0: no limit of the gateway's own
//       tokens_per_minute: 40000             # input and output together
//       hedge_after: 20s                     # asks a second time when there is no answer by then; 0: never
//       max_tokens_field: max_tokens         # openai: some servers want max_completion_tokens
//   aliases:
//     - name: best
//       models: [claude-sonnet-4, qwen3-coder]   # asked in this order until one answers
//       fall_over_on: [unavailable, rate_limited]
//       attempts: 2                              # tries of each model but the last
#ifndef SERVICES_LLM_GATEWAY_MODEL_CONFIG_H_
#define SERVICES_LLM_GATEWAY_MODEL_CONFIG_H_

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nkiagent/common/v1/usage.pb.h"
#include "nkiagent/llm/v1/llm_service.pb.h"

namespace nkiagent::llm_gateway {

// Millionths of a US dollar for a million tokens.
struct Prices {
  int64_t input = 0;
  int64_t output = 0;
  int64_t cached_input = 0;
  int64_t cache_write = 0;
  friend bool operator==(const Prices&, const Prices&) = default;
};

struct ModelConfig {
  std::string name;  // may end in '*'
  std::string provider;
  std::string provider_model;
  std::string base_url;  // without a slash at the end
  std::string key_env;
  std::string key_file;
  std::string region;                // bedrock
  std::string aws_profile;           // empty: AWS_PROFILE or "default"
  std::string aws_credentials_file;  // empty: as AWS's own tools find it
  Prices prices;
  bool priced = false;                // whether the configuration gives prices
  bool local = false;                 // computed by the gateway itself, at no cost
  int64_t context_window_tokens = 0;  // 0: unknown
  int64_t max_output_tokens = 0;      // 0: unknown
  int max_concurrency = 64;
  int max_queue = 256;
  int64_t requests_per_minute = 0;  // 0: no limit
  int64_t tokens_per_minute = 0;    // 0: no limit
  absl::Duration hedge_after;       // 0: never
  std::string max_tokens_field = "max_tokens";

  bool IsPattern() const { return !name.empty() && name.back() == '*'; }
  // Whether requests for `model` are for this entry.
  bool Matches(absl::string_view model) const;
  // The provider's name of the model when `model` was asked for.
  std::string ProviderModel(absl::string_view model) const;

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// What makes an alias ask its next model.
struct FallOver {
  bool unavailable = true;        // the provider can't be reached, fails, or its circuit is open
  bool rate_limited = true;       // its or our limits, or a full queue
  bool context_overflow = false;  // the conversation is too long for the model
  bool key = false;               // the key is missing or refused
  bool broken_answer = false;     // the answer is not of the protocol, or too large
  friend bool operator==(const FallOver&, const FallOver&) = default;
};

struct AliasConfig {
  std::string name;
  std::vector<std::string> models;  // names of models or what their patterns match; at least one
  FallOver fall_over;
  int attempts = 2;  // tries of each model but the last
};

// Reads the section `models`. INVALID_ARGUMENT names the entry and the field: unknown fields, missing names,
// names that occur twice or that are the gateway's own ("builtin", "replay:..."), negative prices, URLs that
// are not http(s).
absl::StatusOr<std::vector<ModelConfig>> ParseModels(const YAML::Node& section);

// Reads the section `aliases`. INVALID_ARGUMENT names the entry and the field: as above, and names of models
// that are none of `models`, "builtin" or "replay:...".
absl::StatusOr<std::vector<AliasConfig>> ParseAliases(const YAML::Node& section,
                                                      const std::vector<ModelConfig>& models);

// The cost of `usage` in millionths of a US dollar, rounded up.
int64_t CostMicroUsd(const Prices& prices, const nkiagent::common::v1::Usage& usage);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_MODEL_CONFIG_H_
