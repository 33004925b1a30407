#include "services/nkictl/bench_figures.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace nkiagent::nkictl {
namespace {

// Names go into gnuplot's double-quoted strings: letters, digits and a few marks are all they keep.
std::string Plain(const std::string& text) {
  std::string plain;
  for (const unsigned char c : text.substr(0, 80)) {
    plain.push_back(absl::ascii_isalnum(c) || c == '-' || c == '.' || c == ' ' ? static_cast<char>(c) : ' ');
  }
  return plain.empty() ? "-" : plain;
}

// A data block: its rows are lines of numbers and quoted names.
std::string Block(const std::string& name, const std::vector<std::string>& lines) {
  return absl::StrCat("$", name, " << EOD\n", absl::StrJoin(lines, "\n"), "\nEOD\n");
}

Figure PassRate(const std::vector<RunStats>& runs) {
  std::set<std::string> levels;
  for (const RunStats& run : runs) {
    for (const auto& [level, unused] : run.by_level) levels.insert(level);
  }
  std::string script =
      "set yrange [0:100]\nset ylabel \"tasks passed, %\"\nset grid ytics\nset key outside bottom "
      "horizontal\n";
  std::vector<std::string> plots;
  std::vector<std::string> tics;
  for (size_t r = 0; r < runs.size(); ++r) {
    std::vector<std::string> lines;
    int place = 0;
    std::vector<std::pair<std::string, Share>> groups(runs[r].by_level.begin(), runs[r].by_level.end());
    for (const std::string& level : levels) {
      const auto share = runs[r].by_level.find(level);
      if (r == 0) tics.push_back(absl::StrFormat("\"level %s\" %d", Plain(level), place));
      if (share != runs[r].by_level.end()) {
        const Interval interval = Wilson95(share->second.passed, share->second.tasks);
        const double width = 0.8 / static_cast<double>(runs.size());
        lines.push_back(absl::StrFormat(
            "%.4f %.3f %.3f %.3f", place - 0.4 + width * (static_cast<double>(r) + 0.5),
            100.0 * share->second.passed / share->second.tasks, 100 * interval.low, 100 * interval.high));
      }
      ++place;
    }
    absl::StrAppend(&script, Block(absl::StrCat("run", r), lines));
    plots.push_back(absl::StrFormat("$run%d using 1:2 with boxes title \"%s\"", r, Plain(runs[r].name)));
    plots.push_back(absl::StrFormat("$run%d using 1:2:3:4 with yerrorbars lc rgb \"black\" pt 0 notitle", r));
  }
  absl::StrAppendFormat(
      &script,
      "set style fill solid 0.6\nset boxwidth %.4f\nset xtics (%s)\nset xrange [-0.6:%.1f]\nplot %s\n",
      0.75 / static_cast<double>(runs.size()), absl::StrJoin(tics, ", "),
      static_cast<double>(levels.size()) - 0.4, absl::StrJoin(plots, ", "));
  return {"pass_rate", "Pass rate by level, with 95 % Wilson intervals", script};
}

Figure Turns(const std::vector<RunStats>& runs) {
  int most = 1;
  for (const RunStats& run : runs) {
    if (!run.success_turns.empty()) most = std::max(most, run.success_turns.rbegin()->first);
  }
  std::string script =
      "set yrange [0:100]\nset ylabel \"sessions passed by then, %\"\nset xlabel \"turn\"\nset grid\n"
      "set key outside bottom horizontal\n";
  std::vector<std::string> plots;
  for (size_t r = 0; r < runs.size(); ++r) {
    std::vector<std::string> lines;
    int passed = 0;
    for (int turn = 1; turn <= most; ++turn) {
      const auto count = runs[r].success_turns.find(turn);
      if (count != runs[r].success_turns.end()) passed += count->second;
      lines.push_back(absl::StrFormat("%d %.3f", turn, 100.0 * passed / std::max(1, runs[r].sessions)));
    }
    absl::StrAppend(&script, Block(absl::StrCat("run", r), lines));
    plots.push_back(absl::StrFormat("$run%d using 1:2 with steps lw 2 title \"%s\"", r, Plain(runs[r].name)));
  }
  absl::StrAppendFormat(&script, "set xrange [0.5:%d.5]\nset xtics 1\nplot %s\n", most,
                        absl::StrJoin(plots, ", "));
  return {"turns", "Turns to success", script};
}

Figure Failures(const std::vector<RunStats>& runs) {
  std::set<std::string> kinds;
  for (const RunStats& run : runs) {
    for (const auto& [kind, unused] : run.failures) kinds.insert(kind);
  }
  if (kinds.empty()) return {};
  std::vector<std::string> header = {"class"};
  for (const RunStats& run : runs) header.push_back(absl::StrCat("\"", Plain(run.name), "\""));
  std::vector<std::string> lines = {absl::StrJoin(header, " ")};
  for (const std::string& kind : kinds) {
    std::vector<std::string> cells = {absl::StrCat("\"", Plain(kind), "\"")};
    for (const RunStats& run : runs) {
      int count = 0;
      if (const auto names = run.failures.find(kind); names != run.failures.end()) {
        for (const auto& [unused, sessions] : names->second) count += sessions;
      }
      cells.push_back(absl::StrCat(count));
    }
    lines.push_back(absl::StrJoin(cells, " "));
  }
  return {
      "failures", "Sessions that failed, by class",
      absl::StrCat(Block("data", lines),
                   "set style data histograms\nset style fill solid 0.6\nset yrange [0:*]\nset grid ytics\n"
                   "set ylabel \"sessions\"\nset xtics rotate by -20\nset key outside bottom "
                   "horizontal\nplot for [i=2:",
                   runs.size() + 1, "] $data using i:xtic(1) title columnheader(i)\n")};
}

Figure Roofline(const std::vector<RunStats>& runs) {
  std::string script =
      "set logscale xy\nset xlabel \"fused roofline, us\"\nset ylabel \"estimated latency, us\"\nset grid\n"
      "set key outside bottom horizontal\nset pointsize 0.6\n";
  std::vector<std::string> plots = {"x with lines lc rgb \"black\" dt 2 title \"roofline\""};
  bool any = false;
  for (size_t r = 0; r < runs.size(); ++r) {
    std::vector<std::string> lines;
    for (const KernelLatency& kernel : runs[r].latencies) {
      if (kernel.fused_roofline_us > 0)
        lines.push_back(absl::StrFormat("%.6g %.6g", kernel.fused_roofline_us, kernel.latency_us));
    }
    if (lines.empty()) continue;
    any = true;
    absl::StrAppend(&script, Block(absl::StrCat("run", r), lines));
    plots.push_back(absl::StrFormat("$run%d using 1:2 with points pt %d title \"%s\"", r,
                                    7 + static_cast<int>(r % 6), Plain(runs[r].name)));
  }
  if (!any) return {};
  absl::StrAppend(&script, "plot ", absl::StrJoin(plots, ", "), "\n");
  return {"roofline", "Estimated latency against the fused roofline", script};
}

absl::Status RunGnuplot(const std::string& script, const std::string& script_path,
                        const std::string& error_path) {
  std::ofstream(script_path) << script;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, error_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0600);
  // -d: without the user's own start-up files.
  std::string program = "gnuplot";
  std::string option = "-d";
  std::string path = script_path;
  char* argv[] = {program.data(), option.data(), path.data(), nullptr};
  pid_t pid = -1;
  const int spawned = posix_spawnp(&pid, "gnuplot", &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) {
    return absl::FailedPreconditionError(absl::StrCat("figures are drawn by gnuplot, which can't be run (",
                                                      strerror(spawned),
                                                      "): apt-get install gnuplot-nox, or --no-figures"));
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  std::ifstream file(error_path);
  const std::string said((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return absl::InternalError(absl::StrCat("gnuplot fails: ", said.substr(0, 500)));
}

}  // namespace

std::vector<Figure> FiguresOf(const std::vector<RunStats>& runs) {
  std::vector<Figure> figures = {PassRate(runs), Turns(runs), Failures(runs), Roofline(runs)};
  figures.erase(std::remove_if(figures.begin(), figures.end(),
                               [](const Figure& figure) { return figure.name.empty(); }),
                figures.end());
  return figures;
}

absl::Status DrawFigures(const std::vector<Figure>& figures, const std::string& folder) {
  const std::string script_path = absl::StrCat(folder, "/.script.gp");
  const std::string error_path = absl::StrCat(folder, "/.errors");
  absl::Status status;
  for (const Figure& figure : figures) {
    for (const auto& [ending, terminal] :
         {std::pair{"svg", "svg size 800,500 enhanced background rgb \"white\""},
          std::pair{"png", "pngcairo size 1200,750"}}) {
      const std::string head =
          absl::StrCat("set terminal ", terminal, "\nset output \"", folder, "/", figure.name, ".", ending,
                       "\"\nset title \"", figure.title, "\"\n");
      if (status.ok()) status = RunGnuplot(absl::StrCat(head, figure.script), script_path, error_path);
    }
  }
  unlink(script_path.c_str());
  unlink(error_path.c_str());
  return status;
}

}  // namespace nkiagent::nkictl
