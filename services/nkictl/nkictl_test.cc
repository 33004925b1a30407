#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "services/nkictl/client.h"
#include "services/nkictl/interrupt.h"
#include "services/nkictl/local_cluster.h"
#include "services/nkictl/profile.h"
#include "services/nkictl/progress.h"
#include "services/nkictl/text.h"
#include "services/nkictl/whole_file.h"

namespace nkiagent::nkictl {
namespace {

using testing::AllOf;
using testing::HasSubstr;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/nkictl_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string folder_;
};

TEST(Table, AlignsByCharactersAndLeavesNoTrailingSpace) {
  EXPECT_EQ(Table({"task", "n"}, {{"s\xc3\xb6"
                                   "ftmax",
                                   "1"},
                                  {"x", ""}}),
            "task     n\n"
            "-------  -\n"
            "s\xc3\xb6"
            "ftmax  1\n"
            "x\n");
}

TEST(Numbers, ReadWell) {
  EXPECT_EQ(Microseconds(12.345), "12.35 us");
  EXPECT_EQ(Microseconds(12345), "12.35 ms");
  EXPECT_EQ(Microseconds(0), "-");
  EXPECT_EQ(Dollars(12300), "$0.0123");
  EXPECT_EQ(Seconds(0.034), "0.03 s");
  EXPECT_EQ(EnumText("SESSION_STATE_NOT_SOLVED", "SESSION_STATE_"), "not solved");
}

TEST(Json, NamesFieldsAsTheContractDoes) {
  EXPECT_EQ(Json(Parse<orchestrator::v1::Session>(R"pb(id: "s" turns_used: 3)pb")),
            R"({"id":"s","turns_used":3})");
}

TEST(DescribeEvent, ShowsDiagnosticsIndented) {
  const auto event = Parse<orchestrator::v1::SessionEvent>(R"pb(
    compiled {
      turn: 2
      result {
        outcome: COMPILE_OUTCOME_REJECTED
        diagnostics { severity: SEVERITY_ERROR rule: "err_unsupported_memory" message: "x is in HBM" line: 3 }
      }
    }
  )pb");
  EXPECT_EQ(DescribeEvent(event),
            "turn 2: compile: refused\n"
            "    error[err_unsupported_memory] line 3: x is in HBM\n");
  EXPECT_EQ(Trouble(event), "err_unsupported_memory");
}

TEST(DescribeEvent, ShowsVerdicts) {
  const auto failed = Parse<orchestrator::v1::SessionEvent>(
      R"pb(verified {
             turn: 1
             verdict { reason: VERDICT_REASON_MISMATCH message: "all differ" }
           })pb");
  EXPECT_EQ(DescribeEvent(failed), "turn 1: verify: FAIL (mismatch): all differ\n");
  EXPECT_EQ(Trouble(failed), "mismatch");
  const auto passed = Parse<orchestrator::v1::SessionEvent>(
      R"pb(verified {
             turn: 1
             verdict {
               passed: true
               trials { passed: true }
             }
           })pb");
  EXPECT_THAT(DescribeEvent(passed), testing::StartsWith("turn 1: verify: PASS, 1 of 1 trials"));
  EXPECT_EQ(Trouble(passed), "");
}

TEST(DescribeEvent, EveryKindHasATextOrNone) {
  // A kind without a case would be silent; the ones that are silent on purpose are counted here.
  const auto* oneof = orchestrator::v1::SessionEvent::descriptor()->FindOneofByName("event");
  int silent = 0;
  for (int i = 0; i < oneof->field_count(); ++i) {
    orchestrator::v1::SessionEvent event;
    event.GetReflection()->MutableMessage(&event, oneof->field(i));
    silent += DescribeEvent(event).empty() ? 1 : 0;
  }
  // prompt, model_call_started, tool_call_started, tool_call_finished (a success), best_kernel_changed,
  // message_added.
  EXPECT_EQ(silent, 6);
}

