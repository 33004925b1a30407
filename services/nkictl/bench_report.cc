#include "services/nkictl/bench_report.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "services/nkictl/text.h"

namespace nkiagent::nkictl {
namespace {

using nlohmann::ordered_json;
using orchestrator::v1::ResultRecord;
using Rows = std::vector<std::vector<std::string>>;

ordered_json ShareJson(const Share& share) {
  const Interval interval = Wilson95(share.passed, share.tasks);
  return {{"tasks", share.tasks},
          {"passed", share.passed},
          {"rate", share.tasks > 0 ? static_cast<double>(share.passed) / share.tasks : 0},
          {"wilson95", {interval.low, interval.high}}};
}

ordered_json SharesJson(const std::map<std::string, Share>& shares) {
  ordered_json json = ordered_json::object();
  for (const auto& [name, share] : shares) json[name] = ShareJson(share);
  return json;
}

// Pass rates of the repeats, in percent of tasks.
Spread RepeatSpread(const RunStats& run) {
  std::vector<double> rates;
  for (const Share& share : run.by_repeat) {
    if (share.tasks > 0) rates.push_back(100.0 * share.passed / share.tasks);
  }
  return SpreadOf(rates);
}

ordered_json LatencyJson(const RunStats& run) {
  ordered_json json;
  ordered_json levels = ordered_json::object();
  for (const auto& [level, unused] : run.by_level) {
    const auto [share, kernels] = run.RooflineShare(level);
    const auto [speedup, compared] = run.OpByOpSpeedup(level);
    levels[level] = {{"kernels", kernels}, {"roofline_share", share}, {"op_by_op_speedup", speedup}};
  }
  json["by_level"] = std::move(levels);
  json["roofline_share"] = run.RooflineShare("").first;
  json["op_by_op_speedup"] = run.OpByOpSpeedup("").first;
  json["kernels"] = ordered_json::array();
  for (const KernelLatency& kernel : run.latencies) {
    json["kernels"].push_back({{"task", kernel.task_id},
                               {"latency_us", kernel.latency_us},
                               {"fused_roofline_us", kernel.fused_roofline_us},
                               {"op_by_op_us", kernel.op_by_op_us}});
  }
  return json;
}

ordered_json VerifySecondsJson(const RunStats& run) {
  ordered_json json = {{"kernels", run.verify_times.size()}, {"p50", run.VerifySeconds(0.5)},
                       {"p90", run.VerifySeconds(0.9)},      {"max", run.VerifySeconds(1)},
                       {"limit", kMaxVerifySeconds},         {"over_limit", ordered_json::array()}};
  if (!run.verify_times.empty()) json["slowest_task"] = run.verify_times.front().task_id;
  for (const VerifyTime& time : run.SlowVerifications())
    json["over_limit"].push_back({{"task", time.task_id}, {"seconds", time.seconds}});
  return json;
}

ordered_json RunJson(const RunStats& run) {
  ordered_json json;
  json["suite"] = run.suite;
  json["model"] = run.model;
  json["mode"] = run.mode;
  json["tasks"] = run.all.tasks;
  json["passed"] = run.all.passed;
  json["by_level"] = SharesJson(run.by_level);
  json["wall_seconds"] = run.wall_seconds;
  json["run"] = run.name;
  json["run_id"] = run.id;
  json["suite_version"] = run.suite_version;
  json["state"] = run.state;
  json["created"] = run.created;
  json["rate"] = ShareJson(run.all)["rate"];
  json["wilson95"] = ShareJson(run.all)["wilson95"];
  json["by_category"] = SharesJson(run.by_category);
  json["repeats"] = run.repeats;
  json["sessions"] = run.sessions;
  json["sessions_planned"] = run.sessions_planned;
  json["passed_sessions"] = run.passed_sessions;
  json["by_repeat"] = ordered_json::array();
  for (const Share& share : run.by_repeat) json["by_repeat"].push_back(ShareJson(share));
  const Spread spread = RepeatSpread(run);
  json["repeat_spread_percent"] = {
      {"mean", spread.mean}, {"deviation", spread.deviation}, {"min", spread.least}, {"max", spread.most}};
  ordered_json turns = ordered_json::object();
  for (const auto& [turn, count] : run.success_turns) turns[absl::StrCat(turn)] = count;
  json["success_turns"] = std::move(turns);
  json["failures"] = run.failures;
  json["errors_met"] = run.errors_met;
  json["failed_tasks"] = ordered_json::array();
  for (const FailedTask& task : run.failed) {
    json["failed_tasks"].push_back({{"task", task.task_id},
                                    {"level", task.level},
                                    {"category", task.category},
                                    {"class", task.kind},
                                    {"failure", task.failure},
                                    {"message", task.message},
                                    {"turns", task.turns},
                                    {"session_id", task.session_id}});
  }
  json["usage"] = {{"model_calls", run.usage.calls()},
                   {"input_tokens", run.usage.input_tokens()},
                   {"cached_input_tokens", run.usage.cached_input_tokens()},
                   {"output_tokens", run.usage.output_tokens()},
                   {"reasoning_tokens", run.usage.reasoning_tokens()},
                   {"cost_usd", 1e-6 * static_cast<double>(run.usage.cost_micro_usd())}};
  json["session_seconds"] = {{"sum", run.session_seconds},
                             {"model", run.model_seconds},
                             {"tools", run.tool_seconds},
                             {"p50", Quantile(run.session_times, 0.5)},
                             {"p90", Quantile(run.session_times, 0.9)},
                             {"max", Quantile(run.session_times, 1)}};
  json["verify_seconds"] = VerifySecondsJson(run);
  json["latency"] = LatencyJson(run);
  json["toolchains"] = run.toolchains;
  json["public_key"] = run.public_key;
  return json;
}

// Tasks whose right kernels took too long to verify: "none", or each with its time.
std::string SlowText(const RunStats& run) {
  std::vector<std::string> slow;
  for (const VerifyTime& time : run.SlowVerifications())
    slow.push_back(absl::StrCat(time.task_id, " (", Seconds(time.seconds), ")"));
  return slow.empty() ? "none" : absl::StrJoin(slow, ", ");
}

// ---- Markdown

// Text in a table's cell.
std::string Cell(const std::string& text) { return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}}); }

