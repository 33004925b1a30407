// Softmax and the norms that the graph keeps as one node.
#include <algorithm>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

constexpr DType kF32 = DType::kFloat32;

void LowerSoftmax(NodeLowering& n, bool log) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  std::vector<bool> reduced(x.view.dims.size(), false);
  if (!reduced.empty()) reduced[n.Axis(n.IntOr(1, "dim", -1), reduced.size())] = true;
  const Tensor row_max = SpreadReduce(b.Named("row_max"), Fn::kMax, x, reduced, true, x.dtype);
  const Tensor shifted = b.Named("shifted").Binary(Fn::kSubtract, x, row_max, kF32);
  const Tensor exponential = b.Named("exponentials").Unary(Fn::kExp, shifted, kF32);
  const Tensor sum = SpreadReduce(b.Named("row_sum"), Fn::kSum, exponential, reduced, true, kF32);
  if (log) {
    const Tensor log_sum = b.Named("log_sum").Unary(Fn::kLog, sum, kF32);
    n.Yield(b.Binary(Fn::kSubtract, shifted, log_sum, n.dtype()));
  } else {
    const Tensor inverse_sum = b.Named("inverse_sum").Unary(Fn::kReciprocal, sum, kF32);
    n.Yield(b.Binary(Fn::kMultiply, exponential, inverse_sum, n.dtype()));
  }
}

struct Moments {
  Tensor mean, rstd;
};

Moments MomentsOf(NodeLowering& n, const Tensor& x, const std::vector<bool>& reduced, double epsilon) {
  Builder& b = n.builder();
  const Tensor mean = SpreadMean(b.Named("mean"), x, reduced, true, kF32);
  const Tensor variance = LowerVariance(n, x, mean, reduced);
  const Tensor shifted = b.Named("variance_eps").Binary(Fn::kAdd, variance, epsilon, kF32);
  return {mean, b.Named("rstd").Unary(Fn::kRsqrt, shifted, kF32)};
}

// (x - mean) * rstd, then the optional weight and bias; rounded once, at the end.
Tensor Normalised(NodeLowering& n, const Tensor& x, const Moments& moments, const Tensor* weight,
                  const Tensor* bias) {
  Builder& b = n.builder();
  const bool plain = weight == nullptr && bias == nullptr;
  Tensor y = b.Named("centred").Binary(Fn::kSubtract, x, moments.mean, kF32);
  const DType last = n.dtype(0);
  y = b.Named(plain ? "" : "normalised").Binary(Fn::kMultiply, y, moments.rstd, plain ? last : kF32);
  if (weight != nullptr) {
    y = b.Named(bias == nullptr ? "" : "scaled")
            .Binary(Fn::kMultiply, y, *weight, bias == nullptr ? last : kF32);
  }
  if (bias != nullptr) y = b.Binary(Fn::kAdd, y, *bias, last);
  return y;
}

void LowerLayerNorm(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "input");
  const size_t rank = x.view.dims.size(), normalised = n.IntsAt(1, "normalized_shape").size();
  if (normalised == 0 || normalised > rank) {
    b.Fail("normalized_shape doesn't fit the input");
    return;
  }
  std::vector<bool> reduced(rank, false);
  for (size_t i = rank - normalised; i < rank; ++i) reduced[i] = true;
  const Moments moments = MomentsOf(n, x, reduced, n.NumberOr(4, "eps", 1e-5));
  const bool has_weight = n.Has(2, "weight"), has_bias = n.Has(3, "bias");
  const Tensor weight = has_weight ? n.TensorAt(2, "weight") : x;
  const Tensor bias = has_bias ? n.TensorAt(3, "bias") : x;
  const Tensor y = Normalised(n, x, moments, has_weight ? &weight : nullptr, has_bias ? &bias : nullptr);
  n.YieldTuple({y, b.Cast(moments.mean, n.dtype(1)), b.Cast(moments.rstd, n.dtype(2))});
}

// A per-channel vector placed so that it broadcasts along every axis but `axis` of a tensor of `rank` axes.
Tensor AlongAxis(Builder& b, const Tensor& vector, int axis, size_t rank) {
  Dims dims(rank, 1);
  dims[axis] = ElementCount(vector.view.dims);
  return b.ReshapeTo(vector, dims);
}

