// nkictl: the command line of nki-agent.
//
//   nkictl run softmax.py                              a PyTorch module becomes a verified NKI kernel, on
//   local services nkictl --server HOST:7600 run softmax.py           the same on a running orchestrator
//   nkictl demo                                        the built-in modules
//   nkictl list | show ID | watch ID | cancel ID
#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/rpc/logging.h"
#include "services/nkictl/bench.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/interrupt.h"

namespace nkiagent::nkictl {
namespace {

int Main(int argc, char** argv) {
  const Interrupt interrupt;
  Environment environment;
  environment.interrupt = &interrupt;
  std::string models_file;
  CLI::App app("nki-agent: PyTorch modules become verified NKI kernels");
  app.name("nkictl");
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--server", environment.server.target,
                 "Orchestrator, host:port. run and demo start local services without it; the others mean "
                 "127.0.0.1:7600");
  app.add_option("--tls-ca-file", environment.server.tls_ca_file, "PEM file; turns TLS on");
  app.add_option("--tls-cert-file", environment.server.tls_cert_file, "PEM file, for mTLS");
  app.add_option("--tls-key-file", environment.server.tls_key_file, "PEM file, for mTLS");
  app.add_option("--auth-token-file", environment.server.auth_token_file, "File with the bearer token");
  app.add_flag("--json", environment.json, "One JSON document, or JSON lines for a stream");
  app.add_option("--bin-dir", environment.cluster.bin_dir, "Where the services' binaries are");
  app.add_option("--work-dir", environment.cluster.work_dir,
                 "Data and logs of local services; a temporary folder by default");
  app.add_option("--models-file", models_file, "YAML with the models of the local llm-gateway");

  // In the order of --help.
  Verb verb;
  AddRun(&app, &verb);
  AddSubmit(&app, &verb);
  AddPrompt(&app, &verb);
  AddExport(&app, &verb);
  AddWatch(&app, &verb);
  AddList(&app, &verb);
  AddShow(&app, &verb);
  AddCancel(&app, &verb);
  AddDemo(&app, &verb);
  AddProfile(&app, &verb);
  AddBench(&app, &verb);
  AddVerify(&app, &verb);
  AddUp(&app, &verb);
  AddPython(&app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // 0 for --help; CLI11's own codes are above 100.
    return app.exit(error) == 0 ? kExitPass : kExitUsage;
  }
  // Libraries that log must not mix their lines into the output.
  rpc::InitLogging({.component = "nkictl", .level = "error"}).IgnoreError();
  if (!models_file.empty()) environment.cluster.AddFlag(Service::kLlm, "--config=" + models_file);
  return verb(environment);
}

}  // namespace
}  // namespace nkiagent::nkictl

int main(int argc, char** argv) {
  const std::optional<int> python =
      nkiagent::nkictl::RunAsPython(std::vector<std::string>(argv + 1, argv + argc));
  return python.has_value() ? *python : nkiagent::nkictl::Main(argc, argv);
}
