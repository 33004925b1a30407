#include "services/nkictl/bench.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace nkiagent::nkictl {
namespace {

namespace fs = std::filesystem;

// How often it is looked whether another nkictl's orchestrator serves.
constexpr absl::Duration kLook = absl::Milliseconds(200);

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

}  // namespace

void AddBench(CLI::App* app, Verb* verb) {
  CLI::App* bench = app->add_subcommand("bench", "Benchmark runs: many tasks, one model, one mode");
  bench->require_subcommand(1);
  AddBenchRun(bench, verb);
  AddBenchList(bench, verb);
  AddBenchSuites(bench, verb);
  AddBenchCancel(bench, verb);
  AddBenchExport(bench, verb);
  AddBenchReport(bench, verb);
  AddBenchVerify(bench, verb);
  AddBenchModules(bench);
}

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
    environment.cluster.AddFlag(Service::kOrchestrator, "--work=false");
  }
  environment.cluster.AddFlag(Service::kOrchestrator, "--store_lock_wait=60s");
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/true);
  if (!connection.ok()) {
    close(lock);
    return connection;
  }
  connection->lock = lock;
  return connection;
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

}  // namespace nkiagent::nkictl
