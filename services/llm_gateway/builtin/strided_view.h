// Strided views of a value's row-major elements: how the graph's shape operations are told without moving
// data.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_STRIDED_VIEW_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_STRIDED_VIEW_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "services/llm_gateway/builtin/graph.h"

namespace nkiagent::builtin {

// Element (i0, i1, …) of the view is element `offset + i0*strides[0] + i1*strides[1] + …` of the source,
// whose elements are numbered row-major. A stride of 0 repeats. Units: elements.
struct StridedView {
  int64_t offset = 0;
  Dims dims;
  Dims strides;

  bool operator==(const StridedView&) const = default;
};

int64_t ElementCount(const Dims& dims);
Dims ContiguousStrides(const Dims& dims);
StridedView ContiguousView(const Dims& dims);

// Whether element i of the view, counted row-major, is element i of the source.
bool IsContiguous(const StridedView& view);

// The view broadcast to `dims` by PyTorch's rule (right-aligned, size 1 repeats); none when they don't fit.
std::optional<StridedView> BroadcastTo(const StridedView& view, const Dims& dims);

// The same elements in the same order under another shape of equal size; none when that needs a copy.
std::optional<StridedView> Reshape(const StridedView& view, const Dims& dims);

// An axis that has to be cut into (dims / inner, inner) for a view to be told.
struct AxisCut {
  size_t axis = 0;
  int64_t inner = 1;
};

// `outer` reads the row-major elements of something shaped `dims` whose element i is element i of the view
// `inner` (also shaped `dims`): what of the inner view's source `outer` reads. None when its axes don't run
// along those of `dims`; `*cut`, if given, then tells the axis that would have to be cut, if that would help.
std::optional<StridedView> Through(const StridedView& outer, const Dims& dims, const StridedView& inner,
                                   std::optional<AxisCut>* cut = nullptr);

// Strides over finer axes: axis i of the view is cut into `pieces[i]` (row-major, product = dims[i]).
Dims SplitStrides(const Dims& strides, const std::vector<Dims>& pieces);

// The coarsest shape that refines both `a` and `b` (equal element counts, axes of size 1 dropped), with the
// pieces that each axis of `a` and of `b` is cut into. None when the boundaries cross, as those of (2,3) and
// (3,2) do.
struct Refinement {
  Dims dims;
  std::vector<Dims> pieces_a;
  std::vector<Dims> pieces_b;
};
std::optional<Refinement> Refine(const Dims& a, const Dims& b);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_STRIDED_VIEW_H_
