// nkictl demo: real modules of three ranks through the whole loop, with a table at the end.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "nkictl_demo_tasks.h"
#include "services/nkictl/client.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/connection.h"
#include "services/nkictl/progress.h"
#include "services/nkictl/text.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::Session;
using orchestrator::v1::SessionEvent;

struct DemoFlags {
  std::string model = "builtin";
  int jobs = 0;                    // sessions at once; 0: as many as there are cores, at most 8
  std::vector<std::string> tasks;  // names; none means all
  bool list = false;
};

struct DemoTask {
  std::string name;
  std::string source;
};

// What came of one task.
struct DemoResult {
  std::string name;
  absl::Status status;  // of the calls; the session counts only if it is OK
  Session session;
  std::vector<std::string> troubles;  // what each failing kernel failed by, in order
  double wall_s = 0;
};

std::vector<DemoTask> DemoTasks(const std::vector<std::string>& names) {
  std::vector<DemoTask> tasks;
  for (const demo_tasks::EmbeddedFile& file : demo_tasks::EmbeddedFiles()) {
    std::string name(file.name.substr(0, file.name.rfind('.')));
    if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end()) continue;
    tasks.push_back({std::move(name), std::string(file.text)});
  }
  return tasks;
}

std::string RepairedAfter(const DemoResult& result) {
  std::vector<std::string> distinct;
  for (const std::string& trouble : result.troubles) {
    if (std::find(distinct.begin(), distinct.end(), trouble) == distinct.end()) distinct.push_back(trouble);
  }
  return distinct.empty() ? "-" : absl::StrJoin(distinct, ", ");
}

bool Passed(const DemoResult& result) { return result.status.ok() && HasPassed(result.session); }

class DemoRun {
 public:
  DemoRun(const Environment& environment, const DemoFlags& flags, Client& client, std::vector<DemoTask> tasks)
      : environment_(environment),
        flags_(flags),
        client_(client),
        tasks_(std::move(tasks)),
        results_(tasks_.size()) {}

  std::vector<DemoResult> Run() {
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    const int jobs = flags_.jobs > 0 ? flags_.jobs : std::min(cores, 8);
    {
      std::vector<std::jthread> threads;
      threads.reserve(jobs);
      for (int i = 0; i < jobs; ++i) threads.emplace_back([this] { Work(); });
    }
    return std::move(results_);
  }

 private:
  void Work() {
    while (!environment_.interrupt->requested()) {
      const size_t index = next_.fetch_add(1);
      if (index >= tasks_.size()) return;
      One(tasks_[index], &results_[index]);
    }
  }

  void One(const DemoTask& task, DemoResult* result) {
    const absl::Time start = absl::Now();
    result->name = task.name;
    orchestrator::v1::SubmitTaskRequest request;
    request.mutable_task()->set_name(task.name);
    request.mutable_task()->set_id(absl::StrCat("demo/", task.name));
    request.mutable_task()->set_reference_source(task.source);
    request.set_model(flags_.model);
    request.set_mode(orchestrator::v1::MODE_AGENT);
    // Demo tasks all fit the queue, and an orchestrator of someone else's may be busy: be patient.
    absl::StatusOr<Session> session = client_.Submit(std::move(request), absl::Minutes(10));
    result->status = session.status();
    if (session.ok()) {
      result->status = client_.Watch(session->id(), 1, [&](const SessionEvent& event) {
        if (const std::string trouble = Trouble(event); !trouble.empty()) {
          result->troubles.push_back(trouble);
          const int turn = event.has_compiled() ? event.compiled().turn() : event.verified().turn();
          Say(absl::StrCat("  ..    ", task.name, ": turn ", turn,
                           event.has_compiled() ? ": does not compile: " : ": fails verification: ", trouble,
                           "\n"));
        }
      });
    }
    if (result->status.ok()) {
      session = client_.Get(session->id());
      result->status = session.status();
      if (session.ok()) result->session = *std::move(session);
    }
    result->wall_s = absl::ToDoubleSeconds(absl::Now() - start);
    Say(EndLine(*result));
  }

  static std::string EndLine(const DemoResult& result) {
    if (!result.status.ok())
      return absl::StrCat("  ERROR ", result.name, ": ", result.status.message(), "\n");
    const Session& session = result.session;
    std::string line =
        absl::StrCat("  ", VerdictWord(session), "  ", result.name, ": ", session.turns_used(),
                     session.turns_used() == 1 ? " turn, " : " turns, ", Seconds(result.wall_s));
    if (session.has_best())
      absl::StrAppend(&line, ", estimate ", Microseconds(session.best().estimate().total_us()));
    if (!Passed(result)) absl::StrAppend(&line, ": ", session.message());
    return absl::StrCat(line, "\n");
  }

  void Say(const std::string& text) {
    if (environment_.json) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    fputs(text.c_str(), stdout);
    fflush(stdout);
  }

  const Environment& environment_;
  const DemoFlags& flags_;
  Client& client_;
  const std::vector<DemoTask> tasks_;
  std::atomic<size_t> next_ = 0;
  std::mutex mutex_;  // of the output
  std::vector<DemoResult> results_;
};

