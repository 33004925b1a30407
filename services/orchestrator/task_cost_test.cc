#include "services/orchestrator/task_cost.h"

#include <gtest/gtest.h>

namespace nkiagent::orchestrator {
namespace {

// The DMA engines together move 136 bytes in a nanosecond: 136 kB in a microsecond.
constexpr double kBytesPerUs = 136e3;
// bf16 products: 2 * 128 * 128 * 2.8 in a nanosecond; float32 takes four passes.
constexpr double kFp32FlopsPerUs = 2.0 * 128 * 128 * 2.8 * 1e3 / 4;

TEST(TaskCost, ElementwiseChainsMoveTheirInputsAndOutputsOnce) {
  const TaskCost cost = CostOfGraph(
      "graph nki.graph.v1\n"
      "input x: float32[128, 512]\n"
      "%a: float32[128, 512] = aten.relu.default(%x)\n"
      "%b: float32[128, 512] = aten.mul.Tensor(%a, %a)\n"
      "return %b\n");
  const double tensor = 4.0 * 128 * 512;
  EXPECT_NEAR(cost.fused_us, 2 * tensor / kBytesPerUs, 1e-9);
  EXPECT_NEAR(cost.op_by_op_us, 4 * tensor / kBytesPerUs, 1e-9);
}

TEST(TaskCost, LargeProductsAreBoundByTheTensorEngine) {
  const TaskCost cost = CostOfGraph(
      "graph nki.graph.v1\n"
      "input x: float32[4096, 4096]\n"
      "param w: float32[4096, 4096]\n"
      "%t: float32[4096, 4096] = aten.permute.default(%w, [1, 0])\n"
      "%y: float32[4096, 4096] = aten.mm.default(%x, %t)\n"
      "return %y\n");
  EXPECT_NEAR(cost.fused_us, 2.0 * 4096 * 4096 * 4096 / kFp32FlopsPerUs, 1e-6);
  EXPECT_NEAR(cost.op_by_op_us, cost.fused_us, 1e-6);
}

TEST(TaskCost, ConvolutionsCountEachWeightAtEachPosition) {
  const TaskCost cost = CostOfGraph(
      "graph nki.graph.v1\n"
      "input x: bfloat16[8, 256, 64, 64]\n"
      "param w: bfloat16[256, 256, 3, 3]\n"
      "%y: bfloat16[8, 256, 64, 64] = aten.convolution.default(%x, %w, None, [1, 1], [1, 1], [1, 1], False, "
      "[0, 0], 1)\n"
      "return %y\n");
  EXPECT_NEAR(cost.fused_us, 2.0 * (8 * 64 * 64) * (256 * 256 * 9) / (4 * kFp32FlopsPerUs), 1e-6);
}

TEST(TaskCost, AGatherReadsOnlyTheRowsItNeeds) {
  const TaskCost cost = CostOfGraph(
      "graph nki.graph.v1\n"
      "param table: float32[100000, 64]\n"
      "input ids: int64[16]\n"
      "%y: float32[16, 64] = aten.embedding.default(%table, %ids)\n"
      "return %y\n");
  EXPECT_NEAR(cost.fused_us, (2 * 16 * 64 * 4 + 16 * 4) / kBytesPerUs, 1e-9);
}

TEST(TaskCost, TuplesAndArgumentsNamedWithoutAPercentSignAreRead) {
  const TaskCost cost = CostOfGraph(
      "graph nki.graph.v1\n"
      "input x: float32[128, 512]\n"
      "const c0: float32[] = 0.5\n"
      "%s: (float32[128, 256], float32[128, 256]) = aten.split.Tensor(x, 256, 1)\n"
      "%g: float32[128, 256] = getitem(%s, 1)\n"
      "%m: float32[128, 256] = aten.mul.Tensor(%g, c0)\n"
      "return %m\n");
  EXPECT_NEAR(cost.op_by_op_us, (2 * 4.0 * 128 * 256 + 4) / kBytesPerUs, 1e-9);
}

TEST(TaskCost, WhatIsNoGraphCostsNothing) {
  for (const char* text :
       {"", "graph nki.graph.v2\n", "graph nki.graph.v1\nnonsense\n", "graph nki.graph.v1\ninput x\n",
        "graph nki.graph.v1\n%y: float32[4] = \n", "graph nki.graph.v1\ninput x: float32[a]\n"}) {
    EXPECT_EQ(CostOfGraph(text).fused_us, 0) << text;
  }
}

}  // namespace
}  // namespace nkiagent::orchestrator
