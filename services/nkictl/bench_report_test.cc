#include "services/nkictl/bench_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "services/nkictl/bench_figures.h"
#include "services/nkictl/bench_progress.h"
#include "services/nkictl/testing_runs.h"

namespace nkiagent::nkictl {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;
using testing_runs::MakeRun;

TEST(Report, JsonHasTheKeysThatProgramsReadAtItsTop) {
  const auto report = MakeReport({MakeRun("a", 4, {true, false, true, true})}, false);
  ASSERT_TRUE(report.ok()) << report.status();
  const nlohmann::json json = nlohmann::json::parse(JsonText(*report));
  EXPECT_EQ(json["suite"], "small");
  EXPECT_EQ(json["model"], "builtin");
  EXPECT_EQ(json["mode"], "agent");
  EXPECT_EQ(json["tasks"], 4);
  EXPECT_EQ(json["passed"], 3);
  EXPECT_EQ(json["wall_seconds"], 12);
  EXPECT_EQ(json["by_level"]["1"]["tasks"], 2);
  EXPECT_EQ(json["by_level"]["1"]["passed"], 2);
  EXPECT_EQ(json["by_level"]["2"]["passed"], 0);
  EXPECT_NEAR(json["by_level"]["1"]["wilson95"][0].get<double>(), 0.342380, 1e-6);
  EXPECT_EQ(json["by_category"]["matmul"]["passed"], 1);
  EXPECT_EQ(json["failures"]["compile"]["err_unsupported_memory"], 1);
  EXPECT_EQ(json["failed_tasks"][0]["task"], "t1");
  EXPECT_NEAR(json["latency"]["roofline_share"].get<double>(), 0.4, 1e-12);
  EXPECT_NEAR(json["latency"]["op_by_op_speedup"].get<double>(), 2, 1e-12);
  EXPECT_EQ(json["success_turns"]["2"], 3);
  EXPECT_NEAR(json["usage"]["cost_usd"].get<double>(), 0.004, 1e-12);
}

TEST(Report, VerificationTimesAreThoseOfRightKernelsAndSlowTasksAreNamed) {
  // 1, 2, 4 and 5 s; t2 did not pass.
  const RunData data = MakeRun("a", 5, {true, true, false, true, true});
  const auto report = MakeReport({data}, false);
  ASSERT_TRUE(report.ok()) << report.status();
  const nlohmann::json json = nlohmann::json::parse(JsonText(*report))["verify_seconds"];
  EXPECT_EQ(json["kernels"], 4);
  EXPECT_EQ(json["p50"], 3);
  EXPECT_EQ(json["max"], 5);
  EXPECT_EQ(json["slowest_task"], "t4");
  EXPECT_EQ(json["limit"], 3);
  EXPECT_EQ(json["over_limit"].dump(), R"([{"seconds":5.0,"task":"t4"},{"seconds":4.0,"task":"t3"}])");
  EXPECT_THAT(MarkdownText(*report, {}), HasSubstr("| 5.00 s | t4 | t4 (5.00 s), t3 (4.00 s) |"));
  EXPECT_THAT(RunSummary(data),
              HasSubstr("verification took longer than 3.00 s: t4 (5.00 s), t3 (4.00 s)\n"));
  const RunData quick = MakeRun("b", 2, {true, true});
  EXPECT_THAT(MarkdownText(*MakeReport({quick}, false), {}), HasSubstr("| 2.00 s | t1 | none |"));
  EXPECT_THAT(RunSummary(quick), testing::Not(HasSubstr("longer")));
}

TEST(Report, RepeatsHaveASpreadAndATaskNeedsMostOfThem) {
  // t0 passes twice of three, t1 once, t2 always.
  const auto report =
      MakeReport({MakeRun("a", 3, {true, false, true, true, true, true, false, false, true})}, false);
  ASSERT_TRUE(report.ok());
  const RunStats& run = report->runs[0];
  EXPECT_EQ(run.all.passed, 2);
  EXPECT_EQ(run.all.tasks, 3);
  EXPECT_EQ(run.passed_sessions, 6);
  EXPECT_EQ(run.by_repeat[1].passed, 3);
  EXPECT_EQ(run.by_repeat[2].passed, 1);
  const std::string text = MarkdownText(*report, {});
  EXPECT_THAT(text, HasSubstr("standard deviation 33.3, from 33.3 to 100.0"));
}

TEST(Report, RunsAreComparedInPairs) {
  const RunData agent = MakeRun("agent", 6, {true, true, true, true, true, false});
  const RunData single = MakeRun("single", 6, {true, false, false, false, true, true}, "builtin",
                                 orchestrator::v1::MODE_SINGLE_SHOT);
  const auto report = MakeReport({agent, single}, false);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_THAT(report->comparisons, SizeIs(1));
  const Comparison& c = report->comparisons[0];
  EXPECT_EQ(c.only_a, 3);
  EXPECT_EQ(c.only_b, 1);
  EXPECT_EQ(c.both, 2);
  EXPECT_NEAR(c.p_value, 0.625, 1e-12);
  EXPECT_THAT(MarkdownText(*report, {{"Turns", "turns.svg"}}),
              AllOf(HasSubstr("| model | agent | single-shot |"), HasSubstr("![Turns](turns.svg)"),
                    HasSubstr("p (exact McNemar)"), HasSubstr("\\| piped")));
}

TEST(Report, WhatCanNotBeComparedOrIsNotFinishedIsRefused) {
  RunData open = MakeRun("open", 2, {true, true});
  open.run.set_state(orchestrator::v1::RUN_STATE_RUNNING);
  open.rows.pop_back();
  const auto refused = MakeReport({open}, false);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("run open is not finished (running, 1 of 2"));
  const auto partial = MakeReport({open}, true);
  ASSERT_TRUE(partial.ok());
  EXPECT_EQ(partial->runs[0].all.passed, 1);
  EXPECT_THAT(MarkdownText(*partial, {}), HasSubstr("Only 1 of 2 sessions have ended"));

