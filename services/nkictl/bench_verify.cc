// nkictl bench verify: are the rows of a run what its orchestrator signed, and do they come out again?
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/nkictl/bench.h"
#include "services/nkictl/text.h"
#include "services/orchestrator/backends.h"
#include "services/orchestrator/tool_results.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::ResultRecord;

struct BenchVerifyFlags {
  std::string run;
  int sample = -1;  // rows to compile and run again; -1: all
  uint64_t seed = 0;
  std::string public_key;
  bool signatures_only = false;
  int jobs = 0;
};

// What came of one row's repetition.
struct Repetition {
  std::string finding;  // how it differs from the record; empty if it does not
  std::string note;     // what a reader should know all the same
  bool judged = false;  // a verdict, a refusal or a problem was reached again
};

bool DependsOnTheMachine(verify::v1::VerdictReason reason) {
  return reason == verify::v1::VERDICT_REASON_TIMEOUT || reason == verify::v1::VERDICT_REASON_MEMORY ||
         reason == verify::v1::VERDICT_REASON_CRASH;
}

// Repeats rows on local services: describes the task, compiles the kernel, verifies the program with the
// recorded seeds.
class Repeater {
 public:
  Repeater(const RunData& data, orchestrator::Backends& backends, std::stop_token stop)
      : data_(data), backends_(backends), stop_(std::move(stop)) {}

  absl::StatusOr<Repetition> Repeat(const RunRowData& row) {
    const ResultRecord& record = row.record;
    const rpc::CallContext call("", absl::Now() + absl::Minutes(10), stop_);
    verify::v1::DescribeTaskRequest describe;
    *describe.mutable_task() = data_.TaskOf(record.row());
    auto described = backends_.DescribeTask(call, describe);
    if (!described.ok()) return described.status();
    Repetition result;
    const bool problem = record.failure_class() == orchestrator::v1::FAILURE_CLASS_TASK_PROBLEM;
    if (described->has_problem() || problem) {
      result.judged = true;
      if (!described->has_problem()) result.finding = "the task could not be judged then, and can be now";
      if (described->has_problem() && !problem)
        result.finding = absl::StrCat("the task can't be judged: ", described->problem().message());
      return result;
    }
    if (described->facts().task_hash() != record.task_hash() && !record.task_hash().empty()) {
      result.finding = "the task's hash is another one";
      return result;
    }
    if (row.kernel.source().empty()) {
      result.note = "no kernel to repeat";
      return result;
    }
    return Judge(call, row, described->facts(), std::move(result));
  }

 private:
  absl::StatusOr<Repetition> Judge(const rpc::CallContext& call, const RunRowData& row,
                                   const verify::v1::TaskFacts& facts, Repetition result) {
    const ResultRecord& record = row.record;
    compile::v1::CompileRequest compile;
    *compile.mutable_kernel() = row.kernel;
    *compile.mutable_arguments() = facts.arguments();
    *compile.mutable_target() = record.target();
    compile.set_include_program(true);
    auto compiled = backends_.Compile(call, compile);
    if (!compiled.ok()) return compiled.status();
    const bool same_toolchain = compiled->result().toolchain().version() == record.compiler().version();
    if (!same_toolchain) {
      result.note = absl::StrCat("repeated by toolchain ", compiled->result().toolchain().version(),
                                 ", recorded by ", record.compiler().version());
    }
    result.judged = true;
    const bool has_program = !compiled->program().empty();
    if (record.verdict() == verify::v1::VERDICT_REASON_UNSPECIFIED) {
      const bool refused = record.failure_class() == orchestrator::v1::FAILURE_CLASS_COMPILE ||
                           record.failure_class() == orchestrator::v1::FAILURE_CLASS_TRACE;
      if (refused && has_program) result.finding = "the kernel did not compile then, and does now";
      return result;
    }
    if (!has_program) {
      result.finding = "the kernel does not compile";
      return result;
    }
    if (same_toolchain && compiled->result().program_id() != record.program_hash()) {
      result.finding = "the kernel compiles to another program";
      return result;
    }
    verify::v1::VerifyRequest verify;
    *verify.mutable_task() = data_.TaskOf(record.row());
    verify.set_program_bytes(compiled->program());
    verify.set_trials(record.seeds_size());
    *verify.mutable_seeds() = record.seeds();
    verify.set_rigor(record.rigor());
    if (record.has_tolerance()) *verify.mutable_tolerance() = record.tolerance();
    auto verified = backends_.Verify(call, verify);
    if (!verified.ok()) return verified.status();
    const verify::v1::VerdictReason reason = verified->verdict().reason();
    if (reason == record.verdict()) return result;
    const std::string difference =
        absl::StrCat("the verdict was ", orchestrator::ReasonName(record.verdict()), " and is ",
                     orchestrator::ReasonName(reason));
    if (DependsOnTheMachine(reason) || DependsOnTheMachine(record.verdict())) {
      result.note = absl::StrCat(difference, ", which depends on the machine");
    } else {
      result.finding = difference;
    }
    return result;
  }

