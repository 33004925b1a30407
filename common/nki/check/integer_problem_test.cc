#include "common/nki/check/integer_problem.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace nkiagent::nki::check {
namespace {

using Answer = IntegerProblem::Answer;

Answer Solve(const IntegerProblem& p, int budget, std::vector<int64_t>* point) {
  return p.Solve(budget, point);
}

TEST(IntegerProblem, FindsAPointThatKeepsAllInequalities) {
  IntegerProblem p;
  const int x = p.AddVariable(0, 100), y = p.AddVariable(0, 100);
  p.RequireZero({-17, {{x, 3}, {y, 5}}});  // 3x + 5y = 17
  std::vector<int64_t> point;
  ASSERT_EQ(Solve(p, 1000, &point), Answer::kFound);
  EXPECT_EQ(3 * point[0] + 5 * point[1], 17);
}

TEST(IntegerProblem, ProvesThatNoIntegerFitsBetweenFractions) {
  IntegerProblem p;
  const int x = p.AddVariable(-1000, 1000), y = p.AddVariable(-3, 3);
  p.RequireZero({-1, {{x, 2}, {y, 4}}});  // 2x + 4y = 1
  EXPECT_EQ(Solve(p, 10000, nullptr), Answer::kNone);
}

TEST(IntegerProblem, StopsWhenTheBudgetRunsOut) {
  IntegerProblem p;
  const int x = p.AddVariable(0, 1 << 30), y = p.AddVariable(0, 1 << 30);
  p.RequireZero({-1, {{x, 2}, {y, -4}}});
  EXPECT_EQ(Solve(p, 50, nullptr), Answer::kUnknown);
}

TEST(IntegerProblem, HugeNumbersAreUndecidedNotWrong) {
  IntegerProblem p;
  const int x = p.AddVariable(0, 1);
  Linear huge{0, {{x, int64_t{1} << 40}}};
  Linear product;
  product.Add(huge, int64_t{1} << 40);
  p.RequireNonNegative(product);
  EXPECT_EQ(Solve(p, 50, nullptr), Answer::kUnknown);
}

// Against counting through the whole box.
TEST(IntegerProblem, AgreesWithExhaustiveSearch) {
  std::mt19937 rng(3);
  const auto draw = [&](int lo, int hi) {
    return lo + static_cast<int>(rng() % static_cast<unsigned>(hi - lo + 1));
  };
  int found = 0;
  for (int round = 0; round < 2000; ++round) {
    IntegerProblem p;
    for (int v = 0; v < 3; ++v) p.AddVariable(-4, 5);
    std::vector<Linear> constraints;
    for (int c = 0; c < 3; ++c) {
      Linear l;
      l.constant = draw(-9, 9);
      for (int v = 0; v < 3; ++v) l.Add(v, draw(-3, 3));
      if (c == 0) {
        p.RequireZero(l);
        Linear negated;
        negated.Add(l, -1);
        constraints.push_back(negated);
      } else {
        p.RequireNonNegative(l);
      }
      constraints.push_back(l);
    }
    bool exists = false;
    for (int64_t a = -4; a <= 5; ++a) {
      for (int64_t b = -4; b <= 5; ++b) {
        for (int64_t c = -4; c <= 5; ++c) {
          const int64_t at[] = {a, b, c};
          bool all = true;
          for (const Linear& l : constraints) {
            int64_t value = l.constant;
            for (const auto& [v, k] : l.terms) value += k * at[v];
            all = all && value >= 0;
          }
          exists = exists || all;
        }
      }
    }
    found += exists ? 1 : 0;
    EXPECT_EQ(Solve(p, 100000, nullptr), exists ? Answer::kFound : Answer::kNone);
  }
  EXPECT_GT(found, 500);
  EXPECT_LT(found, 1900);
}

}  // namespace
}  // namespace nkiagent::nki::check
