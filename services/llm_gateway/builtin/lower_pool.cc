// Poolings over windows, fixed and adaptive, of 1, 2 and 3 spatial axes.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/indexing.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

constexpr DType kF32 = DType::kFloat32;

// Each combination of uneven windows is a statement of its own; more would make a kernel that nobody reads.
constexpr int64_t kMaxPieces = 256;

struct Pooling {
  size_t axes = 2;
  std::vector<int64_t> kernel, stride, padding, dilation;
};

// The input as (N, C, …); (C, …) is one image.
Tensor Batched(NodeLowering& n, const Tensor& x, size_t axes) {
  const size_t rank = x.view.dims.size();
  if (rank == axes + 1) return n.builder().InsertAxis(x, 0);
  if (rank != axes + 2)
    n.builder().Fail(absl::StrCat(n.node().op, " of a tensor of rank ", rank, " is not supported"));
  return x;
}

// The graph's output shape, with a batch axis.
Dims BatchedDims(const NodeLowering& n, size_t axes) {
  Dims dims = n.dims();
  if (dims.size() == axes + 1) dims.insert(dims.begin(), 1);
  return dims;
}

bool IsSound(NodeLowering& n, const Tensor& x, const Dims& out, const Pooling& p) {
  constexpr int64_t kMost = int64_t{1} << 24;
  bool sound = out.size() == p.axes + 2 && out[0] == x.view.dims[0] && out[1] == x.view.dims[1];
  for (size_t a = 0; sound && a < p.axes; ++a) {
    const int64_t reach = p.dilation[a] * (p.kernel[a] - 1);
    sound = p.kernel[a] >= 1 && p.kernel[a] <= kMost && p.stride[a] >= 1 && p.stride[a] <= kMost &&
            p.dilation[a] >= 1 && p.dilation[a] <= kMost && p.padding[a] >= 0 &&
            p.padding[a] <= std::max(reach, p.kernel[a]) &&
            // The last window starts inside the input or its padding.
            (out[2 + a] - 1) * p.stride[a] < x.view.dims[2 + a] + 2 * p.padding[a];
  }
  if (!sound) n.builder().Fail(absl::StrCat("the sizes of ", n.node().op, " don't fit together"));
  return sound;
}

Pooling ReadPooling(NodeLowering& n, size_t axes, bool dilated) {
  Pooling p;
  p.axes = axes;
  p.kernel = n.IntsPerAxis(1, "kernel_size", axes, 1);
  p.stride = n.IntsAt(2, "stride").empty() ? p.kernel : n.IntsPerAxis(2, "stride", axes, 1);
  p.padding = n.IntsPerAxis(3, "padding", axes, 0);
  p.dilation = dilated ? n.IntsPerAxis(4, "dilation", axes, 1) : std::vector<int64_t>(axes, 1);
  return p;
}

// x over windows, in the graph's own shape.
Tensor Pooled(NodeLowering& n, WindowKind kind, const Tensor& x, std::vector<WindowAxis> axes, DType dtype) {
  Builder& b = n.builder();
  const size_t spatial = axes.size();
  const Dims dims = BatchedDims(n, spatial);
  Window window;
  window.kind = kind;
  window.axes = std::move(axes);
  const Tensor y = b.Windowed(std::move(window), x, nullptr, dims, dims, dtype);
  return b.failed() ? y : b.ReshapeTo(y, n.dims());
}

std::vector<WindowAxis> AxesOf(const Pooling& p, const Dims& in, const Dims& out) {
  std::vector<WindowAxis> axes;
  for (size_t a = 0; a < p.axes; ++a) {
    axes.push_back(SlidingAxis(in[2 + a], p.kernel[a], out[2 + a], p.stride[a], p.padding[a], p.dilation[a]));
  }
  return axes;
}

// The first place at which a window (the last `places.size()` axes of `windows`) has its extreme; `places`
// are those of its elements along each axis, over (output, element), and `sizes` the input's.
Tensor PlacesOfExtremes(NodeLowering& n, const Tensor& windows, const Tensor& extremes,
                        const std::vector<Tensor>& places, const Dims& sizes) {
  Builder& b = n.builder();
  const size_t axes = places.size();
  Tensor place, wide = extremes;
  int64_t count = 1;
  for (size_t a = 0; a < axes; ++a) {
    Dims along(windows.view.dims.size(), 1);
    along[2 + a] = places[a].view.dims[0];
    along[2 + axes + a] = places[a].view.dims[1];
    const Tensor part = b.ReshapeTo(places[a], along);
    if (a > 0) {
      place = b.Named("place").Binary(Fn::kMultiply, place, static_cast<double>(sizes[2 + a]), kF32);
      place = b.Named("place").Binary(Fn::kAdd, place, part, kF32);
    } else {
      place = part;
    }
    count *= sizes[2 + a];
    wide = b.InsertAxis(wide, static_cast<int>(wide.view.dims.size()));
  }
  const Tensor hit = b.Named("is_extreme").Binary(Fn::kEqual, windows, wide, DType::kBool);
  const Tensor candidate =
      b.Named("candidate").Select(hit, place, Builder::Number(static_cast<double>(count), kF32), kF32);
  std::vector<bool> reduced(windows.view.dims.size(), false);
  for (size_t a = 0; a < axes; ++a) reduced[2 + axes + a] = true;
  const Tensor first = b.Named("first_place").Reduce(Fn::kMin, candidate, reduced, false, n.dtype(1));
  return b.failed() ? first : b.ReshapeTo(first, n.dims(1));
}

