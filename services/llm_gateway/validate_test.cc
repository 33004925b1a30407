#include "services/llm_gateway/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "services/llm_gateway/test_util.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using ::testing::HasSubstr;

// A request with a tool call and its result, in which nothing is wrong.
GenerateRequest Good() {
  GenerateRequest request = Ask("m", "hello");
  AddTool("compile_kernel", &request);
  llm::Message* assistant = request.add_messages();
  assistant->set_role(llm::ROLE_ASSISTANT);
  assistant->add_content()->mutable_thinking()->set_text("hm");
  llm::ToolCall* call = assistant->add_content()->mutable_tool_call();
  call->set_id("c1");
  call->set_name("compile_kernel");
  llm::Message* user = request.add_messages();
  user->set_role(llm::ROLE_USER);
  user->add_content()->mutable_tool_result()->set_call_id("c1");
  return request;
}

TEST(ValidateRequest, AcceptsAConversationWithTools) {
  EXPECT_TRUE(ValidateRequest(Good()).ok()) << ValidateRequest(Good());
}

TEST(ValidateRequest, AcceptsAnAssistantThatSaidNothing) {
  GenerateRequest request = Good();
  request.mutable_messages(1)->clear_content();
  request.mutable_messages(2)->mutable_content(0)->set_text("go on");
  EXPECT_TRUE(ValidateRequest(request).ok()) << ValidateRequest(request);
}

TEST(ValidateRequest, NamesWhatIsWrong) {
  const struct {
    std::function<void(GenerateRequest&)> spoil;
    const char* message;
  } cases[] = {
      {[](auto& r) { r.clear_model(); }, "model is empty"},
      {[](auto& r) { r.clear_messages(); }, "messages is empty"},
      {[](auto& r) { r.mutable_messages()->RemoveLast(); }, "the last message is not the user's"},
      {[](auto& r) { r.mutable_messages()->DeleteSubrange(0, 1); }, "messages[0] is not the user's"},
      {[](auto& r) { r.mutable_messages(1)->set_role(llm::ROLE_UNSPECIFIED); }, "messages[1] has no role"},
      {[](auto& r) { r.mutable_messages(2)->clear_content(); }, "messages[2] has no content"},
      {[](auto& r) { r.mutable_messages(0)->add_content(); }, "messages[0].content[1] is empty"},
      {[](auto& r) { r.mutable_messages(0)->add_content()->mutable_tool_call()->set_id("x"); },
       "messages[0].content[1] is a tool call, which only the assistant makes"},
      {[](auto& r) { r.mutable_messages(0)->add_content()->mutable_thinking(); }, "only the assistant gives"},
      {[](auto& r) { r.mutable_messages(1)->add_content()->mutable_tool_result(); }, "only the user gives"},
      {[](auto& r) { r.mutable_messages(1)->mutable_content(1)->mutable_tool_call()->clear_id(); },
       "without an id"},
      {[](auto& r) { *r.mutable_messages(1)->add_content() = r.messages(1).content(1); },
       "messages[1].content[2] has the id of an earlier tool call: c1"},
      {[](auto& r) { r.mutable_messages(2)->mutable_content(0)->mutable_tool_result()->set_call_id("c2"); },
       "messages[2].content[0] answers no earlier tool call: c2"},
      {[](auto& r) { r.mutable_tools(0)->set_name("a b"); }, "tools[0].name 'a b' doesn't match"},
      {[](auto& r) { *r.add_tools() = r.tools(0); }, "tools[1].name 'compile_kernel' occurs twice"},
      {[](auto& r) { r.mutable_tools(0)->set_parameters_json_schema("{"); }, "is not JSON at byte"},
      {[](auto& r) { r.mutable_tools(0)->set_parameters_json_schema("[]"); }, "is no JSON schema"},
      {[](auto& r) { r.mutable_tools(0)->set_parameters_json_schema(R"({"type":"string"})"); },
       "no JSON schema"},
      {[](auto& r) { r.mutable_tools(0)->set_parameters_json_schema(std::string(70000, ' ')); },
       "more than 65536"},
      {[](auto& r) {
         for (int i = 0; i < 64; ++i) AddTool(std::string("t") + std::to_string(i), &r);
       },
       "tools has 65 entries, more than 64"},
      {[](auto& r) {
         r.clear_tools();
         r.set_tool_choice(llm::TOOL_CHOICE_REQUIRED);
       },
       "tool_choice requires a tool"},
      {[](auto& r) { r.mutable_sampling()->set_temperature(2.5); },
       "sampling.temperature is 2.5, outside 0 to 2"},
      {[](auto& r) { r.mutable_sampling()->set_top_p(0); }, "sampling.top_p is 0"},
      {[](auto& r) { r.mutable_sampling()->set_max_output_tokens(0); }, "max_output_tokens is 0"},
      {[](auto& r) { r.mutable_sampling()->set_thinking_budget_tokens(-1); },
       "thinking_budget_tokens is negative"},
      {[](auto& r) {
         for (int i = 0; i < 5; ++i) r.mutable_sampling()->add_stop_sequences("x");
       },
       "stop_sequences has 5 entries, more than 4"},
      {[](auto& r) { r.set_request_id(std::string(129, 'x')); }, "request_id is longer than 128"},
      {[](auto& r) { r.set_session_id(std::string(129, 'x')); }, "session_id is longer than 128"},
  };
  for (const auto& c : cases) {
    GenerateRequest request = Good();
    c.spoil(request);
    const absl::Status status = ValidateRequest(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace nkiagent::llm_gateway
