// How a service starts the warm parent of the execute role.
#ifndef SERVICES_WORKER_EXECUTE_PARENT_OPTIONS_H_
#define SERVICES_WORKER_EXECUTE_PARENT_OPTIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/sandbox/warm_parent.h"

namespace nkiagent::worker::execute {

// Options for `program` (empty: nki-exec-parent beside this executable, else the build's), with the level,
// the numbers of children and the bounds of `like`. NotFound if the program can't be run.
absl::StatusOr<sandbox::WarmParentOptions> ParentOptions(const std::string& program,
                                                         const sandbox::WarmParentOptions& like);

}  // namespace nkiagent::worker::execute

#endif  // SERVICES_WORKER_EXECUTE_PARENT_OPTIONS_H_