// Every window of a padded input, side by side: a view with the windows' own axes last.
Tensor PlacesOfMaxima(NodeLowering& n, const Tensor& x, const Tensor& maxima, const Pooling& p,
                      const Dims& out) {
  Builder& b = n.builder();
  Dims before(x.view.dims.size(), 0), after(x.view.dims.size(), 0);
  std::vector<Tensor> places;
  for (size_t a = 0; a < p.axes; ++a) {
    const int64_t reach = (out[2 + a] - 1) * p.stride[a] + p.dilation[a] * (p.kernel[a] - 1) + 1;
    before[2 + a] = p.padding[a];
    after[2 + a] = std::max<int64_t>(0, reach - p.padding[a] - x.view.dims[2 + a]);
    Tensor place = b.Positions(1);
    place.view = {-p.padding[a], {out[2 + a], p.kernel[a]}, {p.stride[a], p.dilation[a]}};
    places.push_back(place);
  }
  Tensor windows = Padded(b, x, before, after, -std::numeric_limits<float>::infinity());
  for (size_t a = 0; a < p.axes; ++a) {
    const int64_t stride = windows.view.strides[2 + a];
    windows.view.dims[2 + a] = out[2 + a];
    windows.view.strides[2 + a] = stride * p.stride[a];
    windows.view.dims.push_back(p.kernel[a]);
    windows.view.strides.push_back(stride * p.dilation[a]);
  }
  return PlacesOfExtremes(n, windows, b.ReshapeTo(maxima, out), places, x.view.dims);
}

void LowerMaxPool(NodeLowering& n, size_t axes) {
  const Tensor x = Batched(n, n.TensorAt(0, "self"), axes);
  const Pooling p = ReadPooling(n, axes, /*dilated=*/true);
  const Dims out = BatchedDims(n, axes);
  if (n.builder().failed() || !IsSound(n, x, out, p)) return;
  std::vector<Tensor> results = {Pooled(n, WindowKind::kMax, x, AxesOf(p, x.view.dims, out), n.dtype())};
  if (n.IsRead(1)) results.push_back(PlacesOfMaxima(n, x, results[0], p, out));
  n.YieldTuple(std::move(results));
}

// How many elements of each window count, along one axis, as numbers over the outputs.
Tensor WindowSizes(Builder& b, const Pooling& p, size_t axis, int64_t input, int64_t output,
                   bool with_padding) {
  const int64_t before = with_padding ? -p.padding[axis] : 0;
  const int64_t beyond = with_padding ? input + p.padding[axis] : input;
  const Tensor start = b.Binary(
      Fn::kSubtract, b.Binary(Fn::kMultiply, b.Positions(output), static_cast<double>(p.stride[axis]), kF32),
      static_cast<double>(p.padding[axis]), kF32);
  const Tensor end =
      b.Binary(Fn::kMinimum, b.Binary(Fn::kAdd, start, static_cast<double>(p.kernel[axis]), kF32),
               static_cast<double>(beyond), kF32);
  return b.Binary(Fn::kSubtract, end, b.Binary(Fn::kMaximum, start, static_cast<double>(before), kF32), kF32);
}

void LowerAveragePool(NodeLowering& n, size_t axes) {
  Builder& b = n.builder();
  const Tensor x = Batched(n, n.TensorAt(0, "self"), axes);
  const Pooling p = ReadPooling(n, axes, /*dilated=*/false);
  const Dims out = BatchedDims(n, axes);
  if (b.failed() || !IsSound(n, x, out, p)) return;
  const bool with_padding = n.BoolOr(5, "count_include_pad", true);
  std::vector<WindowAxis> windows = AxesOf(p, x.view.dims, out);
  if (n.Has(6, "divisor_override")) {
    const Tensor sum = Pooled(n, WindowKind::kSum, x, std::move(windows), kF32);
    n.Yield(b.Binary(Fn::kMultiply, sum, 1 / n.NumberAt(6, "divisor_override"), n.dtype()));
    return;
  }
  // Windows differ in size where some reach over the edge of what counts.
  bool even = true;
  for (size_t a = 0; a < axes; ++a) {
    const int64_t last = (out[2 + a] - 1) * p.stride[a] - p.padding[a] + p.kernel[a];
    even = even && (with_padding ? last <= x.view.dims[2 + a] + p.padding[a] : !windows[a].padded());
  }
  if (even) {
    n.Yield(Pooled(n, WindowKind::kMean, x, std::move(windows), n.dtype()));
    return;
  }
  Tensor sizes;
  for (size_t a = 0; a < axes; ++a) {
    Dims shape(axes, 1);
    shape[a] = out[2 + a];
    b.Named("window_sizes");
    const Tensor along =
        b.ReshapeTo(WindowSizes(b, p, a, x.view.dims[2 + a], out[2 + a], with_padding), shape);
    sizes = a == 0 ? along : b.Named("window_sizes").Binary(Fn::kMultiply, sizes, along, kF32);
  }
  const Tensor shares = b.Named("window_shares").Unary(Fn::kReciprocal, sizes, kF32);
  b.Named("window_sums");
  const Tensor sum = Pooled(n, WindowKind::kSum, x, std::move(windows), kF32);
  n.Yield(b.Binary(Fn::kMultiply, sum, shares, n.dtype()));
}

