// Interpolation: nearest and linear resampling of images.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/indexing.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

// Each group of outputs that meet their input in the same way is a statement of its own.
constexpr size_t kMaxPhases = 24;
// Fewer images and channels than these leave the Vector engine mostly idle; large images are then better
// resampled by products with matrices.
constexpr int64_t kFewPlanes = 16, kLargePlane = 4096;

int Rank(const Tensor& x) { return static_cast<int>(x.view.dims.size()); }

// Input positions for one output position: what the caller gave, or the ratio of the sizes.
double ScaleOf(const NodeLowering& n, size_t argument, size_t axis, int64_t in, int64_t out) {
  const Arg* scales = n.Find(argument, "scale_factors");
  const auto* list = scales == nullptr ? nullptr : std::get_if<std::vector<Arg>>(&scales->value);
  if (list != nullptr && axis < list->size()) {
    if (const auto* given = std::get_if<double>(&(*list)[axis].value)) return 1 / *given;
  }
  return static_cast<double>(in) / static_cast<double>(out);
}

std::vector<std::vector<ResampleTap>> TapsOf(int64_t outputs,
                                             const std::function<std::vector<ResampleTap>(int64_t)>& taps) {
  constexpr int64_t kMost = int64_t{1} << 16;
  std::vector<std::vector<ResampleTap>> all;
  for (int64_t o = 0; o < outputs && outputs <= kMost; ++o) all.push_back(taps(o));
  return all;
}

// The two neighbours of output `o`, or the one that it lies on.
std::vector<ResampleTap> LinearTaps(int64_t o, int64_t in, double ratio, bool corners) {
  const double centre = static_cast<double>(o) + (corners ? 0 : 0.5);
  const double source = std::clamp(centre * ratio - (corners ? 0 : 0.5), 0.0, static_cast<double>(in - 1));
  const auto at = static_cast<int64_t>(std::floor(source));
  const double part = source - static_cast<double>(at);
  constexpr double kLeast = 1e-9;
  if (part < kLeast) return {{at, 1}};
  if (part > 1 - kLeast) return {{at + 1, 1}};
  return {{at, 1 - part}, {at + 1, part}};
}

// Yields the sums of taps that each axis gives, one axis after the other on chip, if these repeat along the
// axes; whether they do.
bool ResampleByWindows(NodeLowering& n, const Tensor& x,
                       const std::vector<std::vector<std::vector<ResampleTap>>>& taps) {
  Builder& b = n.builder();
  if (!IsFloat(x.dtype)) return false;
  Window window;
  window.kind = WindowKind::kResample;
  int64_t outputs = 1;
  for (size_t a = 0; a < taps.size(); ++a) {
    std::optional<WindowAxis> axis = ResampledAxis(x.view.dims[a + 2], taps[a], kMaxPhases);
    if (!axis.has_value()) return false;
    outputs *= axis->output;
    window.axes.push_back(*std::move(axis));
  }
  if (x.view.dims[0] * x.view.dims[1] < kFewPlanes && outputs > kLargePlane) return false;
  n.Yield(b.Windowed(std::move(window), x, nullptr, n.dims(), n.dims(), n.dtype()));
  return true;
}

// Nearest neighbours: output o takes input floor(o * scale).
void LowerNearest(NodeLowering& n, size_t axes) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "input");
  const Dims& out = n.dims();
  const auto nearest_of = [](double scale, int64_t o, int64_t in) {
    const auto at = static_cast<int64_t>(std::floor(static_cast<float>(o) * static_cast<float>(scale)));
    return std::vector<ResampleTap>{{std::min(at, in - 1), 1}};
  };
  if (x.view.dims.size() != axes + 2 || out.size() != axes + 2) {
    b.Fail("the input's rank is not supported");
    return;
  }
  std::vector<std::vector<std::vector<ResampleTap>>> taps;
  std::vector<double> scales;
  for (size_t a = 0; a < axes; ++a) {
    const int axis = static_cast<int>(a) + 2;
    scales.push_back(static_cast<float>(ScaleOf(n, 2, a, x.view.dims[axis], out[axis])));
    taps.push_back(TapsOf(out[axis], [&](int64_t o) { return nearest_of(scales[a], o, x.view.dims[axis]); }));
  }
  if (b.failed() || ResampleByWindows(n, x, taps)) return;
  for (size_t a = 0; a < axes && !b.failed(); ++a) {
    const int axis = static_cast<int>(a) + 2;
    const int64_t in = x.view.dims[axis];
    const double scale = scales[a];
    const Tensor scaled = b.Binary(Fn::kMultiply, b.Positions(out[axis]), scale, DType::kFloat32);
    const Tensor nearest = b.Binary(Fn::kMinimum, b.Unary(Fn::kFloor, scaled, DType::kFloat32),
                                    static_cast<double>(in - 1), DType::kFloat32);
    x = Indexed(b, x, axis, nearest, /*wraps=*/false);
  }
  n.Yield(x);
}

