#include "common/contract/clean_text.h"

#include <gtest/gtest.h>

namespace nkiagent::contract {
namespace {

TEST(CleanTextTest, KeepsValidUtf8) {
  const std::string text = "plain, \u00e9, \u20ac, \U0001f600";
  EXPECT_EQ(CleanText(text, 1000), text);
}

TEST(CleanTextTest, ReplacesEachInvalidByte) {
  EXPECT_EQ(CleanText("a\xff"
                      "b\xc3",
                      1000),
            "a?b?");
  EXPECT_EQ(CleanText("\xc0\x80", 1000), "??");            // overlong
  EXPECT_EQ(CleanText("\xed\xa0\x80", 1000), "???");       // surrogate
  EXPECT_EQ(CleanText("\xf4\x90\x80\x80", 1000), "????");  // beyond U+10FFFF
}

TEST(CleanTextTest, CutsAtACharacter) {
  EXPECT_EQ(CleanText("ab\u20ac", 4), "ab");
  EXPECT_EQ(CleanText("ab\u20ac", 5), "ab\u20ac");
}

}  // namespace
}  // namespace nkiagent::contract
