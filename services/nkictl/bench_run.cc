// nkictl bench run: starts a run, or goes on with one, and follows it to its end.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/nkictl/bench.h"
#include "services/nkictl/bench_progress.h"
#include "services/nkictl/bench_report.h"
#include "services/nkictl/bench_suite.h"
#include "services/nkictl/session_flags.h"
#include "services/nkictl/text.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::ResultRecord;
using orchestrator::v1::RunEvent;
using RunMessage = orchestrator::v1::Run;

// How often the progress line is rewritten and the local services are looked after.
constexpr absl::Duration kLook = absl::Milliseconds(200);
// A service that ends by itself is started again so often in one run.
constexpr int kMaxRestarts = 10;
// Names that are tried when the user gives none: NAME, NAME-2 ...
constexpr int kMaxNames = 10000;

struct BenchRunFlags {
  std::string suite;
  std::vector<std::string> tasks;  // globs of ids
  std::vector<int> levels;
  std::string name;
  int repeat = 1;
  int concurrency = 0;
  double max_cost_usd = 0;  // of the whole run
  SessionFlags session;     // model, mode, bounds of each session
};

orchestrator::v1::CreateRunRequest RequestFor(const BenchRunFlags& flags, Suite suite) {
  orchestrator::v1::CreateRunRequest request;
  orchestrator::v1::RunSpec* spec = request.mutable_spec();
  spec->set_suite(suite.name);
  spec->set_suite_version(suite.version);
  for (common::v1::Task& task : suite.tasks) {
    task.set_weight_seed(flags.session.weight_seed);
    *spec->add_tasks() = std::move(task);
  }
  spec->set_model(flags.session.model);
  spec->set_mode(ParseMode(flags.session.mode));
  *spec->mutable_options() = OptionsFor(flags.session);
  spec->set_repeats(flags.repeat);
  spec->set_concurrency(flags.concurrency);
  spec->set_max_cost_micro_usd(std::llround(flags.max_cost_usd * 1e6));
  return request;
}

std::string Slug(const std::string& text) {
  std::string slug;
  for (const unsigned char c : text.substr(0, 60)) {
    slug.push_back(absl::ascii_isalnum(c) || c == '.' || c == '_' ? static_cast<char>(c) : '-');
  }
  return slug.empty() ? "run" : slug;
}

// Creates the run under a name, or finds the one that has it. ALREADY_EXISTS: it is a run of something else.
absl::StatusOr<RunMessage> CreateNamed(Client& client, orchestrator::v1::CreateRunRequest request,
                                       const std::string& name) {
  request.mutable_spec()->set_name(name);
  request.set_request_id(absl::StrCat("bench/", name).substr(0, 128));
  absl::StatusOr<RunMessage> run = client.CreateRun(request);
  if (!absl::IsAlreadyExists(run.status())) return run;
  return absl::AlreadyExistsError(absl::StrCat(
      "there is a run named ", name, " of other tasks, model, mode or options; choose another --name"));
}

// With a name, the run of that name, old or new. Without, the run of the same that was interrupted, or a new
// one.
absl::StatusOr<RunMessage> FindOrCreate(Client& client, const BenchRunFlags& flags,
                                        const orchestrator::v1::CreateRunRequest& request) {
  if (!flags.name.empty()) return CreateNamed(client, request, flags.name);
  absl::StatusOr<std::vector<RunMessage>> runs = client.ListRuns();
  if (!runs.ok()) return runs.status();
  std::map<std::string, RunMessage> by_name;
  for (RunMessage& run : *runs) by_name.emplace(run.spec().name(), std::move(run));
  const std::string base =
      absl::StrCat(Slug(request.spec().suite()), "-", Slug(flags.session.model), "-", flags.session.mode,
                   flags.repeat > 1 ? absl::StrCat("-x", flags.repeat) : "");
  for (int i = 1; i <= kMaxNames; ++i) {
    const std::string name = i == 1 ? base : absl::StrCat(base, "-", i);
    const auto known = by_name.find(name);
    if (known != by_name.end() && known->second.state() != orchestrator::v1::RUN_STATE_RUNNING) continue;
    absl::StatusOr<RunMessage> run = CreateNamed(client, request, name);
    if (!absl::IsAlreadyExists(run.status())) return run;
  }
  return absl::ResourceExhaustedError(absl::StrCat("there are ", kMaxNames, " runs named like ", base));
}

