#include "services/llm_gateway/gateway.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/storage/content_hash.h"
#include "google/protobuf/util/time_util.h"
#include "services/llm_gateway/blocking_provider.h"
#include "services/llm_gateway/codec.h"
#include "services/llm_gateway/json_util.h"
#include "services/llm_gateway/replay_model.h"
#include "services/llm_gateway/secrets.h"
#include "services/llm_gateway/validate.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;

constexpr char kBuiltin[] = "builtin";
constexpr char kReplay[] = "replay:*";

double Random() {
  thread_local absl::BitGen generator;
  return absl::Uniform<double>(generator, 0, 1);
}

// Everything in a request but its id.
std::string Fingerprint(const GenerateRequest& request) {
  GenerateRequest copy = request;
  copy.clear_request_id();
  return absl::StrCat(copy.model(), " ", copy.session_id(), " ", RequestHash(copy));
}

// Metrics speak of "replay", not of each cassette.
std::string Label(const ModelConfig& config) { return config.name == kReplay ? "replay" : config.name; }

}  // namespace

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Create(GatewayOptions options,
                                                         std::vector<ModelConfig> models,
                                                         std::unique_ptr<BlockingModel> builtin,
                                                         metrics::Metrics& metrics) {
  std::unique_ptr<Gateway> gateway(new Gateway(std::move(options), metrics));
  if (absl::Status status = gateway->Start(std::move(models), std::move(builtin)); !status.ok())
    return status;
  return gateway;
}

Gateway::Gateway(GatewayOptions options, metrics::Metrics& metrics)
    : options_(std::move(options)), metrics_(metrics), memory_(options_.memory) {}

Gateway::~Gateway() = default;

absl::Status Gateway::Start(std::vector<ModelConfig> models, std::unique_ptr<BlockingModel> builtin) {
  if (!options_.record_dir.empty()) {
    std::error_code error;
    if (!std::filesystem::is_directory(options_.record_dir, error)) {
      return absl::InvalidArgumentError(absl::StrCat("record_dir ", options_.record_dir, " is no folder"));
    }
    recorder_ = std::make_unique<Recorder>(options_.record_dir);
  }
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create();
  if (!loop.ok()) return loop.status();
  loop_ = *std::move(loop);
  absl::StatusOr<std::unique_ptr<HttpClient>> client = HttpClient::Create(loop_.get(), options_.client);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  local_models_ = std::make_unique<rpc::Executor>(options_.local_models);

  const HttpProviderParts parts = {
      .client = client_.get(),
      .scheduler = loop_.get(),
      .random = &Random,
      .on_attempt = [this](const Attempt& attempt) { metrics_.RecordAttempt(attempt); }};
  for (ModelConfig& config : models) {
    std::unique_ptr<Codec> codec = config.provider == "anthropic" ? MakeAnthropicCodec() : MakeOpenAiCodec();
    auto provider = std::make_unique<HttpProvider>(config, std::move(codec), options_.http, parts);
    AddEntry(std::move(config), std::move(provider));
  }
  const auto add_local = [&](const char* name, std::unique_ptr<BlockingModel> model) {
    ModelConfig config;
    config.name = name;
    config.provider = Label(config);
    config.provider_model = config.provider;
    config.max_concurrency = options_.local_models.threads;
    config.max_queue = options_.local_models.max_queued;
    AddEntry(config, std::make_unique<BlockingProvider>(std::move(model), local_models_.get()));
  };
  if (builtin != nullptr) add_local(kBuiltin, std::move(builtin));
  if (!options_.cassette_dir.empty())
    add_local(kReplay, std::make_unique<ReplayModel>(options_.cassette_dir));
  return absl::OkStatus();
}

void Gateway::AddEntry(ModelConfig config, std::unique_ptr<Provider> provider) {
  auto entry = std::make_unique<Entry>();
  entry->queue =
      std::make_unique<CallQueue>(config.name, config.max_concurrency, config.max_queue, loop_.get());
  entry->provider = std::move(provider);
  entry->config = std::move(config);
  entries_.push_back(std::move(entry));
}

absl::StatusOr<Gateway::Entry*> Gateway::Find(const std::string& model) {
  Entry* best = nullptr;
  for (const auto& entry : entries_) {
    if (!entry->config.Matches(model)) continue;
    if (!entry->config.IsPattern()) return entry.get();
    if (best == nullptr || entry->config.name.size() > best->config.name.size()) best = entry.get();
  }
  if (best != nullptr) return best;
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry->config.name);
  std::sort(names.begin(), names.end());
  return absl::NotFoundError(absl::StrCat("there is no model '", Excerpt(model, 128),
                                          "'; known are: ", Excerpt(absl::StrJoin(names, ", "), 2000)));
}

