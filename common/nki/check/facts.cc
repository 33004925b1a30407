#include "common/nki/check/facts.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace nkiagent::nki::check {
IntegerProblem::Answer Facts::Solve(const IntegerProblem& problem, std::vector<int64_t>* point) const {
  const int granted = std::min(kSolverBudget, boxes_left);
  int left = granted;
  const IntegerProblem::Answer answer = problem.Solve(left, point);
  boxes_left -= granted - std::max(left, 0);
  return answer;
}

bool Facts::Writes(const InstrFacts& instr, const ir::Access& dst) const {
  if (!instr.runs) return false;
  if (dst.mask.empty()) return true;
  IntegerProblem problem;
  Instance instance(*this, problem);
  instance.SetTile(dst.shape);
  instance.Require(dst.mask);
  return Solve(problem, nullptr) != IntegerProblem::Answer::kNone;
}

const Linear& Instance::ValueOf(ir::SymbolId symbol) {
  if (const auto it = symbols_.find(symbol); it != symbols_.end()) return it->second;
  const ir::Symbol& s = facts_.program.symbols[static_cast<size_t>(symbol)];
  Linear value;
  if (s.kind == ir::SymbolKind::kLoop) {
    const ir::Loop& loop =
        *facts_.loops[static_cast<size_t>(facts_.loop_of_symbol[static_cast<size_t>(symbol)])].loop;
    value.constant = loop.start;
    value.Add(problem_.AddVariable(0, std::max<int64_t>(loop.trips - 1, 0)), loop.step);
  } else {
    // argument = divisor * quotient + remainder
    const Linear argument = ValueOf(s.argument);
    const ir::Range r = facts_.RangeOf(s.argument, {});
    const int quotient = problem_.AddVariable(r.min / s.divisor - 1, r.max / s.divisor + 1);
    const int remainder = problem_.AddVariable(0, s.divisor - 1);
    Linear definition = argument;
    definition.Add(quotient, -s.divisor);
    definition.Add(remainder, -1);
    problem_.RequireZero(definition);
    value.Add(s.kind == ir::SymbolKind::kFloorDiv ? quotient : remainder, 1);
  }
  return symbols_.emplace(symbol, std::move(value)).first->second;
}

void Instance::SetTile(absl::Span<const int64_t> shape) {
  dims_.clear();
  for (int64_t size : shape) dims_.push_back(problem_.AddVariable(0, size - 1));
}

Linear Instance::ValueOf(const ir::Affine& a) {
  Linear value;
  value.constant = a.constant;
  for (const ir::Affine::Term& t : a.terms) value.Add(ValueOf(t.symbol), t.coefficient);
  for (size_t d = 0; d < a.dims.size() && d < dims_.size(); ++d) value.Add(dims_[d], a.dims[d]);
  return value;
}

void Instance::Require(absl::Span<const ir::Affine> mask) {
  for (const ir::Affine& m : mask) problem_.RequireNonNegative(ValueOf(m));
}

std::string Instance::Describe(absl::Span<const int64_t> point) const {
  std::string text;
  for (const auto& [symbol, value] : symbols_) {
    const ir::Symbol& s = facts_.program.symbols[static_cast<size_t>(symbol)];
    if (s.kind != ir::SymbolKind::kLoop) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", s.name, " = ", Evaluate(value, point));
  }
  return text;
}

std::vector<ir::Affine> JoinedMask(const ir::Instr& instr, const ir::Access& access) {
  std::vector<ir::Affine> mask = access.mask;
  const auto join = [&](const ir::Access* other) {
    if (other == &access || other->shape != access.shape) return;
    mask.insert(mask.end(), other->mask.begin(), other->mask.end());
  };
  const bool pointwise = instr.op != isa::Opcode::kNcMatmul && instr.op != isa::Opcode::kNcTranspose;
  if (!pointwise) return mask;
  for (const ir::Access* a : Destinations(instr)) join(a);
  for (const ir::Access* a : Sources(instr)) join(a);
  return mask;
}

int64_t Evaluate(const Linear& l, absl::Span<const int64_t> point) {
  int64_t v = l.constant;
  for (const auto& [variable, k] : l.terms) v += k * point[static_cast<size_t>(variable)];
  return v;
}

}  // namespace nkiagent::nki::check