std::string MarkdownTable(const std::vector<std::string>& header, const Rows& rows) {
  std::string text = absl::StrCat("| ", absl::StrJoin(header, " | "), " |\n|");
  for (size_t i = 0; i < header.size(); ++i) absl::StrAppend(&text, "---|");
  absl::StrAppend(&text, "\n");
  for (const std::vector<std::string>& row : rows) {
    std::vector<std::string> cells;
    for (const std::string& cell : row) cells.push_back(Cell(cell));
    absl::StrAppend(&text, "| ", absl::StrJoin(cells, " | "), " |\n");
  }
  return absl::StrCat(text, "\n");
}

// All names of a map of shares in any run, in order.
std::set<std::string> NamesOf(const std::vector<RunStats>& runs,
                              std::map<std::string, Share> RunStats::*shares) {
  std::set<std::string> names;
  for (const RunStats& run : runs) {
    for (const auto& [name, unused] : run.*shares) names.insert(name);
  }
  return names;
}

std::string ShareTable(const char* what, const std::vector<RunStats>& runs,
                       std::map<std::string, Share> RunStats::*shares) {
  std::vector<std::string> header = {what};
  for (const RunStats& run : runs) header.push_back(Cell(run.name));
  Rows rows;
  for (const std::string& name : NamesOf(runs, shares)) {
    std::vector<std::string>& row = rows.emplace_back(std::vector<std::string>{name});
    for (const RunStats& run : runs) {
      const auto share = (run.*shares).find(name);
      row.push_back(share == (run.*shares).end() ? "-" : ShareText(share->second));
    }
  }
  std::vector<std::string> total = {"all"};
  for (const RunStats& run : runs) total.push_back(ShareText(run.all));
  rows.push_back(std::move(total));
  return MarkdownTable(header, rows);
}

