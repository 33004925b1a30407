#include "common/nki/check/facts.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace nkiagent::nki::check {
namespace {

void Walk(Facts& facts, const std::vector<ir::Node>& body, int loop, bool runs) {
  for (const ir::Node& node : body) {
    if (const auto* instr = std::get_if<ir::Instr>(&node.item)) {
      facts.instrs.push_back({instr, loop, runs});
      continue;
    }
    const ir::Loop& inner = *std::get<std::unique_ptr<ir::Loop>>(node.item);
    const bool inner_runs = runs && inner.trips > 0;
    const auto index = facts.loops.size();
    facts.loops.push_back({&inner, loop, facts.instrs.size(), 0, inner_runs});
    facts.loop_of_symbol[static_cast<size_t>(inner.symbol)] = static_cast<int>(index);
    Walk(facts, inner.body, static_cast<int>(index), inner_runs);
    facts.loops[index].end = facts.instrs.size();
  }
}

}  // namespace

Facts::Facts(const ir::Program& p)
    : program(p), ranges(ir::SymbolRanges(p)), loop_of_symbol(p.symbols.size(), -1) {
  Walk(*this, p.body, -1, true);
}

bool Facts::IsInside(int inner, int outer) const {
  while (inner != outer && inner != -1) inner = loops[static_cast<size_t>(inner)].parent;
  return inner == outer;
}

int Facts::ScopeOf(ir::TensorId tensor) const {
  const ir::SymbolId scope = program.tensors[static_cast<size_t>(tensor)].scope;
  return scope == -1 ? -1 : loop_of_symbol[static_cast<size_t>(scope)];
}

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

absl::InlinedVector<const ir::Access*, 2> Destinations(const ir::Instr& instr) {
  absl::InlinedVector<const ir::Access*, 2> all;
  for (const ir::Operand& o : instr.dst) {
    if (const auto* a = std::get_if<ir::Access>(&o)) all.push_back(a);
  }
  return all;
}

absl::InlinedVector<const ir::Access*, 4> Sources(const ir::Instr& instr) {
  absl::InlinedVector<const ir::Access*, 4> all;
  for (const ir::Operand& o : instr.src) {
    if (const auto* a = std::get_if<ir::Access>(&o)) all.push_back(a);
  }
  return all;
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

int64_t Evaluate(const Linear& l, absl::Span<const int64_t> point) {
  int64_t v = l.constant;
  for (const auto& [variable, k] : l.terms) v += k * point[static_cast<size_t>(variable)];
  return v;
}

}  // namespace nkiagent::nki::check
