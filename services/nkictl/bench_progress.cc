#include "services/nkictl/bench_progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/nkictl/text.h"

namespace nkiagent::nkictl {
namespace {

constexpr int kBarCells = 24;

std::string Clock(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration);
  return seconds >= 3600 ? absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60)
                         : absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
}

int TerminalWidth(FILE* out) {
  winsize size = {};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string ProgressLine(const RunProgress& progress, int width) {
  const double share = progress.total > 0 ? static_cast<double>(progress.ended) / progress.total : 0;
  const int filled = std::clamp(static_cast<int>(share * kBarCells), 0, kBarCells);
  std::string line = absl::StrCat("[", std::string(filled, '#'), std::string(kBarCells - filled, '.'), "] ",
                                  progress.ended, "/", progress.total, "  ", progress.passed, " passed, ",
                                  progress.ended - progress.passed, " not, ", progress.running, " running");
  if (progress.cost_micro_usd > 0) absl::StrAppend(&line, ", ", Dollars(progress.cost_micro_usd));
  absl::StrAppend(&line, "  ", Clock(progress.elapsed));
  const int since = progress.ended - progress.ended_before;
  if (since > 0 && progress.ended < progress.total) {
    absl::StrAppend(&line, ", about ", Clock(progress.elapsed / since * (progress.total - progress.ended)),
                    " left");
  }
  if (static_cast<int>(line.size()) > width) line.resize(std::max(0, width));
  return line;
}

std::string RowLine(const orchestrator::v1::ResultRecord& record) {
  std::string line = absl::StrCat(record.passed() ? "PASS  " : "FAIL  ", record.task_id());
  if (record.repeat() > 1) absl::StrAppend(&line, " (repeat ", record.repeat(), ")");
  if (record.passed()) {
    absl::StrAppend(&line, ": turn ", record.turn_of_success(), ", ", Seconds(record.wall_time()),
                    ", estimate ", Microseconds(record.latency_us()));
    return line;
  }
  absl::StrAppend(&line, ": ",
                  EnumText(orchestrator::v1::FailureClass_Name(record.failure_class()), "FAILURE_CLASS_"));
  if (!record.failure().empty()) absl::StrAppend(&line, " (", record.failure(), ")");
  if (!record.message().empty()) {
    constexpr size_t kShown = 160;
    std::string message = record.message().substr(0, record.message().find('\n'));
    if (message.size() > kShown) message = absl::StrCat(message.substr(0, kShown), " ...");
    absl::StrAppend(&line, ": ", message);
  }
  return line;
}

ProgressBar::ProgressBar(FILE* out, bool quiet)
    : out_(out), quiet_(quiet), terminal_(isatty(fileno(out)) == 1) {}

void ProgressBar::Clear() {
  if (!shown_) return;
  fputs("\r\x1b[K", out_);  // to the line's start, and erase to its end
  shown_ = false;
}

void ProgressBar::Ended(const orchestrator::v1::ResultRecord& record, const RunProgress& progress) {
  if (!terminal_) {
    Say(absl::StrFormat("[%*d/%d] %s", static_cast<int>(absl::StrCat(progress.total).size()), progress.ended,
                        progress.total, RowLine(record)));
  } else if (!record.passed()) {
    Say(RowLine(record));
  }
}

void ProgressBar::Show(const RunProgress& progress) {
  if (quiet_ || !terminal_) return;
  // One column stays free: some terminals wrap when the last is written.
  fprintf(out_, "\r%s\x1b[K", ProgressLine(progress, TerminalWidth(out_) - 1).c_str());
  fflush(out_);
  shown_ = true;
}

void ProgressBar::Say(const std::string& line) {
  if (quiet_) return;
  Clear();
  fprintf(out_, "%s\n", line.c_str());
  fflush(out_);
}

void ProgressBar::Finish() {
  Clear();
  fflush(out_);
}

}  // namespace nkiagent::nkictl