TEST(ResultFacts, NamesVerdictCostAndReason) {
  EXPECT_THAT(Facts(ResultFacts(Parse<orchestrator::v1::Session>(R"pb(
                state: SESSION_STATE_NOT_SOLVED
                message: "no kernel was verified in 2 turns"
                turns_used: 2
                options { max_turns: 2 }
                usage { input_tokens: 10 output_tokens: 5 cost_micro_usd: 1500 }
              )pb"))),
              AllOf(HasSubstr("FAIL: no kernel was verified"), HasSubstr("2 of 2"), HasSubstr("10 in, 5 out"),
                    HasSubstr("$0.0015")));
}

TEST(Ranks, AreThoseOfTheInputs) {
  const auto facts = Parse<verify::v1::TaskFacts>(R"pb(
    arguments {
      role: TENSOR_ROLE_INPUT
      dims: [ 2, 3, 4 ]
    }
    arguments {
      role: TENSOR_ROLE_INPUT
      dims: [ 2, 3 ]
    }
    arguments { role: TENSOR_ROLE_PARAMETER dims: 3 }
  )pb");
  EXPECT_EQ(Ranks(facts), "2-D, 3-D");
  EXPECT_EQ(HighestRank(facts), 3);
}

TEST_F(FileTest, TaskFilesAreReadAndChecked) {
  const auto task =
      ReadTaskFile(Write("softmax.v2.py", "class Model: pass  # \xc3\xa4 \xe2\x82\xac \xf0\x9f\x99\x82"));
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ(task->name(), "softmax.v2");
  EXPECT_EQ(ReadTaskFile(folder_ + "/none.py").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadTaskFile(folder_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadTaskFile(Write("empty.py", "")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadTaskFile(Write("big.py", std::string((4 << 20) + 1, 'x'))).status().code(),
            absl::StatusCode::kInvalidArgument);
  for (const char* bad : {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82"}) {
    EXPECT_THAT(std::string(ReadTaskFile(Write("bad.py", bad)).status().message()), HasSubstr("not UTF-8"));
  }
}

TEST_F(FileTest, WholeFilesAppearAtTheEndOrNotAtAll) {
  const std::string path = Write("kernel.py", "old");
  {
    WholeFile abandoned(path);
    ASSERT_TRUE(abandoned.Open().ok());
    ASSERT_TRUE(abandoned.Write("half").ok());
  }
  EXPECT_EQ(Read(path), "old");
  // A link goes on leading to its file.
  std::filesystem::create_symlink(path, folder_ + "/link");
  ASSERT_TRUE(WriteWhole(folder_ + "/link", "new").ok());
  EXPECT_EQ(Read(path), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder_ + "/link"));
  // What is no regular file is not replaced by one.
  EXPECT_TRUE(WriteWhole("/dev/null", "gone").ok());
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_THAT(std::string(WriteWhole(folder_, "text").message()), HasSubstr("can't write " + folder_));
  EXPECT_EQ(WriteWhole(folder_ + "/none/file", "text").message(),
            "can't write " + folder_ + "/none/file: No such file or directory");
  const auto left = std::filesystem::directory_iterator(folder_);
  EXPECT_EQ(std::distance(begin(left), end(left)), 2);
}

TEST_F(FileTest, ClusterNamesTheMissingBinary) {
  ClusterOptions options;
  options.bin_dir = folder_;
  const auto cluster = LocalCluster::Start(options);
  EXPECT_EQ(cluster.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(cluster.status().message()), HasSubstr("compile-service"));
}

TEST_F(FileTest, ClusterTellsWhatAServiceSaidThatDoesNotStart) {
  for (const Service service : kServices) {
    const std::string binary = Write(ServiceName(service), "#!/bin/sh\necho port is taken >&2\nexit 1\n");
    std::filesystem::permissions(binary, std::filesystem::perms::owner_all);
  }
  ClusterOptions options;
  options.bin_dir = folder_;
  options.work_dir = folder_ + "/work";
  const auto cluster = LocalCluster::Start(options);
  EXPECT_EQ(cluster.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(cluster.status().message()),
              AllOf(HasSubstr("compile-service did not start"), HasSubstr("port is taken")));
}

TEST_F(FileTest, ClusterIsInterruptedWhileItStarts) {
  for (const Service service : kServices) {
    const std::string binary = Write(ServiceName(service), "#!/bin/sh\nexec sleep 600\n");
    std::filesystem::permissions(binary, std::filesystem::perms::owner_all);
  }
  ClusterOptions options;
  options.bin_dir = folder_;
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(LocalCluster::Start(options, stop.get_token()).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(ProfileArguments, AreTypeAndShapeWithOrWithoutAName) {
  const absl::StatusOr<common::v1::TensorSpec> plain = ParseArgument("float32[128,512]", 1);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->name(), "arg1");
  EXPECT_EQ(plain->dtype(), common::v1::DATA_TYPE_FLOAT32);
  EXPECT_THAT(plain->dims(), ::testing::ElementsAre(128, 512));
  const absl::StatusOr<common::v1::TensorSpec> named = ParseArgument("w: bfloat16[64, ]", 0);
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->name(), "w");
  EXPECT_EQ(named->dtype(), common::v1::DATA_TYPE_BFLOAT16);
  EXPECT_THAT(named->dims(), ::testing::ElementsAre(64));
}

TEST(ProfileArguments, AreRefusedWithTheReasonAndTheForm) {
  for (const char* text :
       {"", "float32", "float32[]", "float32[0]", "float32[a]", "float99[4]", "[4]", "float32[4", "x:[4]"}) {
    const absl::Status status = ParseArgument(text, 0).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("float32[128,512]")) << text;
  }
}

// In a process of its own, since the signal mask and the second signal's exit are the process's.
TEST(Interrupt, FirstSignalStopsAndSecondExits) {
  const pid_t child = fork();
  if (child == 0) {
    const Interrupt interrupt;
    kill(getpid(), SIGINT);
    while (!interrupt.requested()) usleep(1000);
    kill(getpid(), SIGINT);
    pause();
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
}

}  // namespace
}  // namespace nkiagent::nkictl
