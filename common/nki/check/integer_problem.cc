#include "common/nki/check/integer_problem.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "common/nki/ir/saturate.h"

namespace nkiagent::nki::check {
namespace {

using ir::Saturate;
using ir::Wide;

// Numbers beyond this make a problem undecided; with them a sum of products could leave 128 bits.
constexpr int64_t kLargest = int64_t{1} << 56;

bool IsSmall(int64_t v) { return v >= -kLargest && v <= kLargest; }

// Rounds of propagation before bisection takes over; what converges slowly is better split.
constexpr int kMaxRounds = 16;

Wide FloorDiv(Wide a, Wide b) {
  const Wide q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

Wide CeilDiv(Wide a, Wide b) { return -FloorDiv(-a, b); }

}  // namespace

void Linear::Add(int variable, int64_t coefficient) {
  for (auto it = terms.begin(); it != terms.end(); ++it) {
    if (it->first != variable) continue;
    it->second = Saturate(Wide{it->second} + coefficient);
    if (it->second == 0) terms.erase(it);
    return;
  }
  if (coefficient != 0) terms.emplace_back(variable, coefficient);
}

void Linear::Add(const Linear& other, int64_t factor) {
  constant = Saturate(constant + Wide{other.constant} * factor);
  for (const auto& [variable, coefficient] : other.terms) Add(variable, Saturate(Wide{coefficient} * factor));
}

int IntegerProblem::AddVariable(int64_t lo, int64_t hi) {
  decidable_ = decidable_ && IsSmall(lo) && IsSmall(hi);
  box_.lo.push_back(lo);
  box_.hi.push_back(hi);
  return static_cast<int>(box_.lo.size()) - 1;
}

void IntegerProblem::RequireNonNegative(Linear expression) {
  decidable_ = decidable_ && IsSmall(expression.constant) &&
               std::all_of(expression.terms.begin(), expression.terms.end(),
                           [](const auto& term) { return IsSmall(term.second); });
  constraints_.push_back(std::move(expression));
}

void IntegerProblem::RequireZero(const Linear& expression) {
  RequireNonNegative(expression);
  Linear negated;
  negated.Add(expression, -1);
  RequireNonNegative(std::move(negated));
}

bool IntegerProblem::Propagate(Box& box) const {
  for (size_t v = 0; v < box.lo.size(); ++v) {
    if (box.lo[v] > box.hi[v]) return false;
  }
  for (int round = 0; round < kMaxRounds; ++round) {
    bool changed = false;
    for (const Linear& c : constraints_) {
      Wide most = c.constant;
      for (const auto& [v, k] : c.terms) {
        const auto i = static_cast<size_t>(v);
        most += Wide{k} * (k > 0 ? box.hi[i] : box.lo[i]);
      }
      if (most < 0) return false;
      for (const auto& [v, k] : c.terms) {
        const auto i = static_cast<size_t>(v);
        // k * x >= -(everything else at its most)
        const Wide others = most - Wide{k} * (k > 0 ? box.hi[i] : box.lo[i]);
        if (k > 0) {
          const Wide bound = CeilDiv(-others, k);
          if (bound > box.lo[i]) {
            if (bound > box.hi[i]) return false;
            box.lo[i] = static_cast<int64_t>(bound);
            changed = true;
          }
        } else {
          const Wide bound = FloorDiv(others, -Wide{k});
          if (bound < box.hi[i]) {
            if (bound < box.lo[i]) return false;
            box.hi[i] = static_cast<int64_t>(bound);
            changed = true;
          }
        }
      }
    }
    if (!changed) break;
  }
  return true;
}

bool IntegerProblem::AllSatisfied(const Box& box) const {
  return std::all_of(constraints_.begin(), constraints_.end(), [&](const Linear& c) {
    Wide least = c.constant;
    for (const auto& [v, k] : c.terms) {
      const auto i = static_cast<size_t>(v);
      least += Wide{k} * (k > 0 ? box.lo[i] : box.hi[i]);
    }
    return least >= 0;
  });
}

IntegerProblem::Answer IntegerProblem::Solve(int& budget, std::vector<int64_t>* point) const {
  if (!decidable_) return Answer::kUnknown;
  std::vector<Box> open = {box_};
  while (!open.empty()) {
    if (budget-- <= 0) return Answer::kUnknown;
    Box box = std::move(open.back());
    open.pop_back();
    if (!Propagate(box)) continue;
    if (AllSatisfied(box)) {
      if (point != nullptr) *point = box.lo;
      return Answer::kFound;
    }
    // The narrowest open variable first: it decides soonest.
    size_t split = box.lo.size();
    for (size_t v = 0; v < box.lo.size(); ++v) {
      if (box.lo[v] == box.hi[v]) continue;
      if (split == box.lo.size() || box.hi[v] - box.lo[v] < box.hi[split] - box.lo[split]) split = v;
    }
    if (split == box.lo.size()) continue;  // a single point that satisfies not all
    const int64_t middle = box.lo[split] + (box.hi[split] - box.lo[split]) / 2;
    Box upper = box;
    upper.lo[split] = middle + 1;
    box.hi[split] = middle;
    open.push_back(std::move(upper));
    open.push_back(std::move(box));
  }
  return Answer::kNone;
}

}  // namespace nkiagent::nki::check
