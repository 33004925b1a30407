// Convolutions of 1, 2 and 3 spatial axes, transposed ones included.
#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

struct Geometry {
  std::vector<int64_t> stride, padding, dilation;
  bool transposed = false;
  int64_t groups = 1;
};

// False, with the builder failed, for what no convolution has.
bool IsSound(NodeLowering& n, const Tensor& x, const Tensor& weight, const Geometry& g) {
  const Dims& in = x.view.dims;
  const Dims& kernel = weight.view.dims;
  const Dims& out = n.dims();
  const bool ranks =
      in.size() >= 3 && in.size() <= 5 && kernel.size() == in.size() && out.size() == in.size();
  if (!ranks || g.groups < 1) {
    n.builder().Fail("a convolution takes an input and a weight of rank 3 to 5");
    return false;
  }
  const int64_t per_group = in[1] / g.groups;
  const bool channels = in[1] % g.groups == 0 && out[1] % g.groups == 0 && out[0] == in[0] &&
                        (g.transposed ? kernel[0] == in[1] && kernel[1] == out[1] / g.groups
                                      : kernel[0] == out[1] && kernel[1] == per_group);
  constexpr int64_t kMost = int64_t{1} << 24;  // far beyond any real one; keeps products of them defined
  bool sizes = channels;
  for (size_t a = 0; a + 2 < in.size(); ++a) {
    const auto real = [](int64_t value, int64_t least) { return value >= least && value <= kMost; };
    sizes = sizes && real(g.stride[a], 1) && real(g.dilation[a], 1) && real(g.padding[a], 0) &&
            real(kernel[2 + a], 1) && real(in[2 + a], 1) && real(out[2 + a], 1);
    if (!sizes) break;
    const int64_t reach = g.dilation[a] * (kernel[2 + a] - 1) + 1;
    const int64_t padded = in[2 + a] + 2 * g.padding[a];
    sizes = g.transposed || out[2 + a] == (padded - reach) / g.stride[a] + 1;
  }
  if (!sizes) n.builder().Fail("the convolution's sizes don't fit together");
  return sizes;
}

// The same weight with the taps of a channel as one axis.
Tensor Flattened(NodeLowering& n, const Tensor& weight, int64_t taps) {
  return n.builder().ReshapeTo(weight, {weight.view.dims[0], weight.view.dims[1], taps});
}

void LowerConvolution(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "input"), weight = n.TensorAt(1, "weight");
  if (x.view.dims.size() < 3) {
    b.Fail("a convolution takes an input of rank 3 to 5");
    return;
  }
  const size_t axes = x.view.dims.size() - 2;
  Geometry g;
  g.stride = n.IntsPerAxis(3, "stride", axes, 1);
  g.padding = n.IntsPerAxis(4, "padding", axes, 0);
  g.dilation = n.IntsPerAxis(5, "dilation", axes, 1);
  g.transposed = n.BoolOr(6, "transposed", false);
  g.groups = n.IntOr(8, "groups", 1);
  if (b.failed() || !IsSound(n, x, weight, g)) return;
  if (!IsFloat(x.dtype) || !IsFloat(weight.dtype)) {
    b.Fail("the Tensor engine takes no integers");
    return;
  }
  Window window;
  window.channels = x.view.dims[1] / g.groups;
  window.kind = g.transposed ? WindowKind::kTransposed : WindowKind::kConvolution;
  // A filter for each channel: the Tensor engine would contract over one channel only.
  if (!g.transposed && window.channels == 1 && g.groups > 1) window.kind = WindowKind::kDepthwise;
  for (size_t a = 0; a < axes; ++a) {
    const auto make = g.transposed ? TransposedAxis : SlidingAxis;
    window.axes.push_back(make(x.view.dims[2 + a], weight.view.dims[2 + a], n.dims()[2 + a], g.stride[a],
                               g.padding[a], g.dilation[a]));
  }
  Dims dims = {n.dims()[0], g.groups, n.dims()[1] / g.groups};
  dims.insert(dims.end(), n.dims().begin() + 2, n.dims().end());
  const Tensor filters = Flattened(n, weight, window.taps());
  const bool has_bias = n.Has(2, "bias");
  if (has_bias) b.Named("product");
  const Tensor y =
      b.Windowed(std::move(window), x, &filters, dims, n.dims(), has_bias ? DType::kFloat32 : n.dtype());
  if (!has_bias) {
    n.Yield(y);
    return;
  }
  Dims along(n.dims().size(), 1);
  along[1] = n.dims()[1];
  n.Yield(b.Binary(Fn::kAdd, y, b.ReshapeTo(n.TensorAt(2, "bias"), along), n.dtype()));
}

}  // namespace

bool LowerConv(NodeLowering& n) {
  if (n.op() != "aten.convolution") return false;
  LowerConvolution(n);
  return true;
}

}  // namespace nkiagent::builtin
