#include "services/orchestrator/context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "services/orchestrator/prompts.h"

namespace nkiagent::orchestrator {
namespace {

using llm::v1::Message;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Lines(const std::string& first, int count) {
  std::string text = first;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, "\nline ", i, " of many that tell the same");
  return text;
}

// A task and `turns` turns of a kernel and its result, the last without an answer yet if `open`.
std::vector<Message> Conversation(int turns, int lines) {
  std::vector<Message> conversation = {UserText("the task")};
  for (int turn = 1; turn <= turns; ++turn) {
    Message answer;
    answer.set_role(llm::v1::ROLE_ASSISTANT);
    answer.add_content()->mutable_thinking()->set_text(Lines("thinking", lines));
    answer.add_content()->set_text(absl::StrCat("kernel ", turn));
    auto* call = answer.add_content()->mutable_tool_call();
    call->set_id(absl::StrCat("c", turn));
    call->set_name("compile_kernel");
    call->set_arguments_json(
        absl::StrCat(R"({"source":")", std::string(static_cast<size_t>(lines) * 30, 'k'), R"("})"));
    conversation.push_back(answer);
    Message result;
    result.set_role(llm::v1::ROLE_USER);
    result.add_content()->mutable_tool_result()->set_call_id(absl::StrCat("c", turn));
    result.mutable_content(0)->mutable_tool_result()->set_text(
        Lines(absl::StrCat("compiled: no, turn ", turn), lines));
    conversation.push_back(result);
  }
  return conversation;
}

const std::string kSystem = "system";
const std::vector<llm::v1::Tool> kNoTools;

FittedContext Fit(const std::vector<Message>& conversation, int64_t window, std::set<int> keep = {}) {
  return FitContext({.system = kSystem,
                     .tools = kNoTools,
                     .conversation = conversation,
                     .keep_turns = std::move(keep),
                     .window_tokens = window,
                     .output_tokens = 100});
}

int64_t Size(const std::vector<Message>& conversation) { return Fit(conversation, 0).estimated_tokens; }

TEST(FitContext, WhatFitsIsSentAsItIs) {
  const auto conversation = Conversation(6, 20);
  for (const int64_t window : {int64_t{0}, Size(conversation) + 100}) {
    const FittedContext fitted = Fit(conversation, window);
    EXPECT_TRUE(fitted.fits);
    ASSERT_EQ(fitted.messages.size(), conversation.size());
    for (size_t i = 0; i < conversation.size(); ++i)
      EXPECT_EQ(fitted.messages[i].SerializeAsString(), conversation[i].SerializeAsString());
  }
}

TEST(FitContext, OldResultsShrinkToOneLineFirst) {
  const auto conversation = Conversation(6, 20);
  const FittedContext fitted = Fit(conversation, Size(conversation) + 99);
  EXPECT_TRUE(fitted.fits);
  ASSERT_EQ(fitted.messages.size(), conversation.size());
  EXPECT_EQ(fitted.messages[2].content(0).tool_result().text(),
            "compiled: no, turn 1 (older result, shortened)\n");
  // The last two turns are whole, and answers are touched only when results were not enough.
  for (const size_t i : {9, 10, 11, 12})
    EXPECT_EQ(fitted.messages[i].SerializeAsString(), conversation[i].SerializeAsString());
  EXPECT_EQ(fitted.messages[7].SerializeAsString(), conversation[7].SerializeAsString());
}

TEST(FitContext, OldAnswersLoseThinkingAndKernelButStayCalls) {
  const auto conversation = Conversation(6, 20);
  const FittedContext fitted = Fit(conversation, Size(conversation) * 6 / 10 + 100);
  EXPECT_TRUE(fitted.fits);
  ASSERT_EQ(fitted.messages.size(), conversation.size());
  const Message& answer = fitted.messages[1];
  ASSERT_EQ(answer.content_size(), 2);
  EXPECT_EQ(answer.content(0).text(), "kernel 1");
  EXPECT_EQ(answer.content(1).tool_call().id(), "c1");
  EXPECT_EQ(answer.content(1).tool_call().arguments_json(),
            R"({"source":"# an older kernel of 1 lines, left out"})");
}

TEST(FitContext, KeptTurnsStayWholeAndOthersAreLeftOut) {
  const auto conversation = Conversation(12, 40);
  const int64_t turn = (Size(conversation) - Size({conversation[0]})) / 12;
  const FittedContext fitted = Fit(conversation, 100 + turn * 5, {3});
  EXPECT_TRUE(fitted.fits);
  EXPECT_LE(fitted.estimated_tokens, turn * 5);
  bool kept = false;
  for (size_t i = 0; i < fitted.messages.size(); ++i) {
    kept |= fitted.messages[i].SerializeAsString() == conversation[5].SerializeAsString();
    // Roles alternate, and every call is followed by its result.
    EXPECT_EQ(fitted.messages[i].role(), i % 2 == 0 ? llm::v1::ROLE_USER : llm::v1::ROLE_ASSISTANT);
    if (i % 2 == 1 && i + 1 < fitted.messages.size()) {
      const auto& blocks = fitted.messages[i].content();
      EXPECT_EQ(blocks[blocks.size() - 1].tool_call().id(),
                fitted.messages[i + 1].content(0).tool_result().call_id());
    }
  }
  EXPECT_TRUE(kept);
  EXPECT_EQ(fitted.messages.back().SerializeAsString(), conversation.back().SerializeAsString());
  EXPECT_EQ(fitted.messages[0].content(0).text(), "the task");
}

TEST(FitContext, TurnsThatAreLeftOutAreCounted) {
  const auto conversation = Conversation(30, 10);
  const int64_t turn = (Size(conversation) - Size({conversation[0]})) / 30;
  const FittedContext fitted = Fit(conversation, 100 + turn * 4);
  EXPECT_TRUE(fitted.fits);
  ASSERT_EQ(fitted.messages[0].content_size(), 2);
  EXPECT_THAT(fitted.messages[0].content(1).text(), HasSubstr("older turns are left out"));
}

TEST(FitContext, SaysWhenEvenTheLastTurnsAreTooLong) {
  const auto conversation = Conversation(3, 50);
  const FittedContext fitted = Fit(conversation, 200);
  EXPECT_FALSE(fitted.fits);
  EXPECT_GT(fitted.estimated_tokens, 100);
}

TEST(FitContext, ArgumentsThatAreNoJsonBecomeAnEmptyObject) {
  auto conversation = Conversation(6, 20);
  conversation[1].mutable_content(2)->mutable_tool_call()->set_arguments_json("{broken " +
                                                                              std::string(3000, 'x'));
  const FittedContext fitted = Fit(conversation, Size(conversation) / 2);
  EXPECT_EQ(fitted.messages[1].content(1).tool_call().arguments_json(), "{}");
}

}  // namespace
}  // namespace nkiagent::orchestrator
