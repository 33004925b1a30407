#include "common/nki/ir/program.h"

#include <algorithm>
#include <cstddef>

#include "common/nki/ir/saturate.h"

namespace nkiagent::nki::ir {
namespace {

int64_t FloorDiv(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return (a % b != 0 && (a < 0)) ? q - 1 : q;
}

void CollectLoopRanges(const std::vector<Node>& body, std::vector<Range>& ranges) {
  for (const Node& node : body) {
    const auto* loop_ptr = std::get_if<std::unique_ptr<Loop>>(&node.item);
    if (loop_ptr == nullptr) continue;
    const Loop& loop = **loop_ptr;
    const int64_t last = loop.start + loop.step * std::max<int64_t>(loop.trips - 1, 0);
    ranges[static_cast<size_t>(loop.symbol)] = {loop.start, last};
    CollectLoopRanges(loop.body, ranges);
  }
}

}  // namespace

Range RangeOf(const Affine& a, absl::Span<const int64_t> shape, absl::Span<const Range> symbol_ranges) {
  Range r{a.constant, a.constant};
  const auto extend = [&r](int64_t coefficient, Range v) {
    r.min = SaturatingAdd(r.min, SaturatingMul(coefficient, coefficient >= 0 ? v.min : v.max));
    r.max = SaturatingAdd(r.max, SaturatingMul(coefficient, coefficient >= 0 ? v.max : v.min));
  };
  for (const Affine::Term& t : a.terms) extend(t.coefficient, symbol_ranges[static_cast<size_t>(t.symbol)]);
  for (size_t d = 0; d < a.dims.size() && d < shape.size(); ++d) extend(a.dims[d], {0, shape[d] - 1});
  return r;
}

std::vector<Range> SymbolRanges(const Program& program) {
  std::vector<Range> ranges(program.symbols.size());
  CollectLoopRanges(program.body, ranges);
  for (size_t i = 0; i < program.symbols.size(); ++i) {
    const Symbol& s = program.symbols[i];
    if (s.kind == SymbolKind::kLoop) continue;
    const Range arg = RangeOf(s.argument, {}, ranges);
    const int64_t lo = FloorDiv(arg.min, s.divisor);
    const int64_t hi = FloorDiv(arg.max, s.divisor);
    if (s.kind == SymbolKind::kFloorDiv) {
      ranges[i] = {lo, hi};
    } else if (lo == hi) {
      ranges[i] = {arg.min - lo * s.divisor, arg.max - lo * s.divisor};
    } else {
      ranges[i] = {0, s.divisor - 1};
    }
  }
  return ranges;
}

void EvaluateDerivedSymbols(const Program& program, absl::Span<int64_t> values) {
  for (size_t i = 0; i < program.symbols.size(); ++i) {
    const Symbol& s = program.symbols[i];
    if (s.kind == SymbolKind::kLoop) continue;
    const int64_t arg = s.argument.Base(values);
    const int64_t q = FloorDiv(arg, s.divisor);
    values[i] = s.kind == SymbolKind::kFloorDiv ? q : arg - q * s.divisor;
  }
}

}  // namespace nkiagent::nki::ir
