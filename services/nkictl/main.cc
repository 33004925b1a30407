// nkictl: the command line of nki-agent.
//
//   nkictl run softmax.py                     a PyTorch module becomes a verified NKI kernel, on local
//   services nkictl --server HOST:7600 run softmax.py  the same on a running orchestrator nkictl demo the
//   built-in modules nkictl list | show ID | watch ID | cancel ID
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "common/rpc/logging.h"
#include "services/nkictl/bench_command_line.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/interrupt.h"
#include "services/nkictl/profile.h"
#include "services/nkictl/verify_kernel.h"

namespace nkiagent::nkictl {
namespace {

// Ports of `nkictl up`: those of the services' own defaults, in the order of kServices.
constexpr std::array<int, 4> kUpPorts = {7601, 7602, 7603, 7600};
constexpr std::array<int, 4> kUpMetricsPorts = {7611, 7612, 7613, 7610};

int Main(int argc, char** argv) {
  const Interrupt interrupt;
  Environment environment;
  environment.interrupt = &interrupt;
  std::string models_file;
  int exit_code = kExitFail;

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

  SessionFlags flags;
  std::string file;
  std::string output;
  CLI::App* run = app.add_subcommand("run", "Submit a task, follow it, write the verified kernel");
  run->add_option("FILE", file, "KernelBench-style file: Model, get_inputs, get_init_inputs")->required();
  run->add_option("-o,--output", output, "Where the kernel goes; <task>.nki.py by default");
  AddSessionFlags(run, &flags);
  CLI::App* submit = app.add_subcommand("submit", "Submit a task and print the session's id");
  submit->add_option("FILE", file, "KernelBench-style file")->required();
  AddSessionFlags(submit, &flags);

  CLI::App* prompt = app.add_subcommand("prompt", "What a model is sent")->require_subcommand(1);
  CLI::App* prompt_show =
      prompt->add_subcommand("show", "Print the first model call of a task, to the letter");
  prompt_show->add_option("FILE", file, "KernelBench-style file")->required();
  AddSessionFlags(prompt_show, &flags);

  ExportFlags export_flags;
  CLI::App* exporting =
      app.add_subcommand("export", "Write sessions as training episodes, JSON lines in chat format");
  exporting->add_option("SESSION", export_flags.sessions,
                        "Their ids; none: the newest that the filters name");
  exporting->add_option("--model", export_flags.model, "Only sessions of this model");
  exporting->add_option("--run", export_flags.run, "Only sessions of this benchmark run");
  exporting->add_flag("--passed", export_flags.passed_only, "Only sessions with a verified kernel");
  exporting->add_option("--limit", export_flags.limit, "Most sessions")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  exporting->add_option("-o,--output", export_flags.output, "File to write; stdout by default");

  std::string session_id;
  int64_t from_sequence = 1;
  CLI::App* watch = app.add_subcommand("watch", "Follow a session to its end");
  watch->add_option("SESSION", session_id, "Its id")->required();
  watch->add_option("--from", from_sequence, "First event wanted")->check(CLI::NonNegativeNumber);

  std::string state;
  std::string model;
  int limit = 50;
  CLI::App* list = app.add_subcommand("list", "List sessions, newest first");
  list->add_option("--state", state, "queued, running, passed, not-solved, failed or cancelled");
  list->add_option("--model", model, "Only sessions of this model");
  list->add_option("--limit", limit, "Most sessions")->check(CLI::Range(1, 100000))->capture_default_str();

  bool kernel_only = false;
  CLI::App* show = app.add_subcommand("show", "Show a session and its kernel");
  show->add_option("SESSION", session_id, "Its id")->required();
  show->add_flag("--kernel", kernel_only, "Print the kernel's source alone");

  std::string reason;
  CLI::App* cancel = app.add_subcommand("cancel", "End a session");
  cancel->add_option("SESSION", session_id, "Its id")->required();
  cancel->add_option("--reason", reason, "For the record");

  DemoFlags demo_flags;
  CLI::App* demo = app.add_subcommand("demo", "Run the built-in modules through the whole loop");
  demo->add_option("--model", demo_flags.model, "Model, by the name that llm-gateway knows")
      ->capture_default_str();
  demo->add_option("--jobs", demo_flags.jobs, "Sessions at once; 0: as many as cores")
      ->check(CLI::Range(0, 64));
  demo->add_option("--task", demo_flags.tasks, "Only these tasks");
  demo->add_flag("--list", demo_flags.list, "List the tasks");

  ProfileFlags profile_flags;
  CLI::App* profile = app.add_subcommand("profile", "Estimate what a kernel costs, without a device");
  profile->add_option("KERNEL", profile_flags.file, "Python file with the @nki.jit function")->required();
  auto* arguments =
      profile
          ->add_option("-a,--arg", profile_flags.arguments,
                       "Its tensor arguments in order, each as float32[128,512] or x:bfloat16[64]")
          ->allow_extra_args(false)
          // Brackets would mean a list to the parser.
          ->delimiter('\0');
  profile->add_option("--task", profile_flags.task, "Take the arguments from this KernelBench-style file")
      ->excludes(arguments);
  profile->add_option("--entry", profile_flags.entry, "Name of the function; nki_kernel by default");
  profile->add_option("--constant", profile_flags.constants, "Keyword argument of the kernel, NAME=LITERAL")
      ->allow_extra_args(false);
  profile->add_option("--grid", profile_flags.grid, "Extents of the SPMD launch grid, as 2,4")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536));
  profile->add_option("--trace", profile_flags.trace,
                      "Write the engine timeline here, for ui.perfetto.dev or chrome://tracing");
  profile
      ->add_option("--max-slices", profile_flags.max_slices,
                   "Most instruction executions that the timeline shows; 0: 10000")
      ->check(CLI::Range(0, 50000));
  profile->add_option("--compile-server", profile_flags.compile_server,
                      "A running compile-service, host:port; a local one by default");
  profile->add_option("--verify-server", profile_flags.verify_server,
                      "A running verify-service, for --task; a local one by default");
  std::function<int()> bench_verb;
  AddBenchCommands(&app, &environment, &bench_verb);

