// Suites of benchmark tasks: a list of ids in YAML with the tasks' files beside it, or just Python files in
// the style of KernelBench.
#ifndef SERVICES_NKICTL_BENCH_SUITE_H_
#define SERVICES_NKICTL_BENCH_SUITE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nkiagent/common/v1/task.pb.h"

namespace nkiagent::nkictl {

struct Suite {
  std::string name;
  std::string version;
  std::vector<common::v1::Task> tasks;  // ids are unique
};

// What to take of a suite; what is empty takes all.
struct SuiteFilter {
  std::vector<std::string> globs;  // of ids, as a shell's
  std::vector<int> levels;
};

// `suite` is
//   a name            <root>/suites/NAME.yaml, tasks in <root>/tasks, where <root> is $NKIAGENT_BENCH_DIR or
//   the
//                     services/bench of this build
//   a .yaml file      keys name, version, tasks (ids). A task lies in tasks/level{1,2,3}/, level{1,2,3}/ or
//   the folder
//                     itself, beside the file or one folder above; else in <root>/tasks
//   a folder          all .py files in it and below, by name; level from a folder called level1, level2 or
//   level3 a .py file        that task
// A task is ID.py and, where there is one, ID.yaml with its metadata (level, category, title, atol, rtol
// ...).
//
// NOT_FOUND: no such suite or task. INVALID_ARGUMENT: the file can't be read as such a suite, ids are
// missing, unknown or twice there, metadata contradicts itself, the filter leaves nothing. Messages name file
// and id.
absl::StatusOr<Suite> LoadSuite(const std::string& suite, const SuiteFilter& filter);

// Names of the built-in suites.
std::vector<std::string> SuiteNames();

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_BENCH_SUITE_H_
