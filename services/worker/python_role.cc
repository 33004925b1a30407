#include "services/worker/python_role.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#if !defined(NKIAGENT_DEFAULT_PYTHON) || !defined(NKIAGENT_DEFAULT_PYTHON_PATH)
#error "the defaults come from the build"
#endif

namespace nkiagent::worker {

void PythonRoleOptions::Declare(config::OptionSet& set) {
  set.Add("worker_python", &python,
          "Python interpreter of the workers; empty: the one in NKIAGENT_VENV, or the build's.");
  set.Add("worker_path", &python_path, "Folders on the workers' PYTHONPATH; none: those of the build.");
  set.Add("sandbox_level", &sandbox_level, "Weakest isolation of workers that is accepted.")
      .OneOf({"rlimits", "seccomp", "namespaces"});
  set.Add("max_workers", &max_workers, "Workers at one time.").Range(1, 1024);
  set.Add("max_queued", &max_queued, "Requests that may wait for a worker.").Range(0, 100000);
  set.Add("ready_workers", &ready_workers, "Workers forked ahead of their request.").Range(0, 64);
}

std::vector<std::string> PythonPath(const PythonRoleOptions& options) {
  if (!options.python_path.empty()) return options.python_path;
  return absl::StrSplit(NKIAGENT_DEFAULT_PYTHON_PATH, ':');
}

absl::StatusOr<std::string> PythonInterpreter(const PythonRoleOptions& options) {
  std::string python = options.python;
  if (python.empty()) {
    const char* venv = std::getenv("NKIAGENT_VENV");
    python = venv != nullptr && *venv != '\0' ? absl::StrCat(venv, "/bin/python") : NKIAGENT_DEFAULT_PYTHON;
  }
  if (access(python.c_str(), X_OK) != 0) {
    return absl::NotFoundError(
        absl::StrCat("the workers' Python ", python,
                     " can't be run (./dev setup makes it; --worker_python names another)"));
  }
  return python;
}

absl::StatusOr<sandbox::WarmParentOptions> PythonRole(const std::string& role,
                                                      const PythonRoleOptions& options) {
  const absl::StatusOr<std::string> python = PythonInterpreter(options);
  if (!python.ok()) return python.status();
  const std::string path = absl::StrJoin(PythonPath(options), ":");
  absl::StatusOr<sandbox::Level> level = sandbox::ParseLevel(options.sandbox_level);
  if (!level.ok()) return level.status();

  sandbox::WarmParentOptions parent;
  parent.name = role;
  parent.argv = {*python, "-m", absl::StrCat("nkiagent_worker.", role, "_main")};
  parent.environment = {absl::StrCat("PYTHONPATH=", path),
                        "PYTHONSAFEPATH=1",  // what lies where the service was started is not importable
                        "PYTHONDONTWRITEBYTECODE=1",
                        "PYTHONHASHSEED=0",   // equal requests, equal programs
                        "OMP_NUM_THREADS=1",  // a warm parent has no threads
                        "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1",
                        "OMP_WAIT_POLICY=passive",  // a child's idle threads sleep instead of spinning
                        "MALLOC_ARENA_MAX=2",
                        // All of Python's memory in the C library's heap, and that in huge pages: fork and
                        // exit of a child then visit hundreds of page table entries instead of 60 000.
                        // Measured with torch: an empty request takes 4 ms instead of 10.
                        "PYTHONMALLOC=malloc", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1", "LC_ALL=C.UTF-8",
                        // Who and where they are, for libraries that ask: the jail has no /etc/passwd.
                        "HOME=/tmp", "USER=nobody", "PATH=/usr/bin:/bin"};
  parent.minimum_level = *level;
  // The import of torch takes seconds, and minutes on a machine that is very busy.
  parent.start_timeout = absl::Seconds(170);
  parent.max_children = static_cast<uint32_t>(options.max_workers);
  parent.max_waiting = static_cast<uint32_t>(options.max_queued);
  parent.ready_children = static_cast<uint32_t>(options.ready_workers);
  return parent;
}

}  // namespace nkiagent::worker
