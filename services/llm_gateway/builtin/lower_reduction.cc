// Sums, means, extremes, products, variances and norms over any axes.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

int64_t Extent(const Dims& dims, const std::vector<bool>& reduced) {
  int64_t extent = 1;
  for (size_t i = 0; i < dims.size(); ++i) extent *= reduced[i] ? dims[i] : 1;
  return extent;
}

// Where a reduction is cut in two: the first `parts` of axis `axis`, and all reduced axes before it, become
// rows of a first reduction; a second one goes over them.
struct Cut {
  int axis = -1;  // none: one reduction is as good
  int64_t parts = 1;
};

// Cycles, about, of a reduction over rows of `length` elements on 128 partitions. The constant is what
// starting an instruction costs.
double Cycles(int64_t rows, int64_t length) {
  const int64_t tiles = (rows + 127) / 128;
  return static_cast<double>(tiles) * (static_cast<double>(length) + 64);
}

// What passing partial results through memory costs beside their reduction: two transfers of 2 us.
constexpr double kHandOverCycles = 4000;

// Whether the stage itself will spread rows over the partitions: it can where neighbours in memory are
// reduced together.
bool SpreadsInStage(Fn fn, const Tensor& x, const std::vector<bool>& reduced, DType dtype) {
  if (!IsFloat(dtype) || fn == Fn::kProd) return false;
  int64_t closest = std::numeric_limits<int64_t>::max();
  bool is_reduced = false;
  for (size_t i = 0; i < reduced.size(); ++i) {
    const int64_t stride = std::abs(x.view.strides[i]);
    if (x.view.dims[i] == 1 || stride == 0 || stride > closest) continue;
    closest = stride;
    is_reduced = reduced[i];
  }
  return is_reduced;
}

Cut BestCut(const Dims& dims, const std::vector<bool>& reduced) {
  const int64_t length = Extent(dims, reduced), rows = ElementCount(dims) / length;
  Cut best;
  double best_cycles = Cycles(rows, length);
  int64_t before = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!reduced[i]) continue;
    for (int64_t d = 1; d <= std::min<int64_t>(dims[i], 4096); ++d) {
      const int64_t parts = before * d;
      if (dims[i] % d != 0 || parts == 1 || parts >= length) continue;
      const double cycles = Cycles(rows * parts, length / parts) + Cycles(rows, parts) + kHandOverCycles;
      if (cycles >= best_cycles) continue;
      best_cycles = cycles;
      best = {static_cast<int>(i), d};
    }
    before *= dims[i];
  }
  return best;
}

}  // namespace

Tensor SpreadMean(Builder& b, const Tensor& x, const std::vector<bool>& reduced, bool keep, DType dtype) {
  if (b.failed() || SpreadsInStage(Fn::kMean, x, reduced, dtype) || BestCut(x.view.dims, reduced).axis < 0)
    return b.Reduce(Fn::kMean, x, reduced, keep, dtype);
  const Tensor sum = SpreadReduce(b, Fn::kSum, x, reduced, keep, DType::kFloat32);
  const double count = static_cast<double>(Extent(x.view.dims, reduced));
  return b.Binary(Fn::kMultiply, sum, 1.0 / count, dtype);
}

namespace {

Tensor Variance(NodeLowering& n, const Tensor& x, const std::vector<bool>& reduced, double correction,
                bool keep, DType dtype) {
  Builder& b = n.builder();
  const double count = static_cast<double>(Extent(x.view.dims, reduced));
  const Tensor mean = SpreadMean(b.Named("mean"), x, reduced, true, DType::kFloat32);
  Tensor variance = LowerVariance(n, x, mean, reduced);
  if (correction != 0) {
    variance = b.Binary(Fn::kMultiply, variance, count / std::fmax(count - correction, 0), DType::kFloat32);
  }
  Dims kept;
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (!reduced[i]) kept.push_back(x.view.dims[i]);
  }
  if (!keep) variance = b.ReshapeTo(variance, kept);
  return b.Cast(variance, dtype);
}

