#include "services/llm_gateway/builtin/repair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "services/llm_gateway/builtin/graph_parser.h"
#include "services/llm_gateway/builtin/testing_graphs.h"

namespace nkiagent::builtin {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct Kernel {
  KernelPlan plan;
  KernelText text;
};

Kernel Write(const std::string& graph_text, const Assumptions& assumptions = {}) {
  const absl::StatusOr<Graph> graph = ParseGraph(graph_text);
  EXPECT_TRUE(graph.ok()) << graph.status();
  Kernel kernel;
  kernel.plan = MakePlan(*graph, assumptions).value();
  kernel.text = EmitKernel(kernel.plan).value();
  return kernel;
}

Observation Error(const std::string& rule, int line, double limit = 0, double actual = 0) {
  Observation seen;
  seen.compiled = false;
  seen.errors = {{rule, line, "message", limit, actual}};
  return seen;
}

Observation Mismatch(bool has_nan) {
  Observation seen;
  seen.compiled = true;
  seen.verified = false;
  seen.failure = "mismatch";
  seen.has_nan = has_nan;
  return seen;
}

constexpr char kColumnSoftmax[] = R"(graph nki.graph.v1
input x: float32[4, 64, 96]
%_softmax: float32[4, 64, 96] = aten._softmax.default(%x, 1, False)
return %_softmax
)";

TEST(StageAtLine, FindsTheStageAroundALine) {
  KernelText text;
  text.stage_first_line = {10, 20};
  EXPECT_EQ(StageAtLine(text, 9), std::nullopt);
  EXPECT_EQ(StageAtLine(text, 10), 0);
  EXPECT_EQ(StageAtLine(text, 19), 0);
  EXPECT_EQ(StageAtLine(text, 999), 1);
}

TEST(Revise, MakesRoomWhereTheLinePointsAt) {
  Kernel kernel = Write(kMlpGraph);
  const auto seen = [&] {
    return Error("err_sbuf_capacity_exceeded", kernel.text.stage_first_line[1] + 3, 100, 200);
  };
  // First what waits in SBUF goes back to HBM, then the stage takes less.
  EXPECT_THAT(kernel.text.source, HasSubstr("# stays on chip"));
  std::optional<Revision> revision = Revise(kernel.plan, kernel.text, seen());
  ASSERT_TRUE(revision.has_value());
  EXPECT_THAT(revision->reason, HasSubstr("'gelu' waits there"));
  kernel = Write(kMlpGraph, revision->assumptions);
  EXPECT_THAT(kernel.text.source, Not(HasSubstr("# stays on chip")));

  revision = Revise(kernel.plan, kernel.text, seen());
  ASSERT_TRUE(revision.has_value());
  EXPECT_TRUE(revision->assumptions.ForStage(0).resident_moving);
  EXPECT_FALSE(revision->assumptions.ForStage(1).resident_moving);
  EXPECT_THAT(revision->reason, HasSubstr("stage 2"));
}

TEST(Revise, TakesTheSizeFromLimitAndActual) {
  const Kernel kernel = Write(SoftmaxGraph(128, 65536));
  const int line = kernel.text.stage_first_line[0] + 3;
  const std::optional<Revision> revision =
      Revise(kernel.plan, kernel.text, Error("err_sbuf_capacity_exceeded", line, 1000, 8000));
  ASSERT_TRUE(revision.has_value());
  EXPECT_EQ(revision->assumptions.ForStage(0).max_free, kernel.plan.stages[0].free.tile / 8);
}

TEST(Revise, MakesDependentLoopsSequential) {
  const Kernel kernel = Write(SoftmaxGraph(256, 512));
  const Observation seen = Error("err_unexpected_output_dependencies", kernel.text.stage_first_line[0] + 1);
  const std::optional<Revision> revision = Revise(kernel.plan, kernel.text, seen);
  ASSERT_TRUE(revision.has_value());
  const Kernel revised = Write(SoftmaxGraph(256, 512), revision->assumptions);
  EXPECT_THAT(revised.text.source, HasSubstr("nl.sequential_range(2)"));
  EXPECT_FALSE(Revise(revised.plan, revised.text, seen).has_value());
}

