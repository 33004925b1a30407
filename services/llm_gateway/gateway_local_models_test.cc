// The models that answer in the gateway's own process keep the same contract as those behind a network.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/llm_gateway/builtin/builtin_model.h"
#include "services/llm_gateway/builtin/testing_graphs.h"
#include "services/llm_gateway/gateway.h"
#include "services/llm_gateway/test_util.h"
#include "services/llm_gateway/validate.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using ::testing::AllOf;
using ::testing::HasSubstr;

class LocalModelsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_);
    gateway_ = Start(/*record=*/true);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Gateway> Start(bool record) {
    GatewayOptions options;
    options.cassette_dir = folder_;
    if (record) options.record_dir = folder_;
    return *Gateway::Create(options, {}, std::make_unique<builtin::BuiltinModel>(), metrics_);
  }

  absl::StatusOr<GenerateResponse> Generate(Gateway& gateway, const GenerateRequest& request,
                                            const CallContext& context = CallContext()) {
    Answer answer;
    gateway.Generate(request, context, answer.Catch());
    return answer.Wait();
  }

  // Goes on with a conversation, each tool call answered alike, until the model ends its turn. All its
  // answers.
  std::vector<GenerateResponse> Converse(Gateway& gateway, GenerateRequest request) {
    std::vector<GenerateResponse> answers;
    std::set<std::string> ids;
    while (answers.size() < 12) {
      const absl::StatusOr<GenerateResponse> response = Generate(gateway, request);
      EXPECT_TRUE(response.ok()) << response.status();
      if (!response.ok()) break;
      answers.push_back(*response);
      EXPECT_EQ(response->message().role(), llm::ROLE_ASSISTANT);
      EXPECT_EQ(response->usage().calls(), 1);
      *request.add_messages() = response->message();
      if (response->stop_reason() != llm::STOP_REASON_TOOL_USE) break;
      llm::Message* user = request.add_messages();
      user->set_role(llm::ROLE_USER);
      for (const llm::ContentBlock& block : response->message().content()) {
        if (!block.has_tool_call()) continue;
        EXPECT_TRUE(ids.insert(block.tool_call().id()).second) << "an id came twice";
        llm::ToolResult* result = user->add_content()->mutable_tool_result();
        result->set_call_id(block.tool_call().id());
        result->set_text("error[err_unsupported_memory] line 3, col 1: operand is in hbm");
      }
      EXPECT_TRUE(ValidateRequest(request).ok()) << ValidateRequest(request);
    }
    return answers;
  }

  static GenerateRequest SoftmaxTask(const std::string& model) {
    GenerateRequest request =
        Ask(model, absl::StrCat("```graph\n", builtin::SoftmaxGraph(128, 512), "```\n"));
    request.set_session_id("softmax");
    AddTool("compile_kernel", &request);
    AddTool("verify_kernel", &request);
    return request;
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) / absl::StrCat("local-models-", getpid());
  metrics::Metrics metrics_{"llm"};
  std::unique_ptr<Gateway> gateway_;
};

TEST_F(LocalModelsTest, AreListedAndAvailable) {
  const std::vector<llm::Model> models = gateway_->ListModels();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].name(), "builtin");
  EXPECT_TRUE(models[0].available());
  EXPECT_EQ(models[1].name(), "replay:*");
}

TEST_F(LocalModelsTest, AWholeConversationIsRecordedAndReplayedWordForWord) {
  const std::vector<GenerateResponse> recorded = Converse(*gateway_, SoftmaxTask("builtin"));
  ASSERT_GE(recorded.size(), 2u);
  EXPECT_EQ(recorded[0].stop_reason(), llm::STOP_REASON_TOOL_USE);
  EXPECT_EQ(recorded[0].provider(), "builtin");
  EXPECT_EQ(recorded[0].usage().cost_micro_usd(), 0);

  std::unique_ptr<Gateway> player = Start(/*record=*/false);
  const std::vector<GenerateResponse> replayed = Converse(*player, SoftmaxTask("replay:softmax"));
  ASSERT_EQ(replayed.size(), recorded.size());
  for (size_t i = 0; i < recorded.size(); ++i) {
    EXPECT_EQ(replayed[i].provider(), "replay");
    EXPECT_EQ(replayed[i].stop_reason(), recorded[i].stop_reason());
    EXPECT_EQ(replayed[i].message().SerializeAsString(), recorded[i].message().SerializeAsString());
  }
  GenerateRequest other = SoftmaxTask("replay:softmax");
  other.mutable_messages(0)->mutable_content(0)->set_text("another task");
  const absl::Status status = Generate(*player, other).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("messages[0].content[0].text at byte 0"), HasSubstr("another task")));
}

TEST_F(LocalModelsTest, CallsWhoseCallerIsGoneEndWithoutAnAnswer) {
  for (const char* model : {"builtin", "replay:softmax"}) {
    Caller cancelled;
    cancelled.stop.request_stop();
    EXPECT_EQ(Generate(*gateway_, SoftmaxTask(model), cancelled.context()).status().code(),
              absl::StatusCode::kCancelled);
    Caller late;
    late.deadline = absl::Now() - absl::Seconds(1);
    EXPECT_EQ(Generate(*gateway_, SoftmaxTask(model), late.context()).status().code(),
              absl::StatusCode::kDeadlineExceeded);
  }
}

TEST_F(LocalModelsTest, ARepeatedRequestIdIsAnsweredFromMemory) {
  GenerateRequest request = SoftmaxTask("builtin");
  request.set_request_id("turn-1");
  const auto first = Generate(*gateway_, request);
  const auto second = Generate(*gateway_, request);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_FALSE(first->cached());
  EXPECT_TRUE(second->cached());
}

}  // namespace
}  // namespace nkiagent::llm_gateway
