// What the verbs of `nkictl bench` share.
#ifndef SERVICES_NKICTL_BENCH_H_
#define SERVICES_NKICTL_BENCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/connection.h"
#include "services/nkictl/run_file.h"

namespace nkiagent::nkictl {

// Adds `bench` with its verbs; and each of these (commands.h says how).
void AddBench(CLI::App* app, Verb* verb);
void AddBenchRun(CLI::App* bench, Verb* verb);
void AddBenchList(CLI::App* bench, Verb* verb);
void AddBenchSuites(CLI::App* bench, Verb* verb);
void AddBenchCancel(CLI::App* bench, Verb* verb);
void AddBenchExport(CLI::App* bench, Verb* verb);
void AddBenchReport(CLI::App* bench, Verb* verb);
void AddBenchVerify(CLI::App* bench, Verb* verb);

// Reaches the orchestrator that has the benchmark's runs: --server, else the one that another nkictl has
// started in the benchmark's folder (--work-dir, or nkiagent/bench in $XDG_DATA_HOME or ~/.local/share), else
// a local cluster there. `read_only` starts the orchestrator alone, which then works on nothing.
absl::StatusOr<Connection> ConnectBench(Environment environment, bool read_only);

// The runs of several arguments, each an id or name, or a file that was exported. Fails on the first that
// can't be had, or whose signatures or hashes do not hold.
absl::StatusOr<std::vector<RunData>> LoadRuns(const Environment& environment,
                                              const std::vector<std::string>& runs, bool with_kernels,
                                              bool check);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_BENCH_H_
