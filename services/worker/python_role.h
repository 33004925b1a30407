// How a service starts the warm parent of a Python role (see README.md).
#ifndef SERVICES_WORKER_PYTHON_ROLE_H_
#define SERVICES_WORKER_PYTHON_ROLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/config/option_set.h"
#include "common/sandbox/warm_parent.h"

namespace nkiagent::worker {

// The options of every service that has Python workers.
struct PythonRoleOptions {
  // Interpreter with requirements.txt installed. Empty: $NKIAGENT_VENV/bin/python, else the build's own.
  std::string python;
  // Folders for PYTHONPATH. Empty: those of the build.
  std::vector<std::string> python_path;
  // Weakest isolation that is accepted: rlimits, seccomp or namespaces. A machine that gives less is refused.
  std::string sandbox_level = "namespaces";
  // Children at one time; calls beyond it wait, calls beyond the queue get RESOURCE_EXHAUSTED.
  int max_workers = 4;
  int max_queued = 64;
  // Children forked ahead of their request: saves the fork's milliseconds, costs a few MiB each.
  int ready_workers = 2;

  // Declares worker_python, worker_path, sandbox_level, max_workers, max_queued, ready_workers.
  void Declare(config::OptionSet& set);
};

// The interpreter. NOT_FOUND if it can't be run.
absl::StatusOr<std::string> PythonInterpreter(const PythonRoleOptions& options);

// The folders of the role's PYTHONPATH.
std::vector<std::string> PythonPath(const PythonRoleOptions& options);

// What WarmParent::Start takes for `role` ("trace", "reference"). INVALID_ARGUMENT for an unknown level,
// NOT_FOUND if the interpreter does not exist.
absl::StatusOr<sandbox::WarmParentOptions> PythonRole(const std::string& role,
                                                      const PythonRoleOptions& options);

}  // namespace nkiagent::worker

#endif  // SERVICES_WORKER_PYTHON_ROLE_H_
