#include "services/orchestrator/episode.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "services/orchestrator/testing_events.h"
#include "services/orchestrator/tools.h"

namespace nkiagent::orchestrator {
namespace {

using namespace testing_events;  // NOLINT(google-build-using-namespace): the vocabulary of this test
using verify::v1::VERDICT_REASON_MISMATCH;
using verify::v1::VERDICT_REASON_PASSED;

verify::v1::Verdict Verdict(const std::string& text) {
  verify::v1::Verdict verdict;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &verdict));
  return verdict;
}

TEST(GradedReward, GrowsWithEveryStepTowardsAFastRightKernel) {
  compile::v1::CompileResult refused;
  refused.set_outcome(compile::v1::COMPILE_OUTCOME_REJECTED);
  compile::v1::CompileResult compiled;
  compiled.set_outcome(compile::v1::COMPILE_OUTCOME_COMPILED);
  const auto wrong = [](int mismatched) {
    return Verdict(
        "trials { outputs { total_elements: 100 mismatched_elements: " + std::to_string(mismatched) + " } }");
  };
  const auto right = [](double latency) {
    return Verdict("passed: true estimate { roofline_us: 10 total_us: " + std::to_string(latency) + " }");
  };
  const verify::v1::Verdict all_wrong = wrong(100);
  const verify::v1::Verdict mostly_right = wrong(10);
  const verify::v1::Verdict slow = right(100);
  const verify::v1::Verdict fast = right(10);
  const std::vector<double> rewards = {
      GradedReward(nullptr, nullptr),         GradedReward(&refused, nullptr),
      GradedReward(&compiled, nullptr),       GradedReward(&compiled, &all_wrong),
      GradedReward(&compiled, &mostly_right), GradedReward(&compiled, &slow),
      GradedReward(&compiled, &fast)};
  EXPECT_THAT(rewards,
              testing::ElementsAre(-0.5, -0.3, 0, testing::DoubleNear(0.1, 1e-9),
                                   testing::DoubleNear(0.46, 1e-9), testing::DoubleNear(1.05, 1e-9), 1.5));
}

TEST(EpisodeJson, HasTheConversationInChatFormatWithRewardsByTurn) {
  const llm::v1::ToolCall a = CompileCall("a", "k1");
  const llm::v1::ToolCall b = CompileCall("b", "k2");
  Log log = std::move(Log(v1::MODE_AGENT, {}).Ready());
  log.Turn(Says("first try", {a}))
      .ToolStarted(a)
      .Compiled("a", "k1", false)
      .ToolFinished("a", "why")
      .Replied();
  log.Turn(Says("", {b})).ToolStarted(b).Compiled("b", "k2", true).Verified("b", "k2", VERDICT_REASON_PASSED);
  log.ToolFinished("b", "verified: PASS").Ended(v1::SESSION_STATE_PASSED);
  Snapshot snapshot = log.Fold();
  snapshot.system = "write kernels";
  llm::v1::Message& answered = snapshot.conversation[2];
  answered.clear_content();
  answered.add_content()->mutable_tool_result()->set_call_id("a");
  const nlohmann::ordered_json episode = EpisodeJson(snapshot, log.events());

  std::vector<std::string> roles;
  for (const auto& message : episode["messages"]) roles.push_back(message["role"]);
  EXPECT_THAT(roles, testing::ElementsAre("system", "user", "assistant", "tool", "assistant"));
  EXPECT_EQ(episode["messages"][2]["content"], "first try");
  EXPECT_EQ(episode["messages"][2]["tool_calls"][0]["function"]["name"], kCompileTool);
  EXPECT_EQ(episode["messages"][3]["tool_call_id"], "a");
  EXPECT_EQ(episode["outcome"]["passed"], true);
  EXPECT_EQ(episode["reward"]["binary"], 1.0);
  ASSERT_EQ(episode["reward"]["by_turn"].size(), 2);
  EXPECT_EQ(episode["reward"]["by_turn"][0], -0.3);
  EXPECT_GE(episode["reward"]["by_turn"][1], 1.0);
  EXPECT_EQ(episode["verdict"]["passed"], true);
  EXPECT_THAT(std::string(episode["kernel"]), testing::HasSubstr("k2"));
  EXPECT_FALSE(episode["provenance"]["session"].empty());
}

TEST(EpisodeJson, ASessionWithoutAKernelIsAnEpisodeToo) {
  Log log = std::move(Log(v1::MODE_SINGLE_SHOT).Ready());
  log.Turn(Says("I can't")).Ended(v1::SESSION_STATE_NOT_SOLVED);
  const nlohmann::ordered_json episode = EpisodeJson(log.Fold(), log.events());
  EXPECT_EQ(episode["reward"]["binary"], -0.5);
  EXPECT_EQ(episode["reward"]["graded"], -0.5);
  EXPECT_TRUE(episode["reward"]["by_turn"][0].is_null());
  EXPECT_TRUE(episode["kernel"].is_null());
}

}  // namespace
}  // namespace nkiagent::orchestrator