double Correction(NodeLowering& n, size_t index) {
  if (n.overload() == "dim" || n.overload() == "default") return n.BoolOr(index, "unbiased", true) ? 1 : 0;
  return n.NumberOr(index, "correction", 1);
}

Tensor VectorNorm(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const double order = n.NumberOr(1, "ord", 2);
  const std::vector<bool> reduced = n.AxesAt(2, "dim", x.view.dims.size());
  const bool keep = n.BoolOr(3, "keepdim", false);
  const DType f32 = DType::kFloat32;
  if (order == 2) {
    const Tensor square = b.Binary(Fn::kMultiply, x, x, f32);
    return b.Unary(Fn::kSqrt, SpreadReduce(b, Fn::kSum, square, reduced, keep, f32), n.dtype());
  }
  const Tensor magnitude = b.Unary(Fn::kAbs, x, f32);
  if (order == 1) return SpreadReduce(b, Fn::kSum, magnitude, reduced, keep, n.dtype());
  if (std::isinf(order)) {
    return SpreadReduce(b, order > 0 ? Fn::kMax : Fn::kMin, magnitude, reduced, keep, n.dtype());
  }
  if (order == 0) {
    const Tensor present = b.Named("is_present").Binary(Fn::kNotEqual, x, 0.0, DType::kBool);
    return SpreadReduce(b, Fn::kSum, b.Named("counted").Unary(Fn::kCopy, present, f32), reduced, keep,
                        n.dtype());
  }
  if (order > 0) {
    const Tensor power = b.Binary(Fn::kPower, magnitude, order, f32);
    return b.Binary(Fn::kPower, SpreadReduce(b, Fn::kSum, power, reduced, keep, f32), 1 / order, n.dtype());
  }
  b.Fail(absl::StrCat("a vector norm of order ", order, " is not supported"));
  return x;
}

// any as the maximum and all as the minimum of truth values.
Tensor AnyOrAll(NodeLowering& n, Fn fn) {
  Builder& b = n.builder();
  const Tensor truth = b.Cast(n.TensorAt(0, "self"), DType::kBool);
  const std::vector<bool> reduced = n.AxesAt(1, "dim", truth.view.dims.size());
  return SpreadReduce(b, fn, truth, reduced, n.BoolOr(2, "keepdim", false), DType::kBool);
}

}  // namespace

Tensor SpreadReduce(Builder& b, Fn fn, Tensor x, std::vector<bool> reduced, bool keep, DType dtype) {
  if (b.failed() || x.immediate.has_value()) return b.failed() ? x : b.Reduce(fn, x, reduced, keep, dtype);
  Dims result;
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (keep || !reduced[i]) result.push_back(reduced[i] ? 1 : x.view.dims[i]);
  }
  const Cut cut = SpreadsInStage(fn, x, reduced, dtype) ? Cut{} : BestCut(x.view.dims, reduced);
  if (cut.axis >= 0) {
    Dims dims = x.view.dims;
    const auto at = static_cast<ptrdiff_t>(cut.axis);
    dims[at] /= cut.parts;
    dims.insert(dims.begin() + at, cut.parts);
    reduced.insert(reduced.begin() + at, true);
    std::vector<bool> first = reduced, second;
    for (ptrdiff_t i = 0; i <= at; ++i) first[i] = false;
    for (size_t i = 0; i < reduced.size(); ++i) {
      if (!first[i]) second.push_back(reduced[i]);
    }
    x = b.Reduce(fn, b.ReshapeTo(x, dims), first, false, IsFloat(dtype) ? DType::kFloat32 : dtype);
    if (b.failed()) return x;
    return b.ReshapeTo(SpreadReduce(b, fn, x, second, false, dtype), result);
  }
  return b.Reduce(fn, x, reduced, keep, dtype);
}

