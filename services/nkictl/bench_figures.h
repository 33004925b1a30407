// Figures of reports, drawn by gnuplot.
#ifndef SERVICES_NKICTL_BENCH_FIGURES_H_
#define SERVICES_NKICTL_BENCH_FIGURES_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/nkictl/run_stats.h"

namespace nkiagent::nkictl {

struct Figure {
  std::string name;  // file name without its ending
  std::string title;
  std::string script;  // gnuplot, without terminal and output
};

// Pass rate by level, sessions solved by turn, failures by class, latency against the roofline. Those without
// data are left out.
std::vector<Figure> FiguresOf(const std::vector<RunStats>& runs);

// Draws each as NAME.svg and NAME.png into an existing folder. FAILED_PRECONDITION: gnuplot is not installed.
// INTERNAL: it fails; the message has what it said.
absl::Status DrawFigures(const std::vector<Figure>& figures, const std::string& folder);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_BENCH_FIGURES_H_
