// The server that every service runs: gRPC with health, reflection, TLS, bearer token, metrics endpoint,
// drain.
//
//   rpc::ServerOptions options{.name = "compile-service"};
//   config::OptionSet set("compile", "...");  options.Declare(set);
//   if (auto exit_code = set.ParseMain(argc, argv)) return *exit_code;
//   if (absl::Status s = rpc::InitLogging(options.Logging()); !s.ok()) return rpc::FailStart(s);
//   rpc::Runtime runtime({.service = "compile"});
//   CompileHandler handler(runtime, ...);
//   auto server = rpc::Server::Start(options, runtime, {{CompileService::service_full_name(), &handler}});
//   if (!server.ok()) return rpc::FailStart(server.status());
//   return (*server)->Wait();
#ifndef COMMON_RPC_SERVER_H_
#define COMMON_RPC_SERVER_H_

#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/server.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/config/option_set.h"
#include "common/rpc/logging.h"
#include "common/rpc/runtime.h"

namespace nkiagent::rpc {

struct ServerOptions {
  // The service's name in logs: "compile-service". Not an option of the user.
  std::string name;

  // Address to bind. Other than loopback, a bearer token needs TLS.
  std::string address = "127.0.0.1";
  // 0 picks a free port.
  int port = 0;
  std::string metrics_address = "127.0.0.1";
  // 0 picks a free port, -1 turns the endpoint off.
  int metrics_port = 0;
  // Written once serving, whole or not at all: {"grpc": "127.0.0.1:1", "metrics": "127.0.0.1:2", "pid": 3}.
  std::string port_file;

  // Largest message either way. Kernel sources are at most 4 MiB; programs may be larger.
  config::Bytes max_message_bytes{int64_t{64} << 20};
  // Memory that gRPC may hold in buffers for all calls together; beyond it, it reads slower.
  config::Bytes grpc_memory_bytes{int64_t{256} << 20};

  // PEM files. Certificate and key together turn TLS on; a client CA then asks each client for a certificate
  // (mTLS).
  std::string tls_cert_file;
  std::string tls_key_file;
  std::string tls_client_ca_file;
  // A file with a bearer token that every call must carry, but for the health service.
  std::string auth_token_file;

  bool reflection = true;
  // On SIGTERM: how long calls may go on before they are cancelled.
  absl::Duration drain_deadline = absl::Seconds(10);

  std::string log_level = "info";
  std::string log_format = "text";

  // What InitLogging takes; main() calls it right after the options are parsed.
  LoggingOptions Logging() const { return {.component = name, .level = log_level, .format = log_format}; }

  // Declares all but `name`; `this` must outlive the set.
  void Declare(config::OptionSet& set);
};

class Server {
 public:
  struct Entry {
    // Full name in the health service: CompileService::service_full_name().
    std::string full_name;
    // Not owned; outlives the server.
    grpc::Service* service;
  };

  // Binds, serves, marks all entries SERVING, then writes the port file. INVALID_ARGUMENT or
  // NOT_FOUND name a bad option or file, UNAVAILABLE a port that is taken. SIGTERM and SIGINT wake Wait()
  // from here on.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Runtime& runtime,
                                                       std::vector<Entry> entries);
  // Drains, if that has not happened.
  ~Server();

  int port() const { return port_; }
  // "127.0.0.1:7601", with the address that was bound.
  std::string Target() const;

  // Marks one entry in the health service; a draining server stays NOT_SERVING.
  void SetServing(const std::string& full_name, bool serving);

  // Blocks until SIGTERM, SIGINT or RequestStop(), then drains. Returns the exit code: 0, or 1 if calls had
  // to be left behind. A second signal while draining ends the process at once.
  int Wait();
  // Makes Wait() return; from any thread.
  void RequestStop();

  // Health NOT_SERVING, runtime.StartDraining(), no new calls, those that run end within the drain deadline
  // or are cancelled. False if calls ignored their cancellation for 5 s. Runs once; later calls return the
  // same.
  bool Drain();

 private:
  Server(ServerOptions options, Runtime& runtime) : options_(std::move(options)), runtime_(runtime) {}
  absl::Status WritePortFile() const;

  const ServerOptions options_;
  Runtime& runtime_;
  std::vector<Entry> entries_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::once_flag drain_once_;
  bool drained_ = false;
};

// Prints why a service did not start to stderr and returns the exit code 1.
int FailStart(const absl::Status& status);

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_SERVER_H_