// Follows a run on a thread of its own and shows how far it is from this one, which also looks after the
// local services: they belong to the thread that started them.
class Follower {
 public:
  Follower(const Environment& environment, Connection& connection, const RunMessage& run)
      : environment_(environment),
        connection_(connection),
        run_(run),
        bar_(environment.json ? stderr : stdout, /*quiet=*/environment.json && isatty(STDERR_FILENO) != 1) {
    progress_.total = run.counts().total();
    progress_.ended_before =
        run.counts().passed() + run.counts().not_solved() + run.counts().failed() + run.counts().cancelled();
  }

  absl::Status Follow() {
    const absl::Time start = absl::Now();
    absl::Status watched;
    std::jthread watcher([this, &watched] {
      watched = connection_.client->WatchRun(run_.id(), 1, [this](const RunEvent& event) { See(event); });
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    });
    while (true) {
      std::vector<ResultRecord> ended;
      RunProgress progress;
      bool done = false;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        ended.swap(ended_);
        progress = progress_;
        done = done_;
      }
      progress.elapsed = absl::Now() - start;
      RunProgress shown = progress;
      shown.ended -= static_cast<int>(ended.size());
      for (const ResultRecord& record : ended) {
        ++shown.ended;
        bar_.Ended(record, shown);
      }
      bar_.Show(progress);
      if (done) break;
      if (absl::Status status = LookAfterServices(); !status.ok()) {
        bar_.Finish();
        return status;
      }
      absl::SleepFor(kLook);
    }
    bar_.Finish();
    return watched;
  }

 private:
  void See(const RunEvent& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (event.has_session_started()) ++progress_.running;
    if (!event.has_session_ended()) return;
    --progress_.running;
    ++progress_.ended;
    progress_.passed += event.session_ended().state() == orchestrator::v1::SESSION_STATE_PASSED ? 1 : 0;
    progress_.cost_micro_usd += event.session_ended().usage().cost_micro_usd();
    // What was there before is counted, not told again.
    if (progress_.ended > progress_.ended_before)
      ended_.push_back(ParseRecord(event.session_ended().record()));
  }

  absl::Status LookAfterServices() {
    if (connection_.cluster == nullptr || environment_.interrupt->requested()) return absl::OkStatus();
    const std::string ended = connection_.cluster->EndedService();
    if (ended.empty()) return absl::OkStatus();
    bar_.Say(absl::StrCat(ended, " ended by itself and is started again"));
    if (++restarts_ > kMaxRestarts) {
      return absl::UnavailableError(absl::StrCat(ended, " ended by itself for the ", restarts_,
                                                 "th time; logs are in ", connection_.cluster->work_dir(),
                                                 "/logs"));
    }
    for (const Service service : kServices) {
      if (ServiceName(service) == ended) return connection_.cluster->Restart(service);
    }
    return absl::OkStatus();
  }

  const Environment& environment_;
  Connection& connection_;
  const RunMessage& run_;
  ProgressBar bar_;
  int restarts_ = 0;
  std::mutex mutex_;
  RunProgress progress_;
  std::vector<ResultRecord> ended_;
  bool done_ = false;
};

int Summarise(const Environment& environment, const RunData& data) {
  const bool finished = data.run.state() == orchestrator::v1::RUN_STATE_FINISHED;
  if (environment.json) {
    printf("%s\n", ReportJson({data}).c_str());
  } else {
    printf("\n%s", RunSummary(data).c_str());
    printf("\nnkictl bench report %s\n", data.run.spec().name().c_str());
  }
  if (!finished && !environment.json) {
    printf("the run ended as %s: %s\n",
           EnumText(orchestrator::v1::RunState_Name(data.run.state()), "RUN_STATE_").c_str(),
           data.run.message().c_str());
  }
  return finished && data.run.counts().failed() == 0 ? kExitPass : kExitFail;
}

