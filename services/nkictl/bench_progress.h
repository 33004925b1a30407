// How far a benchmark run is, for a person who waits: one line that is rewritten at a terminal, a line for
// each session elsewhere. Not thread safe.
#ifndef SERVICES_NKICTL_BENCH_PROGRESS_H_
#define SERVICES_NKICTL_BENCH_PROGRESS_H_

#include <string>

#include "absl/time/time.h"
#include "nkiagent/orchestrator/v1/record.pb.h"

namespace nkiagent::nkictl {

struct RunProgress {
  int total = 0;
  int ended = 0;
  int passed = 0;
  int running = 0;
  int64_t cost_micro_usd = 0;
  absl::Duration elapsed = absl::ZeroDuration();
  int ended_before = 0;  // when this process began to watch: no measure of speed
};

// "[#####.....]  12/25  48%  10 passed, 1 failed by the system ..." in at most `width` characters.
std::string ProgressLine(const RunProgress& progress, int width);

// "PASS  softmax: turn 2 of 10, 1.2 s, estimate 12.3 us" or "FAIL  softmax: mismatch (...)".
std::string RowLine(const orchestrator::v1::ResultRecord& record);

// Writes to a stream: a bar where it is a terminal.
class ProgressBar {
 public:
  // `quiet` writes nothing at all.
  ProgressBar(FILE* out, bool quiet);
  // Shows the line of a session that has ended; at a terminal only of one that did not pass.
  void Ended(const orchestrator::v1::ResultRecord& record, const RunProgress& progress);
  void Show(const RunProgress& progress);
  // A line of its own, above the bar.
  void Say(const std::string& line);
  // Removes the bar.
  void Finish();

 private:
  void Clear();

  FILE* const out_;
  const bool quiet_;
  const bool terminal_;
  bool shown_ = false;
};

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_BENCH_PROGRESS_H_
