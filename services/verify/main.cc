// verify-service: task and program in, verdict out.
//
//   verify-service --port 7602 --metrics_port 7612
//
// --help lists the options; each is also a YAML key and an environment variable NKIAGENT_VERIFY_<OPTION>.
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/config/option_set.h"
#include "common/revision/revision.h"
#include "common/rpc/logging.h"
#include "common/rpc/runtime.h"
#include "common/rpc/server.h"
#include "common/rpc/status.h"
#include "common/sandbox/warm_parent.h"
#include "common/storage/content_store.h"
#include "nkiagent/compile/v1/compile_service.pb.h"
#include "services/verify/execute_role.h"
#include "services/verify/handler.h"
#include "services/verify/reference_role.h"
#include "services/verify/verifier.h"
#include "services/worker/execute/parent_options.h"
#include "services/worker/parent_monitor.h"
#include "services/worker/python_role.h"

namespace nkiagent::verify {
namespace {

struct Options {
  rpc::ServerOptions server{.name = "verify-service", .port = 7602, .metrics_port = 7612};
  worker::PythonRoleOptions worker;
  std::string exec_parent;
  absl::Duration reference_wall_time = absl::Seconds(60);
  absl::Duration execute_wall_time = absl::Seconds(30);
  config::Bytes max_worker_memory_bytes{int64_t{4} << 30};
  config::Bytes max_tensor_bytes{int64_t{1} << 30};
  config::Bytes task_cache_bytes{int64_t{256} << 20};
  config::Bytes trial_cache_bytes{int64_t{256} << 20};
  int execute_threads = 2;
  std::string store_directory;