nlohmann::json ToJson(const DemoResult& result) {
  nlohmann::json task = {{"name", result.name},
                         {"verdict", result.status.ok() ? VerdictWord(result.session) : "ERROR"},
                         {"ranks", Ranks(result.session.facts())},
                         {"turns", result.session.turns_used()},
                         {"repaired_after", result.troubles},
                         {"wall_s", result.wall_s},
                         {"session_id", result.session.id()}};
  if (result.session.has_best()) task["latency_us"] = result.session.best().estimate().total_us();
  if (!result.status.ok()) task["message"] = std::string(result.status.message());
  if (result.status.ok() && !Passed(result)) task["message"] = result.session.message();
  return task;
}

int Report(const Environment& environment, const DemoFlags& flags, const std::vector<DemoResult>& results,
           double wall_s) {
  int passed = 0;
  int repaired = 0;
  std::set<int> ranks;
  common::v1::Usage usage;
  std::vector<std::vector<std::string>> rows;
  nlohmann::json tasks = nlohmann::json::array();
  for (const DemoResult& result : results) {
    passed += Passed(result) ? 1 : 0;
    repaired += Passed(result) && !result.troubles.empty() ? 1 : 0;
    if (const int rank = HighestRank(result.session.facts()); rank > 0) ranks.insert(rank);
    usage.set_cost_micro_usd(usage.cost_micro_usd() + result.session.usage().cost_micro_usd());
    rows.push_back({result.name, Ranks(result.session.facts()),
                    result.status.ok() ? VerdictWord(result.session) : "ERROR",
                    absl::StrCat(result.session.turns_used()), RepairedAfter(result),
                    Microseconds(result.session.best().estimate().total_us()), Seconds(result.wall_s)});
    tasks.push_back(ToJson(result));
  }
  const bool all = passed == static_cast<int>(results.size());
  if (environment.json) {
    const nlohmann::json document = {{"model", flags.model},    {"tasks", tasks},
                                     {"total", results.size()}, {"passed", passed},
                                     {"repaired", repaired},    {"wall_s", wall_s}};
    printf("%s\n", document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    printf("\n%s\n", Table({"task", "ranks", "verdict", "turns", all ? "repaired after" : "failed by",
                            "latency (est.)", "wall time"},
                           rows)
                         .c_str());
    printf("%d of %zu verified, %d of them after a repair; inputs of rank %s; model %s, %s; %s in all\n",
           passed, results.size(), repaired, absl::StrJoin(ranks, ", ").c_str(), flags.model.c_str(),
           Dollars(usage.cost_micro_usd()).c_str(), Seconds(wall_s).c_str());
  }
  return all ? kExitPass : kExitFail;
}

int Demo(const Environment& environment, const DemoFlags& flags) {
  std::vector<DemoTask> tasks = DemoTasks(flags.tasks);
  if (flags.list) {
    for (const DemoTask& task : tasks) printf("%s\n", task.name.c_str());
    return kExitPass;
  }
  for (const std::string& name : flags.tasks) {
    if (std::none_of(tasks.begin(), tasks.end(), [&](const DemoTask& task) { return task.name == name; })) {
      return Fail(environment, absl::NotFoundError(absl::StrCat("no demo task is named \"", name,
                                                                "\"; nkictl demo --list lists them")));
    }
  }
  const absl::Time start = absl::Now();
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/true);
  if (!connection.ok()) return Fail(environment, connection.status());
  if (!environment.json) {
    printf("%zu PyTorch modules, model %s:\n", tasks.size(), flags.model.c_str());
    fflush(stdout);
  }
  const std::vector<DemoResult> results =
      DemoRun(environment, flags, *connection->client, std::move(tasks)).Run();
  if (environment.interrupt->requested()) {
    connection->Close(/*failed=*/false).IgnoreError();
    return Fail(environment, absl::CancelledError("interrupted"));
  }
  const int exit_code = Report(environment, flags, results, absl::ToDoubleSeconds(absl::Now() - start));
  const absl::Status closed = connection->Close(/*failed=*/exit_code != kExitPass);
  if (!closed.ok()) {
    fprintf(stderr, "nkictl: %s\n", std::string(closed.message()).c_str());
    return kExitFail;
  }
  return exit_code;
}

}  // namespace

void AddDemo(CLI::App* app, Verb* verb) {
  auto flags = std::make_shared<DemoFlags>();
  CLI::App* demo = app->add_subcommand("demo", "Run the built-in modules through the whole loop");
  demo->add_option("--model", flags->model, "Model, by the name that llm-gateway knows")
      ->capture_default_str();
  demo->add_option("--jobs", flags->jobs, "Sessions at once; 0: as many as cores")->check(CLI::Range(0, 64));
  demo->add_option("--task", flags->tasks, "Only these tasks");
  demo->add_flag("--list", flags->list, "List the tasks");
  demo->callback([=] { *verb = [=](const Environment& e) { return Demo(e, *flags); }; });
}

}  // namespace nkiagent::nkictl
