#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/nkictl/commands.h"
#include "services/worker/python_role.h"

namespace nkiagent::nkictl {

int Python(const std::vector<std::string>& arguments) {
  const worker::PythonRoleOptions options;
  const absl::StatusOr<std::string> python = worker::PythonInterpreter(options);
  if (!python.ok()) {
    std::fprintf(stderr, "nkictl: %s\n", std::string(python.status().message()).c_str());
    return kExitFail;
  }
  std::string path = absl::StrJoin(worker::PythonPath(options), ":");
  const char* own = std::getenv("PYTHONPATH");
  if (own != nullptr && *own != '\0') absl::StrAppend(&path, ":", own);
  setenv("PYTHONPATH", path.c_str(), 1);
  // The executor has threads of its own and wants none of OpenBLAS (exec/execute.h).
  setenv("OPENBLAS_NUM_THREADS", "1", 0);

  std::vector<char*> argv = {const_cast<char*>(python->c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(python->c_str(), argv.data());
  std::fprintf(stderr, "nkictl: can't run %s: %s\n", python->c_str(), std::strerror(errno));
  return kExitFail;
}

}  // namespace nkiagent::nkictl
