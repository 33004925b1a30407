// nkictl bench report: what a report's text and figures are, and that files appear whole or not at all.
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "services/nkictl/bench.h"
#include "services/nkictl/bench_figures.h"
#include "services/nkictl/bench_report.h"
#include "services/nkictl/whole_file.h"

namespace nkiagent::nkictl {
namespace {

namespace fs = std::filesystem;

struct BenchReportFlags {
  std::vector<std::string> runs;  // ids, names, exported files
  std::string folder;             // empty: print instead of writing files
  bool figures = true;
  bool partial = false;  // runs that have not finished as well
};

// Writes all files into a folder beside the wanted one, then moves them there one by one.
absl::Status WriteFiles(const BenchReportFlags& flags, const Report& report,
                        const std::vector<RunData>& runs) {
  std::error_code error;
  const fs::path folder = fs::absolute(flags.folder, error);
  fs::create_directories(folder, error);
  std::string made = (folder / ".report-XXXXXX").string();
  if (error || mkdtemp(made.data()) == nullptr)
    return absl::UnavailableError(absl::StrCat("can't write into ", folder.string()));
  std::vector<std::pair<std::string, std::string>> shown;
  absl::Status status;
  if (flags.figures) {
    const std::vector<Figure> figures = FiguresOf(report.runs);
    status = DrawFigures(figures, made);
    for (const Figure& figure : figures) shown.emplace_back(figure.title, absl::StrCat(figure.name, ".svg"));
  }
  if (status.ok()) status = WriteWhole(absl::StrCat(made, "/report.md"), MarkdownText(report, shown));
  if (status.ok())
    status = WriteWhole(absl::StrCat(made, "/report.json"), absl::StrCat(JsonText(report), "\n"));
  if (status.ok()) status = WriteWhole(absl::StrCat(made, "/rows.csv"), CsvText(runs));
  if (status.ok()) {
    for (const auto& entry : fs::directory_iterator(made, error)) {
      fs::rename(entry.path(), folder / entry.path().filename(), error);
      if (error)
        status =
            absl::UnavailableError(absl::StrCat("can't write into ", folder.string(), ": ", error.message()));
    }
  }
  fs::remove_all(made, error);
  return status;
}

// Markdown on stdout, JSON with --json; with a folder report.md, report.json, rows.csv and figures.
int BenchReport(const Environment& environment, const BenchReportFlags& flags) {
  absl::StatusOr<std::vector<RunData>> runs =
      LoadRuns(environment, flags.runs, /*with_kernels=*/false, /*check=*/true);
  if (!runs.ok()) return Fail(environment, runs.status());
  absl::StatusOr<Report> report = MakeReport(*runs, flags.partial);
  if (!report.ok()) return Fail(environment, report.status());
  if (!flags.folder.empty()) {
    if (absl::Status status = WriteFiles(flags, *report, *runs); !status.ok())
      return Fail(environment, status);
  }
  if (environment.json) {
    printf("%s\n", JsonText(*report).c_str());
  } else if (flags.folder.empty()) {
    printf("%s", MarkdownText(*report, {}).c_str());
  } else {
    printf("%s/report.md, report.json, rows.csv%s\n", flags.folder.c_str(),
           flags.figures ? " and figures" : "");
  }
  return kExitPass;
}

}  // namespace

void AddBenchReport(CLI::App* bench, Verb* verb) {
  auto flags = std::make_shared<BenchReportFlags>();
  CLI::App* report = bench->add_subcommand("report", "Report on finished runs and compare them");
  report->add_option("RUN", flags->runs, "Names, ids or exported files")->required();
  report->add_option(
      "-o,--output", flags->folder,
      "Folder for report.md, report.json, rows.csv and figures; without, the report is printed");
  report->add_flag("!--no-figures", flags->figures, "Draw no figures");
  report->add_flag("--partial", flags->partial, "Runs that have not finished, too");
  report->callback([=] { *verb = [=](const Environment& e) { return BenchReport(e, *flags); }; });
}

}  // namespace nkiagent::nkictl