  RunData other = MakeRun("other", 2, {true, true});
  other.rows[1].record.set_task_hash("another");
  EXPECT_THAT(std::string(MakeReport({MakeRun("a", 2, {true, true}), other}, false).status().message()),
              HasSubstr("task t1 is another one"));
  RunData foreign = MakeRun("foreign", 1, {true});
  foreign.run.mutable_spec()->mutable_tasks(0)->set_id("else");
  foreign.rows[0].record.set_task_id("else");
  EXPECT_THAT(std::string(MakeReport({MakeRun("a", 1, {true}), foreign}, false).status().message()),
              HasSubstr("no task in common"));
}

TEST(Report, CsvHasALineForEachSessionAndQuotesWhatMustBe) {
  RunData data = MakeRun("a", 2, {true, false});
  data.rows[1].record.set_category("a,\"b\"");
  const std::string csv = CsvText({data});
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
  EXPECT_THAT(csv, AllOf(StartsWith("run,suite,model,mode,task,level"), HasSubstr(",\"a,\"\"b\"\"\",")));
}

TEST(Figures, AreOnlyThoseWithData) {
  const RunStats failed = StatsOf(MakeRun("a", 2, {false, false}));
  const RunStats passed = StatsOf(MakeRun("b \"$x\"; set output", 2, {true, true}));
  EXPECT_THAT(FiguresOf({failed}), SizeIs(3)) << "no kernel, so no roofline";
  EXPECT_THAT(FiguresOf({passed}), SizeIs(3)) << "no failure";
  EXPECT_THAT(FiguresOf({failed, passed}), SizeIs(4));
  for (const Figure& figure : FiguresOf({passed}))
    EXPECT_EQ(figure.script.find("\"; set output"), std::string::npos);
}

TEST(Progress, LineFitsAndTellsHowLong) {
  RunProgress progress{.total = 250, .ended = 100, .passed = 90, .running = 4, .elapsed = absl::Seconds(100)};
  EXPECT_EQ(ProgressLine(progress, 200),
            "[#########...............] 100/250  90 passed, 10 not, 4 running  1:40, about 2:30 left");
  EXPECT_EQ(ProgressLine(progress, 20).size(), 20u);
  EXPECT_THAT(ProgressLine({}, 200), HasSubstr("0/0"));
}

TEST(Progress, RowsTellWhatAPersonWantsToKnow) {
  const RunData data = MakeRun("a", 2, {true, false});
  EXPECT_EQ(RowLine(data.rows[0].record), "PASS  t0: turn 2, 1.00 s, estimate 10 us");
  EXPECT_THAT(RowLine(data.rows[1].record),
              StartsWith("FAIL  t1: compile (err_unsupported_memory): no kernel"));
}

}  // namespace
}  // namespace nkiagent::nkictl
