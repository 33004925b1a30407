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
#include "common/nki/ir/program.h"

namespace nkiagent::nki::check {

// Boxes visited before a rule keeps silent: for one question, and for all questions about one program (some
// seconds at worst, which only a program made for it reaches).
inline constexpr int kSolverBudget = 400;
inline constexpr int kProgramBudget = 400'000;

struct LoopFacts {
  const ir::Loop* loop = nullptr;
  int parent = -1;  // index into Facts::loops; -1 = kernel level
  // Its instructions are Facts::instrs[begin, end).
  size_t begin = 0;
  size_t end = 0;
  bool runs = false;  // it and all loops around it have trips
};

struct InstrFacts {
  const ir::Instr* instr = nullptr;
  int loop = -1;  // innermost enclosing loop; -1 = kernel level
  bool runs = false;
};

struct Facts {
  explicit Facts(const ir::Program& p);

  const ir::Program& program;
  std::vector<ir::Range> ranges;  // of each symbol
  std::vector<LoopFacts> loops;   // outer before inner
  std::vector<InstrFacts> instrs;
  std::vector<int> loop_of_symbol;  // index into loops; -1 for derived symbols
  mutable int boxes_left = kProgramBudget;

  const ir::Tensor& TensorOf(const ir::Access& a) const {
    return program.tensors[static_cast<size_t>(a.tensor)];
  }
  ir::TensorId StorageOf(const ir::Access& a) const { return ir::StorageOf(program, a.tensor); }
  // Whether loop `inner` is `outer` or lies inside it; -1 is the kernel.
  bool IsInside(int inner, int outer) const;
  // The loop whose iterations create the tensor; -1 = kernel level.
  int ScopeOf(ir::TensorId tensor) const;
  // Range of an affine expression over all iterations, ignoring masks.
  ir::Range RangeOf(const ir::Affine& a, absl::Span<const int64_t> shape) const {
    return ir::RangeOf(a, shape, ranges);
  }
  // Answers a question within what is left of the program's budget; kUnknown once that is spent.
  IntegerProblem::Answer Solve(const IntegerProblem& problem, std::vector<int64_t>* point) const;
  // Whether `instr` can write something: it runs, and the mask of its destination is not always false.
  bool Writes(const InstrFacts& instr, const ir::Access& dst) const;
};

// The destinations and sources of an instruction that are tiles.
absl::InlinedVector<const ir::Access*, 2> Destinations(const ir::Instr& instr);
absl::InlinedVector<const ir::Access*, 4> Sources(const ir::Instr& instr);

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

int64_t Evaluate(const Linear& l, absl::Span<const int64_t> point);

}  // namespace nkiagent::nki::check

#endif  // NKIAGENT_COMMON_NKI_CHECK_FACTS_H_
