// nkictl verify: is this kernel right for this module? No orchestrator and no model; a compile-service and a
// verify-service of its own.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/nkictl/client.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/connection.h"
#include "services/orchestrator/backends.h"
#include "services/orchestrator/tool_results.h"

namespace nkiagent::nkictl {
namespace {

using nlohmann::json;

struct VerifyKernelFlags {
  std::string task;    // KernelBench-style file
  std::string kernel;  // file with the kernel
  // Instead of both: a file with one JSON object a line, of the keys id, task, kernel (paths) or
  // kernel_source, atol, rtol, trials, seeds, rigor; "-" is standard input. Answers are JSON lines too.
  std::string batch;
  double atol = -1;  // below zero: verify-service's own
  double rtol = -1;
  int trials = 0;
  std::vector<uint64_t> seeds;
  uint64_t weight_seed = 0;
  std::string rigor = "standard";
};

// Longest wait for everything about one kernel.
constexpr absl::Duration kPatience = absl::Minutes(5);

// What a command line or a line of a batch asks for.
struct Job {
  std::string id;
  common::v1::Task task;
  std::string kernel_source;
  int trials = 0;
  std::vector<uint64_t> seeds;
  verify::v1::Rigor rigor = verify::v1::RIGOR_STANDARD;
};

struct Answer {
  std::optional<verify::v1::TaskProblem> problem;
  compile::v1::CompileResult compiled;
  std::optional<verify::v1::Verdict> verdict;  // absent if the kernel does not compile
};

absl::StatusOr<Answer> Judge(orchestrator::Backends& backends, const rpc::CallContext& call, const Job& job) {
  Answer answer;
  verify::v1::DescribeTaskRequest describe;
  *describe.mutable_task() = job.task;
  auto described = backends.DescribeTask(call, describe);
  if (!described.ok()) return described.status();
  if (described->has_problem()) {
    answer.problem = described->problem();
    return answer;
  }
  compile::v1::CompileRequest compile;
  compile.mutable_kernel()->set_source(job.kernel_source);
  *compile.mutable_arguments() = described->facts().arguments();
  compile.set_include_program(true);
  auto compiled = backends.Compile(call, compile);
  if (!compiled.ok()) return compiled.status();
  answer.compiled = compiled->result();
  if (compiled->program().empty()) return answer;
  verify::v1::VerifyRequest verify;
  *verify.mutable_task() = job.task;
  verify.set_program_bytes(compiled->program());
  verify.set_trials(job.trials);
  for (const uint64_t seed : job.seeds) verify.add_seeds(seed);
  verify.set_rigor(job.rigor);
  auto verified = backends.Verify(call, verify);
  if (!verified.ok()) return verified.status();
  answer.verdict = verified->verdict();
  return answer;
}

std::string FirstError(const compile::v1::CompileResult& result) {
  for (const common::v1::Diagnostic& diagnostic : result.diagnostics()) {
    if (diagnostic.severity() == common::v1::SEVERITY_ERROR)
      return absl::StrCat(diagnostic.rule(), ": ", diagnostic.message());
  }
  return compile::v1::CompileOutcome_Name(result.outcome());
}

// The keys of an answer, single or in a batch.
json ToJson(const Job& job, const Answer& answer) {
  json line = {{"id", job.id}, {"passed", answer.verdict.has_value() && answer.verdict->passed()}};
  if (answer.problem.has_value()) {
    line["stage"] = "task";
    line["message"] = answer.problem->message();
  } else if (!answer.verdict.has_value()) {
    line["stage"] = "compile";
    line["message"] = FirstError(answer.compiled);
  } else {
    line["stage"] = "verify";
    line["reason"] = orchestrator::ReasonName(answer.verdict->reason());
    line["message"] = answer.verdict->message();
    json families = json::object();
    for (const verify::v1::FamilyResult& family : answer.verdict->families()) {
      const std::string name = verify::v1::InputFamily_Name(family.family()).substr(13);
      families[name] = family.passed() ? "passed" : family.skipped().empty() ? "failed" : "skipped";
    }
    if (!families.empty()) line["families"] = std::move(families);
  }
  return line;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("can't read ", path));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::StatusOr<Job> MakeJob(const VerifyKernelFlags& flags) {
  Job job;
  absl::StatusOr<common::v1::Task> task = ReadTaskFile(flags.task);
  if (!task.ok()) return task.status();
  job.task = *std::move(task);
  job.task.set_weight_seed(flags.weight_seed);
  if (flags.atol >= 0 || flags.rtol >= 0) {
    // verify-service's own where only one is given.
    job.task.mutable_tolerance()->set_atol(flags.atol >= 0 ? flags.atol : 1e-3);
    job.task.mutable_tolerance()->set_rtol(flags.rtol >= 0 ? flags.rtol : 1e-3);
  }
  if (!flags.kernel.empty()) {
    absl::StatusOr<std::string> source = ReadFile(flags.kernel);
    if (!source.ok()) return source.status();
    job.kernel_source = *std::move(source);
  }
  job.id = flags.kernel;
  job.trials = flags.trials;
  job.seeds = flags.seeds;
  if (flags.rigor == "high") job.rigor = verify::v1::RIGOR_HIGH;
  return job;
}

absl::StatusOr<Job> ParseLine(const std::string& text) {
  try {
    const json line = json::parse(text);
    VerifyKernelFlags flags;
    flags.task = line.at("task");
    flags.kernel = line.value("kernel", "");
    flags.atol = line.value("atol", -1.0);
    flags.rtol = line.value("rtol", -1.0);
    flags.trials = line.value("trials", 0);
    flags.seeds = line.value("seeds", std::vector<uint64_t>{});
    flags.rigor = line.value("rigor", "standard");
    absl::StatusOr<Job> job = MakeJob(flags);
    if (!job.ok()) return job.status();
    job->id = line.value("id", flags.kernel);
    if (line.contains("kernel_source")) job->kernel_source = line.at("kernel_source");
    return job;
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("a line is no request: ", error.what()));
  }
}

std::string Dump(const json& line) { return line.dump(-1, ' ', false, json::error_handler_t::replace); }

// Answers each line of `in`, in the order in which they are done. True if every line got an answer.
bool RunBatch(const Environment& environment, orchestrator::Backends& backends, std::istream& in) {
  std::mutex mutex;
  bool all = true;
  const auto work = [&] {
    for (;;) {
      std::string text;
      {
        const std::lock_guard<std::mutex> lock(mutex);
        if (environment.interrupt->requested() || !std::getline(in, text)) return;
      }
      if (text.empty()) continue;
      absl::StatusOr<Job> job = ParseLine(text);
      absl::Status status = job.status();
      json line;
      if (job.ok()) {
        const rpc::CallContext call("", absl::Now() + kPatience, environment.interrupt->token());
        const absl::StatusOr<Answer> answer = Judge(backends, call, *job);
        status = answer.status();
        if (answer.ok()) line = ToJson(*job, *answer);
      }
      if (!status.ok()) line = {{"id", job.ok() ? job->id : ""}, {"error", std::string(status.message())}};
      const std::lock_guard<std::mutex> lock(mutex);
      all = all && status.ok();
      std::printf("%s\n", Dump(line).c_str());
      std::fflush(stdout);
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) threads.emplace_back(work);
  threads.clear();
  return all;
}

int RunOne(const Environment& environment, orchestrator::Backends& backends, const Job& job) {
  const rpc::CallContext call("", absl::Now() + kPatience, environment.interrupt->token());
  const absl::StatusOr<Answer> answer = Judge(backends, call, job);
  if (!answer.ok()) return Fail(environment, answer.status());
  if (environment.json) {
    std::printf("%s\n", Dump(ToJson(job, *answer)).c_str());
  } else if (answer->problem.has_value()) {
    std::printf("task: can't be judged: %s\n", answer->problem->message().c_str());
  } else if (!answer->verdict.has_value()) {
    std::printf("%s", orchestrator::DescribeCompile(answer->compiled).c_str());
  } else {
    std::printf("%s", orchestrator::DescribeVerdict(*answer->verdict).c_str());
  }
  return answer->verdict.has_value() && answer->verdict->passed() ? kExitPass : kExitFail;
}

int WithServices(const Environment& environment, const VerifyKernelFlags& flags, const Job& job) {
  std::ifstream batch;
  if (!flags.batch.empty() && flags.batch != "-") {
    batch.open(flags.batch);
    if (!batch.is_open())
      return Fail(environment, absl::NotFoundError(absl::StrCat("can't read ", flags.batch)));
  }
  std::fprintf(stderr, "starting local services ...\n");
  const absl::StatusOr<Toolchain> toolchain = StartToolchain(environment, environment.cluster);
  if (!toolchain.ok()) return Fail(environment, toolchain.status());
  orchestrator::Backends& backends = *toolchain->backends;
  int code = kExitFail;
  if (flags.batch.empty()) {
    code = RunOne(environment, backends, job);
  } else if (flags.batch == "-") {
    code = RunBatch(environment, backends, std::cin) ? kExitPass : kExitFail;
  } else {
    code = RunBatch(environment, backends, batch) ? kExitPass : kExitFail;
  }
  if (const absl::Status stopped = toolchain->cluster->Stop(); !stopped.ok())
    return Fail(environment, stopped);
  return environment.interrupt->requested() ? kExitInterrupted : code;
}

// 0: the kernel passes (in a batch: every line got an answer). 1: it does not.
int VerifyKernel(const Environment& environment, const VerifyKernelFlags& flags) {
  Job job;
  if (flags.batch.empty()) {
    if (flags.kernel.empty()) {
      return Fail(environment, absl::InvalidArgumentError("verify needs a task and a kernel, or --batch"));
    }
    absl::StatusOr<Job> made = MakeJob(flags);
    if (!made.ok()) return Fail(environment, made.status());
    job = *std::move(made);
  }
  return WithServices(environment, flags, job);
}

}  // namespace

void AddVerify(CLI::App* app, Verb* verb) {
  auto flags = std::make_shared<VerifyKernelFlags>();
  CLI::App* verify = app->add_subcommand("verify", "Is this kernel right for this module?");
  verify->add_option("TASK", flags->task, "KernelBench-style file");
  verify->add_option("KERNEL", flags->kernel, "File with the function nki_kernel");
  verify->add_option("--batch", flags->batch,
                     "Instead: JSON lines with id, task, kernel or kernel_source, atol, rtol, trials, seeds, "
                     "rigor; - is standard input");
  verify->add_option("--atol", flags->atol, "Absolute tolerance")->check(CLI::NonNegativeNumber);
  verify->add_option("--rtol", flags->rtol, "Relative tolerance")->check(CLI::NonNegativeNumber);
  verify->add_option("--trials", flags->trials, "Trials; 0: 3")->check(CLI::Range(0, 64));
  verify->add_option("--seed", flags->seeds, "Seeds of the trials' inputs, as many as there are trials");
  verify->add_option("--weight-seed", flags->weight_seed, "Seed of the module's weights");
  verify->add_option("--rigor", flags->rigor, "How hard the kernel is tried")
      ->check(CLI::IsMember({"standard", "high"}))
      ->capture_default_str();
  verify->callback([=] { *verb = [=](const Environment& e) { return VerifyKernel(e, *flags); }; });
}

}  // namespace nkiagent::nkictl
