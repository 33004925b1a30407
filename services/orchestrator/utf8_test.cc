#include "services/orchestrator/utf8.h"

#include <gtest/gtest.h>

namespace nkiagent::orchestrator {
namespace {

TEST(Utf8, KnowsWellFormedFromIllFormed) {
  for (const char* good :
       {"", "abc", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x99\x82", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
    EXPECT_EQ(CleanUtf8(good), good);
  }
  // A lone byte, a cut character, overlong forms, a surrogate, beyond U+10FFFF, five bytes.
  for (const char* bad : {"\xff", "a\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "\xf8\x88\x80\x80\x80", "\xe2\x82"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
    EXPECT_TRUE(IsUtf8(CleanUtf8(bad))) << bad;
  }
}

TEST(Utf8, ReplacesOnlyWhatIsIllFormed) {
  EXPECT_EQ(CleanUtf8("a\xff"
                      "b\xc3\xa4"),
            "a\xef\xbf\xbd"
            "b\xc3\xa4");
}

TEST(Utf8, CutsBetweenCharacters) {
  EXPECT_EQ(CutUtf8("a\xc3\xa4", 2), "a");
  EXPECT_EQ(CutUtf8("a\xc3\xa4", 3), "a\xc3\xa4");
  EXPECT_EQ(CutUtf8("\xf0\x9f\x99\x82", 3), "");
}

}  // namespace
}  // namespace nkiagent::orchestrator
