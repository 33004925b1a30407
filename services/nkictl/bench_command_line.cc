#include "services/nkictl/bench_command_line.h"

#include <memory>
#include <string>
#include <vector>

#include "services/nkictl/bench.h"

namespace nkiagent::nkictl {

void AddSamplingFlags(CLI::App* command, SessionFlags* flags) {
  command->add_option("--model", flags->model, "Model, by the name that llm-gateway knows")
      ->capture_default_str();
  command->add_option("--mode", flags->mode, "How the model is asked")
      ->check(CLI::IsMember(ModeNames()))
      ->capture_default_str();
  command->add_option("--max-turns", flags->max_turns, "Most model calls of a session; 0: the mode's default")
      ->check(CLI::Range(0, 100));
  command->add_option("--trials", flags->trials, "Trials of each verification; 0: 3")
      ->check(CLI::Range(0, 64));
  command
      ->add_option("--rigor", flags->rigor,
                   "How hard kernels are tried; high: also on large, tiny, signed, constant, permuted, NaN "
                   "and infinite inputs")
      ->check(CLI::IsMember({"standard", "high"}))
      ->capture_default_str();
  command->add_option("--seed", flags->seeds, "Seeds of the trials' inputs, as many as there are trials");
  command->add_option("--weight-seed", flags->weight_seed, "Seed of the module's weights");
  command->add_option("--prompt", flags->prompt, "Name of the prompt: rank-aware or plain");
  command->add_option("--wall-limit", flags->wall_limit_s, "Longest time of a session in seconds")
      ->check(CLI::PositiveNumber);
  command->add_option("--temperature", flags->temperature, "Sampling temperature")
      ->check(CLI::Range(0.0, 2.0));
  command->add_flag("--optimize", flags->optimize,
                    "Go on after the first verified kernel, to find a faster one");
  command->add_option(
      "--tool", flags->tools,
      "Tools of the agent: compile_kernel, verify_kernel, profile_kernel, lookup_api; all by default");
}

void AddSessionFlags(CLI::App* command, SessionFlags* flags) {
  AddSamplingFlags(command, flags);
  command->add_option("--level", flags->level, "Level of the task, for counts")->check(CLI::Range(0, 3));
  command->add_option("--name", flags->name, "Name of the task; the file's by default");
  command
      ->add_option("--max-cost", flags->max_cost_usd,
                   "Most that model calls may cost, in US dollars; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--request-id", flags->request_id,
                      "Makes a retry safe: the same id gives the same session");
}

void AddBenchCommands(CLI::App* app, const Environment* environment, std::function<int()>* verb) {
  CLI::App* bench = app->add_subcommand("bench", "Benchmark runs: many tasks, one model, one mode");
  bench->require_subcommand(1);

  // Shared with the callbacks, which outlive this call.
  auto run_flags = std::make_shared<BenchRunFlags>();
  CLI::App* run = bench->add_subcommand("run", "Run a suite, or go on with a run that was interrupted");
  run->add_option("--suite", run_flags->suite,
                  "Name of a suite (nkictl bench suites), a .yaml file, a folder of KernelBench-style .py "
                  "files, a .py file");
  run->add_option("--task", run_flags->tasks, "Only tasks whose id matches this pattern, as a shell's");
  run->add_option("--level", run_flags->levels, "Only tasks of this level")->check(CLI::Range(0, 3));
  run->add_option("--repeat", run_flags->repeat, "Sessions for each task")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  run->add_option("--concurrency", run_flags->concurrency,
                  "Sessions at once; 0: the orchestrator's own limit")
      ->check(CLI::Range(0, 256));
  run->add_option("--name", run_flags->name, "Name of the run; the same name goes on with the same run");
  run->add_option("--max-cost", run_flags->max_cost_usd,
                  "Most that the run's model calls may cost, in US dollars; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  AddSamplingFlags(run, &run_flags->session);
  run->callback([=] { *verb = [=] { return BenchRun(*environment, *run_flags); }; });

  CLI::App* list = bench->add_subcommand("list", "List runs, newest first");
  list->callback([=] { *verb = [=] { return BenchList(*environment); }; });

  auto name = std::make_shared<std::string>();
  CLI::App* suites = bench->add_subcommand("suites", "List the suites, or the tasks of one");
  suites->add_option("SUITE", *name, "As for bench run --suite");
  suites->callback([=] { *verb = [=] { return BenchSuites(*environment, *name); }; });

  auto reason = std::make_shared<std::string>();
  CLI::App* cancel = bench->add_subcommand("cancel", "End a run and its sessions");
  cancel->add_option("RUN", *name, "Its name or id")->required();
  cancel->add_option("--reason", *reason, "For the record");
  cancel->callback([=] { *verb = [=] { return BenchCancel(*environment, *name, *reason); }; });

  auto output = std::make_shared<std::string>();
  CLI::App* to_file =
      bench->add_subcommand("export", "Write a run with its signed rows and kernels to one file");
  to_file->add_option("RUN", *name, "Its name or id")->required();
  to_file->add_option("-o,--output", *output, "The file; <run>.run.json by default");
  to_file->callback([=] { *verb = [=] { return BenchExport(*environment, *name, *output); }; });

  auto report_flags = std::make_shared<BenchReportFlags>();
  CLI::App* report = bench->add_subcommand("report", "Report on finished runs and compare them");
  report->add_option("RUN", report_flags->runs, "Names, ids or exported files")->required();
  report->add_option(
      "-o,--output", report_flags->folder,
      "Folder for report.md, report.json, rows.csv and figures; without, the report is printed");
  report->add_flag("!--no-figures", report_flags->figures, "Draw no figures");
  report->add_flag("--partial", report_flags->partial, "Runs that have not finished, too");
  report->callback([=] { *verb = [=] { return BenchReport(*environment, *report_flags); }; });

  auto verify_flags = std::make_shared<BenchVerifyFlags>();
  CLI::App* verify = bench->add_subcommand(
      "verify", "Check a run's signatures, and compile and run its kernels again with the recorded seeds");
  verify->add_option("RUN", verify_flags->run, "A name, an id or an exported file")->required();
  verify->add_option("--sample", verify_flags->sample, "Repeat only so many rows, chosen at random")
      ->check(CLI::Range(0, 1000000));
  verify->add_option("--sample-seed", verify_flags->seed, "Seed of that choice");
  verify->add_option("--public-key", verify_flags->public_key,
                     "The key to trust, 64 hex digits; the run's own by default");
  verify->add_flag("--signatures-only", verify_flags->signatures_only, "Repeat nothing");
  verify->add_option("--jobs", verify_flags->jobs, "Rows at once; 0: as many as cores")
      ->check(CLI::Range(0, 64));
  verify->callback([=] { *verb = [=] { return BenchVerify(*environment, *verify_flags); }; });
}

}  // namespace nkiagent::nkictl
