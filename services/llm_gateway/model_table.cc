#include "services/llm_gateway/model_table.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/json_util.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;

llm::Model Describe(const ModelEntry& entry) {
  const ModelConfig& config = entry.config;
  llm::Model model;
  model.set_name(config.name);
  model.set_provider(config.provider);
  model.set_provider_model(config.ProviderModel(config.name));
  model.set_context_window_tokens(config.context_window_tokens);
  model.set_max_output_tokens(config.max_output_tokens);
  model.mutable_prices()->set_input_micro_usd(config.prices.input);
  model.mutable_prices()->set_output_micro_usd(config.prices.output);
  model.mutable_prices()->set_cached_input_micro_usd(config.prices.cached_input);
  model.mutable_prices()->set_cache_write_micro_usd(config.prices.cache_write);
  model.set_priced(config.priced || config.local);
  const Offer offer = entry.provider->offer();
  model.set_takes_seed(offer.seed);
  model.set_takes_samples(offer.samples);
  model.set_gives_logprobs(offer.logprobs);
  const absl::Status available = entry.provider->Available();
  model.set_available(available.ok());
  if (!available.ok()) model.set_unavailable_reason(std::string(available.message()));
  return model;
}

}  // namespace

std::string MetricLabel(const ModelConfig& config) {
  return absl::StartsWith(config.name, "replay:") ? "replay" : config.name;
}

ModelTable::ModelTable(const std::vector<ModelConfig>& models, std::vector<AliasConfig> aliases,
                       std::vector<std::shared_ptr<ModelEntry>> local, const ModelTable* previous,
                       const MakeEntry& make)
    : entries_(std::move(local)), aliases_(std::move(aliases)) {
  for (const ModelConfig& config : models) {
    std::shared_ptr<ModelEntry> entry;
    if (previous != nullptr) {
      for (const auto& old : previous->entries_) {
        if (old->config == config) entry = old;
      }
    }
    entries_.push_back(entry != nullptr ? std::move(entry) : make(config));
  }
}

std::shared_ptr<ModelEntry> ModelTable::FindEntry(const std::string& model) const {
  std::shared_ptr<ModelEntry> best;
  for (const auto& entry : entries_) {
    if (!entry->config.Matches(model)) continue;
    if (!entry->config.IsPattern()) return entry;
    if (best == nullptr || entry->config.name.size() > best->config.name.size()) best = entry;
  }
  return best;
}

absl::StatusOr<Route> ModelTable::Find(const std::string& model) const {
  for (const AliasConfig& alias : aliases_) {
    if (alias.name != model) continue;
    Route route{.fall_over = alias.fall_over, .attempts = alias.attempts};
    for (const std::string& name : alias.models) {
      if (std::shared_ptr<ModelEntry> entry = FindEntry(name)) route.chain.push_back(std::move(entry));
    }
    if (!route.chain.empty()) return route;
  }
  if (std::shared_ptr<ModelEntry> entry = FindEntry(model)) return Route{.chain = {std::move(entry)}};
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry->config.name);
  for (const AliasConfig& alias : aliases_) names.push_back(alias.name);
  std::sort(names.begin(), names.end());
  return absl::NotFoundError(absl::StrCat("there is no model '", Excerpt(model, 128),
                                          "'; known are: ", Excerpt(absl::StrJoin(names, ", "), 2000)));
}

std::vector<llm::Model> ModelTable::List() const {
  std::vector<llm::Model> models;
  for (const auto& entry : entries_) models.push_back(Describe(*entry));
  for (const AliasConfig& alias : aliases_) {
    const absl::StatusOr<Route> route = Find(alias.name);
    if (!route.ok()) continue;
    llm::Model model = Describe(*route->chain.front());
    model.set_name(alias.name);
    for (const std::string& name : alias.models) model.add_fallback_models(name);
    // One that can be asked is enough.
    for (const auto& entry : route->chain) {
      if (!entry->provider->Available().ok()) continue;
      model.set_available(true);
      model.clear_unavailable_reason();
    }
    models.push_back(std::move(model));
  }
  std::sort(models.begin(), models.end(), [](const auto& a, const auto& b) { return a.name() < b.name(); });
  return models;
}

}  // namespace nkiagent::llm_gateway
