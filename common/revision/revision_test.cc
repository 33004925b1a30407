#include "common/revision/revision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nkiagent {
namespace {

TEST(Revision, NamesVersionAndSources) {
  EXPECT_THAT(ToolchainVersion(), testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+\\+[0-9a-f]+"));
  EXPECT_EQ(ToolchainVersion().size() - ToolchainVersion().find('+'), 13u);
  // Outside version control there is none.
  EXPECT_THAT(SourceRevision(), testing::MatchesRegex("[-0-9a-zA-Z._/]*"));
}

}  // namespace
}  // namespace nkiagent