// Models down, modes across; a cell for each run.
std::string AblationTable(const std::vector<RunStats>& runs) {
  std::set<std::string> models;
  std::set<std::string> modes;
  for (const RunStats& run : runs) {
    models.insert(run.model);
    modes.insert(run.mode);
  }
  std::vector<std::string> header = {"model"};
  header.insert(header.end(), modes.begin(), modes.end());
  Rows rows;
  for (const std::string& model : models) {
    std::vector<std::string>& row = rows.emplace_back(std::vector<std::string>{model});
    for (const std::string& mode : modes) {
      std::vector<std::string> cells;
      for (const RunStats& run : runs) {
        if (run.model == model && run.mode == mode)
          cells.push_back(absl::StrCat(ShareText(run.all), " (", run.suite, ")"));
      }
      row.push_back(cells.empty() ? "-" : absl::StrJoin(cells, "; "));
    }
  }
  return MarkdownTable(header, rows);
}

std::string ComparisonTable(const std::vector<Comparison>& comparisons) {
  Rows rows;
  for (const Comparison& c : comparisons) {
    rows.push_back({c.a, c.b, absl::StrCat(c.common), absl::StrCat(c.both), absl::StrCat(c.only_a),
                    absl::StrCat(c.only_b), absl::StrCat(c.neither), absl::StrFormat("%.4g", c.p_value)});
  }
  return MarkdownTable({"A", "B", "common tasks", "both", "only A", "only B", "neither", "p (exact McNemar)"},
                       rows);
}

std::string TurnsTable(const std::vector<RunStats>& runs) {
  std::set<int> turns;
  for (const RunStats& run : runs) {
    for (const auto& [turn, unused] : run.success_turns) turns.insert(turn);
  }
  Rows rows;
  for (const int turn : turns) {
    std::vector<std::string>& row = rows.emplace_back(std::vector<std::string>{absl::StrCat(turn)});
    for (const RunStats& run : runs) {
      const auto count = run.success_turns.find(turn);
      row.push_back(absl::StrCat(count == run.success_turns.end() ? 0 : count->second));
    }
  }
  std::vector<std::string> header = {"verified in turn"};
  for (const RunStats& run : runs) header.push_back(Cell(run.name));
  return MarkdownTable(header, rows);
}

std::string FailureTable(const RunStats& run) {
  Rows rows;
  for (const auto& [kind, names] : run.failures) {
    for (const auto& [name, count] : names) rows.push_back({kind, name, absl::StrCat(count)});
  }
  return MarkdownTable({"class", "rule or reason", "sessions"}, rows);
}

std::string FailedTasksTable(const RunStats& run) {
  constexpr size_t kShown = 300;
  Rows rows;
  for (const FailedTask& task : run.failed) {
    rows.push_back({task.task_id, task.level, task.category,
                    task.failure.empty() ? task.kind : absl::StrCat(task.kind, ": ", task.failure),
                    absl::StrCat(task.turns), task.message.substr(0, kShown)});
  }
  return MarkdownTable({"task", "level", "category", "failed by", "turns", "said"}, rows);
}

std::string CostTable(const std::vector<RunStats>& runs) {
  Rows rows;
  for (const RunStats& run : runs) {
    rows.push_back({run.name, absl::StrCat(run.sessions), absl::StrCat(run.usage.calls()),
                    absl::StrCat(run.usage.input_tokens() + run.usage.cached_input_tokens() +
                                 run.usage.cache_write_tokens()),
                    absl::StrCat(run.usage.output_tokens()), Dollars(run.usage.cost_micro_usd()),
                    Seconds(run.wall_seconds), Seconds(Quantile(run.session_times, 0.5)),
                    Seconds(Quantile(run.session_times, 0.9)), Seconds(run.model_seconds),
                    Seconds(run.tool_seconds)});
  }
  return MarkdownTable({"run", "sessions", "model calls", "input tokens", "output tokens", "cost",
                        "wall time", "session p50", "session p90", "in model calls", "in tools"},
                       rows);
}