  void Declare(config::OptionSet& set) {
    server.Declare(set);
    worker.Declare(set);
    set.Add("exec_parent", &exec_parent,
            "Program that executes kernels; empty: the build's nki-exec-parent.");
    set.Add("reference_wall_time", &reference_wall_time, "Wall limit of one run of a reference.")
        .Range(0.1, 3600);
    set.Add("execute_wall_time", &execute_wall_time, "Wall limit of one trial of a program.")
        .Range(0.1, 3600);
    set.Add("max_worker_memory_bytes", &max_worker_memory_bytes, "Address space of one worker.")
        .Range(int64_t{1} << 30, 1e12);
    set.Add("max_tensor_bytes", &max_tensor_bytes, "Largest sum of a task's parameters, inputs or outputs.")
        .Range(1 << 20, 1e12);
    set.Add("task_cache_bytes", &task_cache_bytes, "Facts and parameters kept.").Range(0, 1e12);
    set.Add("trial_cache_bytes", &trial_cache_bytes, "Inputs and expected outputs kept, by task and seed.")
        .Range(0, 1e12);
    set.Add("store_directory", &store_directory,
            "compile-service's store, where both share a directory; programs can then be named by id.");
    set.Add("execute_threads", &execute_threads, "Threads of one execution.").Range(1, 64);
  }
};

// The contract asks for RetryInfo with RESOURCE_EXHAUSTED; a child of this service is free again in about
// this time.
constexpr absl::Duration kRetryAfter = absl::Milliseconds(200);

RunChild ChildrenOf(sandbox::WarmParent& parent) {
  return [&parent](const sandbox::Request& request,
                   const rpc::CallContext& call) -> absl::StatusOr<sandbox::Outcome> {
    absl::StatusOr<sandbox::Outcome> outcome = parent.Run(request, call.deadline(), call.stop_token());
    if (absl::IsResourceExhausted(outcome.status()))
      return rpc::WithRetryAfter(outcome.status(), kRetryAfter);
    return outcome;
  };
}

// The programs of a compile-service that keeps its store in the same directory; an empty `directory`: none.
absl::StatusOr<ProgramStore> OpenPrograms(const std::string& directory) {
  if (directory.empty()) {
    return [](const std::string&) -> absl::StatusOr<std::string> {
      return absl::NotFoundError(
          "this service has no store of programs (--store_directory); send program_bytes");
    };
  }
  auto store = storage::ContentStore::Open({.memory_bytes = 0, .directory = directory});
  if (!store.ok()) return store.status();
  return [programs = std::shared_ptr<storage::ContentStore>(*std::move(store))](
             const std::string& program_id) -> absl::StatusOr<std::string> {
    const auto stored = programs->Get(absl::StrCat("program-", program_id));
    compile::v1::GetProgramResponse program;
    if (stored == nullptr || !program.ParseFromString(*stored)) {
      return absl::NotFoundError(absl::StrCat("program ", program_id.substr(0, 64), " is not in the store"));
    }
    return std::move(*program.mutable_program());
  };
}

uint64_t DrawRandomSeed() {
  static thread_local std::random_device device;
  return device();
}

int Main(int argc, const char* const* argv) {
  Options options;
  config::OptionSet set("verify", "Judges NKI programs against PyTorch modules, in sandboxes.");
  options.Declare(set);
  if (const auto exit_code = set.ParseMain(argc, argv)) return *exit_code;
  if (absl::Status logs = rpc::InitLogging(options.server.Logging()); !logs.ok()) return rpc::FailStart(logs);

  absl::StatusOr<ProgramStore> programs = OpenPrograms(options.store_directory);
  if (!programs.ok()) return rpc::FailStart(programs.status());
  // The parents first: they start while this process is small and has no threads.
  absl::StatusOr<sandbox::WarmParentOptions> reference_role = worker::PythonRole("reference", options.worker);
  if (!reference_role.ok()) return rpc::FailStart(reference_role.status());
  absl::StatusOr<sandbox::WarmParentOptions> execute_role =
      worker::execute::ParentOptions(options.exec_parent, *reference_role);
  if (!execute_role.ok()) return rpc::FailStart(execute_role.status());
  auto execute_parent = sandbox::WarmParent::Start(*execute_role);
  if (!execute_parent.ok()) return rpc::FailStart(execute_parent.status());
  auto reference_parent = sandbox::WarmParent::Start(*reference_role);
  if (!reference_parent.ok()) return rpc::FailStart(reference_parent.status());

  // A thread for each call that can have a child, and a few for answers from the cache.
  rpc::Runtime runtime(
      {.service = "verify",
       .executor = {.threads = options.worker.max_workers + 2, .max_queued = options.worker.max_queued}});
  VerifyMetrics verify_metrics(runtime.metrics());
  ReferenceRole reference({.max_wall_time = options.reference_wall_time,
                           .max_address_space_bytes = options.max_worker_memory_bytes.value,
                           .max_tensor_bytes = options.max_tensor_bytes.value},
                          ChildrenOf(**reference_parent));
  ExecuteRole execute({.max_wall_time = options.execute_wall_time,
                       .max_address_space_bytes = options.max_worker_memory_bytes.value,
                       .max_program_bytes = options.max_worker_memory_bytes.value / 2,
                       .max_tensor_bytes = options.max_tensor_bytes.value,
                       .threads = options.execute_threads},
                      ChildrenOf(**execute_parent));
  VerifierOptions verifier_options{.task_cache_bytes = options.task_cache_bytes.value,
                                   .trial_cache_bytes = options.trial_cache_bytes.value,
                                   .toolchain = {}};
  verifier_options.toolchain.set_version(ToolchainVersion());
  verifier_options.toolchain.set_commit(SourceRevision());
  verifier_options.toolchain.set_backend("simulator");
  Verifier verifier(verifier_options, reference, execute, *programs, DrawRandomSeed, verify_metrics);
  Handler handler(runtime, verifier);
  const std::string name = v1::VerifyService::service_full_name();
  auto server = rpc::Server::Start(options.server, runtime, {{name, &handler}});
  if (!server.ok()) return rpc::FailStart(server.status());
  const worker::ParentMonitor monitor(
      {{"reference", reference_parent->get()}, {"execute", execute_parent->get()}}, **server,
      runtime.metrics(), name);
  return (*server)->Wait();
}

}  // namespace
}  // namespace nkiagent::verify

int main(int argc, char** argv) { return nkiagent::verify::Main(argc, argv); }
