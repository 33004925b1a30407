// nkictl python, bench lint and bench mutation: this process becomes Python.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/nkictl/commands.h"
#include "services/worker/python_role.h"

namespace nkiagent::nkictl {

namespace {

// Runs Python with `more` and the frontend's folders before all others on its path.
int RunPython(const std::vector<std::string>& arguments, const std::string& more) {
  const worker::PythonRoleOptions options;
  const absl::StatusOr<std::string> python = worker::PythonInterpreter(options);
  if (!python.ok()) {
    std::fprintf(stderr, "nkictl: %s\n", std::string(python.status().message()).c_str());
    return kExitFail;
  }
  std::string path = more.empty() ? "" : more + ":";
  absl::StrAppend(&path, absl::StrJoin(worker::PythonPath(options), ":"));
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

// The module of the benchmark's Python package behind `bench NAME`; null if that is no such verb.
const char* BenchModuleOf(const std::string& name) {
  if (name == "lint") return "nkiagent_bench.lint";
  if (name == "mutation") return "nkiagent_bench.mutation.score";
  return nullptr;
}

int RunBenchModule(const char* module, const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"-m", module};
  all.insert(all.end(), arguments.begin(), arguments.end());
  // The build's folder, where the services lie: this program is services/nkictl/nkictl in it.
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) setenv("NKI_BUILD_DIR", self.parent_path().parent_path().parent_path().c_str(), 0);
  // Tasks are small; threads that spin while they wait would only slow them down.
  setenv("OMP_NUM_THREADS", "1", 0);
  return RunPython(all, NKIAGENT_BENCH_DIR);
}

// A verb that main() has seen to where it comes first.
CLI::App* AddForHelp(CLI::App* app, const std::string& name, const std::string& first,
                     const std::string& description) {
  return app->add_subcommand(name, description)->fallthrough(false)->prefix_command()->callback([=] {
    throw CLI::ValidationError(name, absl::StrCat("must be the ", first, " argument"));
  });
}

}  // namespace

void AddPython(CLI::App* app) {
  AddForHelp(app, "python", "first",
             "Run a Python script whose neuronxcc.nki is ours: python SCRIPT [ARGUMENT...]");
}

void AddBenchModules(CLI::App* bench) {
  AddForHelp(bench, "lint", "second", "Prove that the tasks of a suite can fail: bench lint [SUITE]");
  AddForHelp(bench, "mutation", "second",
             "Does verification catch injected bugs? bench mutation [--tasks N]");
}

std::optional<int> RunAsPython(const std::vector<std::string>& arguments) {
  if (!arguments.empty() && arguments[0] == "python")
    return RunPython(std::vector<std::string>(arguments.begin() + 1, arguments.end()), "");
  if (arguments.size() < 2 || arguments[0] != "bench") return std::nullopt;
  const char* const module = BenchModuleOf(arguments[1]);
  if (module == nullptr) return std::nullopt;
  return RunBenchModule(module, std::vector<std::string>(arguments.begin() + 2, arguments.end()));
}

}  // namespace nkiagent::nkictl