TEST(Revise, BlamesTurnedTilesForNaN) {
  const Kernel kernel = Write(kColumnSoftmax);
  EXPECT_THAT(kernel.text.source, HasSubstr("nisa.nc_transpose("));
  EXPECT_FALSE(Revise(kernel.plan, kernel.text, Mismatch(/*has_nan=*/false)).has_value());
  const std::optional<Revision> revision = Revise(kernel.plan, kernel.text, Mismatch(/*has_nan=*/true));
  ASSERT_TRUE(revision.has_value());
  const Kernel revised = Write(kColumnSoftmax, revision->assumptions);
  EXPECT_EQ(revised.text.source.find("nisa.nc_transpose("), std::string::npos);
}

constexpr char kAttention[] = R"(graph nki.graph.v1
input q: float32[300, 64]
input k: float32[64, 3000]
input v: float32[3000, 64]
%mm: float32[300, 3000] = aten.mm.default(%q, %k)
%_softmax: float32[300, 3000] = aten._softmax.default(%mm, -1, False)
%mm_1: float32[300, 64] = aten.mm.default(%_softmax, %v)
return %mm_1
)";

TEST(Revise, GivesAttentionLessOfTheChipStepByStep) {
  Kernel kernel = Write(kAttention);
  ASSERT_EQ(kernel.plan.stages.size(), 1u);
  std::vector<std::string> reasons;
  for (int turn = 0; turn < 8 && kernel.plan.stages.size() == 1; ++turn) {
    const Observation seen =
        Error("err_sbuf_capacity_exceeded", kernel.text.stage_first_line[0] + 3, 100, 200);
    const std::optional<Revision> revision = Revise(kernel.plan, kernel.text, seen);
    ASSERT_TRUE(revision.has_value());
    reasons.push_back(revision->reason);
    const std::string before = kernel.text.source;
    kernel = Write(kAttention, revision->assumptions);
    EXPECT_NE(kernel.text.source, before);
  }
  EXPECT_THAT(reasons, ElementsAre(HasSubstr("section by section"), HasSubstr("at most 1500"),
                                   HasSubstr("at most 750"), HasSubstr("go through memory")));
  EXPECT_EQ(kernel.plan.stages.size(), 3u);
}

TEST(Revise, BlamesFusedAttentionForNaN) {
  const Kernel kernel = Write(kAttention);
  EXPECT_FALSE(Revise(kernel.plan, kernel.text, Mismatch(/*has_nan=*/false)).has_value());
  const std::optional<Revision> revision = Revise(kernel.plan, kernel.text, Mismatch(/*has_nan=*/true));
  ASSERT_TRUE(revision.has_value());
  EXPECT_FALSE(revision->assumptions.lowering.fused_attention);
}

TEST(Revise, LearnsNothingAboutTheDataFromACrash) {
  const Kernel kernel = Write(kLayerNormGraph);
  Observation seen = Mismatch(false);
  EXPECT_TRUE(Revise(kernel.plan, kernel.text, seen).has_value());
  seen.failure = "timeout";
  EXPECT_FALSE(Revise(kernel.plan, kernel.text, seen).has_value());
}

TEST(Revise, LeavesWhatItCannotExplain) {
  const Kernel kernel = Write(SoftmaxGraph(128, 512));
  EXPECT_FALSE(Revise(kernel.plan, kernel.text, Error("err_unsupported_memory", 12)).has_value());
  EXPECT_FALSE(Revise(kernel.plan, kernel.text, Error("err_sbuf_capacity_exceeded", 1)).has_value());
  EXPECT_FALSE(Revise(kernel.plan, kernel.text, Mismatch(false)).has_value());
  EXPECT_FALSE(Revise(kernel.plan, kernel.text, Observation{}).has_value());
}

}  // namespace
}  // namespace nkiagent::builtin
