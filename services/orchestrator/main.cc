// orchestrator: tasks in, agent sessions and their results out.
//
//   orchestrator --port=7600 --data_dir=/var/lib/nkiagent --compile_target=127.0.0.1:7601
//                --verify_target=127.0.0.1:7602 --llm_target=127.0.0.1:7603
//
// Sessions live in an event log (SQLite, in --data_dir): what SubmitTask acknowledged survives kill -9, and
// sessions that a dead process left go on at the next start.
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/config/option_set.h"
#include "common/rpc/server.h"
#include "common/storage/signing_key.h"
#include "common/storage/sqlite_event_store.h"
#include "services/orchestrator/backends.h"
#include "services/orchestrator/orchestrator_metrics.h"
#include "services/orchestrator/orchestrator_service.h"
#include "services/orchestrator/run_manager.h"
#include "services/orchestrator/session_manager.h"

namespace nkiagent::orchestrator {
namespace {

struct Options {
  rpc::ServerOptions server{.name = "orchestrator", .port = 7600, .metrics_port = 7610};
  BackendOptions backends;
  ManagerOptions manager;
  RunManagerOptions runs;
  bool work = true;
  absl::Duration store_lock_wait = absl::ZeroDuration();
  std::string data_dir = "orchestrator-data";

  void Declare(config::OptionSet& set) {
    server.Declare(set);
    backends.compile.Declare(set, "compile");
    backends.verify.Declare(set, "verify");
    backends.llm.Declare(set, "llm");
    set.Add("data_dir", &data_dir, "Folder of the event log; made if it does not exist.");
    set.Add("max_running_sessions", &manager.max_running, "Sessions at work at once.").Range(1, 256);
    set.Add("max_queued_sessions", &manager.max_queued, "Sessions that may wait.").Range(0, 100000);
    set.Add("max_watchers", &manager.max_watchers, "WatchSession streams at once.").Range(1, 10000);
    set.Add("max_open_runs", &runs.max_open_runs, "Benchmark runs that may be open at once.").Range(1, 1000);
    set.Add("work", &work, "Work on sessions and runs; without, they can only be read and cancelled.");
    set.Add("store_lock_wait", &store_lock_wait,
            "How long to wait for another process that uses the same event log to end.")
        .Range(0, 3600);
    set.Add("session_lease", &manager.lease, "How long a session stays with a dead process.").Range(1, 3600);
    set.Add("session_wall_limit", &manager.limits.default_wall_limit,
            "Longest time of a session that names none.")
        .Range(1, 86400);
    set.Add("backend_retry_budget", &backends.retry.budget,
            "How long calls to other services are tried again after RESOURCE_EXHAUSTED or UNAVAILABLE.")
        .Range(0, 3600);
  }
};

absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("can't make the folder ", path, ": ", strerror(errno)));
}

int Main(int argc, char** argv) {
  Options options;
  config::OptionSet set("orchestrator", "Turns tasks into agent sessions and keeps them.");
  options.Declare(set);
  if (std::optional<int> exit_code = set.ParseMain(argc, argv)) return *exit_code;
  if (absl::Status status = rpc::InitLogging(options.server.Logging()); !status.ok())
    return rpc::FailStart(status);
  if (absl::Status status = MakeFolder(options.data_dir); !status.ok()) return rpc::FailStart(status);

  absl::StatusOr<std::unique_ptr<storage::EventStore>> store = storage::OpenSqliteEventStore(
      {.path = absl::StrCat(options.data_dir, "/events.db"), .lock_wait = options.store_lock_wait});
  if (!store.ok()) return rpc::FailStart(store.status());
  absl::StatusOr<std::unique_ptr<storage::EventStore>> run_store = storage::OpenSqliteEventStore(
      {.path = absl::StrCat(options.data_dir, "/runs.db"), .lock_wait = options.store_lock_wait});
  if (!run_store.ok()) return rpc::FailStart(run_store.status());
  absl::StatusOr<storage::SigningKey> key =
      storage::SigningKey::LoadOrCreate(absl::StrCat(options.data_dir, "/signing_key.pem"));
  if (!key.ok()) return rpc::FailStart(key.status());

  rpc::Runtime runtime({.service = "orchestrator"});
  OrchestratorMetrics metrics(runtime.metrics());
  options.backends.on_retry = [&metrics](const std::string& service, const absl::Status& failure) {
    metrics.Retried(service, failure);
  };
  absl::StatusOr<std::unique_ptr<Backends>> backends = ConnectBackends(options.backends);
  if (!backends.ok()) return rpc::FailStart(backends.status());

  // A session may end before there is a manager of runs to tell: Start() comes after both.
  RunManager* runs_to_tell = nullptr;
  options.manager.run_session_ended = [&runs_to_tell](const std::string&) { runs_to_tell->SessionEnded(); };
  SessionManager manager(options.manager, **store, **backends, metrics);
  options.runs.max_concurrency = options.manager.max_running;
  options.runs.limits = options.manager.limits;
  options.runs.lease = options.manager.lease;
  options.runs.max_watchers = options.manager.max_watchers;
  RunManager runs(options.runs, **run_store, **store, manager, *key, metrics);
  runs_to_tell = &runs;
  OrchestratorServiceImpl service(runtime, manager, runs);
  absl::StatusOr<std::unique_ptr<rpc::Server>> server =
      rpc::Server::Start(options.server, runtime, {{v1::OrchestratorService::service_full_name(), &service}});
  if (!server.ok()) return rpc::FailStart(server.status());
  if (options.work) {
    manager.Start();
    runs.Start();
  }
  const int exit_code = (*server)->Wait();
  runs.Drain();
  manager.Drain();
  return exit_code;
}

}  // namespace
}  // namespace nkiagent::orchestrator

int main(int argc, char** argv) { return nkiagent::orchestrator::Main(argc, argv); }