// One axis resampled linearly, as a product with a matrix of hat functions around the source positions.
Tensor LinearlyResampled(Builder& b, const Tensor& x, int axis, int64_t size, bool corners, double ratio) {
  const int64_t in = x.view.dims[axis];
  constexpr DType kF32 = DType::kFloat32;
  Tensor source = b.Positions(size);
  if (!corners) source = b.Named("centre").Binary(Fn::kAdd, source, 0.5, kF32);
  source = b.Named("source").Binary(Fn::kMultiply, source, ratio, kF32);
  if (!corners) {
    source = b.Named("source").Binary(Fn::kSubtract, source, 0.5, kF32);
    source = b.Named("source").Binary(Fn::kMaximum, source, 0.0, kF32);
  }
  source = b.Named("source").Binary(Fn::kMinimum, source, static_cast<double>(in - 1), kF32);
  const Tensor position = b.ReshapeTo(b.Positions(in), {in, 1});
  Tensor weight = b.Named("distance").Binary(Fn::kSubtract, position, b.ReshapeTo(source, {1, size}), kF32);
  weight = b.Named("distance").Unary(Fn::kAbs, weight, kF32);
  weight = b.Named("closeness").Binary(Fn::kSubtract, Builder::Number(1, kF32), weight, kF32);
  weight = b.Named("resampling").Unary(Fn::kRelu, weight, kF32);
  // Rows of the axis last, times the matrix.
  std::vector<int> order, back(x.view.dims.size());
  for (int k = 0; k < Rank(x); ++k) {
    if (k != axis) order.push_back(k);
  }
  order.push_back(axis);
  for (size_t k = 0; k < order.size(); ++k) back[static_cast<size_t>(order[k])] = static_cast<int>(k);
  const Tensor turned = b.Permute(x, order);
  Dims dims = turned.view.dims;
  dims.back() = size;
  const int64_t rows = ElementCount(x.view.dims) / in;
  const Tensor product = b.Matmul(b.ReshapeTo(turned, {1, rows, in}), b.InsertAxis(weight, 0), x.dtype);
  return b.failed() ? x : b.Permute(b.ReshapeTo(product, dims), back);
}

void LowerBilinear(NodeLowering& n) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "input");
  const Dims& out = n.dims();
  if (x.view.dims.size() != 4 || out.size() != 4) {
    b.Fail("the input's rank is not supported");
    return;
  }
  const bool corners = n.BoolOr(2, "align_corners", false);
  std::vector<double> ratios;
  std::vector<std::vector<std::vector<ResampleTap>>> taps;
  for (const int axis : {2, 3}) {
    const int64_t in = x.view.dims[axis], size = out[axis];
    const double between = size > 1 ? static_cast<double>(in - 1) / static_cast<double>(size - 1) : 0;
    ratios.push_back(corners ? between : ScaleOf(n, 3, static_cast<size_t>(axis) - 2, in, size));
    taps.push_back(TapsOf(size, [&](int64_t o) { return LinearTaps(o, in, ratios.back(), corners); }));
  }
  if (b.failed() || ResampleByWindows(n, x, taps)) return;
  for (const int axis : {3, 2}) {
    if (x.view.dims[axis] == out[axis]) continue;
    x = LinearlyResampled(b, x, axis, out[axis], corners, ratios[static_cast<size_t>(axis) - 2]);
  }
  n.Yield(x);
}

}  // namespace

bool LowerResample(NodeLowering& n) {
  const absl::string_view op = n.op();
  if (op == "aten.upsample_nearest1d" || op == "aten.upsample_nearest2d" || op == "aten.upsample_nearest3d") {
    LowerNearest(n, static_cast<size_t>(op[op.size() - 2] - '0'));
  } else if (op == "aten.upsample_bilinear2d") {
    LowerBilinear(n);
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
