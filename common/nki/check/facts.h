// What the rules ask about a program: its instructions in order with their loops, and the translation of
// accesses into integer problems. Internal to common/nki/check.
#ifndef NKIAGENT_COMMON_NKI_CHECK_FACTS_H_
#define NKIAGENT_COMMON_NKI_CHECK_FACTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/nki/check/integer_problem.h"
#include "common/nki/diagnostic.h"
#include "common/nki/ir/flat.h"

namespace nkiagent::nki::check {

// Boxes visited before a rule keeps silent: for one question, and for all questions about one program (some
// seconds at worst, which only a program made for it reaches).
inline constexpr int kSolverBudget = 400;
inline constexpr int kProgramBudget = 400'000;

using LoopFacts = ir::FlatLoop;
using InstrFacts = ir::FlatInstr;
using ir::Destinations;
using ir::SameElements;
using ir::Sources;

struct Facts : ir::FlatProgram {
  explicit Facts(const ir::Program& p) : FlatProgram(p), ranges(ir::SymbolRanges(p)) {}

  std::vector<ir::Range> ranges;  // of each symbol
  mutable int boxes_left = kProgramBudget;

  // Range of an affine expression over all iterations, ignoring masks.
  ir::Range RangeOf(const ir::Affine& a, absl::Span<const int64_t> shape) const {
    return ir::RangeOf(a, shape, ranges);
  }
  // Answers a question within what is left of the program's budget; kUnknown once that is spent.
  IntegerProblem::Answer Solve(const IntegerProblem& problem, std::vector<int64_t>* point) const;
  // Whether `instr` can write something: it runs, and the mask of its destination is not always false.
  bool Writes(const InstrFacts& instr, const ir::Access& dst) const;
};

// One execution of an instruction as variables of a problem: each loop's trip number and each tile position.
class Instance {
 public:
  Instance(const Facts& facts, IntegerProblem& problem) : facts_(facts), problem_(problem) {}

  // Gives a loop symbol the value of `expression` instead of a variable of its own.
  void Bind(ir::SymbolId symbol, Linear expression) { symbols_[symbol] = std::move(expression); }
  // The value of a symbol; makes its variables and, for derived symbols, their definition on first use.
  const Linear& ValueOf(ir::SymbolId symbol);
  // Makes one variable for each position along the tile dimensions.
  void SetTile(absl::Span<const int64_t> shape);
  Linear ValueOf(const ir::Affine& a);
  void Require(absl::Span<const ir::Affine> mask);

  // "i = 3, j = 0" for the loop symbols in use, from a solution.
  std::string Describe(absl::Span<const int64_t> point) const;

 private:
  const Facts& facts_;
  IntegerProblem& problem_;
  std::map<ir::SymbolId, Linear> symbols_;
  std::vector<int> dims_;
};

// The conditions under which an element of an operand takes part. With one shape, an element of one operand
// meets the element of the others at the same position, so a mask on any of them leaves it out of all.
std::vector<ir::Affine> JoinedMask(const ir::Instr& instr, const ir::Access& access);

int64_t Evaluate(const Linear& l, absl::Span<const int64_t> point);

}  // namespace nkiagent::nki::check

#endif  // NKIAGENT_COMMON_NKI_CHECK_FACTS_H_
