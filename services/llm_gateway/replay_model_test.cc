#include "services/llm_gateway/replay_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/test_util.h"

namespace nkiagent::llm_gateway {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ReplayModelTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name) << content;
  }

  absl::Status Replay(const std::string& name) {
    return model_.Generate(Ask("replay:" + name, "hello"), CallContext()).status();
  }

  static GenerateResponse Says(const std::string& text) {
    GenerateResponse response;
    response.mutable_message()->add_content()->set_text(text);
    return response;
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) / absl::StrCat("replay-", getpid());
  ReplayModel model_{folder_};
};

TEST_F(ReplayModelTest, AnswersWhatWasRecordedWhoeverAsks) {
  GenerateRequest recorded = Ask("claude", "hello");
  recorded.set_session_id("one");
  recorded.set_request_id("r1");
  Write("a.jsonl", FormatExchange(recorded, Says("hi")));
  GenerateRequest request = Ask("replay:a", "hello");
  request.set_session_id("two");
  const auto response = model_.Generate(request, CallContext());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->message().content(0).text(), "hi");
  EXPECT_EQ(response->provider(), "replay");
}

TEST_F(ReplayModelTest, ASessionGetsTheAnswersToOneQuestionInTheirOrder) {
  const GenerateRequest recorded = Ask("claude", "again");
  Write("a.jsonl",
        absl::StrCat(FormatExchange(recorded, Says("one")), FormatExchange(Ask("claude", "x"), Says("y")),
                     FormatExchange(recorded, Says("two"))));
  const auto ask = [&](const std::string& session) {
    GenerateRequest request = Ask("replay:a", "again");
    request.set_session_id(session);
    const auto response = model_.Generate(request, CallContext());
    return response.ok() ? response->message().content(0).text() : response.status().ToString();
  };
  EXPECT_EQ(ask("s1"), "one");
  EXPECT_EQ(ask("s2"), "one");
  EXPECT_EQ(ask("s1"), "two");
  EXPECT_EQ(ask("s1"), "two");
  EXPECT_EQ(ask(""), "one");
  EXPECT_EQ(ask(""), "one");
}

TEST_F(ReplayModelTest, CassettesHoldNoKeys) {
  GenerateRequest recorded = Ask("claude", "my key is sk-ant-0123456789abcdef and not-a-pattern/secret+1");
  const std::string line =
      FormatExchange(recorded, Says("use AKIDABCD? no: Bearer abcdefghijkl"), {"not-a-pattern/secret+1"});
  for (const char* key : {"sk-ant-0123456789", "not-a-pattern", "abcdefghijkl"}) {
    EXPECT_EQ(line.find(key), std::string::npos) << line;
  }
  // Asked with its key it is the same request.
  recorded = Ask("replay:a", "my key is sk-ant-0123456789abcdef");
  Write("a.jsonl", FormatExchange(recorded, Says("hi")));
  EXPECT_TRUE(model_.Generate(recorded, CallContext()).ok());
}

TEST_F(ReplayModelTest, SaysWhereARequestFirstDiffers) {
  GenerateRequest recorded = Ask("claude", "hello");
  recorded.set_system("You write kernels.");
  Write("a.jsonl", FormatExchange(recorded, Says("hi")));
  GenerateRequest request = Ask("replay:a", "hello");
  request.set_system("You write NKI kernels.");
  const absl::Status status = model_.Generate(request, CallContext()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("cassette a at system at byte 10"), HasSubstr("You write NKI kernels.")));
}

TEST_F(ReplayModelTest, DifferencesInToolsAndSamplingCount) {
  Write("a.jsonl", FormatExchange(Ask("claude", "hello"), Says("hi")));
  GenerateRequest tools = Ask("replay:a", "hello");
  AddTool("compile_kernel", &tools);
  EXPECT_THAT(std::string(model_.Generate(tools, CallContext()).status().message()),
              HasSubstr("at tools: not recorded"));
  GenerateRequest sampling = Ask("replay:a", "hello");
  sampling.mutable_sampling()->set_temperature(0.5);
  EXPECT_THAT(std::string(model_.Generate(sampling, CallContext()).status().message()),
              HasSubstr("at sampling: not recorded"));
}

TEST_F(ReplayModelTest, NamesTheLineThatIsNoExchange) {
  const std::string good = FormatExchange(Ask("claude", "hello"), Says("hi"));
  const struct {
    std::string line;
    const char* message;
  } cases[] = {
      {"{", "line 2: not JSON"},
      {"{\"version\": 2}", "line 2: is no exchange of version 1"},
      {"{\"version\": 1, \"request\": {\"no_such_field\": 1}}", "line 2"},
      {std::string(good).replace(good.find("hello"), 5, "HELLO"), "line 2: has a request that differs"},
  };
  int i = 0;
  for (const auto& c : cases) {
    const std::string name = absl::StrCat("bad", i++);
    Write(name + ".jsonl", absl::StrCat(good, c.line, "\n"));
    const absl::Status status = Replay(name);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST_F(ReplayModelTest, ReadsOnlyCassettesInItsFolder) {
  for (const char* name : {"../secret", "/etc/passwd", "", "a/../../b", ".", "a//b"}) {
    EXPECT_EQ(Replay(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(Replay("absent").code(), absl::StatusCode::kNotFound);
  ReplayModel without("");
  EXPECT_EQ(without.Generate(Ask("replay:a", "x"), CallContext()).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ReplayModelTest, RecorderKeepsToItsFolderAndAppendsWholeLines) {
  Recorder recorder(folder_);
  GenerateRequest request = Ask("m", "hello");
  request.set_session_id("../../evil/é");
  ASSERT_TRUE(recorder.Record(request, Says("1")).ok());
  ASSERT_TRUE(recorder.Record(request, Says("2")).ok());
  request.clear_session_id();
  ASSERT_TRUE(recorder.Record(request, Says("3")).ok());
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    ++files;
    const auto exchanges = ReadCassette(entry.path());
    ASSERT_TRUE(exchanges.ok()) << exchanges.status();
    EXPECT_EQ(exchanges->size(), entry.path().filename() == "no-session.jsonl" ? 1u : 2u);
  }
  EXPECT_EQ(files, 2);
}

}  // namespace
}  // namespace nkiagent::llm_gateway
