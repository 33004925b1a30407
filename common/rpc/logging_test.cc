#include "common/rpc/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace nkiagent::rpc {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

class LoggingTest : public ::testing::Test {
 protected:
  ~LoggingTest() override { std::remove(path_.c_str()); }

  std::string Logged() {
    std::stringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }

  const std::string path_ = ::testing::TempDir() + "logging_test_" +
                            ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".log";
};

TEST_F(LoggingTest, WritesFieldsThenBoundFieldsAsText) {
  ASSERT_TRUE(InitLogging({.component = "compile-service", .file = path_}).ok());
  Logger::Get("rpc")
      .With({{"request_id", "r-1"}})
      .Info("call ended", {{"ms", 12}, {"hit", true}, {"ratio", 0.5}});
  EXPECT_THAT(Logged(),
              EndsWith(" info  compile-service/rpc call ended ms=12 hit=true ratio=0.5 request_id=r-1\n"));
}

TEST_F(LoggingTest, KeepsHostileValuesOnOneLine) {
  ASSERT_TRUE(InitLogging({.file = path_}).ok());
  Logger::Get().Info("first\nsecond", {{"text", "a\nb \"c\" d=e\x01"}});
  const std::string logged = Logged();
  EXPECT_EQ(std::count(logged.begin(), logged.end(), '\n'), 1);
  EXPECT_THAT(logged, HasSubstr(R"(first\nsecond text="a\nb \"c\" d=e\001")"));
}

TEST_F(LoggingTest, WritesJsonThatParsesEvenForInvalidUtf8) {
  ASSERT_TRUE(InitLogging({.component = "c", .format = "json", .file = path_}).ok());
  Logger::Get().Warn("odd", {{"bytes", std::string("\xff\xfe")}, {"n", int64_t{1} << 40}});
  const auto line = nlohmann::json::parse(Logged());
  EXPECT_EQ(line["level"], "warning");
  EXPECT_EQ(line["component"], "c");
  EXPECT_EQ(line["n"], int64_t{1} << 40);
  EXPECT_TRUE(line["bytes"].is_string());
}

TEST_F(LoggingTest, DropsLinesBelowTheLevel) {
  ASSERT_TRUE(InitLogging({.level = "warn", .file = path_}).ok());
  Logger::Get().Info("quiet");
  Logger::Get().Error("loud");
  EXPECT_THAT(Logged(), Not(HasSubstr("quiet")));
  EXPECT_THAT(Logged(), HasSubstr("loud"));
}

TEST_F(LoggingTest, RefusesUnknownLevelFormatAndUnwritableFile) {
  EXPECT_EQ(InitLogging({.level = "chatty"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(InitLogging({.format = "xml"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(InitLogging({.file = "/proc/nowhere/x.log"}).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace nkiagent::rpc
