#include "services/nkictl/bench.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "services/nkictl/bench_progress.h"
#include "services/nkictl/bench_report.h"
#include "services/nkictl/bench_suite.h"
#include "services/nkictl/text.h"

namespace nkiagent::nkictl {
namespace {

namespace fs = std::filesystem;
using orchestrator::v1::ResultRecord;
// `Run` alone is a command (commands.h).
using RunMessage = orchestrator::v1::Run;
using orchestrator::v1::RunEvent;

// How often the progress line is rewritten and the local services are looked after.
constexpr absl::Duration kLook = absl::Milliseconds(200);
// A service that ends by itself is started again so often in one run.
constexpr int kMaxRestarts = 10;
// Names that are tried when the user gives none: NAME, NAME-2 ...
constexpr int kMaxNames = 10000;

absl::StatusOr<std::string> BenchFolder(const Environment& environment) {
  fs::path folder = environment.cluster.work_dir;
  if (folder.empty()) {
    const char* const data = getenv("XDG_DATA_HOME");
    const char* const home = getenv("HOME");
    if (data != nullptr && *data == '/') {
      folder = data;
    } else if (home != nullptr && *home == '/') {
      folder = fs::path(home) / ".local" / "share";
    } else {
      return absl::FailedPreconditionError(
          "there is no HOME to keep benchmark runs in; name a folder with --work-dir");
    }
    folder /= "nkiagent/bench";
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return absl::UnavailableError(absl::StrCat("can't make ", folder.string(), ": ", error.message()));
  return folder.string();
}

// Where the orchestrator serves that another nkictl has started in the folder; waits while it starts.
absl::StatusOr<std::string> ServingIn(const Environment& environment, const std::string& folder) {
  const absl::Time deadline = absl::Now() + environment.cluster.start_timeout;
  while (absl::Now() < deadline && !environment.interrupt->requested()) {
    std::ifstream file(absl::StrCat(folder, "/", ServiceName(Service::kOrchestrator), ".json"));
    const nlohmann::json ports = nlohmann::json::parse(file, nullptr, false);
    if (ports.is_object() && ports.value("grpc", nlohmann::json()).is_string())
      return ports["grpc"].get<std::string>();
    absl::SleepFor(kLook);
  }
  return absl::UnavailableError(
      absl::StrCat("another nkictl uses ", folder, ", and its orchestrator does not serve"));
}

void SetFlag(ClusterOptions* options, Service service, const std::string& flag) {
  options->flags[static_cast<size_t>(service)].push_back(flag);
}

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

}  // namespace

absl::StatusOr<Connection> ConnectBench(Environment environment, bool read_only) {
  if (!environment.server.target.empty()) return Connect(environment, /*local=*/false);
  absl::StatusOr<std::string> folder = BenchFolder(environment);
  if (!folder.ok()) return folder.status();
  environment.cluster.work_dir = *folder;
  // Held while this process lives; its services may outlive a kill for as long as they drain.
  const std::string lock_path = absl::StrCat(*folder, "/nkictl.lock");
  const int lock = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return absl::UnavailableError(absl::StrCat("can't open ", lock_path));
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    close(lock);
    absl::StatusOr<std::string> target = ServingIn(environment, *folder);
    if (!target.ok()) return target.status();
    environment.server.target = *target;
    return Connect(environment, /*local=*/false);
  }
  if (read_only) {
    environment.cluster.enabled = {false, false, false, true};
    SetFlag(&environment.cluster, Service::kOrchestrator, "--work=false");
  }
  SetFlag(&environment.cluster, Service::kOrchestrator, "--store_lock_wait=60s");
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/true);
  if (!connection.ok()) {
    close(lock);
    return connection;
  }
  connection->lock = lock;
  return connection;
}

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
    SetFlag(&environment.cluster, Service::kOrchestrator,
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

int BenchList(const Environment& environment) {
  absl::StatusOr<Connection> connection = ConnectBench(environment, /*read_only=*/true);
  if (!connection.ok()) return Fail(environment, connection.status());
  absl::StatusOr<std::vector<RunMessage>> runs = connection->client->ListRuns();
  connection->Close(/*failed=*/false).IgnoreError();
  if (!runs.ok()) return Fail(environment, runs.status());
  std::vector<std::vector<std::string>> rows;
  nlohmann::json list = nlohmann::json::array();
  for (const RunMessage& run : *runs) {
    list.push_back(nlohmann::json::parse(Json(run), nullptr, false));
    rows.push_back({run.spec().name(), run.id(), run.spec().suite(), run.spec().model(),
                    EnumText(orchestrator::v1::Mode_Name(run.spec().mode()), "MODE_"),
                    EnumText(orchestrator::v1::RunState_Name(run.state()), "RUN_STATE_"),
                    absl::StrCat(run.counts().passed(), "/", run.counts().total()),
                    Seconds(run.active_time()), Dollars(run.usage().cost_micro_usd()),
                    Time(run.create_time())});
  }
  if (environment.json) {
    printf("%s\n", nlohmann::json{{"runs", list}}.dump().c_str());
  } else {
    printf("%s",
           Table({"run", "id", "suite", "model", "mode", "state", "passed", "time", "cost", "created (UTC)"},
                 rows)
               .c_str());
  }
  return kExitPass;
}

int BenchSuites(const Environment& environment, const std::string& suite) {
  std::vector<std::string> names = SuiteNames();
  if (!suite.empty()) names = {suite};
  std::vector<std::vector<std::string>> rows;
  nlohmann::json list = nlohmann::json::array();
  for (const std::string& name : names) {
    absl::StatusOr<Suite> loaded = LoadSuite(name, {});
    if (!loaded.ok()) return Fail(environment, loaded.status());
    std::map<int, int> levels;
    nlohmann::json ids = nlohmann::json::array();
    for (const common::v1::Task& task : loaded->tasks) {
      ++levels[task.level()];
      ids.push_back(task.id());
      if (!suite.empty()) {
        const auto category = task.labels().find("category");
        rows.push_back({task.id(), absl::StrCat(task.level()),
                        category == task.labels().end() ? "-" : category->second, task.name()});
      }
    }
    if (suite.empty()) {
      rows.push_back({loaded->name, loaded->version, absl::StrCat(loaded->tasks.size()),
                      absl::StrCat(levels[1]), absl::StrCat(levels[2]), absl::StrCat(levels[3])});
    }
    list.push_back({{"name", loaded->name}, {"version", loaded->version}, {"tasks", ids}});
  }
  if (environment.json) {
    printf("%s\n", nlohmann::json{{"suites", list}}.dump().c_str());
  } else if (suite.empty()) {
    printf("%s", Table({"suite", "version", "tasks", "level 1", "level 2", "level 3"}, rows).c_str());
  } else {
    printf("%s", Table({"task", "level", "category", "title"}, rows).c_str());
  }
  return kExitPass;
}

int BenchCancel(const Environment& environment, const std::string& run, const std::string& reason) {
  absl::StatusOr<Connection> connection = ConnectBench(environment, /*read_only=*/true);
  if (!connection.ok()) return Fail(environment, connection.status());
  absl::StatusOr<RunMessage> found = FindRun(*connection->client, run);
  if (found.ok()) found = connection->client->CancelRun(found->id(), reason);
  connection->Close(/*failed=*/false).IgnoreError();
  if (!found.ok()) return Fail(environment, found.status());
  found->mutable_spec()->clear_tasks();
  printf("%s\n", environment.json
                     ? Json(*found).c_str()
                     : absl::StrCat(found->spec().name(), " ",
                                    EnumText(orchestrator::v1::RunState_Name(found->state()), "RUN_STATE_"))
                           .c_str());
  return kExitPass;
}

absl::StatusOr<std::vector<RunData>> LoadRuns(const Environment& environment,
                                              const std::vector<std::string>& runs, bool with_kernels,
                                              bool check) {
  std::vector<RunData> loaded;
  std::set<std::string> seen;
  std::error_code error;
  absl::StatusOr<Connection> connection = absl::UnknownError("not yet");
  absl::Status status;
  for (const std::string& run : runs) {
    absl::StatusOr<RunData> data = absl::UnknownError("");
    if (fs::is_regular_file(run, error) || absl::EndsWith(run, ".json")) {
      data = ReadRunFile(run);
    } else {
      if (!connection.ok()) connection = ConnectBench(environment, /*read_only=*/true);
      data = connection.ok() ? FetchRun(*connection->client, run, with_kernels) : connection.status();
    }
    status = data.status();
    if (!status.ok()) break;
    if (!seen.insert(data->run.id()).second) {
      status = absl::InvalidArgumentError(absl::StrCat("run ", run, " is named twice"));
      break;
    }
    if (const std::vector<std::string> findings = check ? CheckRun(*data, "") : std::vector<std::string>();
        !findings.empty()) {
      status = absl::DataLossError(absl::StrCat(
          run, " is not as its orchestrator signed it: ", findings[0],
          findings.size() > 1
              ? absl::StrCat(" (and ", findings.size() - 1, " more; nkictl bench verify ", run, ")")
              : ""));
      break;
    }
    loaded.push_back(*std::move(data));
  }
  if (connection.ok()) connection->Close(/*failed=*/false).IgnoreError();
  if (!status.ok()) return status;
  return loaded;
}

int BenchExport(const Environment& environment, const std::string& run, const std::string& output) {
  absl::StatusOr<std::vector<RunData>> runs =
      LoadRuns(environment, {run}, /*with_kernels=*/true, /*check=*/true);
  if (!runs.ok()) return Fail(environment, runs.status());
  const RunData& data = runs->front();
  const std::string path = output.empty() ? absl::StrCat(data.run.spec().name(), ".run.json") : output;
  if (absl::Status status = WriteWhole(path, RunFileText(data)); !status.ok())
    return Fail(environment, status);
  if (environment.json) {
    printf("%s\n",
           nlohmann::json{{"file", path}, {"rows", data.rows.size()}, {"public_key", data.run.public_key()}}
               .dump()
               .c_str());
  } else {
    printf("%s: %zu rows, signed by %s\n", path.c_str(), data.rows.size(), data.run.public_key().c_str());
  }
  return kExitPass;
}

}  // namespace nkiagent::nkictl