absl::Status Gateway::Check(const GenerateRequest& request, const Entry& entry) const {
  const int64_t limit = entry.config.max_output_tokens;
  if (limit > 0 && request.sampling().max_output_tokens() > limit) {
    return absl::InvalidArgumentError(absl::StrCat("sampling.max_output_tokens is ",
                                                   request.sampling().max_output_tokens(), "; model ",
                                                   entry.config.name, " gives at most ", limit));
  }
  if (request.response_cache() == llm::RESPONSE_CACHE_USE ||
      request.response_cache() == llm::RESPONSE_CACHE_REFRESH) {
    return absl::UnimplementedError("this gateway has no cache of responses; ask with RESPONSE_CACHE_OFF");
  }
  return absl::OkStatus();
}

void Gateway::Generate(const GenerateRequest& request, const CallContext& context, Provider::Done done) {
  if (absl::Status status = ValidateRequest(request); !status.ok()) return done(status);
  absl::StatusOr<Entry*> entry = Find(request.model());
  if (!entry.ok()) return done(entry.status());
  if (absl::Status status = Check(request, **entry); !status.ok()) return done(status);
  const CallContext bounded =
      context.deadline() == absl::InfiniteFuture() ? context.WithTimeout(options_.default_deadline) : context;
  auto shared = std::make_shared<const GenerateRequest>(request);
  if (request.request_id().empty()) {
    Call(*entry, shared, bounded, std::move(done));
    return;
  }
  memory_.Run(
      request.request_id(), Fingerprint(request), bounded,
      [this, entry = *entry, shared](const CallContext& joint, Provider::Done joint_done) {
        Call(entry, shared, joint, std::move(joint_done));
      },
      std::move(done));
}

void Gateway::Call(Entry* entry, const std::shared_ptr<const GenerateRequest>& request,
                   const CallContext& context, Provider::Done done) {
  const absl::Time start = absl::Now();
  auto complete = [this, entry, request, start,
                   done = std::move(done)](absl::StatusOr<GenerateResponse> result) {
    done(Complete(*entry, *request, start, std::move(result)));
  };
  entry->queue->Enter(context, [this, entry, request, context,
                                complete](absl::StatusOr<std::shared_ptr<CallQueue::Ticket>> ticket) {
    metrics_.RecordQueue(Label(entry->config), entry->queue->running(), entry->queue->waiting());
    if (!ticket.ok()) return complete(ticket.status());
    entry->provider->Generate(
        *request, context,
        [complete, ticket = *std::move(ticket)](absl::StatusOr<GenerateResponse> result) mutable {
          // The next call begins before this one's answer is worked on.
          ticket.reset();
          complete(std::move(result));
        });
  });
}

absl::StatusOr<GenerateResponse> Gateway::Complete(const Entry& entry, const GenerateRequest& request,
                                                   absl::Time start,
                                                   absl::StatusOr<GenerateResponse> result) {
  const absl::Duration duration = absl::Now() - start;
  if (result.ok()) {
    result->set_model(request.model());
    if (result->attempts() == 0) result->set_attempts(1);
    result->mutable_usage()->set_calls(1);
    result->mutable_usage()->set_cost_micro_usd(CostMicroUsd(entry.config.prices, result->usage()));
    *result->mutable_latency() =
        google::protobuf::util::TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(duration));
    if (recorder_ != nullptr) {
      if (absl::Status status = recorder_->Record(request, *result); !status.ok()) result = status;
    }
  }
  metrics_.RecordCall(Label(entry.config), result.status(), duration,
                      result.ok() ? &result->usage() : nullptr);
  metrics_.RecordQueue(Label(entry.config), entry.queue->running(), entry.queue->waiting());
  return result;
}

std::vector<llm::Model> Gateway::ListModels() const {
  std::vector<llm::Model> models;
  for (const auto& entry : entries_) {
    const ModelConfig& config = entry->config;
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
    const absl::Status available = entry->provider->Available();
    model.set_available(available.ok());
    if (!available.ok()) model.set_unavailable_reason(std::string(available.message()));
    models.push_back(std::move(model));
  }
  std::sort(models.begin(), models.end(), [](const auto& a, const auto& b) { return a.name() < b.name(); });
  return models;
}

}  // namespace nkiagent::llm_gateway
