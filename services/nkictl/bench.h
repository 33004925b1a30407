// The verbs of `nkictl bench`. Each returns the exit code.
#ifndef SERVICES_NKICTL_BENCH_H_
#define SERVICES_NKICTL_BENCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/connection.h"
#include "services/nkictl/run_file.h"

namespace nkiagent::nkictl {

struct BenchRunFlags {
  std::string suite;
  std::vector<std::string> tasks;  // globs of ids
  std::vector<int> levels;
  std::string name;
  int repeat = 1;
  int concurrency = 0;
  double max_cost_usd = 0;  // of the whole run
  SessionFlags session;     // model, mode, bounds of each session
};
// Starts a run, or goes on with one, and follows it to its end. 0 when it finished without errors of the
// system.
int BenchRun(Environment environment, const BenchRunFlags& flags);
int BenchList(const Environment& environment);
int BenchSuites(const Environment& environment, const std::string& suite);
int BenchCancel(const Environment& environment, const std::string& run, const std::string& reason);
int BenchExport(const Environment& environment, const std::string& run, const std::string& output);

struct BenchReportFlags {
  std::vector<std::string> runs;  // ids, names, exported files
  std::string folder;             // empty: print instead of writing files
  bool figures = true;
  bool partial = false;  // runs that have not finished as well
};
// Markdown on stdout, JSON with --json; with a folder report.md, report.json, rows.csv and figures.
int BenchReport(const Environment& environment, const BenchReportFlags& flags);

struct BenchVerifyFlags {
  std::string run;
  int sample = -1;  // rows to compile and run again; -1: all
  uint64_t seed = 0;
  std::string public_key;
  bool signatures_only = false;
  int jobs = 0;
};
// 0 when every signature holds and every row that was repeated came out as recorded.
int BenchVerify(const Environment& environment, const BenchVerifyFlags& flags);

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
