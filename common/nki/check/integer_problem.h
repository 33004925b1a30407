// A small exact solver: does a box of integers hold a point that satisfies some linear inequalities?
// Bounds, masks and dependences between iterations are all questions of this kind.
#ifndef NKIAGENT_COMMON_NKI_CHECK_INTEGER_PROBLEM_H_
#define NKIAGENT_COMMON_NKI_CHECK_INTEGER_PROBLEM_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"

namespace nkiagent::nki::check {

// constant + sum(coefficient * variable); saturates at +-2^62.
struct Linear {
  int64_t constant = 0;
  absl::InlinedVector<std::pair<int, int64_t>, 6> terms;  // (variable, coefficient), no variable twice

  void Add(int variable, int64_t coefficient);
  void Add(const Linear& other, int64_t factor);
};

class IntegerProblem {
 public:
  enum class Answer {
    kNone,     // no such point: proven
    kFound,    // `point` is one
    kUnknown,  // the budget ran out first
  };

  // A variable with lo <= value <= hi. Numbers beyond +-2^56, here or in expressions, leave the answer
  // kUnknown.
  int AddVariable(int64_t lo, int64_t hi);
  void RequireNonNegative(Linear expression);
  void RequireZero(const Linear& expression);

  // Bound propagation and bisection, visiting at most `budget` boxes, which it takes from it. `point` may be
  // null.
  Answer Solve(int& budget, std::vector<int64_t>* point) const;

 private:
  struct Box {
    std::vector<int64_t> lo;
    std::vector<int64_t> hi;
  };
  // Shrinks the box; false if it is empty.
  bool Propagate(Box& box) const;
  // Whether every point of the box satisfies everything.
  bool AllSatisfied(const Box& box) const;

  bool decidable_ = true;
  Box box_;
  std::vector<Linear> constraints_;
};

}  // namespace nkiagent::nki::check

#endif  // NKIAGENT_COMMON_NKI_CHECK_INTEGER_PROBLEM_H_
