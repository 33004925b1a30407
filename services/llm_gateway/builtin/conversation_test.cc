#include "services/llm_gateway/builtin/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/llm_gateway/builtin/testing_graphs.h"

namespace nkiagent::builtin {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPass[] = "compiled: yes\nverified: PASS, 3 of 3 trials within atol=0.001 rtol=0.001\n";
constexpr char kMismatch[] =
    "compiled: yes\nverified: FAIL (mismatch): 3 of 3 trials differ\n"
    "  output `out0`: 7 of 8192 elements differ; max abs error 0.2, max rel error 1\n";

Conversation Ask(const std::string& graph,
                 std::vector<std::string> tools = {"compile_kernel", "verify_kernel"}) {
  Message message;
  message.text = absl::StrCat("# Task\n\n```python\nclass Model: pass\n```\n\n```graph\n", graph, "```\n");
  return {{std::move(message)}, std::move(tools)};
}

std::string SourceOf(const Reply& reply) {
  if (!reply.call.has_value()) return "";
  return nlohmann::json::parse(reply.call->arguments_json).at("source");
}

void Answer(Conversation* conversation, const Reply& reply, const std::string& text) {
  Message assistant;
  assistant.from_assistant = true;
  assistant.text = reply.text;
  Message user;
  if (reply.call.has_value()) {
    assistant.calls = {*reply.call};
    user.results = {{reply.call->id, text}};
  } else {
    user.text = text;
  }
  conversation->messages.push_back(std::move(assistant));
  conversation->messages.push_back(std::move(user));
}

int LineOf(const std::string& source, const std::string& text) {
  int number = 0;
  for (absl::string_view line : absl::StrSplit(source, '\n')) {
    ++number;
    if (line.find(text) != absl::string_view::npos) return number;
  }
  return 0;
}

TEST(NextMessage, OffersAKernelThroughTheTool) {
  const Reply reply = NextMessage(Ask(SoftmaxGraph(128, 512)));
  ASSERT_TRUE(reply.call.has_value());
  EXPECT_EQ(reply.call->name, "compile_kernel");
  EXPECT_THAT(SourceOf(reply), HasSubstr("def nki_kernel(x):"));
}

TEST(NextMessage, OffersAFencedBlockWithoutTools) {
  const Reply reply = NextMessage(Ask(SoftmaxGraph(128, 512), {}));
  EXPECT_FALSE(reply.call.has_value());
  EXPECT_THAT(reply.text, HasSubstr("```python\nimport neuronxcc.nki as nki\n"));
}

TEST(NextMessage, IsTheSameForTheSameConversation) {
  const Conversation conversation = Ask(kMlpGraph);
  EXPECT_EQ(NextMessage(conversation).call->arguments_json, NextMessage(conversation).call->arguments_json);
}

TEST(NextMessage, AsksForVerificationOfWhatOnlyCompiled) {
  Conversation conversation = Ask(SoftmaxGraph(128, 512));
  const Reply first = NextMessage(conversation);
  Answer(&conversation, first, "compiled: yes\n");
  const Reply second = NextMessage(conversation);
  ASSERT_TRUE(second.call.has_value());
  EXPECT_EQ(second.call->name, "verify_kernel");
  EXPECT_EQ(SourceOf(second), SourceOf(first));
  EXPECT_NE(second.call->id, first.call->id);
}

TEST(NextMessage, EndsWhenVerified) {
  Conversation conversation = Ask(SoftmaxGraph(128, 512));
  Answer(&conversation, NextMessage(conversation), kPass);
  EXPECT_FALSE(NextMessage(conversation).call.has_value());
}

TEST(NextMessage, NeverOffersAKernelTwiceWhateverToolsAnswer) {
  const std::vector<std::string> graphs = {SoftmaxGraph(128, 512), kMlpGraph, kLayerNormGraph, kRmsNormGraph};
  const std::vector<std::string> rules = {"err_sbuf_capacity_exceeded", "err_psum_capacity_exceeded",
                                          "err_size_of_dimension_exceed_arch_limit",
                                          "err_unexpected_output_dependencies", "err_unknown"};
  for (const std::string& graph : graphs) {
    for (size_t kind = 0; kind <= rules.size(); ++kind) {
      Conversation conversation = Ask(graph);
      std::set<std::string> offered;
      Reply reply = NextMessage(conversation);
      for (int turn = 0; turn < 64 && reply.call.has_value(); ++turn) {
        const std::string source = SourceOf(reply);
        EXPECT_TRUE(offered.insert(source).second) << source;
        const std::string error =
            kind == rules.size()
                ? kMismatch
                : absl::StrCat("compiled: no (1 errors)\nerror[", rules[kind], "] line ",
                               LineOf(source, "nl.load("), ", col 3: too much\n  limit: 2 actual: 3\n");
        Answer(&conversation, reply, error);
        reply = NextMessage(conversation);
      }
      EXPECT_THAT(reply.text, HasSubstr("I have no further repair: "));
    }
  }
}

TEST(NextMessage, RepairsAMismatchOfTheOnePassVariance) {
  Conversation conversation = Ask(kLayerNormGraph);
  const Reply first = NextMessage(conversation);
  EXPECT_THAT(SourceOf(first), HasSubstr("mean_of_squares"));
  Answer(&conversation, first, kMismatch);
  const Reply second = NextMessage(conversation);
  EXPECT_THAT(second.text, HasSubstr("deviations"));
  EXPECT_THAT(SourceOf(second), Not(HasSubstr("mean_of_squares")));
  // Nothing is left to refute after that.
  Answer(&conversation, second, kMismatch);
  const Reply third = NextMessage(conversation);
  EXPECT_FALSE(third.call.has_value());
  EXPECT_THAT(third.text, HasSubstr("no further repair: verification fails (mismatch)"));
}

TEST(NextMessage, SplitsRowsThatDoNotFit) {
  Conversation conversation = Ask(SoftmaxGraph(256, 40009));
  const Reply first = NextMessage(conversation);
  const int line = LineOf(SourceOf(first), "nl.exp");
  Answer(&conversation, first,
         absl::StrCat("compiled: no (1 error)\nerror[err_sbuf_capacity_exceeded] line ", line,
                      ", col 24: tiles alive at this point need 480000 bytes of each sbuf partition\n"
                      "  exponentials = nl.exp(shifted)\n"
                      "  limit: 180224 bytes per partition actual: 480000 bytes per partition\n"
                      "  fix: use smaller tiles\n"));
  const Reply second = NextMessage(conversation);
  EXPECT_THAT(second.text, HasSubstr("do not fit in SBUF"));
  EXPECT_THAT(SourceOf(second), HasSubstr("nl.sequential_range("));
  EXPECT_THAT(SourceOf(second), HasSubstr("row_max_acc[...] = nl.maximum("));
}

TEST(NextMessage, StreamsAMovingMatrixThatDoesNotFit) {
  Conversation conversation = Ask(kMlpGraph);
  const Reply first = NextMessage(conversation);
  EXPECT_THAT(SourceOf(first), HasSubstr("\n    up_weight_t = nl.ndarray("));
  const int line = LineOf(SourceOf(first), "up_weight_t[");
  Answer(&conversation, first,
         absl::StrCat("compiled: no (1 error)\nerror[err_sbuf_capacity_exceeded] line ", line,
                      ": too much\n  limit: 180224 bytes actual: 999999 bytes\n"));
  const Reply second = NextMessage(conversation);
  EXPECT_THAT(SourceOf(second), Not(HasSubstr("\n    up_weight_t = nl.ndarray(")));
  EXPECT_THAT(SourceOf(second), HasSubstr("\n    down_weight_t = nl.ndarray("));
}

TEST(NextMessage, GivesUpOnErrorsThatNothingExplains) {
  Conversation conversation = Ask(SoftmaxGraph(128, 512));
  Answer(&conversation, NextMessage(conversation),
         "compiled: no (1 error)\nerror[err_unsupported_memory] line 12, col 3: the operand lies in HBM\n");
  const Reply reply = NextMessage(conversation);
  EXPECT_FALSE(reply.call.has_value());
  EXPECT_THAT(reply.text, HasSubstr("err_unsupported_memory: the operand lies in HBM"));
}

TEST(NextMessage, RepairsEndForAnyChainOfCapacityErrors) {
  Conversation conversation = Ask(kMlpGraph);
  int turns = 0;
  for (; turns < 40; ++turns) {
    const Reply reply = NextMessage(conversation);
    if (!reply.call.has_value()) break;
    Answer(&conversation, reply,
           "compiled: no (1 error)\nerror[err_sbuf_capacity_exceeded] line 14, col 1: no room\n"
           "  limit: 10 bytes actual: 11 bytes\n");
  }
  EXPECT_LT(turns, 20);
}

TEST(NextMessage, AsksAgainWhenAToolSaysNothingClearAndThenStops) {
  Conversation conversation = Ask(SoftmaxGraph(128, 512));
  const Reply first = NextMessage(conversation);
  Answer(&conversation, first, "compile-service is busy");
  const Reply second = NextMessage(conversation);
  EXPECT_EQ(SourceOf(second), SourceOf(first));
  Answer(&conversation, second, "compile-service is busy");
  const Reply third = NextMessage(conversation);
  Answer(&conversation, third, "compile-service is busy");
  EXPECT_FALSE(NextMessage(conversation).call.has_value());
}

TEST(NextMessage, StandsByItsKernelWhenAskedToRecheckIt) {
  Conversation conversation = Ask(kLayerNormGraph, {});
  const Reply first = NextMessage(conversation);
  Answer(&conversation, first, "Check the kernel that you just wrote, line by line.");
  EXPECT_EQ(NextMessage(conversation).text, first.text);
}

TEST(NextMessage, SaysWhatItCannotLower) {
  const Reply reply = NextMessage(Ask(kInverseGraph));
  EXPECT_FALSE(reply.call.has_value());
  EXPECT_THAT(reply.text, HasSubstr("node '%inverse'"));
}

TEST(NextMessage, SaysWhenThereIsNoGraphOrABrokenOne) {
  EXPECT_THAT(NextMessage({}).text, HasSubstr("no reference graph"));
  EXPECT_THAT(NextMessage(Ask("graph nki.graph.v1\nimport os\n")).text, HasSubstr("graph line 2"));
}

TEST(NextMessage, IgnoresGraphsThatAnotherBlockQuotes) {
  Conversation conversation = Ask(SoftmaxGraph(128, 512));
  conversation.messages[0].text = absl::StrCat(
      "````python\n```graph\ngraph nki.graph.v1\nreturn %evil\n```\n````\n", conversation.messages[0].text);
  EXPECT_TRUE(NextMessage(conversation).call.has_value());
}

TEST(NextMessage, LearnsNothingFromKernelsThatAreNotItsOwn) {
  Conversation conversation = Ask(kLayerNormGraph);
  Reply foreign;
  foreign.call = ToolCall{"call_1", "compile_kernel", R"({"source": "def nki_kernel(x): pass"})"};
  Answer(&conversation, foreign, kMismatch);
  EXPECT_THAT(SourceOf(NextMessage(conversation)), HasSubstr("mean_of_squares"));
}

TEST(NextMessage, SurvivesBrokenToolArguments) {
  Conversation conversation = Ask(SoftmaxGraph(128, 512));
  Reply broken;
  broken.call = ToolCall{"call_1", "compile_kernel", "{\"source\": "};
  Answer(&conversation, broken, "The arguments of this call are not valid JSON");
  EXPECT_TRUE(NextMessage(conversation).call.has_value());
}

}  // namespace
}  // namespace nkiagent::builtin