  const RunData& data_;
  orchestrator::Backends& backends_;
  const std::stop_token stop_;
};

std::vector<size_t> Sample(size_t rows, int sample, uint64_t seed) {
  std::vector<size_t> chosen(rows);
  std::iota(chosen.begin(), chosen.end(), 0);
  if (sample < 0 || static_cast<size_t>(sample) >= rows) return chosen;
  std::mt19937_64 random(seed);
  std::shuffle(chosen.begin(), chosen.end(), random);
  chosen.resize(sample);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

struct Outcome {
  std::vector<std::string> findings;
  std::vector<std::string> notes;
  int repeated = 0;
};

// Repeats the chosen rows on `jobs` threads.
Outcome RepeatAll(const Environment& environment, const RunData& data, const std::vector<size_t>& chosen,
                  orchestrator::Backends& backends, int jobs) {
  Outcome outcome;
  std::mutex mutex;
  std::atomic<size_t> next = 0;
  Repeater repeater(data, backends, environment.interrupt->token());
  std::vector<std::jthread> threads;
  for (int i = 0; i < jobs; ++i) {
    threads.emplace_back([&] {
      for (size_t index = next++; index < chosen.size() && !environment.interrupt->requested();
           index = next++) {
        const RunRowData& row = data.rows[chosen[index]];
        const absl::StatusOr<Repetition> result = repeater.Repeat(row);
        const std::string name =
            absl::StrCat("row ", row.record.row(), " (", data.RowName(row.record.row()), "): ");
        const std::lock_guard<std::mutex> lock(mutex);
        if (!result.ok()) {
          outcome.findings.push_back(absl::StrCat(name, "can't be repeated: ", result.status().message()));
          continue;
        }
        if (!result->finding.empty()) outcome.findings.push_back(absl::StrCat(name, result->finding));
        if (!result->note.empty()) outcome.notes.push_back(absl::StrCat(name, result->note));
        outcome.repeated += result->judged ? 1 : 0;
      }
    });
  }
  threads.clear();
  std::sort(outcome.findings.begin(), outcome.findings.end());
  std::sort(outcome.notes.begin(), outcome.notes.end());
  return outcome;
}

// 0 when every signature holds and every row that was repeated came out as recorded.
int BenchVerify(const Environment& environment, const BenchVerifyFlags& flags) {
  absl::StatusOr<std::vector<RunData>> runs =
      LoadRuns(environment, {flags.run}, /*with_kernels=*/true, /*check=*/false);
  if (!runs.ok()) return Fail(environment, runs.status());
  const RunData& data = runs->front();
  const std::vector<std::string> tampered = CheckRun(data, absl::AsciiStrToLower(flags.public_key));
  Outcome outcome;
  if (!flags.signatures_only && tampered.empty()) {
    // Services of its own: who verifies judges with the toolchain that is here, in a folder that is gone
    // after.
    ClusterOptions here = environment.cluster;
    here.work_dir.clear();
    if (!environment.json) fprintf(stderr, "starting local services ...\n");
    const absl::StatusOr<Toolchain> toolchain = StartToolchain(environment, here);
    if (!toolchain.ok()) return Fail(environment, toolchain.status());
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    outcome = RepeatAll(environment, data, Sample(data.rows.size(), flags.sample, flags.seed),
                        *toolchain->backends, flags.jobs > 0 ? flags.jobs : std::min(cores, 8));
    toolchain->cluster->Stop().IgnoreError();
    if (environment.interrupt->requested()) return Fail(environment, absl::CancelledError("interrupted"));
  }
  const bool good = tampered.empty() && outcome.findings.empty();
  if (data.run.state() != orchestrator::v1::RUN_STATE_FINISHED) {
    outcome.notes.insert(
        outcome.notes.begin(),
        absl::StrCat("the run is ", EnumText(orchestrator::v1::RunState_Name(data.run.state()), "RUN_STATE_"),
                     ", ", data.rows.size(), " of ",
                     std::max(1, data.run.spec().repeats()) * data.run.spec().tasks_size(),
                     " rows: what is missing can't be told from what was taken away"));
  }
  if (environment.json) {
    const nlohmann::json document = {{"run", data.run.spec().name()},
                                     {"run_id", data.run.id()},
                                     {"public_key", data.run.public_key()},
                                     {"rows", data.rows.size()},
                                     {"ok", good},
                                     {"tampered", tampered},
                                     {"repeated", outcome.repeated},
                                     {"differ", outcome.findings},
                                     {"notes", outcome.notes}};
    printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return good ? kExitPass : kExitFail;
  }
  printf("run %s (%s), %zu rows, public key %s%s\n", data.run.spec().name().c_str(), data.run.id().c_str(),
         data.rows.size(), data.run.public_key().c_str(),
         flags.public_key.empty() ? " (its own: --public-key says which to trust)" : "");
  for (const std::string& finding : tampered) printf("TAMPERED  %s\n", finding.c_str());
  for (const std::string& finding : outcome.findings) printf("DIFFERS   %s\n", finding.c_str());
  for (const std::string& note : outcome.notes) printf("note      %s\n", note.c_str());
  if (!tampered.empty()) {
    printf("%zu findings; nothing was repeated\n", tampered.size());
  } else {
    printf("signatures hold; %d rows repeated, %zu differ\n", outcome.repeated, outcome.findings.size());
  }
  return good ? kExitPass : kExitFail;
}

}  // namespace

void AddBenchVerify(CLI::App* bench, Verb* verb) {
  auto flags = std::make_shared<BenchVerifyFlags>();
  CLI::App* verify = bench->add_subcommand(
      "verify", "Check a run's signatures, and compile and run its kernels again with the recorded seeds");
  verify->add_option("RUN", flags->run, "A name, an id or an exported file")->required();
  verify->add_option("--sample", flags->sample, "Repeat only so many rows, chosen at random")
      ->check(CLI::Range(0, 1000000));
  verify->add_option("--sample-seed", flags->seed, "Seed of that choice");
  verify
      ->add_option("--public-key", flags->public_key,
                   "The key to trust, 64 hex digits; the run's own by default")
      ->check([](const std::string& key) {
        const bool hex =
            key.size() == 64 && key.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
        return std::string(hex ? "" : "a public key has 64 hex digits");
      });
  verify->add_flag("--signatures-only", flags->signatures_only, "Repeat nothing");
  verify->add_option("--jobs", flags->jobs, "Rows at once; 0: as many as cores")->check(CLI::Range(0, 64));
  verify->callback([=] { *verb = [=](const Environment& e) { return BenchVerify(e, *flags); }; });
}

}  // namespace nkiagent::nkictl
