// Indices stay inside their axes for every element that no mask leaves out.
#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/nki/check/rules.h"

namespace nkiagent::nki::check {
namespace {

struct Violation {
  bool found = false;
  int64_t index = 0;
  std::string where;  // loop values
};

// Looks for an element whose index along axis k lies on the given side of [0, size).
Violation Search(const Facts& facts, const ir::Access& access, const std::vector<ir::Affine>& mask, size_t k,
                 int64_t size, bool above) {
  IntegerProblem problem;
  Instance instance(facts, problem);
  instance.SetTile(access.shape);
  instance.Require(mask);
  const Linear index = instance.ValueOf(access.index[k]);
  Linear outside;
  outside.Add(index, above ? 1 : -1);
  outside.constant -= above ? size : 1;
  problem.RequireNonNegative(outside);
  std::vector<int64_t> point;
  if (facts.Solve(problem, &point) != IntegerProblem::Answer::kFound) return {};
  return {true, Evaluate(index, point), instance.Describe(point)};
}

void CheckAccess(const Facts& facts, const ir::Instr& instr, const ir::Access& access, Findings& found) {
  const ir::Tensor& tensor = facts.TensorOf(access);
  std::vector<ir::Affine> mask;
  bool have_mask = false;
  for (size_t k = 0; k < access.index.size(); ++k) {
    if (static_cast<int32_t>(k) == access.indirect_axis) continue;  // known at run time only
    const int64_t size = tensor.shape[k];
    const ir::Range range = facts.RangeOf(access.index[k], access.shape);
    if (range.min >= 0 && range.max < size) continue;
    if (!have_mask) {
      mask = JoinedMask(instr, access);
      have_mask = true;
    }
    Violation v = Search(facts, access, mask, k, size, true);
    if (!v.found) v = Search(facts, access, mask, k, size, false);
    if (!v.found) continue;
    found.push_back(Finding(
        Severity::kError, "err_tensor_access_out_of_bound", instr.loc,
        absl::StrCat("'", isa::RowOf(instr.op).name, "' accesses ", isa::Name(tensor.buffer), " tensor '",
                     tensor.name, "' ", ShapeText(tensor.shape), " out of bound: index range [", range.min,
                     ", ", range.max, "] of axis ", k, " exceeds its size of ", size, " (index ", v.index,
                     v.where.empty() ? "" : " at ", v.where, mask.empty() ? ")" : "; no mask excludes it)"),
        absl::StrCat("axis ", k, " has size ", size), absl::StrCat("index ", v.index),
        "mask the ragged last tile, for example mask=(i_p < size), or use a trip count and tile size that "
        "divide the "
        "axis"));
    return;
  }
}

}  // namespace

void CheckBounds(const Facts& facts, Findings& found) {
  for (const InstrFacts& i : facts.instrs) {
    if (!i.runs) continue;
    for (const ir::Access* a : Sources(*i.instr)) CheckAccess(facts, *i.instr, *a, found);
    for (const ir::Access* a : Destinations(*i.instr)) CheckAccess(facts, *i.instr, *a, found);
  }
}

}  // namespace nkiagent::nki::check
