// Runs a program on tensors in shared memory: the handler of the execute role's children.
#ifndef SERVICES_WORKER_EXECUTE_RUNNER_H_
#define SERVICES_WORKER_EXECUTE_RUNNER_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace nkiagent::worker::execute {

// `payload` as protocol.h says; `fds` are the arenas. Returns the reply. A request that makes no sense throws
// std::invalid_argument: the service and this program are built together, so it is a fault of ours.
std::string Run(absl::string_view payload, absl::Span<const int> fds);

}  // namespace nkiagent::worker::execute

#endif  // SERVICES_WORKER_EXECUTE_RUNNER_H_