Tensor LowerVariance(NodeLowering& n, const Tensor& x, const Tensor& mean, const std::vector<bool>& reduced) {
  Builder& b = n.builder();
  const DType f32 = DType::kFloat32;
  if (n.options().one_pass_variance) {
    b.program().used_one_pass_variance = true;
    const Tensor squares = b.Named("squares").Unary(Fn::kSquare, x, f32);
    const Tensor mean_of_squares = SpreadMean(b.Named("mean_of_squares"), squares, reduced, true, f32);
    const Tensor squared_mean = b.Named("squared_mean").Binary(Fn::kMultiply, mean, mean, f32);
    return b.Named("variance").Binary(Fn::kSubtract, mean_of_squares, squared_mean, f32);
  }
  const Tensor deviation = b.Named("deviation").Binary(Fn::kSubtract, x, mean, f32);
  const Tensor squares = b.Named("squares").Unary(Fn::kSquare, deviation, f32);
  return SpreadMean(b.Named("variance"), squares, reduced, true, f32);
}

bool LowerReduction(NodeLowering& n) {
  Builder& b = n.builder();
  const absl::string_view op = n.op();
  const bool over_all = n.overload() == "default";
  if (op == "aten.sum" || op == "aten.mean") {
    const Tensor x = n.TensorAt(0, "self");
    const std::vector<bool> reduced =
        over_all ? std::vector<bool>(x.view.dims.size(), true) : n.AxesAt(1, "dim", x.view.dims.size());
    const bool keep = !over_all && n.BoolOr(2, "keepdim", false);
    n.Yield(op == "aten.sum" ? SpreadReduce(b, Fn::kSum, x, reduced, keep, n.dtype())
                             : SpreadMean(b, x, reduced, keep, n.dtype()));
  } else if (op == "aten.amax" || op == "aten.amin") {
    const Tensor x = n.TensorAt(0, "self");
    const Fn fn = op == "aten.amax" ? Fn::kMax : Fn::kMin;
    n.Yield(SpreadReduce(b, fn, x, n.AxesAt(1, "dim", x.view.dims.size()), n.BoolOr(2, "keepdim", false),
                         n.dtype()));
  } else if ((op == "aten.max" || op == "aten.min") && over_all) {
    const Tensor x = n.TensorAt(0, "self");
    const Fn fn = op == "aten.max" ? Fn::kMax : Fn::kMin;
    n.Yield(SpreadReduce(b, fn, x, std::vector<bool>(x.view.dims.size(), true), false, n.dtype()));
  } else if (op == "aten.prod") {
    const Tensor x = n.TensorAt(0, "self");
    std::vector<bool> reduced(x.view.dims.size(), over_all);
    if (!over_all && !reduced.empty()) reduced[n.Axis(n.IntOr(1, "dim", 0), reduced.size())] = true;
    n.Yield(SpreadReduce(b, Fn::kProd, x, reduced, !over_all && n.BoolOr(2, "keepdim", false), n.dtype()));
  } else if (op == "aten.any" || op == "aten.all") {
    n.Yield(AnyOrAll(n, op == "aten.any" ? Fn::kMax : Fn::kMin));
  } else if (op == "aten.var" || op == "aten.std") {
    const Tensor x = n.TensorAt(0, "self");
    const bool whole = over_all;
    const std::vector<bool> reduced =
        whole ? std::vector<bool>(x.view.dims.size(), true) : n.AxesAt(1, "dim", x.view.dims.size());
    const double correction = Correction(n, whole ? 1 : 2);
    const bool keep = !whole && n.BoolOr(3, "keepdim", false);
    const bool root = op == "aten.std";
    Tensor variance = Variance(n, x, reduced, correction, keep, root ? DType::kFloat32 : n.dtype());
    n.Yield(root ? b.Unary(Fn::kSqrt, variance, n.dtype()) : variance);
  } else if (op == "aten.var_mean") {
    const Tensor x = n.TensorAt(0, "self");
    const std::vector<bool> reduced = n.AxesAt(1, "dim", x.view.dims.size());
    const bool keep = n.BoolOr(3, "keepdim", false);
    const Tensor variance = Variance(n, x, reduced, Correction(n, 2), keep, n.dtype(0));
    n.YieldTuple({variance, SpreadMean(b, x, reduced, keep, n.dtype(1))});
  } else if (op == "aten.linalg_vector_norm") {
    n.Yield(VectorNorm(n));
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
