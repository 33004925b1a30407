#include "services/llm_gateway/builtin/strided_view.h"

#include <algorithm>
#include <cstddef>

namespace nkiagent::builtin {
namespace {

// Row-major suffix products of `dims` that are proper axis boundaries: for (2,1,3) these are 6, 3, 1 (and 3
// again for the axis of size 1, which is left out).
Dims Boundaries(const Dims& dims) {
  Dims boundaries = {1};
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] != 1) boundaries.push_back(boundaries.back() * dims[i]);
  }
  return boundaries;
}

// The pieces of each axis of `dims`, given all boundaries (ascending, a divisibility chain that contains
// those of dims).
std::vector<Dims> PiecesOf(const Dims& dims, const Dims& boundaries) {
  std::vector<Dims> pieces(dims.size());
  int64_t inner = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    const int64_t outer = inner * dims[i];
    int64_t previous = inner;
    for (int64_t boundary : boundaries) {
      if (boundary <= inner || boundary > outer) continue;
      pieces[i].insert(pieces[i].begin(), boundary / previous);
      previous = boundary;
    }
    inner = outer;
  }
  return pieces;
}

}  // namespace

int64_t ElementCount(const Dims& dims) {
  int64_t count = 1;
  for (int64_t d : dims) count *= d;
  return count;
}

Dims ContiguousStrides(const Dims& dims) {
  Dims strides(dims.size());
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= dims[i];
  }
  return strides;
}

StridedView ContiguousView(const Dims& dims) { return {0, dims, ContiguousStrides(dims)}; }

bool IsContiguous(const StridedView& view) {
  if (view.offset != 0) return false;
  const Dims expected = ContiguousStrides(view.dims);
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] != 1 && view.strides[i] != expected[i]) return false;
  }
  return true;
}

std::optional<StridedView> BroadcastTo(const StridedView& view, const Dims& dims) {
  if (view.dims.size() > dims.size()) return std::nullopt;
  StridedView result{view.offset, dims, Dims(dims.size(), 0)};
  const size_t lead = dims.size() - view.dims.size();
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] == dims[lead + i]) {
      result.strides[lead + i] = view.strides[i];
    } else if (view.dims[i] != 1) {
      return std::nullopt;
    }
  }
  return result;
}

std::optional<StridedView> Reshape(const StridedView& view, const Dims& dims) {
  if (ElementCount(view.dims) != ElementCount(dims)) return std::nullopt;
  // Merge the axes that are one run of equal steps, then cut the runs along `dims`.
  Dims run_sizes, run_strides;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] == 1) continue;
    if (!run_sizes.empty() && run_strides.back() == view.strides[i] * view.dims[i]) {
      run_sizes.back() *= view.dims[i];
      run_strides.back() = view.strides[i];
    } else {
      run_sizes.push_back(view.dims[i]);
      run_strides.push_back(view.strides[i]);
    }
  }
  StridedView result{view.offset, dims, Dims(dims.size(), 0)};
  size_t run = run_sizes.size();
  int64_t left = 1, stride = 0;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] == 1) continue;
    if (left == 1) {
      if (run == 0) return std::nullopt;
      --run;
      left = run_sizes[run];
      stride = run_strides[run];
    }
    if (left % dims[i] != 0) return std::nullopt;
    result.strides[i] = stride;
    stride *= dims[i];
    left /= dims[i];
  }
  return result;
}

std::optional<StridedView> Through(const StridedView& outer, const Dims& dims, const StridedView& inner,
                                   std::optional<AxisCut>* cut) {
  const Dims steps = ContiguousStrides(dims);
  Dims last(dims.size());  // largest index along each axis of `dims`
  StridedView result{inner.offset, outer.dims, Dims(outer.dims.size(), 0)};
  int64_t rest = outer.offset;
  for (size_t d = 0; d < dims.size(); ++d) {
    last[d] = rest / steps[d];
    rest %= steps[d];
    result.offset += last[d] * inner.strides[d];
  }
  for (size_t a = 0; a < outer.dims.size(); ++a) {
    const int64_t stride = outer.strides[a];
    if (outer.dims[a] == 1 || stride == 0) continue;
    size_t d = 0;
    while (d < dims.size() && (dims[d] == 1 || steps[d] > stride || stride % steps[d] != 0)) ++d;
    if (stride < 0 || d == dims.size()) return std::nullopt;
    const int64_t step = stride / steps[d];
    last[d] += step * (outer.dims[a] - 1);
    if (last[d] >= dims[d]) {
      const int64_t within = dims[d] / step;
      if (cut != nullptr && within > 1 && dims[d] % step == 0 && outer.dims[a] % within == 0 &&
          outer.dims[a] > within) {
        *cut = AxisCut{a, within};
      }
      return std::nullopt;
    }
    result.strides[a] = step * inner.strides[d];
  }
  return result;
}

Dims SplitStrides(const Dims& strides, const std::vector<Dims>& pieces) {
  Dims result;
  for (size_t i = 0; i < strides.size(); ++i) {
    Dims inner(pieces[i].size());
    int64_t stride = strides[i];
    for (size_t j = pieces[i].size(); j-- > 0;) {
      inner[j] = stride;
      stride *= pieces[i][j];
    }
    result.insert(result.end(), inner.begin(), inner.end());
  }
  return result;
}

std::optional<Refinement> Refine(const Dims& a, const Dims& b) {
  if (ElementCount(a) != ElementCount(b)) return std::nullopt;
  Dims boundaries = Boundaries(a);
  const Dims others = Boundaries(b);
  boundaries.insert(boundaries.end(), others.begin(), others.end());
  std::sort(boundaries.begin(), boundaries.end());
  boundaries.erase(std::unique(boundaries.begin(), boundaries.end()), boundaries.end());
  Refinement result;
  for (size_t i = boundaries.size(); i-- > 1;) {
    if (boundaries[i] % boundaries[i - 1] != 0) return std::nullopt;
    result.dims.push_back(boundaries[i] / boundaries[i - 1]);
  }
  result.pieces_a = PiecesOf(a, boundaries);
  result.pieces_b = PiecesOf(b, boundaries);
  return result;
}

}  // namespace nkiagent::builtin
