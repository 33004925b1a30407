#include "services/llm_gateway/gateway.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/logging.h"
#include "services/llm_gateway/blocking_provider.h"
#include "services/llm_gateway/codec.h"
#include "services/llm_gateway/pieces.h"
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

}  // namespace

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Create(GatewayOptions options,
                                                         std::vector<ModelConfig> models,
                                                         std::unique_ptr<BlockingModel> builtin,
                                                         metrics::Metrics& metrics,
                                                         std::vector<AliasConfig> aliases) {
  std::unique_ptr<Gateway> gateway(new Gateway(std::move(options), metrics));
  if (absl::Status status = gateway->Start(std::move(builtin)); !status.ok()) return status;
  gateway->Replace({std::move(models), std::move(aliases)});
  return gateway;
}

Gateway::Gateway(GatewayOptions options, metrics::Metrics& metrics)
    : options_(std::move(options)), metrics_(metrics), memory_(options_.memory) {}

Gateway::~Gateway() = default;

absl::Status Gateway::Start(std::unique_ptr<BlockingModel> builtin) {
  if (!options_.record_dir.empty()) {
    std::error_code error;
    if (!std::filesystem::is_directory(options_.record_dir, error)) {
      return absl::InvalidArgumentError(absl::StrCat("record_dir ", options_.record_dir, " is no folder"));
    }
    recorder_ = std::make_unique<Recorder>(options_.record_dir, [this] { return Secrets(); });
  }
  if (options_.response_cache_bytes > 0) {
    auto cache = ResponseCache::Open(options_.response_cache_file, options_.response_cache_bytes);
    if (!cache.ok()) return cache.status();
    cache_ = *std::move(cache);
  }
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create();
  if (!loop.ok()) return loop.status();
  loop_ = *std::move(loop);
  absl::StatusOr<std::unique_ptr<HttpClient>> client = HttpClient::Create(loop_.get(), options_.client);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  local_models_ = std::make_unique<rpc::Executor>(options_.local_models);
  parts_ = {.metrics = &metrics_,
            .budgets = &budgets_,
            .scheduler = loop_.get(),
            .cache = cache_.get(),
            .recorder = recorder_.get(),
            .cache_temperature_zero = options_.response_cache_temperature_zero,
            .session_budget_micro_usd = options_.session_budget_micro_usd};
  if (builtin != nullptr) local_.push_back(MakeLocalEntry(kBuiltin, std::move(builtin), {}));
  if (!options_.cassette_dir.empty()) {
    // What was recorded is given back, whatever its model offered.
    local_.push_back(MakeLocalEntry(kReplay, std::make_unique<ReplayModel>(options_.cassette_dir),
                                    {.seed = true, .samples = true, .logprobs = true}));
  }
  return absl::OkStatus();
}

std::shared_ptr<ModelEntry> Gateway::MakeLocalEntry(const char* name, std::unique_ptr<BlockingModel> model,
                                                    Offer offer) {
  auto entry = std::make_shared<ModelEntry>();
  entry->config.name = name;
  entry->config.provider = MetricLabel(entry->config);
  entry->config.provider_model = entry->config.provider;
  entry->config.local = true;
  entry->provider = std::make_unique<BlockingProvider>(std::move(model), local_models_.get(), offer);
  entry->queue = std::make_unique<CallQueue>(name, options_.local_models.threads,
                                             options_.local_models.max_queued, loop_.get());
  return entry;
}

std::shared_ptr<ModelEntry> Gateway::MakeEntry(const ModelConfig& config) {
  auto entry = std::make_shared<ModelEntry>();
  entry->config = config;
  entry->limiter = std::make_unique<RateLimiter>(config.requests_per_minute, config.tokens_per_minute);
  entry->breaker = BreakerOf(config.base_url);
  entry->queue =
      std::make_unique<CallQueue>(config.name, config.max_concurrency, config.max_queue, loop_.get());
  const HttpProviderParts parts = {
      .client = client_.get(),
      .scheduler = loop_.get(),
      .random = &Random,
      .on_attempt = [this](const Attempt& attempt) { metrics_.RecordAttempt(attempt); },
      .limiter = entry->limiter.get(),
      .breaker = entry->breaker.get()};
  entry->provider = std::make_unique<HttpProvider>(config, MakeCodec(config.provider), options_.http, parts);
  return entry;
}

