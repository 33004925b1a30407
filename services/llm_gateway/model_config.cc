#include "services/llm_gateway/model_config.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace nkiagent::llm_gateway {
namespace {

// Reads the fields of one entry and remembers which were read, so that the others can be refused.
class EntryReader {
 public:
  EntryReader(const YAML::Node& node, std::string label) : node_(node), label_(std::move(label)) {}

  template <typename T>
  absl::Status Read(const std::string& field, T* value) {
    known_.insert(field);
    if (!node_[field]) return absl::OkStatus();
    if (!YAML::convert<T>::decode(node_[field], *value)) return Error(field, "has a value of the wrong kind");
    return absl::OkStatus();
  }

  absl::Status ReadCount(const std::string& field, int64_t low, int64_t high, int64_t* value) {
    if (absl::Status status = Read(field, value); !status.ok()) return status;
    if (*value < low || *value > high) {
      return Error(field, absl::StrCat("is ", *value, ", outside ", low, " to ", high));
    }
    return absl::OkStatus();
  }

  absl::Status ReadPrice(const std::string& field, int64_t* micro_usd) {
    double usd = 0;
    if (absl::Status status = Read(field, &usd); !status.ok()) return status;
    if (!(usd >= 0 && usd <= 1e6)) return Error(field, absl::StrCat("is ", usd, ", outside 0 to 1e6"));
    *micro_usd = std::llround(usd * 1e6);
    return absl::OkStatus();
  }

  absl::Status ReadDuration(const std::string& field, absl::Duration* value) {
    std::string text;
    if (absl::Status status = Read(field, &text); !status.ok()) return status;
    if (text.empty()) return absl::OkStatus();
    if (!absl::ParseDuration(text, value) || *value < absl::ZeroDuration() || *value > absl::Hours(1)) {
      return Error(field, absl::StrCat("is '", text, "', not a time such as 20s of up to 1h"));
    }
    return absl::OkStatus();
  }

  absl::Status RefuseOthers(absl::string_view of = "a model") const {
    for (const auto& pair : node_) {
      const auto field = pair.first.as<std::string>("");
      if (!known_.contains(field)) return Error(field, absl::StrCat("is not a field of ", of));
    }
    return absl::OkStatus();
  }

  absl::Status Error(absl::string_view field, absl::string_view message) const {
    return absl::InvalidArgumentError(absl::StrCat(label_, ": ", field, " ", message));
  }

