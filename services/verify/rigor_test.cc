#include "services/verify/rigor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

namespace nkiagent::verify {
namespace {

TEST(PlanTrials, HighRigorAddsEachFamilyOnceOnTheFirstSeed) {
  const std::vector<uint64_t> seeds = {7, 8, 9};
  EXPECT_EQ(PlanTrials(seeds, v1::RIGOR_STANDARD).size(), 3u);
  EXPECT_EQ(PlanTrials(seeds, v1::RIGOR_UNSPECIFIED).size(), 3u);
  const std::vector<TrialPlan> plans = PlanTrials(seeds, v1::RIGOR_HIGH);
  ASSERT_EQ(plans.size(), 3u + 8u);
  EXPECT_EQ(plans[2].seed, 9u);
  EXPECT_EQ(plans[2].family, v1::INPUT_FAMILY_DRAWN);
  EXPECT_EQ(plans[3].seed, 7u);
  EXPECT_EQ(FamilyName(plans[3].family), "large");
  EXPECT_EQ(FamilyName(plans[7].family), "constant_rows");
  EXPECT_EQ(plans.back().family, v1::INPUT_FAMILY_INFINITE);
}

TEST(RootMeanSquare, LeavesOutWhatIsNotFinite) {
  const std::vector<float> values = {3, -4, std::numeric_limits<float>::quiet_NaN(),
                                     std::numeric_limits<float>::infinity()};
  const auto bytes =
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float));
  EXPECT_DOUBLE_EQ(RootMeanSquare(common::v1::DATA_TYPE_FLOAT32, bytes), std::sqrt(12.5));
  EXPECT_EQ(RootMeanSquare(common::v1::DATA_TYPE_FLOAT32, bytes.subspan(8)), 0);
}

TEST(FamilyAtol, FollowsTheScaleOfTheOutput) {
  EXPECT_EQ(FamilyAtol(1e-4, v1::INPUT_FAMILY_DRAWN, 1, 50, 1), 1e-4);
  EXPECT_DOUBLE_EQ(FamilyAtol(1e-4, v1::INPUT_FAMILY_LARGE, 2, 128, 0), 64e-4);
  // Never below the task's own, but for tiny inputs: an output of zeros must not pass for those.
  EXPECT_EQ(FamilyAtol(1e-4, v1::INPUT_FAMILY_NEGATIVE, 2, 0, 0), 1e-4);
  EXPECT_DOUBLE_EQ(FamilyAtol(1e-4, v1::INPUT_FAMILY_TINY, 2, 1, 0), 0.5e-4);
  EXPECT_DOUBLE_EQ(FamilyAtol(1e-4, v1::INPUT_FAMILY_TINY, 2, 0, 0), 1e-4 / 64);
  EXPECT_DOUBLE_EQ(FamilyAtol(1e-4, v1::INPUT_FAMILY_CONSTANT_ROWS, 1, 1, 0), 8e-4);
  // What a rounding of the inputs does is the least that is allowed.
  EXPECT_DOUBLE_EQ(FamilyAtol(1e-4, v1::INPUT_FAMILY_LARGE, 1, 1, 1e-3), 8e-3);
  // A reference that gives zeros for drawn inputs has no scale.
  EXPECT_EQ(FamilyAtol(1e-4, v1::INPUT_FAMILY_LARGE, 0, 5, 0), 1e-4);
}

TEST(SummarizeFamilies, TellsPassedFailedSkippedAndNotReached) {
  v1::Verdict verdict;
  for (const auto& [family, passed] : std::vector<std::pair<v1::InputFamily, bool>>{
           {v1::INPUT_FAMILY_DRAWN, true}, {v1::INPUT_FAMILY_DRAWN, false}, {v1::INPUT_FAMILY_LARGE, true}}) {
    v1::TrialResult* trial = verdict.add_trials();
    trial->set_family(family);
    trial->set_passed(passed);
  }
  auto skipped = std::make_shared<TrialData>();
  skipped->family = v1::INPUT_FAMILY_TINY;
  skipped->skipped = "forward raised";
  const std::vector<TrialDataPtr> all = {skipped};
  SummarizeFamilies(all, verdict);
  ASSERT_EQ(verdict.families_size(), 9);
  EXPECT_EQ(verdict.families(0).message(), "1 of 2 trials fails");
  EXPECT_FALSE(verdict.families(0).passed());
  EXPECT_TRUE(verdict.families(1).passed());
  EXPECT_EQ(verdict.families(2).skipped(), "forward raised");
  EXPECT_FALSE(verdict.families(3).passed());
  EXPECT_EQ(verdict.families(3).skipped(), "a trial before it did not complete");
}

}  // namespace
}  // namespace nkiagent::verify