std::shared_ptr<CircuitBreaker> Gateway::BreakerOf(const std::string& endpoint) {
  // Endpoints that no configuration names any more are forgotten.
  std::erase_if(breakers_, [](const auto& known) { return known.second.expired(); });
  std::weak_ptr<CircuitBreaker>& slot = breakers_[endpoint];
  std::shared_ptr<CircuitBreaker> breaker = slot.lock();
  if (breaker == nullptr) {
    breaker = std::make_shared<CircuitBreaker>(endpoint, options_.breaker,
                                               [this, endpoint](CircuitBreaker::State state) {
                                                 metrics_.RecordCircuit(endpoint, static_cast<int>(state));
                                               });
    slot = breaker;
  }
  return breaker;
}

void Gateway::Replace(const ModelSet& models) {
  const std::lock_guard lock(replace_mutex_);
  std::shared_ptr<const ModelTable> old = table();
  auto fresh =
      std::make_shared<const ModelTable>(models.models, models.aliases, local_, old.get(),
                                         [this](const ModelConfig& config) { return MakeEntry(config); });
  const std::lock_guard table_lock(table_mutex_);
  table_ = std::move(fresh);
}

void Gateway::Reload(const absl::StatusOr<ModelSet>& models) {
  metrics_.RecordReload(models.ok() ? "ok" : "refused");
  rpc::Logger log = rpc::Logger::Get("config");
  if (!models.ok()) {
    log.Error("the configuration was refused; the old one stays", {{"reason", models.status().message()}});
    return;
  }
  Replace(*models);
  log.Info("the configuration was read anew",
           {{"models", models->models.size()}, {"aliases", models->aliases.size()}});
}

std::vector<std::string> Gateway::Secrets() const {
  std::vector<std::string> secrets;
  for (const auto& entry : table()->entries()) {
    const absl::StatusOr<Credentials> credentials = ReadCredentials(entry->config);
    if (!credentials.ok()) continue;
    for (std::string& secret : credentials->Secrets()) {
      if (!secret.empty()) secrets.push_back(std::move(secret));
    }
  }
  return secrets;
}

std::shared_ptr<const ModelTable> Gateway::table() const {
  const std::lock_guard lock(table_mutex_);
  return table_;
}

void Gateway::Generate(const GenerateRequest& request, const CallContext& context, Provider::Done done) {
  Stream(std::make_shared<const GenerateRequest>(request), context, nullptr, std::move(done));
}

void Gateway::Stream(const std::shared_ptr<const GenerateRequest>& request, const CallContext& context,
                     std::shared_ptr<PieceSink> pieces, Provider::Done done) {
  if (absl::Status status = ValidateRequest(*request); !status.ok()) return done(status);
  if (pieces != nullptr && request->sampling().samples() > 1) {
    return done(absl::InvalidArgumentError("sampling.samples is over 1; a stream has one answer"));
  }
  absl::StatusOr<Route> route = table()->Find(request->model());
  if (!route.ok()) return done(route.status());
  ModelCall call{.request = request,
                 .context = context.deadline() == absl::InfiniteFuture()
                                ? context.WithTimeout(options_.default_deadline)
                                : context};
  if (pieces != nullptr) {
    auto counting = std::make_shared<CountingSink>(std::move(pieces));
    call.pieces = counting;
    // An answer that was there already, or that is made in one go, comes in pieces nonetheless.
    done = [counting, done = std::move(done)](absl::StatusOr<GenerateResponse> result) {
      if (result.ok() && counting->bytes() == 0) SendPieces(result->message(), counting.get());
      done(std::move(result));
    };
  }
  if (request->request_id().empty()) {
    std::make_shared<RoutedCall>(&parts_, *std::move(route), std::move(call), std::move(done))->Begin();
    return;
  }
  const CallContext bounded = call.context;
  memory_.Run(
      request->request_id(), Fingerprint(*request), bounded,
      [this, route = *std::move(route), call](const CallContext& joint, Provider::Done joint_done) {
        ModelCall shared = call;
        shared.context = joint;
        std::make_shared<RoutedCall>(&parts_, route, std::move(shared), std::move(joint_done))->Begin();
      },
      std::move(done));
}

}  // namespace nkiagent::llm_gateway
