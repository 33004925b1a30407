#include "services/llm_gateway/builtin/graph_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"

namespace nkiagent::builtin {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kHeader[] = "graph nki.graph.v1\n";

absl::StatusOr<Graph> Parse(const std::string& body) { return ParseGraph(kHeader + body); }

TEST(ParseGraph, ReadsEveryKindOfLine) {
  const absl::StatusOr<Graph> graph = Parse(
      "input x: float32[128, 512]\n"
      "param norm_weight: bfloat16[512]\n"
      "buffer bn_running_mean: float32[64]\n"
      "const c0: float32[] = 0.5\n"
      "\n"
      "%mean: float32[128, 1] = aten.mean.dim(%x, [-1], True)\n"
      "%split: (float32[128, 256], float32[128, 256]) = aten.split.Tensor(%x, 256, 1)\n"
      "%getitem: float32[128, 256] = getitem(%split, 0)\n"
      "%full: float32[] = aten.full.default([], -1e-05, dtype=torch.float32, device=cpu, pin_memory=False)\n"
      "return %getitem, %mean\n");
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_THAT(graph->placeholders, SizeIs(3));
  EXPECT_EQ(graph->placeholders[1].name, "norm_weight");
  EXPECT_EQ(graph->placeholders[1].kind, PlaceholderKind::kParam);
  EXPECT_EQ(graph->placeholders[1].type.dtype, DType::kBFloat16);
  EXPECT_THAT(graph->placeholders[0].type.dims, ElementsAre(128, 512));
  ASSERT_THAT(graph->constants, SizeIs(1));
  EXPECT_EQ(graph->constants[0].value, 0.5);
  ASSERT_THAT(graph->nodes, SizeIs(4));
  EXPECT_EQ(graph->nodes[0].op, "aten.mean.dim");
  EXPECT_TRUE(graph->nodes[1].is_tuple);
  EXPECT_THAT(graph->nodes[1].outputs, SizeIs(2));
  const Node& full = graph->nodes[3];
  EXPECT_EQ(std::get<double>(full.args[1].value), -1e-05);
  ASSERT_THAT(full.kwargs, SizeIs(3));
  EXPECT_EQ(full.kwargs[0].first, "dtype");
  EXPECT_EQ(std::get<Symbol>(full.kwargs[0].second.value).text, "torch.float32");
  EXPECT_EQ(std::get<bool>(full.kwargs[2].second.value), false);
  ASSERT_THAT(graph->returns, SizeIs(2));
  EXPECT_EQ(graph->returns[1].name, "mean");
}

TEST(ParseGraph, ReadsPythonLiterals) {
  const absl::StatusOr<Graph> graph = Parse(
      "input x: float32[4]\n"
      "%y: float32[4] = aten.op.default(%x, None, -inf, nan, 'tanh', (1,), [[%x], 2], 9223372036854775807)\n"
      "return %y\n");
  ASSERT_TRUE(graph.ok()) << graph.status();
  const std::vector<Arg>& args = graph->nodes[0].args;
  ASSERT_THAT(args, SizeIs(8));
  EXPECT_TRUE(args[1].IsNone());
  EXPECT_EQ(std::get<double>(args[2].value), -INFINITY);
  EXPECT_TRUE(std::isnan(std::get<double>(args[3].value)));
  EXPECT_EQ(std::get<Symbol>(args[4].value).text, "tanh");
  EXPECT_THAT(std::get<std::vector<Arg>>(args[5].value), SizeIs(1));
  EXPECT_THAT(std::get<std::vector<Arg>>(args[6].value), SizeIs(2));
  EXPECT_EQ(std::get<int64_t>(args[7].value), INT64_MAX);
}

TEST(ParseGraph, KeepsTypesThatNoKernelTakesForLater) {
  const absl::StatusOr<Graph> graph = Parse(
      "input x: float32[4]\n"
      "%y: (float32[4], complex64[4]) = aten.op.default(%x)\n"
      "return %y\n");
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_TRUE(graph->nodes[0].outputs[0].valid);
  EXPECT_FALSE(graph->nodes[0].outputs[1].valid);
  EXPECT_EQ(graph->nodes[0].outputs[1].text, "complex64[4]");
}

struct BadCase {
  const char* body;
  const char* message;
};

class BadGraph : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadGraph, IsRefusedWithItsLine) {
  const absl::StatusOr<Graph> graph = Parse(GetParam().body);
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Lines, BadGraph,
    ::testing::Values(
        BadCase{"", "returns nothing"}, BadCase{"return\n", "names nothing"},
        BadCase{"return %x\n", "line 2: '%x' is used before it is defined"},
        BadCase{"input x: complex64[2]\nreturn %x\n", "unsupported type complex64[2]"},
        BadCase{"input x: float32[s0]\nreturn %x\n", "'s0' is no static axis size"},
        BadCase{"input x: float32[2\nreturn %x\n", "expected ','"},
        BadCase{"input x: float32[2]\ninput x: float32[2]\nreturn %x\n", "line 3: 'x' is defined twice"},
        BadCase{"input x: float32[99999999999, 99]\nreturn %x\n", "elements"},
        BadCase{"input x: float32[1,1,1,1,1,1,1,1,1]\nreturn %x\n", "more than 8 axes"},
        BadCase{"const c: float32[2] = 1\nreturn %c\n", "rank 0"},
        BadCase{"const c: float32[] = abc\nreturn %c\n", "number"},
        BadCase{"%y: float32[2] = aten.a(%y)\nreturn %y\n", "used before"},
        BadCase{"%y: float32[2] = aten.a([[[[[[[[[[1]]]]]]]]]])\nreturn %y\n", "nested too deeply"},
        BadCase{"%y: float32[2] = aten.a(1) 2\nreturn %y\n", "unexpected '2'"},
        BadCase{"%y: float32[2] = aten.a(1--2)\nreturn %y\n", "no number"},
        BadCase{"%y: float32[2] = aten.a('x)\nreturn %y\n", "without an end"},
        BadCase{"import os\n", "unknown line 'import'"},
        BadCase{"input x: float32[2]\nreturn %x\ninput y: float32[2]\n", "after the return line"},
        BadCase{"return 3\n", "no tensor"}));

TEST(ParseGraph, NeedsItsHeader) {
  EXPECT_FALSE(ParseGraph("input x: float32[2]\nreturn %x\n").ok());
  EXPECT_FALSE(ParseGraph("").ok());
}

TEST(ParseGraph, BoundsTheTextAndItsLines) {
  GraphLimits limits;
  limits.max_text_bytes = 64;
  EXPECT_FALSE(ParseGraph(std::string(65, 'x'), limits).ok());
  limits.max_text_bytes = 1 << 20;
  limits.max_lines = 3;
  EXPECT_FALSE(ParseGraph(absl::StrCat(kHeader, "\n\n\n\n"), limits).ok());
}

TEST(ParseGraph, EveryPrefixOfAGoodTextIsAnswered) {
  const std::string text = absl::StrCat(kHeader,
                                        "input x: float32[2, 3]\n"
                                        "%s: (float32[2], int64[2]) = aten.max.dim(%x, -1, keepdim=True)\n"
                                        "%g: float32[2] = getitem(%s, 0)\nreturn %g");
  for (size_t n = 0; n < text.size(); ++n) {
    const absl::StatusOr<Graph> graph = ParseGraph(absl::string_view(text).substr(0, n));
    EXPECT_FALSE(graph.ok()) << n;
  }
  EXPECT_TRUE(ParseGraph(text).ok());
}

}  // namespace
}  // namespace nkiagent::builtin
