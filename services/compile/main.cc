// compile-service: kernel source in, program or diagnostics out.
//
//   compile-service --port 7601 --metrics_port 7611
//
// --help lists the options; each is also a YAML key and an environment variable NKIAGENT_COMPILE_<OPTION>.
#include <memory>
#include <string>

#include "common/config/option_set.h"
#include "common/rpc/logging.h"
#include "common/rpc/runtime.h"
#include "common/rpc/server.h"
#include "common/sandbox/warm_parent.h"
#include "common/storage/content_store.h"
#include "services/compile/api_reference.h"
#include "services/compile/compiler.h"
#include "services/compile/handler.h"
#include "services/compile/toolchain_identity.h"
#include "services/worker/parent_monitor.h"
#include "services/worker/python_role.h"

namespace nkiagent::compile {
namespace {

struct Options {
  rpc::ServerOptions server{.name = "compile-service", .port = 7601, .metrics_port = 7611};
  worker::PythonRoleOptions worker;
  absl::Duration max_wall_time = absl::Seconds(120);
  config::Bytes max_worker_memory_bytes{int64_t{4} << 30};
  int64_t max_instructions = 1'000'000;
  config::Bytes store_memory_bytes{int64_t{16} << 20};
  std::string store_directory;
  config::Bytes store_directory_bytes{int64_t{1} << 30};

  void Declare(config::OptionSet& set) {
    server.Declare(set);
    worker.Declare(set);
    set.Add("max_wall_time", &max_wall_time, "Wall limit of one trace.").Range(0.1, 3600);
    set.Add("max_worker_memory_bytes", &max_worker_memory_bytes, "Address space of one trace.")
        .Range(1 << 28, 1e12);
    set.Add("max_instructions", &max_instructions, "Most instructions a program may list.").Range(1, 1e9);
    set.Add("store_memory_bytes", &store_memory_bytes, "Results kept in memory.").Range(0, 1e12);
    set.Add("store_directory", &store_directory,
            "Directory for results that outlive the process; empty: none.");
    set.Add("store_directory_bytes", &store_directory_bytes, "Results kept in that directory.")
        .Range(0, 1e15);
  }
};

int Main(int argc, const char* const* argv) {
  Options options;
  config::OptionSet set("compile", "Compiles NKI kernels to programs, in a sandbox.");
  options.Declare(set);
  if (const auto exit_code = set.ParseMain(argc, argv)) return *exit_code;
  if (absl::Status logs = rpc::InitLogging(options.server.Logging()); !logs.ok()) return rpc::FailStart(logs);

  // The parent first: it starts while this process is small and has no threads.
  absl::StatusOr<sandbox::WarmParentOptions> role = worker::PythonRole("trace", options.worker);
  if (!role.ok()) return rpc::FailStart(role.status());
  absl::StatusOr<std::unique_ptr<sandbox::WarmParent>> parent = sandbox::WarmParent::Start(*role);
  if (!parent.ok()) return rpc::FailStart(parent.status());
  absl::StatusOr<common::v1::ToolchainVersion> toolchain =
      ToolchainIdentity(worker::PythonPath(options.worker));
  if (!toolchain.ok()) return rpc::FailStart(toolchain.status());
  absl::StatusOr<std::unique_ptr<storage::ContentStore>> store =
      storage::ContentStore::Open({.memory_bytes = options.store_memory_bytes.value,
                                   .directory = options.store_directory,
                                   .directory_bytes = options.store_directory_bytes.value});
  if (!store.ok()) return rpc::FailStart(store.status());

  // A thread for each worker, and a few for answers from the store.
  rpc::Runtime runtime(
      {.service = "compile",
       .executor = {.threads = options.worker.max_workers + 2, .max_queued = options.worker.max_queued}});
  CompileMetrics compile_metrics(runtime.metrics());
  const TraceFn trace = [&](const sandbox::Request& request, const rpc::CallContext& call) {
    return (*parent)->Run(request, call.deadline(), call.stop_token());
  };
  Compiler compiler({.max_wall_time = options.max_wall_time,
                     .max_address_space_bytes = options.max_worker_memory_bytes.value,
                     .max_cpu_time = options.max_wall_time,
                     .max_instructions = options.max_instructions,
                     .toolchain = *toolchain},
                    trace, **store, compile_metrics);
  ApiReference reference(trace, *toolchain, **store);
  Handler handler(runtime, compiler, reference);
  const std::string name = v1::CompileService::service_full_name();
  auto server = rpc::Server::Start(options.server, runtime, {{name, &handler}});
  if (!server.ok()) return rpc::FailStart(server.status());
  const worker::ParentMonitor monitor({{"trace", parent->get()}}, **server, runtime.metrics(), name);
  return (*server)->Wait();
}

}  // namespace
}  // namespace nkiagent::compile

int main(int argc, char** argv) { return nkiagent::compile::Main(argc, argv); }