// 0 when the run finished without errors of the system.
int BenchRun(Environment environment, const BenchRunFlags& flags) {
  orchestrator::v1::CreateRunRequest request;
  if (!flags.suite.empty()) {
    absl::StatusOr<Suite> suite = LoadSuite(flags.suite, {flags.tasks, flags.levels});
    if (!suite.ok()) return Fail(environment, suite.status());
    request = RequestFor(flags, *std::move(suite));
  } else if (flags.name.empty()) {
    return Fail(environment,
                absl::InvalidArgumentError("name a --suite, or the --name of a run to go on with"));
  }
  if (flags.concurrency > 0)
    environment.cluster.AddFlag(Service::kOrchestrator,
                                absl::StrCat("--max_running_sessions=", flags.concurrency));
  absl::StatusOr<Connection> connection = ConnectBench(environment, /*read_only=*/false);
  if (!connection.ok()) return Fail(environment, connection.status());
  absl::StatusOr<RunMessage> run = flags.suite.empty() ? FindRun(*connection->client, flags.name)
                                                       : FindOrCreate(*connection->client, flags, request);
  if (!run.ok()) {
    connection->Close(/*failed=*/false).IgnoreError();
    return Fail(environment, run.status());
  }
  const std::string& name = run->spec().name();
  if (!environment.json) {
    const int ended = run->counts().passed() + run->counts().not_solved() + run->counts().failed();
    printf("run %s (%s): %d sessions, model %s, %s%s\n", name.c_str(), run->id().c_str(),
           run->counts().total(), run->spec().model().c_str(),
           EnumText(orchestrator::v1::Mode_Name(run->spec().mode()), "MODE_").c_str(),
           ended > 0 ? absl::StrCat("; ", ended, " have ended before and are not repeated").c_str() : "");
    fflush(stdout);
  }
  const absl::Status followed = Follower(environment, *connection, *run).Follow();
  absl::StatusOr<RunData> data = absl::UnknownError("");
  data = followed.ok() ? FetchRun(*connection->client, run->id(), /*with_kernels=*/false) : followed;
  if (!data.ok()) {
    const bool interrupted = environment.interrupt->requested();
    fprintf(stderr,
            connection->cluster == nullptr ? "run %s goes on; nkictl bench run --name %s follows it\n"
                                           : "run %s is kept; nkictl bench run --name %s goes on with it\n",
            name.c_str(), name.c_str());
    connection->Close(/*failed=*/!interrupted).IgnoreError();
    return Fail(environment, data.status());
  }
  const int exit_code = Summarise(environment, *data);
  if (const absl::Status closed = connection->Close(/*failed=*/false); !closed.ok())
    fprintf(stderr, "nkictl: %s\n", std::string(closed.message()).c_str());
  return exit_code;
}

}  // namespace

void AddBenchRun(CLI::App* bench, Verb* verb) {
  auto flags = std::make_shared<BenchRunFlags>();
  CLI::App* run = bench->add_subcommand("run", "Run a suite, or go on with a run that was interrupted");
  run->add_option("--suite", flags->suite,
                  "Name of a suite (nkictl bench suites), a .yaml file, a folder of KernelBench-style .py "
                  "files, a .py file");
  run->add_option("--task", flags->tasks, "Only tasks whose id matches this pattern, as a shell's");
  run->add_option("--level", flags->levels, "Only tasks of this level")->check(CLI::Range(0, 3));
  run->add_option("--repeat", flags->repeat, "Sessions for each task")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  run->add_option("--concurrency", flags->concurrency, "Sessions at once; 0: the orchestrator's own limit")
      ->check(CLI::Range(0, 256));
  run->add_option("--name", flags->name, "Name of the run; the same name goes on with the same run");
  run->add_option("--max-cost", flags->max_cost_usd,
                  "Most that the run's model calls may cost, in US dollars; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  AddSamplingFlags(run, &flags->session);
  run->callback([=] { *verb = [=](const Environment& e) { return BenchRun(e, *flags); }; });
}

}  // namespace nkiagent::nkictl
