// llm-gateway: any model behind one message and tool form.
//
//   llm-gateway --port 7603 --metrics_port 7613 --config models.yaml
#include <yaml-cpp/yaml.h>

#include <memory>
#include <utility>

#include "common/config/option_set.h"
#include "common/rpc/runtime.h"
#include "common/rpc/server.h"
#include "services/llm_gateway/builtin/builtin_model.h"
#include "services/llm_gateway/default_models.h"
#include "services/llm_gateway/gateway.h"
#include "services/llm_gateway/llm_handler.h"
#include "services/llm_gateway/model_config.h"

using namespace nkiagent;  // NOLINT: a main file

int main(int argc, char** argv) {
  rpc::ServerOptions server_options{.name = "llm-gateway"};
  server_options.port = 7603;
  server_options.metrics_port = 7613;
  llm_gateway::GatewayOptions options;
  config::Bytes max_response_bytes{static_cast<int64_t>(options.http.max_response_bytes)};
  YAML::Node models_section;

  config::OptionSet set("llm", "Puts any model behind one message and tool form.");
  server_options.Declare(set);
  set.AddSection("models", &models_section, "The models; see services/llm_gateway/model_config.h.");
  set.Add("cassette_dir", &options.cassette_dir, "Folder of cassettes for models replay:NAME; empty: none.");
  set.Add("record_dir", &options.record_dir,
          "Folder where each answered call is recorded, prompts included; empty: nothing is recorded.");
  set.Add("default_deadline", &options.default_deadline, "Deadline of calls that bring none.")
      .Range(1, 86400);
  set.Add("retry_attempts", &options.http.retry.max_attempts, "Tries of one call in all.").Range(1, 20);
  set.Add("retry_budget", &options.http.retry.pause_budget,
          "Pauses between the tries of one call, together.");
  set.Add("connect_timeout", &options.http.connect_timeout, "Time to connect to a provider.").Range(0.1, 300);
  set.Add("attempt_timeout", &options.http.attempt_timeout, "Time of one try.").Range(1, 3600);
  set.Add("body_timeout", &options.http.body_timeout, "Time from an answer's first byte to its last.")
      .Range(1, 3600);
  set.Add("max_response_bytes", &max_response_bytes, "Largest answer of a provider.").Range(1024, 1 << 30);
  set.Add("ca_file", &options.client.ca_file, "Trusted certificates in PEM form; empty: the system's.");
  set.Add("local_threads", &options.local_models.threads, "Threads for builtin and replay.").Range(1, 256);
  if (auto exit_code = set.ParseMain(argc, argv)) return *exit_code;
  options.http.max_response_bytes = static_cast<size_t>(max_response_bytes.value);
  if (absl::Status status = rpc::InitLogging(server_options.Logging()); !status.ok())
    return rpc::FailStart(status);

  absl::StatusOr<std::vector<llm_gateway::ModelConfig>> models = llm_gateway::ParseModels(models_section);
  if (!models.ok()) return rpc::FailStart(models.status());
  if (models->empty()) models = llm_gateway::DefaultModels();

  rpc::Runtime runtime({.service = "llm"});
  auto gateway = llm_gateway::Gateway::Create(options, *std::move(models),
                                              std::make_unique<builtin::BuiltinModel>(), runtime.metrics());
  if (!gateway.ok()) return rpc::FailStart(gateway.status());
  llm_gateway::LlmHandler handler(runtime, **gateway);
  auto server =
      rpc::Server::Start(server_options, runtime, {{llm::v1::LlmService::service_full_name(), &handler}});
  if (!server.ok()) return rpc::FailStart(server.status());
  return (*server)->Wait();
}