// The windows of an adaptive pooling side by side; the shorter ones repeat their last element.
Tensor PlacesOfAdaptiveMaxima(NodeLowering& n, const Tensor& x, const Tensor& maxima, const Dims& out) {
  Builder& b = n.builder();
  const size_t axes = out.size() - 2;
  std::vector<Tensor> places;
  Tensor windows = x;
  Dims order_dims = {out[0], out[1]};
  for (size_t a = 0; a < axes; ++a) {
    const int64_t in = x.view.dims[2 + a], count = out[2 + a];
    int64_t longest = 1;
    for (int64_t o = 0; o < count; ++o) {
      longest = std::max(longest, ((o + 1) * in + count - 1) / count - o * in / count);
    }
    const Tensor output = b.ReshapeTo(b.Positions(count), {count, 1});
    const auto scaled = [&](const Tensor& at, Fn rounding) {
      const Tensor product = b.Binary(Fn::kMultiply, at, static_cast<double>(in), kF32);
      return b.Unary(rounding, b.Binary(Fn::kDivide, product, static_cast<double>(count), kF32), kF32);
    };
    const Tensor last =
        b.Binary(Fn::kSubtract, scaled(b.Binary(Fn::kAdd, output, 1.0, kF32), Fn::kCeil), 1.0, kF32);
    const Tensor place = b.Binary(Fn::kAdd, scaled(output, Fn::kFloor), b.Positions(longest), kF32);
    places.push_back(b.Named("place").Binary(Fn::kMinimum, place, last, kF32));
    // (…, in, …) becomes (…, count * longest, …).
    const int axis = 2 + static_cast<int>(a);
    windows = Indexed(b, windows, axis, b.ReshapeTo(places.back(), {count * longest}), /*wraps=*/false);
    order_dims.push_back(count);
    order_dims.push_back(longest);
  }
  if (b.failed()) return x;
  std::vector<int> order = {0, 1};
  for (size_t a = 0; a < 2 * axes; ++a) {
    order.push_back(2 + static_cast<int>(a < axes ? 2 * a : 2 * (a - axes) + 1));
  }
  windows = b.Permute(b.ReshapeTo(windows, order_dims), order);
  return b.failed() ? x : PlacesOfExtremes(n, windows, b.ReshapeTo(maxima, out), places, x.view.dims);
}

void LowerAdaptivePool(NodeLowering& n, size_t axes, WindowKind kind) {
  Builder& b = n.builder();
  const Tensor x = Batched(n, n.TensorAt(0, "self"), axes);
  const Dims out = BatchedDims(n, axes);
  if (b.failed()) return;
  bool sound = out.size() == axes + 2 && out[0] == x.view.dims[0] && out[1] == x.view.dims[1];
  std::vector<WindowAxis> windows;
  size_t pieces = 1;
  for (size_t a = 0; a < axes && sound; ++a) {
    sound = out[2 + a] >= 1 && out[2 + a] <= kMaxPieces * kMaxPieces;
    if (!sound) break;
    windows.push_back(AdaptiveAxis(x.view.dims[2 + a], out[2 + a]));
    pieces *= windows.back().phases.size();
  }
  if (!sound || pieces > kMaxPieces) {
    b.Fail(absl::StrCat(n.node().op, " of more than ", kMaxPieces, " uneven windows is not supported"));
    return;
  }
  std::vector<Tensor> results = {Pooled(n, kind, x, std::move(windows), n.dtype())};
  if (n.IsRead(1)) results.push_back(PlacesOfAdaptiveMaxima(n, x, results[0], out));
  n.YieldTuple(std::move(results));
}

}  // namespace

bool LowerPool(NodeLowering& n) {
  const absl::string_view op = n.op();
  for (size_t axes = 1; axes <= 3; ++axes) {
    const std::string suffix = absl::StrCat("_pool", axes, "d");
    if (op == absl::StrCat("aten.max", suffix) || op == absl::StrCat("aten.max", suffix, "_with_indices")) {
      LowerMaxPool(n, axes);
    } else if (op == absl::StrCat("aten.avg", suffix)) {
      LowerAveragePool(n, axes);
    } else if (op == absl::StrCat("aten._adaptive_avg", suffix) ||
               op == absl::StrCat("aten.adaptive_avg", suffix)) {
      LowerAdaptivePool(n, axes, WindowKind::kMean);
    } else if (op == absl::StrCat("aten.adaptive_max", suffix)) {
      LowerAdaptivePool(n, axes, WindowKind::kMax);
    } else {
      continue;
    }
    return true;
  }
  return false;
}

}  // namespace nkiagent::builtin
