#include "services/llm_gateway/secrets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace nkiagent::llm_gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string WriteFile(const std::string& content) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/key-", getpid());
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

TEST(ReadCredentials, ComesFromTheVariableOrTheFileWithoutBlanksAround) {
  setenv("SECRETS_TEST_KEY", "  sk-abc\n", 1);
  EXPECT_EQ(ReadCredentials({.key_env = "SECRETS_TEST_KEY"})->key, "sk-abc");
  EXPECT_EQ(ReadCredentials({.key_file = WriteFile("sk-file\r\n")})->key, "sk-file");
  EXPECT_EQ(ReadCredentials({})->key, "");
}

TEST(ReadCredentials, NamesThePlaceAndNeverTheContent) {
  unsetenv("SECRETS_TEST_UNSET");
  EXPECT_THAT(std::string(ReadCredentials({.key_env = "SECRETS_TEST_UNSET"}).status().message()),
              HasSubstr("SECRETS_TEST_UNSET, which should hold the key, is not set"));
  EXPECT_THAT(std::string(ReadCredentials({.key_file = "/nonexistent/key"}).status().message()),
              HasSubstr("/nonexistent/key"));
  for (const std::string& content : {std::string("secret one\nsecret two"), std::string("\n"),
                                     std::string("secret\0x", 8), std::string(20000, 's')}) {
    const absl::Status status = ReadCredentials({.key_file = WriteFile(content)}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("secret")));
  }
}

TEST(ReadCredentials, FindsAwsKeysWhereAwsToolsDo) {
  setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
  setenv("AWS_SECRET_ACCESS_KEY", "secretenv", 1);
  setenv("AWS_SESSION_TOKEN", "tokenenv", 1);
  const auto from_environment = ReadCredentials({.provider = "bedrock"});
  ASSERT_TRUE(from_environment.ok()) << from_environment.status();
  EXPECT_EQ(from_environment->access_key_id, "AKIDENV");
  EXPECT_EQ(from_environment->session_token, "tokenenv");
  const std::string path = WriteFile(
      "[default]\naws_access_key_id = AKIDFILE\naws_secret_access_key=s1\n\n"
      "# another\n[other]\naws_access_key_id=AKIDOTHER\naws_secret_access_key = s=2/\naws_session_token = "
      "t\n");
  const auto other =
      ReadCredentials({.provider = "bedrock", .aws_profile = "other", .aws_credentials_file = path});
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->access_key_id, "AKIDOTHER");
  EXPECT_EQ(other->secret_access_key, "s=2/");
  EXPECT_EQ(other->session_token, "t");
  unsetenv("AWS_SECRET_ACCESS_KEY");
  unsetenv("AWS_SESSION_TOKEN");
  setenv("AWS_SHARED_CREDENTIALS_FILE", path.c_str(), 1);
  EXPECT_EQ(ReadCredentials({.provider = "bedrock"})->access_key_id, "AKIDFILE");
  EXPECT_THAT(std::string(ReadCredentials({.provider = "bedrock", .aws_profile = "gone"}).status().message()),
              HasSubstr("profile gone"));
  setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
  EXPECT_THAT(std::string(ReadCredentials({.provider = "bedrock"}).status().message()),
              HasSubstr("AWS_SECRET_ACCESS_KEY are not both set"));
  unsetenv("AWS_SHARED_CREDENTIALS_FILE");
  unsetenv("AWS_ACCESS_KEY_ID");
}

TEST(Redact, ReplacesTheKeyAndWhatLooksLikeOne) {
  EXPECT_EQ(Redact("bad key 0123456789abc!", {"0123456789abc"}), "bad key [redacted]!");
  EXPECT_EQ(Redact("Incorrect API key provided: sk-proj-abc123****wxyz. See"),
            "Incorrect API key provided: [redacted] See");
  EXPECT_EQ(Redact("Authorization: Bearer eyJhbGciOi.J9"), "Authorization: [redacted]");
}

TEST(Redact, LeavesOtherTextAlone) {
  for (const char* text : {"task-12345678 failed", "sk-1", "Bearer of news", "a risk-free-operation"}) {
    EXPECT_EQ(Redact(text, {"key"}), text);
  }
}

}  // namespace
}  // namespace nkiagent::llm_gateway