std::string VerifyTable(const std::vector<RunStats>& runs) {
  Rows rows;
  for (const RunStats& run : runs) {
    if (run.verify_times.empty()) continue;
    rows.push_back({run.name, absl::StrCat(run.verify_times.size()), Seconds(run.VerifySeconds(0.5)),
                    Seconds(run.VerifySeconds(0.9)), Seconds(run.VerifySeconds(1)),
                    run.verify_times.front().task_id, SlowText(run)});
  }
  if (rows.empty()) return "";
  return absl::StrCat("Verification of the kernels that passed, each from request to verdict:\n\n",
                      MarkdownTable({"run", "kernels", "p50", "p90", "max", "slowest task",
                                     absl::StrFormat("over %g s", kMaxVerifySeconds)},
                                    rows));
}

std::string LatencyTable(const RunStats& run) {
  Rows rows;
  std::vector<std::string> levels;
  for (const auto& [level, unused] : run.by_level) levels.push_back(level);
  levels.push_back("");
  for (const std::string& level : levels) {
    const auto [share, kernels] = run.RooflineShare(level);
    const auto [speedup, compared] = run.OpByOpSpeedup(level);
    if (kernels == 0) continue;
    rows.push_back({level.empty() ? "all" : level, absl::StrCat(kernels),
                    absl::StrFormat("%.1f %%", 100 * share), absl::StrFormat("%.2f", speedup)});
  }
  return MarkdownTable({"level", "kernels", "of the fused roofline", "op-by-op bound / latency"}, rows);
}

std::string RepeatsText(const RunStats& run) {
  if (run.repeats < 2) return "";
  std::vector<std::string> repeats;
  for (const Share& share : run.by_repeat) repeats.push_back(ShareText(share));
  const Spread spread = RepeatSpread(run);
  return absl::StrCat("- ", run.name, ", repeats: ", absl::StrJoin(repeats, "; "),
                      absl::StrFormat(". Mean %.1f %%, standard deviation %.1f, from %.1f to %.1f.\n",
                                      spread.mean, spread.deviation, spread.least, spread.most));
}

std::string Heading(const RunStats& run) {
  return absl::StrCat("- **", run.name, "** (", run.id, "): suite ", run.suite,
                      run.suite_version.empty() ? "" : absl::StrCat(" ", run.suite_version), ", model ",
                      run.model, ", mode ", run.mode, ", ", run.repeats,
                      run.repeats == 1 ? " repeat, " : " repeats, ", run.state, ", begun ", run.created,
                      " UTC", ". Signed by `", run.public_key, "`. ",
                      run.sessions < run.sessions_planned
                          ? absl::StrCat("**Only ", run.sessions, " of ", run.sessions_planned,
                                         " sessions have ended; tasks without one count as not passed.** ")
                          : "",
                      absl::StrJoin(run.toolchains, "; "), "\n");
}

// ---- CSV

std::string Quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

}  // namespace

ResultRecord ParseRecord(const orchestrator::v1::SignedText& text) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  ResultRecord record;
  if (!google::protobuf::util::JsonStringToMessage(text.text(), &record, options).ok()) record.Clear();
  return record;
}

std::string ShareText(const Share& share) {
  if (share.tasks == 0) return "0/0";
  const Interval interval = Wilson95(share.passed, share.tasks);
  return absl::StrFormat("%d/%d = %.1f %% [%.1f, %.1f]", share.passed, share.tasks,
                         100.0 * share.passed / share.tasks, 100 * interval.low, 100 * interval.high);
}

