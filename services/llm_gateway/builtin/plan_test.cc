#include "services/llm_gateway/builtin/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/graph_parser.h"
#include "services/llm_gateway/builtin/testing_graphs.h"

namespace nkiagent::builtin {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

KernelPlan PlanOf(const std::string& text, const Assumptions& assumptions = {}) {
  const absl::StatusOr<Graph> graph = ParseGraph(text);
  EXPECT_TRUE(graph.ok()) << graph.status();
  absl::StatusOr<KernelPlan> plan = MakePlan(*graph, assumptions);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *std::move(plan) : KernelPlan{};
}

// Names of the values that pass through HBM from stage to stage, and of those that stay in SBUF.
std::vector<std::string> ScratchIn(const KernelPlan& plan) {
  std::vector<std::string> names;
  for (size_t i = 0; i < plan.program.values.size(); ++i) {
    const Value& value = plan.program.values[i];
    if (plan.staged.in_hbm[i] && !value.is_argument && !plan.staged.is_result[i]) names.push_back(value.name);
  }
  return names;
}

std::vector<std::string> OnChip(const KernelPlan& plan) {
  std::vector<std::string> names;
  for (size_t i = 0; i < plan.program.values.size(); ++i) {
    if (plan.residences[i].has_value()) names.push_back(plan.program.values[i].name);
  }
  return names;
}

std::string RefusalOf(const std::string& text) {
  const absl::StatusOr<Graph> graph = ParseGraph(text);
  if (!graph.ok()) return std::string(graph.status().message());
  const absl::StatusOr<KernelPlan> plan = MakePlan(*graph, {});
  return plan.ok() ? "" : std::string(plan.status().message());
}

TEST(ChooseTile, PrefersEvenSplits) {
  EXPECT_EQ(ChooseTile(96, 128), 96);
  EXPECT_EQ(ChooseTile(256, 128), 128);
  EXPECT_EQ(ChooseTile(200, 128), 100);
  EXPECT_EQ(ChooseTile(131, 128), 66);  // a prime: ragged, as even as can be
  EXPECT_EQ(ChooseTile(130, 128), 65);
  EXPECT_EQ(ChooseTile(1024, 512), 512);
}

TEST(Plan, SoftmaxIsOneStageOfWholeRows) {
  const KernelPlan plan = PlanOf(SoftmaxGraph(300, 1000));
  ASSERT_THAT(plan.stages, SizeIs(1));
  EXPECT_EQ(plan.stages[0].partition.tile, 100);
  EXPECT_EQ(plan.stages[0].free.tile, 1000);
  EXPECT_FALSE(plan.stages[0].chunked());
}

TEST(Plan, SoftmaxRowsSplitWhereTheAssumptionIsGone) {
  Assumptions assumptions;
  assumptions.stages[0].max_free = 256;
  const KernelPlan plan = PlanOf(SoftmaxGraph(300, 1000), assumptions);
  EXPECT_LE(plan.stages[0].free.tile, 256);
  // Four partitions for each row are better than four chunks, but what turns NaN into more of it may not be.
  EXPECT_FALSE(plan.stages[0].chunked());
  EXPECT_EQ(plan.stages[0].spread.parts, 4);
  assumptions.stages[0].finite_tiles = false;
  const KernelPlan careful = PlanOf(SoftmaxGraph(300, 1000), assumptions);
  EXPECT_EQ(careful.stages[0].free.tile, 250);
  EXPECT_TRUE(careful.stages[0].chunked());
}

TEST(Plan, FewLongRowsShareThePartitions) {
  const KernelPlan plan = PlanOf(SoftmaxGraph(4, 8192));
  EXPECT_EQ(plan.stages[0].spread.rows * plan.stages[0].spread.parts, plan.stages[0].partition.tile);
  EXPECT_GE(plan.stages[0].spread.parts, 8);
}

TEST(Plan, NormsRunOverRowsOfAllLeadingAxes) {
  for (const char* text : {kLayerNormGraph, kRmsNormGraph}) {
    const KernelPlan plan = PlanOf(text);
    ASSERT_THAT(plan.stages, SizeIs(1));
    EXPECT_EQ(plan.stages[0].partition.size, 128);
    EXPECT_EQ(plan.stages[0].free.size, 96);
    EXPECT_TRUE(plan.stages[0].row_loops.empty());
  }
}

TEST(Plan, BiasAndActivationStayWithTheirMatmul) {
  const KernelPlan plan = PlanOf(kMlpGraph);
  ASSERT_THAT(plan.stages, SizeIs(2));
  for (const StagePlan& stage : plan.stages) {
    EXPECT_GE(stage.stage.matmul, 0);
    EXPECT_LE(stage.partition.tile, kMaxPartitions);
    EXPECT_LE(stage.free.tile, kMaxMovingFree);
    EXPECT_LE(stage.matmul.k_tile, kMaxPartitions);
    EXPECT_TRUE(stage.matmul.resident_moving);
  }
  EXPECT_EQ(plan.stages[0].partition.size, 200);
  EXPECT_EQ(plan.stages[0].matmul.k, 256);
  EXPECT_THAT(ScratchIn(plan), IsEmpty());
  EXPECT_THAT(OnChip(plan), ElementsAre("gelu"));
}

TEST(Plan, ElementwiseStagesFillThePartitions) {
  const KernelPlan plan = PlanOf(
      "graph nki.graph.v1\ninput x: float32[2, 3, 64, 256]\n"
      "%relu: float32[2, 3, 64, 256] = aten.relu.default(%x)\nreturn %relu\n");
  ASSERT_THAT(plan.stages, SizeIs(1));
  EXPECT_EQ(plan.stages[0].partition.tile, 128);
  EXPECT_LE(plan.stages[0].free.tile, kElementwiseFree);
  EXPECT_EQ(plan.stages[0].partition.tile * plan.stages[0].partition.count() * plan.stages[0].free.tile *
                plan.stages[0].free.count(),
            2 * 3 * 64 * 256);
}

TEST(Plan, PerChannelOperandsPutChannelsOnPartitions) {
  const KernelPlan plan = PlanOf(
      "graph nki.graph.v1\ninput x: float32[2, 100, 16, 16]\nparam w: float32[100, 1, 1]\n"
      "%mul: float32[2, 100, 16, 16] = aten.mul.Tensor(%x, %w)\nreturn %mul\n");
  ASSERT_THAT(plan.stages, SizeIs(1));
  EXPECT_EQ(plan.stages[0].partition.tile, 100);
  EXPECT_EQ(plan.stages[0].free.size, 256);
  EXPECT_THAT(plan.stages[0].row_loops, SizeIs(1));
}

TEST(Plan, ReductionsOverLeadingAxesTakeThoseAsFreeAxis) {
  const KernelPlan plan = PlanOf(
      "graph nki.graph.v1\ninput x: float32[4, 50, 30]\n"
      "%sum_1: float32[4, 30] = aten.sum.dim_IntList(%x, [1])\nreturn %sum_1\n");
  ASSERT_THAT(plan.stages, SizeIs(1));
  EXPECT_EQ(plan.stages[0].free.size, 50);
}

TEST(Plan, DeadNodesAreNotLowered) {
  const KernelPlan plan = PlanOf(
      "graph nki.graph.v1\ninput x: float32[4, 8]\n"
      "%c: float32[4, 8] = aten.linalg_inv_ex.default(%x)\n"
      "%relu: float32[4, 8] = aten.relu.default(%x)\nreturn %relu\n");
  EXPECT_THAT(plan.stages, SizeIs(1));
}

TEST(Plan, ScalarsFoldAway) {
  const KernelPlan plan = PlanOf(
      "graph nki.graph.v1\ninput x: float32[4, 8]\nconst c0: float32[] = 0.5\n"
      "%full: float32[] = aten.full.default([], 2, dtype=torch.float32)\n"
      "%mul: float32[] = aten.mul.Tensor(%full, %c0)\n"
      "%add: float32[4, 8] = aten.add.Tensor(%x, %mul)\nreturn %add\n");
  ASSERT_THAT(plan.program.ops, SizeIs(1));
  EXPECT_EQ(plan.program.ops[0].operands[1].immediate, 1.0);
}

TEST(Plan, RefusalsNameTheNodeAndTheReason) {
  EXPECT_THAT(RefusalOf(kInverseGraph), HasSubstr("node '%inverse': operation aten.linalg_inv.default"));
  EXPECT_THAT(RefusalOf("graph nki.graph.v1\ninput x: float32[4, 8]\n"
                        "%max_1: (float32[4], int64[4]) = aten.max.dim(%x, -1)\n"
                        "%getitem_1: int64[4] = getitem(%max_1, 2)\nreturn %getitem_1\n"),
              HasSubstr("result 2 of '%max_1' is not supported"));
  EXPECT_THAT(
      RefusalOf("graph nki.graph.v1\ninput x: float32[4, 0]\n%r: float32[4, 0] = aten.relu.default(%x)\n"
                "return %r\n"),
      HasSubstr("no elements"));
}

// Graphs that contradict themselves must be refused, not believed.
TEST(Plan, ContradictionsAreRefused) {
  for (const char* line : {
           "%y: float32[9, 9] = aten.relu.default(%x)",
           "%y: float32[4, 8] = aten.add.Tensor(%x, %w)",
           "%y: float32[4, 8] = aten.permute.default(%x, [0, 0])",
           "%y: float32[4, 8] = aten.permute.default(%x, [7, 1])",
           "%y: float32[4, 9] = aten.view.default(%x, [4, 9])",
           "%y: float32[4, 4] = aten.mm.default(%x, %x)",
           "%y: float32[4] = aten.sum.dim_IntList(%x, [5])",
           "%y: float32[4, 8] = aten.slice.Tensor(%x, 1, 0, 8, 0)",
           "%y: float32[8] = aten.select.int(%x, 0, 99)",
           "%y: float32[4, 8] = aten.native_layer_norm.default(%x, [1, 2, 3], None, None, 1e-05)",
           "%y: float32[4, 8] = aten.cat.default([%x, %w], 0)",
           "%y: float32[4, 8] = aten.add.Tensor(%x)",
           "%y: float32[4, 8] = getitem(%x, 3)",
           "%y: float32[4, 8] = aten.split.Tensor(%x, 0)",
           "%y: float32[4, 8] = aten.repeat.default(%x, [9223372036854775807, 2])",
           "%y: float32[4, 8] = aten.expand.default(%x, [4294967296, 4294967296, 4, 8])",
           "%y: float32[4, 8] = aten.cat.default([%c, %c], 0)",
           "%y: float32[4, 8] = aten.slice.Tensor(%x, 1, 0, 8, 9223372036854775807)",
       }) {
    EXPECT_NE(
        RefusalOf(
            "graph nki.graph.v1\ninput x: float32[4, 8]\ninput w: float32[3]\nconst c: float32[] = 1\n" +
            std::string(line) + "\nreturn %y\n"),
        "")
        << line;
  }
}

// A reduction in two steps once recursed for ever on the shape that a failed operand left behind.
TEST(Plan, AFailedArgumentEndsTheReductionOfALargeTensor) {
  EXPECT_THAT(RefusalOf("graph nki.graph.v1\ninput x: float32[64, 128]\n"
                        "%any_1: bool[] = aten.any.dim(%x, %x)\nreturn %any_1\n"),
              HasSubstr("no list of integers"));
}

// Linear, softmax over the row, linear: `rows` rows of 96 elements.
std::string TwoProductsGraph(int rows, const std::string& middle, const std::string& returned) {
  return absl::StrCat("graph nki.graph.v1\ninput x: float32[", rows,
                      ", 96]\nparam v: float32[96, 96]\nparam w: float32[96, 40]\n", "%mm: float32[", rows,
                      ", 96] = aten.mm.default(%x, %v)\n", middle, "%mm_1: float32[", rows,
                      ", 40] = aten.mm.default(%y, %w)\nreturn ", returned, "\n");
}

TEST(Residence, RowsThatAllStagesCutAlikeStayOnChip) {
  const KernelPlan plan = PlanOf(
      TwoProductsGraph(300, "%y: float32[300, 96] = aten._log_softmax.default(%mm, -1, False)\n", "%mm_1"));
  ASSERT_THAT(plan.stages, SizeIs(3));
  EXPECT_THAT(OnChip(plan), ElementsAre("mm", "y"));
  EXPECT_THAT(ScratchIn(plan), IsEmpty());
}

std::string ProductGraph(int rows, int depth, int columns) {
  return absl::StrCat("graph nki.graph.v1\ninput x: float32[", rows, ", ", depth, "]\ninput y: float32[",
                      depth, ", ", columns, "]\n%mm: float32[", rows, ", ", columns,
                      "] = aten.mm.default(%x, %y)\nreturn %mm\n");
}

TEST(Plan, AMovingMatrixThatDoesNotFitComesInBlocksOfColumns) {
  const KernelPlan small = PlanOf(ProductGraph(256, 1024, 2048));
  EXPECT_EQ(small.stages[0].matmul.panels, 1);
  for (const int columns : {4096, 3001}) {
    const KernelPlan plan = PlanOf(ProductGraph(256, 8192, columns));
    const StagePlan& stage = plan.stages[0];
    const MatmulTiling& mm = stage.matmul;
    EXPECT_TRUE(mm.resident_moving);
    EXPECT_GT(mm.panels, 1);
    EXPECT_EQ(mm.panels * mm.panel_tiles, stage.free.count());
    EXPECT_LE(mm.panel_tiles * stage.free.tile * mm.k_count() * 4, kPanelBytes);
  }
}

TEST(Plan, ASoftmaxBetweenProductsIsOneStage) {
  const std::string softmax = "%y: float32[300, 96] = aten._softmax.default(%mm, -1, False)\n";
  EXPECT_THAT(PlanOf(TwoProductsGraph(300, softmax, "%mm_1")).stages, SizeIs(1));
  // What is returned as well has to be whole somewhere.
  EXPECT_THAT(PlanOf(TwoProductsGraph(300, softmax, "%y, %mm_1")).stages, SizeIs(3));
}

TEST(Residence, AResultThatIsReadOnLiesInBoth) {
  const KernelPlan plan =
      PlanOf(TwoProductsGraph(300, "%y: float32[300, 96] = aten.relu.default(%mm)\n", "%y, %mm_1"));
  ASSERT_THAT(OnChip(plan), ElementsAre("y"));
  EXPECT_TRUE(plan.staged.in_hbm[plan.program.results[0]]);
}

TEST(Residence, WhatIsCutOtherwisePassesThroughHbm) {
  // The second product takes the columns of the first for its rows.
  const KernelPlan plan = PlanOf(
      "graph nki.graph.v1\ninput x: float32[300, 96]\nparam v: float32[96, 200]\n"
      "%mm: float32[300, 200] = aten.mm.default(%x, %v)\n"
      "%view: float32[120, 500] = aten.view.default(%mm, [120, 500])\n"
      "%sum_1: float32[120] = aten.sum.dim_IntList(%view, [1])\nreturn %sum_1\n");
  EXPECT_THAT(OnChip(plan), IsEmpty());
  EXPECT_THAT(ScratchIn(plan), SizeIs(1));
}

TEST(Residence, WhatIsTooLargePassesThroughHbm) {
  // 64 tiles of rows, 384 bytes each for every partition, fit; 512 don't.
  const std::string relu = "%y: float32[N, 96] = aten.relu.default(%mm)\n";
  const auto with = [&](const std::string& rows) {
    std::string text = relu;
    return text.replace(text.find('N'), 1, rows);
  };
  EXPECT_THAT(OnChip(PlanOf(TwoProductsGraph(8192, with("8192"), "%mm_1"))), ElementsAre("y"));
  EXPECT_THAT(OnChip(PlanOf(TwoProductsGraph(65536, with("65536"), "%mm_1"))), IsEmpty());
}

TEST(Residence, NothingStaysWhereTheAssumptionIsGone) {
  Assumptions assumptions;
  assumptions.stages[0].results_on_chip = false;
  EXPECT_THAT(OnChip(PlanOf(kMlpGraph, assumptions)), IsEmpty());
}

// Batched product, softmax, batched product: 6 matrices of 65 rows.
constexpr char kScoresGraph[] = R"(graph nki.graph.v1
input q: float32[6, 65, 32]
input k: float32[6, 32, 65]
input v: float32[6, 65, 32]
%bmm: float32[6, 65, 65] = aten.bmm.default(%q, %k)
%softmax: float32[6, 65, 65] = aten._log_softmax.default(%bmm, -1, False)
%bmm_1: float32[6, 65, 32] = aten.bmm.default(%softmax, %v)
return %bmm_1
)";

