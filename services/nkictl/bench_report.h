// Reports on benchmark runs: text for people, JSON and CSV for programs, figures. All of them from the same
// numbers (run_stats.h).
#ifndef SERVICES_NKICTL_BENCH_REPORT_H_
#define SERVICES_NKICTL_BENCH_REPORT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/nkictl/run_file.h"
#include "services/nkictl/run_stats.h"

namespace nkiagent::nkictl {

// The record in a signed text; empty if there is none.
orchestrator::v1::ResultRecord ParseRecord(const orchestrator::v1::SignedText& text);

struct Report {
  std::vector<RunStats> runs;           // at least one
  std::vector<Comparison> comparisons;  // of each pair
};
// FAILED_PRECONDITION: a run has not finished, unless `partial`. INVALID_ARGUMENT: two runs can't be
// compared.
absl::StatusOr<Report> MakeReport(const std::vector<RunData>& runs, bool partial);

// One document: at the top suite, model, mode, tasks, passed, by_level and wall_seconds of the first run;
// `runs` has all.
std::string JsonText(const Report& report);
// The same for a run that was just followed, whatever its state.
std::string ReportJson(const std::vector<RunData>& runs);
// `figures`: files to show, by title.
std::string MarkdownText(const Report& report,
                         const std::vector<std::pair<std::string, std::string>>& figures);
// A line for each session of all runs, quoted as RFC 4180 says.
std::string CsvText(const std::vector<RunData>& runs);
// A short table for the end of `bench run`.
std::string RunSummary(const RunData& data);

// "116/150 = 77.3 % [70.0, 83.3]": passed of tasks, with the 95 % Wilson interval.
std::string ShareText(const Share& share);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_BENCH_REPORT_H_