  VerifyKernelFlags verify_flags;
  CLI::App* verify = app.add_subcommand("verify", "Is this kernel right for this module?");
  verify->add_option("TASK", verify_flags.task, "KernelBench-style file");
  verify->add_option("KERNEL", verify_flags.kernel, "File with the function nki_kernel");
  verify->add_option("--batch", verify_flags.batch,
                     "Instead: JSON lines with id, task, kernel or kernel_source, atol, rtol, trials, seeds, "
                     "rigor; - is standard input");
  verify->add_option("--atol", verify_flags.atol, "Absolute tolerance")->check(CLI::NonNegativeNumber);
  verify->add_option("--rtol", verify_flags.rtol, "Relative tolerance")->check(CLI::NonNegativeNumber);
  verify->add_option("--trials", verify_flags.trials, "Trials; 0: 3")->check(CLI::Range(0, 64));
  verify->add_option("--seed", verify_flags.seeds,
                     "Seeds of the trials' inputs, as many as there are trials");
  verify->add_option("--weight-seed", verify_flags.weight_seed, "Seed of the module's weights");
  verify->add_option("--rigor", verify_flags.rigor, "How hard the kernel is tried")
      ->check(CLI::IsMember({"standard", "high"}))
      ->capture_default_str();

  bool any_port = false;
  CLI::App* up = app.add_subcommand("up", "Run the four services here until Ctrl-C");
  up->add_flag("--any-port", any_port, "Free ports instead of 7600 to 7603 and 7610 to 7613");

  // Here for --help; main() has seen to it.
  app.add_subcommand("python", "Run a Python script whose neuronxcc.nki is ours: python SCRIPT [ARGUMENT...]")
      ->fallthrough(false)
      ->prefix_command()
      ->callback([] { throw CLI::ValidationError("python", "must be the first argument"); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // 0 for --help; CLI11's own codes are above 100.
    return app.exit(error) == 0 ? 0 : 2;
  }
  // Libraries that log must not mix their lines into the output.
  rpc::InitLogging({.component = "nkictl", .level = "error"}).IgnoreError();
  if (!models_file.empty()) {
    environment.cluster.flags[static_cast<size_t>(Service::kLlm)].push_back("--config=" + models_file);
  }
  if (run->parsed()) exit_code = Run(environment, flags, file, output);
  if (submit->parsed()) exit_code = Submit(environment, flags, file);
  if (watch->parsed()) exit_code = Watch(environment, session_id, from_sequence);
  if (list->parsed()) exit_code = List(environment, state, model, limit);
  if (show->parsed()) exit_code = Show(environment, session_id, kernel_only);
  if (cancel->parsed()) exit_code = Cancel(environment, session_id, reason);
  if (demo->parsed()) exit_code = Demo(environment, demo_flags);
  if (profile->parsed()) exit_code = Profile(environment, profile_flags);
  if (verify->parsed()) exit_code = VerifyKernel(environment, verify_flags);
  if (prompt_show->parsed()) exit_code = PromptShow(environment, flags, file);
  if (exporting->parsed()) exit_code = Export(environment, export_flags);
  if (bench_verb) exit_code = bench_verb();
  if (up->parsed()) {
    if (!any_port) {
      environment.cluster.ports = kUpPorts;
      environment.cluster.metrics_ports = kUpMetricsPorts;
    }
    exit_code = Up(environment);
  }
  return exit_code;
}

}  // namespace
}  // namespace nkiagent::nkictl

int main(int argc, char** argv) {
  // All that follows `python` is the script's, options included; and the script takes this process over, so
  // nothing may have touched its signals.
  if (argc > 1 && std::string(argv[1]) == "python") {
    return nkiagent::nkictl::Python(std::vector<std::string>(argv + 2, argv + argc));
  }
  if (argc > 2 && std::string(argv[1]) == "bench" && nkiagent::nkictl::IsBenchModule(argv[2])) {
    return nkiagent::nkictl::BenchModule(argv[2], std::vector<std::string>(argv + 3, argv + argc));
  }
  return nkiagent::nkictl::Main(argc, argv);
}
