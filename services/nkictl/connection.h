// How a command reaches an orchestrator: a running one, or a local cluster of its own that ends with the
// command.
#ifndef SERVICES_NKICTL_CONNECTION_H_
#define SERVICES_NKICTL_CONNECTION_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/nkictl/client.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/local_cluster.h"
#include "services/orchestrator/backends.h"

namespace nkiagent::nkictl {

struct Connection {
  std::unique_ptr<LocalCluster> cluster;  // null for a running orchestrator
  std::unique_ptr<Client> client;
  int lock = -1;  // a file lock that ends with the cluster; -1: none

  // Ends the cluster, if there is one. `failed`: keep its logs and say where they are.
  absl::Status Close(bool failed);
};

// With `local`, an empty server target starts a cluster; without, it means kDefaultServer.
absl::StatusOr<Connection> Connect(const Environment& environment, bool local);

// A compile-service and a verify-service of the command's own, without orchestrator and models.
struct Toolchain {
  std::unique_ptr<LocalCluster> cluster;
  std::unique_ptr<orchestrator::Backends> backends;
};
absl::StatusOr<Toolchain> StartToolchain(const Environment& environment, ClusterOptions options);

// Prints an error to stderr (as JSON with --json) and returns the exit code for it.
int Fail(const Environment& environment, const absl::Status& status);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_CONNECTION_H_