TEST(Residence, StagesAgreeOnTheTilesOfAMatrix) {
  const KernelPlan plan = PlanOf(kScoresGraph);
  ASSERT_THAT(plan.stages, SizeIs(3));
  // Alone, the softmax would take 78 of all 390 rows at once.
  EXPECT_EQ(plan.stages[1].partition.size, 390);
  EXPECT_EQ(plan.stages[1].partition.tile, 65);
  EXPECT_THAT(ScratchIn(plan), IsEmpty());
}

TEST(Residence, ElementwiseStagesTakeTheTilesOfTheirNeighbours) {
  // Heads of a projection, scaled: what the first product puts on partitions stays there.
  const KernelPlan plan = PlanOf(
      "graph nki.graph.v1\ninput x: float32[100, 64]\nparam w: float32[64, 64]\ninput y: float32[8, 16, 50]\n"
      "%mm: float32[100, 64] = aten.mm.default(%x, %w)\n"
      "%view: float32[2, 50, 4, 16] = aten.view.default(%mm, [2, 50, 4, 16])\n"
      "%permute: float32[2, 4, 50, 16] = aten.permute.default(%view, [0, 2, 1, 3])\n"
      "%mul: float32[2, 4, 50, 16] = aten.mul.Scalar(%permute, 0.5)\n"
      "%view_1: float32[8, 50, 16] = aten.view.default(%mul, [8, 50, 16])\n"
      "%bmm: float32[8, 50, 50] = aten.bmm.default(%view_1, %y)\nreturn %bmm\n");
  EXPECT_THAT(ScratchIn(plan), IsEmpty());
  EXPECT_EQ(plan.stages[0].partition.tile, 50);
}

}  // namespace
}  // namespace nkiagent::builtin