void LowerGroupNorm(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "input");
  const int64_t batch = n.IntOr(3, "N", 0), channels = n.IntOr(4, "C", 0);
  const int64_t inner = n.IntOr(5, "HxW", 0), groups = n.IntOr(6, "group", 1);
  if (groups < 1 || channels % groups != 0) {
    b.Fail("the channels don't split into the groups");
    return;
  }
  const Dims dims = {batch, groups, channels / groups, inner};
  const Tensor grouped = b.ReshapeTo(x, dims);
  if (b.failed()) return;
  const Moments moments = MomentsOf(n, grouped, {false, false, true, true}, n.NumberOr(7, "eps", 1e-5));
  const bool has_weight = n.Has(1, "weight"), has_bias = n.Has(2, "bias");
  const Dims channel_dims = {1, groups, channels / groups, 1};
  const Tensor weight = has_weight ? b.ReshapeTo(n.TensorAt(1, "weight"), channel_dims) : x;
  const Tensor bias = has_bias ? b.ReshapeTo(n.TensorAt(2, "bias"), channel_dims) : x;
  const Tensor y =
      Normalised(n, grouped, moments, has_weight ? &weight : nullptr, has_bias ? &bias : nullptr);
  n.YieldTuple({b.ReshapeTo(y, x.view.dims), b.ReshapeTo(b.Cast(moments.mean, n.dtype(1)), {batch, groups}),
                b.ReshapeTo(b.Cast(moments.rstd, n.dtype(2)), {batch, groups})});
}

// Inference: the running moments are arguments, so the norm is a scale and a shift of each channel.
void LowerBatchNorm(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "input");
  const size_t rank = x.view.dims.size();
  if (rank < 2) {
    b.Fail("a batch norm needs a channel axis");
    return;
  }
  Moments moments;
  moments.mean = AlongAxis(b, n.TensorAt(3, "running_mean"), 1, rank);
  // Told over the whole tensor, the few operations on a channel's numbers run next to those on its elements.
  const Tensor variance = b.ExpandTo(AlongAxis(b, n.TensorAt(4, "running_var"), 1, rank), x.view.dims);
  const Tensor shifted = b.Named("variance_eps").Binary(Fn::kAdd, variance, n.NumberOr(6, "eps", 1e-5), kF32);
  moments.rstd = b.Named("rstd").Unary(Fn::kRsqrt, shifted, kF32);
  const bool has_weight = n.Has(1, "weight"), has_bias = n.Has(2, "bias");
  const Tensor weight = has_weight ? AlongAxis(b, n.TensorAt(1, "weight"), 1, rank) : x;
  const Tensor bias = has_bias ? AlongAxis(b, n.TensorAt(2, "bias"), 1, rank) : x;
  n.YieldTuple({Normalised(n, x, moments, has_weight ? &weight : nullptr, has_bias ? &bias : nullptr)});
}

// Moments of the batch itself, per channel; or per instance where the graph has folded instances into
// channels.
void LowerBatchNormWithoutStats(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "input");
  const size_t rank = x.view.dims.size();
  if (rank < 2 || !n.BoolOr(3, "training", true)) {
    b.Fail("a batch norm without statistics needs a channel axis and training mode");
    return;
  }
  const bool has_weight = n.Has(1, "weight"), has_bias = n.Has(2, "bias");
  Tensor weight = has_weight ? b.CopiedFrom(n.TensorAt(1, "weight")) : x;
  Tensor bias = has_bias ? b.CopiedFrom(n.TensorAt(2, "bias")) : x;
  // Weights of instances are those of the channels, repeated: then the two are axes of their own.
  Dims channels = {x.view.dims[1]};
  if (has_weight && (!has_bias || bias.view.dims == weight.view.dims)) channels = weight.view.dims;
  const size_t axes = channels.size();
  Dims dims = {x.view.dims[0]}, vector(rank - 1 + axes, 1);
  dims.insert(dims.end(), channels.begin(), channels.end());
  dims.insert(dims.end(), x.view.dims.begin() + 2, x.view.dims.end());
  std::copy(channels.begin(), channels.end(), vector.begin() + 1);
  std::vector<bool> reduced(dims.size(), true);
  std::fill_n(reduced.begin() + 1, axes, false);
  const Tensor split = b.ReshapeTo(x, dims);
  if (b.failed()) return;
  const Moments moments = MomentsOf(n, split, reduced, n.NumberOr(5, "eps", 1e-5));
  if (has_weight) weight = b.ReshapeTo(weight, vector);
  if (has_bias) bias = b.ReshapeTo(bias, vector);
  const Tensor y = Normalised(n, split, moments, has_weight ? &weight : nullptr, has_bias ? &bias : nullptr);
  n.YieldTuple({b.ReshapeTo(y, x.view.dims)});
}

}  // namespace

bool LowerNorm(NodeLowering& n) {
  const absl::string_view op = n.op();
  if (op == "aten._softmax" || op == "aten.softmax") {
    LowerSoftmax(n, /*log=*/false);
  } else if (op == "aten._log_softmax" || op == "aten.log_softmax") {
    LowerSoftmax(n, /*log=*/true);
  } else if (op == "aten.native_layer_norm") {
    LowerLayerNorm(n);
  } else if (op == "aten.native_group_norm") {
    LowerGroupNorm(n);
  } else if (op == "aten._native_batch_norm_legit_no_training") {
    LowerBatchNorm(n);
  } else if (op == "aten._native_batch_norm_legit" && n.overload() == "no_stats") {
    LowerBatchNormWithoutStats(n);
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
