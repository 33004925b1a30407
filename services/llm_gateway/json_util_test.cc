#include "services/llm_gateway/json_util.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nkiagent::llm_gateway {
namespace {

using ::testing::HasSubstr;

TEST(ParseJson, TakesJsonAndOnlyJson) {
  EXPECT_EQ(ParseJson(R"({"a": [1, "b", null]})").value()["a"][1], "b");
  for (const char* text :
       {"", "{", "{\"a\": }", "[1,]", "{} x", "'a'", "\"\xff\xfe\"", "\"\\ud800\"", "nul"}) {
    const absl::Status status = ParseJson(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("not JSON at byte")) << text;
  }
}

TEST(ParseJson, BoundsTheDepth) {
  EXPECT_TRUE(ParseJson(std::string(100, '[') + std::string(100, ']')).ok());
  EXPECT_THAT(std::string(ParseJson(std::string(101, '[') + std::string(101, ']')).status().message()),
              HasSubstr("deeper than 100"));
  EXPECT_FALSE(ParseJson(std::string(10'000'000, '[')).ok());
}

TEST(ParseJson, BoundsTheNumberOfValues) {
  std::string many = "[";
  for (int64_t i = 0; i < kMaxJsonValues; ++i) many += "0,";
  EXPECT_THAT(std::string(ParseJson(many + "0]").status().message()), HasSubstr("more than 4000000 values"));
}

TEST(Accessors, GiveDefaultsForWhatIsMissingOrOfAnotherKind) {
  const Json json = {{"text", "x"}, {"number", 7}, {"large", UINT64_MAX}, {"float", 1.5}};
  EXPECT_EQ(StringOr(json, "text"), "x");
  EXPECT_EQ(StringOr(json, "number", "none"), "none");
  EXPECT_EQ(IntOr(json, "number"), 7);
  EXPECT_EQ(IntOr(json, "large"), INT64_MAX);
  EXPECT_EQ(IntOr(json, "float", -1), -1);
  EXPECT_TRUE(Member(json, "absent").is_null());
  EXPECT_TRUE(Member(Json(5), "text").is_null());
}

TEST(Excerpt, IsOneLineOfCleanTextAndSaysWhatIsCut) {
  EXPECT_EQ(Excerpt("a\nb\tc"), "a b c");
  EXPECT_EQ(Excerpt(std::string(400, 'x'), 10), "xxxxxxxxxx... (400 bytes)");
  EXPECT_EQ(Excerpt("ok\xff\xfeok"), "okok");
  EXPECT_EQ(Excerpt("\xe4\xb8\xad\xe4\xb8\xad", 4), "\xe4\xb8\xad... (6 bytes)");
}

}  // namespace
}  // namespace nkiagent::llm_gateway