 private:
  const YAML::Node node_;
  const std::string label_;
  std::set<std::string> known_;
};

absl::Status ReadPrices(const YAML::Node& node, const std::string& label, ModelConfig* config) {
  if (!node || node.IsNull()) return absl::OkStatus();
  Prices* prices = &config->prices;
  config->priced = true;
  EntryReader reader(node, label + ".prices");
  if (!node.IsMap()) return reader.Error("prices", "is no map");
  absl::Status status = reader.ReadPrice("input", &prices->input);
  if (status.ok()) status = reader.ReadPrice("output", &prices->output);
  // Where there is no price of its own, a token of the provider's cache costs what an input token costs.
  prices->cached_input = prices->input;
  prices->cache_write = prices->input;
  if (status.ok() && node["cached_input"]) status = reader.ReadPrice("cached_input", &prices->cached_input);
  if (status.ok() && node["cache_write"]) status = reader.ReadPrice("cache_write", &prices->cache_write);
  return status.ok() ? reader.RefuseOthers() : status;
}

bool IsOwn(absl::string_view name) { return name == "builtin" || absl::StartsWith(name, "replay:"); }

absl::Status CheckName(const EntryReader& reader, const std::string& name) {
  if (name.empty()) return reader.Error("name", "is missing");
  if (name == "*" || IsOwn(name))
    return reader.Error("name", absl::StrCat("'", name, "' is the gateway's own"));
  return absl::OkStatus();
}

// What AWS's own tools take for the region when nothing names one.
std::string RegionOfEnvironment() {
  for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

absl::Status ValidateBedrock(const EntryReader& reader, ModelConfig* config) {
  if (config->region.empty()) config->region = RegionOfEnvironment();
  if (config->region.empty()) {
    return reader.Error("region", "is missing, and neither AWS_REGION nor AWS_DEFAULT_REGION is set");
  }
  const bool plain = std::all_of(config->region.begin(), config->region.end(),
                                 [](unsigned char c) { return absl::ascii_isalnum(c) || c == '-'; });
  if (!plain) return reader.Error("region", absl::StrCat("is '", config->region, "', not a region"));
  if (config->base_url.empty())
    config->base_url = absl::StrCat("https://bedrock-runtime.", config->region, ".amazonaws.com");
  return absl::OkStatus();
}

absl::Status Validate(const EntryReader& reader, ModelConfig* config) {
  if (absl::Status status = CheckName(reader, config->name); !status.ok()) return status;
  if (config->provider != "anthropic" && config->provider != "openai" && config->provider != "bedrock") {
    return reader.Error("provider",
                        absl::StrCat("is '", config->provider, "', not anthropic, openai or bedrock"));
  }
  if (config->provider == "bedrock") {
    if (absl::Status status = ValidateBedrock(reader, config); !status.ok()) return status;
  } else if (!config->region.empty() || !config->aws_profile.empty() ||
             !config->aws_credentials_file.empty()) {
    return reader.Error("region, aws_profile, aws_credentials_file", "are only for provider bedrock");
  }
  if (config->base_url.empty() && config->provider == "anthropic")
    config->base_url = "https://api.anthropic.com";
  if (!absl::StartsWith(config->base_url, "http://") && !absl::StartsWith(config->base_url, "https://")) {
    return reader.Error("base_url", absl::StrCat("is '", config->base_url, "', not an http or https URL"));
  }
  while (absl::EndsWith(config->base_url, "/")) config->base_url.pop_back();
  if (!config->key_env.empty() && !config->key_file.empty()) {
    return reader.Error("key_file", "stands beside key_env; one of them says where the key is");
  }
  if (config->max_tokens_field != "max_tokens" && config->max_tokens_field != "max_completion_tokens") {
    return reader.Error("max_tokens_field", "is neither max_tokens nor max_completion_tokens");
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelConfig> ReadEntry(const YAML::Node& node, const std::string& label) {
  if (!node.IsMap()) return absl::InvalidArgumentError(absl::StrCat(label, " is no map"));
  EntryReader reader(node, label);
  ModelConfig config;
  int64_t concurrency = config.max_concurrency;
  int64_t queue = config.max_queue;
  YAML::Node prices;
  for (const absl::Status& status : {
           reader.Read("name", &config.name),
           reader.Read("provider", &config.provider),
           reader.Read("model", &config.provider_model),
           reader.Read("base_url", &config.base_url),
           reader.Read("key_env", &config.key_env),
           reader.Read("key_file", &config.key_file),
           reader.Read("max_tokens_field", &config.max_tokens_field),
           reader.Read("region", &config.region),
           reader.Read("aws_profile", &config.aws_profile),
           reader.Read("aws_credentials_file", &config.aws_credentials_file),
           reader.Read("prices", &prices),
           reader.ReadCount("context_window_tokens", 0, 1'000'000'000, &config.context_window_tokens),
           reader.ReadCount("max_output_tokens", 0, 1'000'000'000, &config.max_output_tokens),
           reader.ReadCount("max_concurrency", 1, 10'000, &concurrency),
           reader.ReadCount("max_queue", 0, 100'000, &queue),
           reader.ReadCount("requests_per_minute", 0, 100'000'000, &config.requests_per_minute),
           reader.ReadCount("tokens_per_minute", 0, 1'000'000'000'000, &config.tokens_per_minute),
           reader.ReadDuration("hedge_after", &config.hedge_after),
           reader.RefuseOthers(),
           ReadPrices(prices, label, &config),
           Validate(reader, &config),
       }) {
    if (!status.ok()) return status;
  }
  config.max_concurrency = static_cast<int>(concurrency);
  config.max_queue = static_cast<int>(queue);
  return config;
}

absl::Status ReadFallOver(const EntryReader& reader, const std::vector<std::string>& names,
                          FallOver* fall_over) {
  *fall_over = {.unavailable = false, .rate_limited = false};
  const std::pair<const char*, bool*> known[] = {{"unavailable", &fall_over->unavailable},
                                                 {"rate_limited", &fall_over->rate_limited},
                                                 {"context_overflow", &fall_over->context_overflow},
                                                 {"key", &fall_over->key},
                                                 {"broken_answer", &fall_over->broken_answer}};
  for (const std::string& name : names) {
    bool found = false;
    for (const auto& [known_name, flag] : known) {
      if (name != known_name) continue;
      *flag = true;
      found = true;
    }
    if (!found) {
      return reader.Error("fall_over_on", absl::StrCat("has '", name,
                                                       "', not unavailable, rate_limited, context_overflow, "
                                                       "key or broken_answer"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<AliasConfig> ReadAlias(const YAML::Node& node, const std::string& label,
                                      const std::vector<ModelConfig>& models) {
  if (!node.IsMap()) return absl::InvalidArgumentError(absl::StrCat(label, " is no map"));
  EntryReader reader(node, label);
  AliasConfig alias;
  std::vector<std::string> fall_over_on;
  int64_t attempts = alias.attempts;
  for (const absl::Status& status :
       {reader.Read("name", &alias.name), reader.Read("models", &alias.models),
        reader.Read("fall_over_on", &fall_over_on), reader.ReadCount("attempts", 1, 20, &attempts),
        reader.RefuseOthers("an alias"), CheckName(reader, alias.name)}) {
    if (!status.ok()) return status;
  }
  alias.attempts = static_cast<int>(attempts);
  if (absl::EndsWith(alias.name, "*")) return reader.Error("name", "of an alias can't be a pattern");
  if (node["fall_over_on"]) {
    if (absl::Status status = ReadFallOver(reader, fall_over_on, &alias.fall_over); !status.ok())
      return status;
  }
  if (alias.models.empty()) return reader.Error("models", "is missing or empty");
  for (const std::string& model : alias.models) {
    const bool known =
        IsOwn(model) || std::any_of(models.begin(), models.end(),
                                    [&](const ModelConfig& config) { return config.Matches(model); });
    if (!known) return reader.Error("models", absl::StrCat("has '", model, "', which is no model"));
  }
  return alias;
}

}  // namespace

bool ModelConfig::Matches(absl::string_view model) const {
  if (!IsPattern()) return model == name;
  return absl::StartsWith(model, absl::StripSuffix(name, "*"));
}

std::string ModelConfig::ProviderModel(absl::string_view model) const {
  return provider_model.empty() ? std::string(model) : provider_model;
}

absl::StatusOr<std::vector<ModelConfig>> ParseModels(const YAML::Node& section) {
  std::vector<ModelConfig> models;
  if (!section || section.IsNull()) return models;
  if (!section.IsSequence()) return absl::InvalidArgumentError("models is no list");
  std::set<std::string> names;
  for (size_t i = 0; i < section.size(); ++i) {
    const std::string label = absl::StrCat("models[", i, "]");
    absl::StatusOr<ModelConfig> config = ReadEntry(section[i], label);
    if (!config.ok()) return config.status();
    if (!names.insert(config->name).second) {
      return absl::InvalidArgumentError(absl::StrCat(label, ": name '", config->name, "' occurs twice"));
    }
    models.push_back(*std::move(config));
  }
  return models;
}

absl::StatusOr<std::vector<AliasConfig>> ParseAliases(const YAML::Node& section,
                                                      const std::vector<ModelConfig>& models) {
  std::vector<AliasConfig> aliases;
  if (!section || section.IsNull()) return aliases;
  if (!section.IsSequence()) return absl::InvalidArgumentError("aliases is no list");
  std::set<std::string> names;
  for (const ModelConfig& model : models) names.insert(model.name);
  for (size_t i = 0; i < section.size(); ++i) {
    const std::string label = absl::StrCat("aliases[", i, "]");
    absl::StatusOr<AliasConfig> alias = ReadAlias(section[i], label, models);
    if (!alias.ok()) return alias.status();
    if (!names.insert(alias->name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(label, ": name '", alias->name, "' is taken by another model or alias"));
    }
    aliases.push_back(*std::move(alias));
  }
  return aliases;
}

int64_t CostMicroUsd(const Prices& prices, const nkiagent::common::v1::Usage& usage) {
  // 128 bits, since counts come from outside. __extension__: ISO C++ has no such type.
  __extension__ typedef __int128 Wide;
  const Wide total = static_cast<Wide>(prices.input) * usage.input_tokens() +
                     static_cast<Wide>(prices.output) * usage.output_tokens() +
                     static_cast<Wide>(prices.cached_input) * usage.cached_input_tokens() +
                     static_cast<Wide>(prices.cache_write) * usage.cache_write_tokens();
  if (total <= 0) return 0;
  const Wide cost = (total + 999'999) / 1'000'000;
  return cost > INT64_MAX ? INT64_MAX : static_cast<int64_t>(cost);
}

}  // namespace nkiagent::llm_gateway
