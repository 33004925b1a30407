// llm-gateway: any model behind one message and tool form.
//
//   llm-gateway --port 7603 --metrics_port 7613 --config models.yaml
//
// SIGHUP reads the configuration's models and aliases anew; its other options hold until the next start.
#include <sys/resource.h>
#include <yaml-cpp/yaml.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/option_set.h"
#include "common/rpc/runtime.h"
#include "common/rpc/server.h"
#include "services/llm_gateway/builtin/builtin_model.h"
#include "services/llm_gateway/default_models.h"
#include "services/llm_gateway/gateway.h"
#include "services/llm_gateway/hangup_watch.h"
#include "services/llm_gateway/heap_trimmer.h"
#include "services/llm_gateway/llm_handler.h"
#include "services/llm_gateway/model_config.h"

using namespace nkiagent;  // NOLINT: a main file

namespace {

struct Settings {
  rpc::ServerOptions server{.name = "llm-gateway"};
  llm_gateway::GatewayOptions gateway;
  config::Bytes max_response_bytes{static_cast<int64_t>(gateway.http.max_response_bytes)};
  config::Bytes response_cache_bytes{gateway.response_cache_bytes};
  double session_budget_usd = 0;
  YAML::Node models;
  YAML::Node aliases;

  Settings() {
    server.port = 7603;
    server.metrics_port = 7613;
  }

  void Declare(config::OptionSet& set) {
    server.Declare(set);
    set.AddSection("models", &models, "The models; see docs/models.md.");
    set.AddSection("aliases", &aliases, "Names for chains of models; see docs/models.md.");
    set.Add("cassette_dir", &gateway.cassette_dir,
            "Folder of cassettes for models replay:NAME; empty: none.");
    set.Add("record_dir", &gateway.record_dir,
            "Folder where each answered call is recorded, prompts included; empty: nothing is recorded.");
    set.Add("default_deadline", &gateway.default_deadline, "Deadline of calls that bring none.")
        .Range(1, 86400);
    set.Add("retry_attempts", &gateway.http.retry.max_attempts, "Tries of one call in all.").Range(1, 20);
    set.Add("retry_budget", &gateway.http.retry.pause_budget,
            "Pauses between the tries of one call, together.");
    set.Add("connect_timeout", &gateway.http.connect_timeout, "Time to connect to a provider.")
        .Range(0.1, 300);
    set.Add("attempt_timeout", &gateway.http.attempt_timeout, "Time of one try.").Range(1, 3600);
    set.Add("body_timeout", &gateway.http.body_timeout, "Time from an answer's first byte to its last.")
        .Range(1, 3600);
    set.Add("stream_timeout", &gateway.http.stream_timeout, "Time between two events of a streamed answer.")
        .Range(1, 3600);
    set.Add("max_response_bytes", &max_response_bytes, "Largest answer of a provider.").Range(1024, 1 << 30);
    set.Add("ca_file", &gateway.client.ca_file, "Trusted certificates in PEM form; empty: the system's.");
    set.Add("local_threads", &gateway.local_models.threads, "Threads for builtin and replay.").Range(1, 256);
    set.Add("breaker_failures", &gateway.breaker.failures,
            "Failures in a row after which an endpoint is left alone for a while; 0: never.")
        .Range(0, 1'000'000);
    set.Add("breaker_pause", &gateway.breaker.pause, "How long it is left alone at first.").Range(0.1, 3600);
    set.Add("response_cache_bytes", &response_cache_bytes, "Size of the cache of answers; 0: none.")
        .Range(0, 1e15);
    set.Add("response_cache_file", &gateway.response_cache_file,
            "File that keeps cached answers over a restart; empty: in memory.");
    set.Add("response_cache_temperature_zero", &gateway.response_cache_temperature_zero,
            "Cache answers of temperature 0 without being asked to.");
    set.Add("session_budget_usd", &session_budget_usd, "What each session may spend; 0: no limit.")
        .Range(0, 1e9);
  }

  absl::StatusOr<llm_gateway::ModelSet> Models() const {
    llm_gateway::ModelSet set;
    absl::StatusOr<std::vector<llm_gateway::ModelConfig>> parsed = llm_gateway::ParseModels(models);
    if (!parsed.ok()) return parsed.status();
    set.models = parsed->empty() ? llm_gateway::DefaultModels() : *std::move(parsed);
    absl::StatusOr<std::vector<llm_gateway::AliasConfig>> chains =
        llm_gateway::ParseAliases(aliases, set.models);
    if (!chains.ok()) return chains.status();
    set.aliases = *std::move(chains);
    return set;
  }
};

// What the same command line means now.
absl::StatusOr<llm_gateway::ModelSet> ReadAgain(const std::vector<std::string>& args) {
  Settings settings;
  config::OptionSet set("llm", "");
  settings.Declare(set);
  const auto outcome = set.Parse(args, [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  });
  if (!outcome.ok()) return outcome.status();
  return settings.Models();
}

// Each open stream has a socket, and the soft limit of most systems is 1024.
void AllowManySockets() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

int main(int argc, char** argv) {
  llm_gateway::HangupWatch::BlockSignal();  // before there is a second thread
  llm_gateway::HeapTrimmer::TuneHeap();
  AllowManySockets();
  Settings settings;
  config::OptionSet set("llm", "Puts any model behind one message and tool form.");
  settings.Declare(set);
  if (auto exit_code = set.ParseMain(argc, argv)) return *exit_code;
  settings.gateway.http.max_response_bytes = static_cast<size_t>(settings.max_response_bytes.value);
  settings.gateway.response_cache_bytes = settings.response_cache_bytes.value;
  settings.gateway.session_budget_micro_usd = std::llround(settings.session_budget_usd * 1e6);
  if (absl::Status status = rpc::InitLogging(settings.server.Logging()); !status.ok())
    return rpc::FailStart(status);

  absl::StatusOr<llm_gateway::ModelSet> models = settings.Models();
  if (!models.ok()) return rpc::FailStart(models.status());
  rpc::Runtime runtime({.service = "llm"});
  auto gateway = llm_gateway::Gateway::Create(settings.gateway, std::move(models->models),
                                              std::make_unique<builtin::BuiltinModel>(), runtime.metrics(),
                                              std::move(models->aliases));
  if (!gateway.ok()) return rpc::FailStart(gateway.status());
  const std::vector<std::string> args(argv + 1, argv + argc);
  auto hangups = llm_gateway::HangupWatch::Start([&] { (*gateway)->Reload(ReadAgain(args)); });
  if (!hangups.ok()) return rpc::FailStart(hangups.status());
  const llm_gateway::HeapTrimmer trimmer;
  llm_gateway::LlmHandler handler(runtime, **gateway);
  auto server =
      rpc::Server::Start(settings.server, runtime, {{llm::v1::LlmService::service_full_name(), &handler}});
  if (!server.ok()) return rpc::FailStart(server.status());
  return (*server)->Wait();
}
