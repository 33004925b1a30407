#include "services/nkictl/bench_stats.h"

#include <gtest/gtest.h>

namespace nkiagent::nkictl {
namespace {

// Values of scipy.stats.binomtest(k, n).proportion_ci(method="wilson").
TEST(Wilson95, AgreesWithScipy) {
  EXPECT_NEAR(Wilson95(116, 150).low, 0.6999980606806, 1e-12);
  EXPECT_NEAR(Wilson95(116, 150).high, 0.8330182057316, 1e-12);
  EXPECT_NEAR(Wilson95(1, 3).low, 0.0614919447204, 1e-12);
  EXPECT_NEAR(Wilson95(1, 3).high, 0.7923403991979, 1e-12);
  EXPECT_EQ(Wilson95(0, 10).low, 0);
  EXPECT_NEAR(Wilson95(0, 10).high, 0.2775327998629, 1e-12);
  EXPECT_NEAR(Wilson95(10, 10).low, 0.7224672001371, 1e-12);
  EXPECT_EQ(Wilson95(10, 10).high, 1);
  EXPECT_EQ(Wilson95(0, 0).low, 0);
  EXPECT_EQ(Wilson95(0, 0).high, 1);
}

// Values of scipy.stats.binomtest(min(b, c), b + c, 0.5).pvalue.
TEST(McNemarExact, AgreesWithScipy) {
  EXPECT_NEAR(McNemarExact(3, 12), 0.03515625, 1e-12);
  EXPECT_NEAR(McNemarExact(12, 3), 0.03515625, 1e-12);
  EXPECT_NEAR(McNemarExact(0, 5), 0.0625, 1e-12);
  EXPECT_NEAR(McNemarExact(40, 61), 0.0460440669293, 1e-10);
  EXPECT_EQ(McNemarExact(5, 5), 1);
  EXPECT_EQ(McNemarExact(0, 0), 1);
  EXPECT_GT(McNemarExact(0, 10000), 0 - 1e-300) << "far tails don't overflow";
}

TEST(Spread, IsThatOfTheSample) {
  const Spread spread = SpreadOf({2, 4, 4, 4, 5, 5, 7, 9});
  EXPECT_EQ(spread.mean, 5);
  EXPECT_NEAR(spread.deviation, 2.138089935299395, 1e-12);
  EXPECT_EQ(spread.least, 2);
  EXPECT_EQ(spread.most, 9);
  EXPECT_EQ(SpreadOf({3}).deviation, 0);
  EXPECT_EQ(SpreadOf({}).mean, 0);
}

TEST(Means, OfKnownValues) {
  EXPECT_NEAR(GeometricMean({1, 4, 16}), 4, 1e-12);
  EXPECT_EQ(GeometricMean({}), 0);
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 1), 4);
  EXPECT_EQ(Quantile({}, 0.5), 0);
}

}  // namespace
}  // namespace nkiagent::nkictl
