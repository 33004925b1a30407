#include "services/llm_gateway/builtin/access.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

#include "services/llm_gateway/builtin/strided_view.h"

namespace nkiagent::builtin {
namespace {

// Axes whose steps are those of `candidates` that divide each other, from the largest; always ends with
// step 1.
Dims StepsFrom(std::vector<int64_t> candidates, int64_t total) {
  candidates.push_back(1);
  std::sort(candidates.begin(), candidates.end(), std::greater<>());
  Dims steps;
  int64_t outer = total;
  for (int64_t step : candidates) {
    if (step <= 0 || outer % step != 0 || (!steps.empty() && steps.back() == step)) continue;
    if (step == outer && step != 1) continue;  // an axis of size 1
    steps.push_back(step);
    outer = step;
  }
  return steps;
}

// `leaves`, if given, is set to the axis that a subscript would leave, where that is why there is no answer.
std::optional<HbmIndex> TrySteps(const Dims& steps, int64_t total, int64_t offset, const Dims& strides,
                                 const Dims& extents, std::optional<size_t>* leaves = nullptr) {
  HbmIndex index;
  Dims first, last;  // smallest and largest subscript of each axis
  int64_t outer = total;
  for (int64_t step : steps) {
    index.shape.push_back(outer / step);
    index.subscripts.push_back({(offset / step) % (outer / step), {}});
    last.push_back(index.subscripts.back().constant);
    first.push_back(index.subscripts.back().constant);
    outer = step;
  }
  for (size_t k = 0; k < strides.size(); ++k) {
    if (strides[k] == 0 || extents[k] == 1) continue;
    bool placed = false;
    for (size_t a = 0; a < steps.size() && !placed; ++a) {
      if (steps[a] > std::abs(strides[k]) || strides[k] % steps[a] != 0) continue;
      const int64_t coefficient = strides[k] / steps[a];
      index.subscripts[a].terms.emplace_back(k, coefficient);
      (coefficient < 0 ? first : last)[a] += coefficient * (extents[k] - 1);
      placed = true;
    }
    if (!placed) return std::nullopt;
  }
  for (size_t a = 0; a < steps.size(); ++a) {
    if (first[a] >= 0 && last[a] < index.shape[a]) continue;
    if (leaves != nullptr) *leaves = a;
    return std::nullopt;
  }
  return index;
}

// As TrySteps; an axis that a subscript would leave is joined with the one outside of it, as long as there is
// one. Windows that begin in the midst of a block need that.
std::optional<HbmIndex> TryJoinedSteps(Dims steps, int64_t total, int64_t offset, const Dims& strides,
                                       const Dims& extents) {
  for (;;) {
    std::optional<size_t> leaves;
    std::optional<HbmIndex> index = TrySteps(steps, total, offset, strides, extents, &leaves);
    if (index.has_value() || leaves.value_or(0) == 0) return index;
    steps.erase(steps.begin() + static_cast<ptrdiff_t>(*leaves) - 1);
  }
}

}  // namespace

std::optional<HbmIndex> IndexOf(const Dims& tensor_dims, int64_t offset, const Dims& strides,
                                const Dims& extents) {
  const int64_t total = ElementCount(tensor_dims);
  const Dims own = ContiguousStrides(tensor_dims);
  std::vector<int64_t> used;
  for (size_t k = 0; k < strides.size(); ++k) {
    if (extents[k] > 1) used.push_back(std::abs(strides[k]));
  }
  // First the fewest axes; then with the tensor's own, which a step such as 2 over an odd axis needs.
  if (std::optional<HbmIndex> index = TrySteps(StepsFrom(used, total), total, offset, strides, extents))
    return index;
  std::vector<int64_t> all = used;
  all.insert(all.end(), own.begin(), own.end());
  if (std::optional<HbmIndex> index = TrySteps(StepsFrom(all, total), total, offset, strides, extents))
    return index;
  if (std::optional<HbmIndex> index = TrySteps(StepsFrom(own, total), total, offset, strides, extents))
    return index;
  return TryJoinedSteps(StepsFrom(used, total), total, offset, strides, extents);
}

std::optional<std::vector<Subscript>> SubscriptsIn(const Dims& shape, int64_t offset, const Dims& strides,
                                                   const Dims& extents) {
  std::optional<HbmIndex> index =
      TrySteps(ContiguousStrides(shape), ElementCount(shape), offset, strides, extents);
  if (!index.has_value()) return std::nullopt;
  return std::move(index->subscripts);
}

Dims ShapeWithSteps(std::vector<int64_t> steps, int64_t total) {
  Dims shape;
  int64_t outer = total;
  for (int64_t step : StepsFrom(std::move(steps), total)) {
    shape.push_back(outer / step);
    outer = step;
  }
  return shape;
}

}  // namespace nkiagent::builtin
