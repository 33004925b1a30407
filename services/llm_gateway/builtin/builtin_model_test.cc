#include "services/llm_gateway/builtin/builtin_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/llm_gateway/builtin/testing_graphs.h"

namespace nkiagent::builtin {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

llm_gateway::GenerateRequest Request() {
  llm_gateway::GenerateRequest request;
  llm::v1::Message* message = request.add_messages();
  message->set_role(llm::v1::ROLE_USER);
  message->add_content()->set_text(absl::StrCat("```graph\n", SoftmaxGraph(128, 512), "```\n"));
  request.add_tools()->set_name("compile_kernel");
  request.add_tools()->set_name("verify_kernel");
  return request;
}

TEST(BuiltinModel, AnswersWithAToolCall) {
  BuiltinModel model;
  const auto response = model.Generate(Request(), llm_gateway::CallContext());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->provider(), "builtin");
  EXPECT_EQ(response->stop_reason(), llm::v1::STOP_REASON_TOOL_USE);
  ASSERT_THAT(response->message().content(), SizeIs(2));
  EXPECT_EQ(response->message().content(1).tool_call().name(), "compile_kernel");
  EXPECT_TRUE(response->message().content(1).tool_call().arguments_valid());
}

TEST(BuiltinModel, ReadsItsResultsFromTheConversation) {
  BuiltinModel model;
  llm_gateway::GenerateRequest request = Request();
  const auto first = model.Generate(request, llm_gateway::CallContext());
  ASSERT_TRUE(first.ok());
  *request.add_messages() = first->message();
  llm::v1::Message* user = request.add_messages();
  user->set_role(llm::v1::ROLE_USER);
  llm::v1::ToolResult* result = user->add_content()->mutable_tool_result();
  result->set_call_id(first->message().content(1).tool_call().id());
  result->set_text("compiled: yes\nverified: PASS, 3 of 3 trials\n");
  const auto second = model.Generate(request, llm_gateway::CallContext());
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->stop_reason(), llm::v1::STOP_REASON_END_TURN);
  EXPECT_THAT(second->message().content(), SizeIs(1));
}

TEST(BuiltinModel, WritesAFencedBlockWhereToolsAreForbidden) {
  BuiltinModel model;
  llm_gateway::GenerateRequest request = Request();
  request.set_tool_choice(llm::v1::TOOL_CHOICE_NONE);
  const auto response = model.Generate(request, llm_gateway::CallContext());
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(response->stop_reason(), llm::v1::STOP_REASON_END_TURN);
  EXPECT_THAT(response->message().content(0).text(), HasSubstr("```python\n"));
}

TEST(BuiltinModel, RespectsThePassedDeadline) {
  BuiltinModel model;
  const llm_gateway::CallContext context("late", absl::Now() - absl::Seconds(1));
  EXPECT_EQ(model.Generate(Request(), context).status().code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace nkiagent::builtin
