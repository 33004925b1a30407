#include "common/nki/exec/ranges.h"

#include <algorithm>
#include <limits>

namespace nkiagent::nki::exec {
namespace {

constexpr Int128 kSafe = Int128{1} << 62;

void Extend(WideRange& r, int64_t coefficient, WideRange v) {
  const Int128 a = v.min * coefficient;
  const Int128 b = v.max * coefficient;
  r.min += std::min(a, b);
  r.max += std::max(a, b);
}

Int128 FloorDiv(Int128 a, Int128 b) {
  const Int128 q = a / b;
  return a % b != 0 && a < 0 ? q - 1 : q;
}

void CollectLoops(const std::vector<ir::Node>& body, std::vector<WideRange>& ranges) {
  for (const ir::Node& node : body) {
    const auto* loop = std::get_if<std::unique_ptr<ir::Loop>>(&node.item);
    if (loop == nullptr) continue;
    const ir::Loop& l = **loop;
    const Int128 last = l.start + Int128{l.step} * std::max<int64_t>(l.trips - 1, 0);
    ranges[static_cast<size_t>(l.symbol)] = {l.start, last};
    CollectLoops(l.body, ranges);
  }
}

}  // namespace

std::vector<WideRange> WideSymbolRanges(const ir::Program& program) {
  std::vector<WideRange> ranges(program.symbols.size());
  CollectLoops(program.body, ranges);
  for (size_t i = 0; i < program.symbols.size(); ++i) {
    const ir::Symbol& s = program.symbols[i];
    if (s.kind == ir::SymbolKind::kLoop) continue;
    if (!NeverOverflows(s.argument, {}, ranges)) {
      ranges[i] = {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
      continue;
    }
    const WideRange arg = WideRangeOf(s.argument, {}, ranges);
    const Int128 lo = FloorDiv(arg.min, s.divisor);
    const Int128 hi = FloorDiv(arg.max, s.divisor);
    if (s.kind == ir::SymbolKind::kFloorDiv) {
      ranges[i] = {lo, hi};
    } else if (lo == hi) {
      ranges[i] = {arg.min - lo * s.divisor, arg.max - lo * s.divisor};
    } else {
      ranges[i] = {0, s.divisor - 1};
    }
  }
  return ranges;
}

WideRange WideRangeOf(const ir::Affine& a, absl::Span<const int64_t> shape,
                      absl::Span<const WideRange> symbols) {
  WideRange r{a.constant, a.constant};
  for (const ir::Affine::Term& t : a.terms) Extend(r, t.coefficient, symbols[static_cast<size_t>(t.symbol)]);
  for (size_t d = 0; d < a.dims.size() && d < shape.size(); ++d) Extend(r, a.dims[d], {0, shape[d] - 1});
  return r;
}

bool NeverOverflows(const ir::Affine& a, absl::Span<const int64_t> shape,
                    absl::Span<const WideRange> symbols) {
  const auto magnitude = [](Int128 v) { return v < 0 ? -v : v; };
  Int128 sum = magnitude(a.constant);
  for (const ir::Affine::Term& t : a.terms) {
    const WideRange& r = symbols[static_cast<size_t>(t.symbol)];
    sum += magnitude(t.coefficient) * std::max(magnitude(r.min), magnitude(r.max));
  }
  for (size_t d = 0; d < a.dims.size() && d < shape.size(); ++d) {
    sum += magnitude(a.dims[d]) * (shape[d] - 1);
  }
  return sum < kSafe;
}

}  // namespace nkiagent::nki::exec
