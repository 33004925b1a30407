// nkictl bench list, suites, cancel and export: runs and suites that are there.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "services/nkictl/bench.h"
#include "services/nkictl/bench_suite.h"
#include "services/nkictl/text.h"
#include "services/nkictl/whole_file.h"

namespace nkiagent::nkictl {
namespace {

using RunMessage = orchestrator::v1::Run;

int BenchList(const Environment& environment) {
  absl::StatusOr<Connection> connection = ConnectBench(environment, /*read_only=*/true);
  if (!connection.ok()) return Fail(environment, connection.status());
  absl::StatusOr<std::vector<RunMessage>> runs = connection->client->ListRuns();
  connection->Close(/*failed=*/false).IgnoreError();
  if (!runs.ok()) return Fail(environment, runs.status());
  std::vector<std::vector<std::string>> rows;
  nlohmann::json list = nlohmann::json::array();
  for (const RunMessage& run : *runs) {
    list.push_back(JsonValue(run));
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

}  // namespace

void AddBenchList(CLI::App* bench, Verb* verb) {
  CLI::App* list = bench->add_subcommand("list", "List runs, newest first");
  list->callback([=] { *verb = BenchList; });
}

void AddBenchSuites(CLI::App* bench, Verb* verb) {
  auto name = std::make_shared<std::string>();
  CLI::App* suites = bench->add_subcommand("suites", "List the suites, or the tasks of one");
  suites->add_option("SUITE", *name, "As for bench run --suite");
  suites->callback([=] { *verb = [=](const Environment& e) { return BenchSuites(e, *name); }; });
}

void AddBenchCancel(CLI::App* bench, Verb* verb) {
  auto name = std::make_shared<std::string>();
  auto reason = std::make_shared<std::string>();
  CLI::App* cancel = bench->add_subcommand("cancel", "End a run and its sessions");
  cancel->add_option("RUN", *name, "Its name or id")->required();
  cancel->add_option("--reason", *reason, "For the record");
  cancel->callback([=] { *verb = [=](const Environment& e) { return BenchCancel(e, *name, *reason); }; });
}

void AddBenchExport(CLI::App* bench, Verb* verb) {
  auto name = std::make_shared<std::string>();
  auto output = std::make_shared<std::string>();
  CLI::App* command =
      bench->add_subcommand("export", "Write a run with its signed rows and kernels to one file");
  command->add_option("RUN", *name, "Its name or id")->required();
  command->add_option("-o,--output", *output, "The file; <run>.run.json by default");
  command->callback([=] { *verb = [=](const Environment& e) { return BenchExport(e, *name, *output); }; });
}

}  // namespace nkiagent::nkictl
