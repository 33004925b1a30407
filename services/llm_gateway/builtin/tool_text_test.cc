#include "services/llm_gateway/builtin/tool_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nkiagent::builtin {
namespace {

using ::testing::SizeIs;

TEST(ReadToolText, ReadsErrorsWithTheirLimits) {
  const Observation seen = ReadToolText(
      "compiled: no (2 errors)\n"
      "warning[shadowing] line 3: a name\n"
      "error[err_num_partition_exceed_arch_limit] line 12, col 4: the tile has 256 partitions\n"
      "  x = nl.load(y[i, j])\n"
      "      ^\n"
      "  limit: partition <= 128 actual: partition = 256\n"
      "  fix: tile by 128\n"
      "error[syntax]: invalid syntax\n");
  EXPECT_EQ(seen.compiled, false);
  EXPECT_FALSE(seen.verified.has_value());
  ASSERT_THAT(seen.errors, SizeIs(2));
  EXPECT_EQ(seen.errors[0].rule, "err_num_partition_exceed_arch_limit");
  EXPECT_EQ(seen.errors[0].line, 12);
  EXPECT_EQ(seen.errors[0].message, "the tile has 256 partitions");
  EXPECT_EQ(seen.errors[0].limit, 128);
  EXPECT_EQ(seen.errors[0].actual, 256);
  EXPECT_EQ(seen.errors[1].line, 0);
}

TEST(ReadToolText, ReadsVerdicts) {
  const Observation pass = ReadToolText("compiled: yes\nverified: PASS, 3 of 3 trials\n");
  EXPECT_EQ(pass.compiled, true);
  EXPECT_EQ(pass.verified, true);
  const Observation fail =
      ReadToolText("verified: FAIL (mismatch): the outputs differ\n    NaN: 3 elements\n");
  EXPECT_EQ(fail.verified, false);
  EXPECT_EQ(fail.failure, "mismatch");
  EXPECT_TRUE(fail.has_nan);
}

TEST(ReadToolText, MakesNothingOfOtherText) {
  EXPECT_TRUE(ReadToolText("").empty());
  EXPECT_TRUE(ReadToolText("The tool is busy.\nerror[unclosed").empty());
}

}  // namespace
}  // namespace nkiagent::builtin
