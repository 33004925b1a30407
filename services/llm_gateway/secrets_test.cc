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