absl::StatusOr<Report> MakeReport(const std::vector<RunData>& runs, bool partial) {
  if (runs.empty()) return absl::InvalidArgumentError("a report needs a run");
  Report report;
  for (const RunData& data : runs) {
    const orchestrator::v1::Run& run = data.run;
    if (run.state() != orchestrator::v1::RUN_STATE_FINISHED && !partial) {
      return absl::FailedPreconditionError(absl::StrCat(
          "run ", run.spec().name(), " is not finished (",
          EnumText(orchestrator::v1::RunState_Name(run.state()), "RUN_STATE_"), ", ", data.rows.size(),
          " of ", run.counts().total(), " sessions have ended); nkictl bench run --name ", run.spec().name(),
          " goes on with one that was interrupted, --partial reports what there is"));
    }
    report.runs.push_back(StatsOf(data));
  }
  for (size_t a = 0; a < report.runs.size(); ++a) {
    for (size_t b = a + 1; b < report.runs.size(); ++b) {
      absl::StatusOr<Comparison> comparison = Compare(report.runs[a], report.runs[b]);
      if (!comparison.ok()) return comparison.status();
      report.comparisons.push_back(*std::move(comparison));
    }
  }
  return report;
}

std::string JsonText(const Report& report) {
  ordered_json json = RunJson(report.runs.front());
  json["runs"] = ordered_json::array();
  for (const RunStats& run : report.runs) json["runs"].push_back(RunJson(run));
  json["comparisons"] = ordered_json::array();
  for (const Comparison& c : report.comparisons) {
    json["comparisons"].push_back({{"a", c.a},
                                   {"b", c.b},
                                   {"common_tasks", c.common},
                                   {"both", c.both},
                                   {"only_a", c.only_a},
                                   {"only_b", c.only_b},
                                   {"neither", c.neither},
                                   {"mcnemar_exact_p", c.p_value}});
  }
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

std::string ReportJson(const std::vector<RunData>& runs) {
  absl::StatusOr<Report> report = MakeReport(runs, /*partial=*/true);
  return report.ok() ? JsonText(*report) : "{}";
}

std::string MarkdownText(const Report& report,
                         const std::vector<std::pair<std::string, std::string>>& figures) {
  const std::vector<RunStats>& runs = report.runs;
  std::string text = "# Benchmark report\n\n";
  for (const RunStats& run : runs) absl::StrAppend(&text, Heading(run));
  absl::StrAppend(&text,
                  "\nRates are passed/tasks with the 95 % Wilson interval. With repeats a task counts as "
                  "passed when more "
                  "than half of its sessions passed.\n\n## Pass rate\n\n",
                  ShareTable("level", runs, &RunStats::by_level),
                  ShareTable("category", runs, &RunStats::by_category));
  for (const RunStats& run : runs) absl::StrAppend(&text, RepeatsText(run));
  if (runs.size() > 1) {
    absl::StrAppend(&text, "\n## Models and modes\n\n", AblationTable(runs), "## Paired comparison\n\n",
                    ComparisonTable(report.comparisons));
  }
  absl::StrAppend(&text, "\n## Turns to success\n\n", TurnsTable(runs), "## Cost and time\n\n",
                  CostTable(runs), VerifyTable(runs));
  for (const RunStats& run : runs) {
    absl::StrAppend(&text, "## Failures of ", run.name, "\n\n");
    absl::StrAppend(
        &text, run.failures.empty() ? "None.\n\n" : absl::StrCat(FailureTable(run), FailedTasksTable(run)));
    if (!run.errors_met.empty()) {
      Rows rows;
      for (const auto& [name, count] : run.errors_met) rows.push_back({name, absl::StrCat(count)});
      absl::StrAppend(&text, "Kernels that failed on the way, in sessions of any end:\n\n",
                      MarkdownTable({"rule or reason", "kernels"}, rows));
    }
    if (!run.latencies.empty()) {
      absl::StrAppend(&text, "## Latency of ", run.name,
                      "\n\nGeometric means over verified kernels, estimated by the timing model. The fused "
                      "roofline moves "
                      "the task's inputs and outputs once; the op-by-op bound does so for each operator.\n\n",
                      LatencyTable(run));
    }
  }
  for (const auto& [title, file] : figures) absl::StrAppend(&text, "![", title, "](", file, ")\n\n");
  return text;
}

std::string CsvText(const std::vector<RunData>& runs) {
  std::string text =
      "run,suite,model,mode,task,level,category,repeat,passed,state,failure_class,failure,turns_used,turn_of_"
      "success,"
      "wall_seconds,model_seconds,tool_seconds,verify_seconds,input_tokens,output_tokens,cost_usd,latency_us,"
      "kernel_"
      "roofline_us,"
      "fused_roofline_us,op_by_op_us,session_id,task_hash,kernel_hash,program_hash,seeds\r\n";
  for (const RunData& data : runs) {
    const RunStats stats = StatsOf({data.run, data.manifest, {}});
    for (const RunRowData& row : data.rows) {
      const ResultRecord& r = row.record;
      const std::vector<std::string> cells = {
          stats.name,
          stats.suite,
          stats.model,
          stats.mode,
          r.task_id(),
          absl::StrCat(r.level()),
          r.category(),
          absl::StrCat(r.repeat()),
          r.passed() ? "1" : "0",
          EnumText(orchestrator::v1::SessionState_Name(r.state()), "SESSION_STATE_"),
          r.passed() ? ""
                     : EnumText(orchestrator::v1::FailureClass_Name(r.failure_class()), "FAILURE_CLASS_"),
          r.failure(),
          absl::StrCat(r.turns_used()),
          absl::StrCat(r.turn_of_success()),
          absl::StrFormat("%.4f", ToSeconds(r.wall_time())),
          absl::StrFormat("%.4f", ToSeconds(r.model_time())),
          absl::StrFormat("%.4f", ToSeconds(r.tool_time())),
          r.has_verify_time() ? absl::StrFormat("%.4f", ToSeconds(r.verify_time())) : "",
          absl::StrCat(r.usage().input_tokens()),
          absl::StrCat(r.usage().output_tokens()),
          absl::StrFormat("%.6f", 1e-6 * static_cast<double>(r.usage().cost_micro_usd())),
          absl::StrCat(r.latency_us()),
          absl::StrCat(r.kernel_roofline_us()),
          absl::StrCat(r.fused_roofline_us()),
          absl::StrCat(r.op_by_op_us()),
          r.session_id(),
          r.task_hash(),
          r.kernel_hash(),
          r.program_hash(),
          absl::StrJoin(r.seeds(), " ")};
      for (size_t i = 0; i < cells.size(); ++i) absl::StrAppend(&text, i > 0 ? "," : "", Quoted(cells[i]));
      absl::StrAppend(&text, "\r\n");
    }
  }
  return text;
}

std::string RunSummary(const RunData& data) {
  const RunStats stats = StatsOf(data);
  Rows rows;
  for (const auto& [level, share] : stats.by_level)
    rows.push_back({absl::StrCat("level ", level), ShareText(share)});
  rows.push_back({"all", ShareText(stats.all)});
  std::string text = Table({"tasks", "passed (95 % interval)"}, rows);
  for (const auto& [kind, names] : stats.failures) {
    std::vector<std::string> parts;
    for (const auto& [name, count] : names)
      parts.push_back(name == "-" ? absl::StrCat(count) : absl::StrCat(name, " ", count));
    absl::StrAppend(&text, kind, ": ", absl::StrJoin(parts, ", "), "\n");
  }
  if (!stats.SlowVerifications().empty()) {
    absl::StrAppend(&text, "verification took longer than ", Seconds(kMaxVerifySeconds), ": ",
                    SlowText(stats), "\n");
  }
  return absl::StrCat(text, stats.sessions, " sessions in ", Seconds(stats.wall_seconds), ", ",
                      Dollars(stats.usage.cost_micro_usd()), "\n");
}

}  // namespace nkiagent::nkictl
