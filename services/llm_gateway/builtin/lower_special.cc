// Special functions by series, simulated quantisation, and composites that core ATen leaves whole.
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

constexpr DType kF32 = DType::kFloat32;
constexpr double kPi = std::numbers::pi;

Tensor Number(double value) { return Builder::Number(value, kF32); }

// Coefficients from the highest power down.
Tensor Polynomial(Builder& b, const Tensor& x, std::span<const double> coefficients) {
  Tensor sum = Number(coefficients[0]);
  for (const double c : coefficients.subspan(1))
    sum = b.Binary(Fn::kAdd, b.Binary(Fn::kMultiply, sum, x, kF32), c, kF32);
  return sum;
}

// sin(pi * x) for any x.
Tensor SinPi(Builder& b, const Tensor& x) {
  Tensor turn = b.Binary(Fn::kMod, b.Binary(Fn::kAdd, x, 1.0, kF32), 2.0, kF32);
  turn = b.Binary(Fn::kMultiply, b.Binary(Fn::kSubtract, turn, 1.0, kF32), kPi, kF32);
  return b.Unary(Fn::kSin, turn, kF32);
}

// How far the argument is raised before an asymptotic series is used.
constexpr int kRaised = 7;

// log(gamma(x)) for x > 0: Stirling's series at x + 7 less log(x (x+1) … (x+6)).
Tensor LogGammaAboveZero(Builder& b, const Tensor& x) {
  const Tensor z = b.Named("raised").Binary(Fn::kAdd, x, static_cast<double>(kRaised), kF32);
  Tensor product = x;
  for (int i = 1; i < kRaised; ++i)
    product = b.Binary(Fn::kMultiply, product, b.Binary(Fn::kAdd, x, static_cast<double>(i), kF32), kF32);
  const Tensor inverse = b.Unary(Fn::kReciprocal, z, kF32);
  const Tensor square = b.Unary(Fn::kSquare, inverse, kF32);
  const std::array<double, 3> series = {1.0 / 1260, -1.0 / 360, 1.0 / 12};
  const Tensor tail = b.Binary(Fn::kMultiply, Polynomial(b, square, series), inverse, kF32);
  Tensor sum =
      b.Binary(Fn::kMultiply, b.Binary(Fn::kSubtract, z, 0.5, kF32), b.Unary(Fn::kLog, z, kF32), kF32);
  sum = b.Binary(Fn::kSubtract, sum, z, kF32);
  sum = b.Binary(Fn::kAdd, sum, 0.5 * std::log(2 * kPi), kF32);
  return b.Binary(Fn::kSubtract, b.Binary(Fn::kAdd, sum, tail, kF32), b.Unary(Fn::kLog, product, kF32), kF32);
}

// Below 1/2 by reflection: log(pi / |sin(pi x)|) - log(gamma(1 - x)).
Tensor LogGamma(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const Tensor low = b.Named("is_low").Binary(Fn::kLess, x, 0.5, DType::kBool);
  const Tensor mirrored = b.Named("mirrored").Binary(Fn::kSubtract, Number(1), x, kF32);
  const Tensor above = b.Named("above_half").Select(low, mirrored, x, kF32);
  const Tensor value = LogGammaAboveZero(b, above);
  const Tensor sine = b.Named("sine").Unary(Fn::kAbs, SinPi(b, x), kF32);
  Tensor reflected = b.Binary(Fn::kSubtract, Number(std::log(kPi)), b.Unary(Fn::kLog, sine, kF32), kF32);
  reflected = b.Binary(Fn::kSubtract, reflected, value, kF32);
  return b.Select(low, reflected, value, n.dtype());
}

// The derivative of log(gamma(x)), or the one after it, for x > 0.
Tensor Polygamma(NodeLowering& n, const Tensor& x, int64_t order) {
  Builder& b = n.builder();
  const Tensor z = b.Named("raised").Binary(Fn::kAdd, x, static_cast<double>(kRaised), kF32);
  const Tensor inverse = b.Named("inverse").Unary(Fn::kReciprocal, z, kF32);
  const Tensor square = b.Named("inverse_square").Unary(Fn::kSquare, inverse, kF32);
  const Tensor half = b.Binary(Fn::kMultiply, order == 0 ? inverse : square, 0.5, kF32);
  Tensor sum;
  if (order == 0) {
    const std::array<double, 4> series = {-1.0 / 252, 1.0 / 120, -1.0 / 12, 0};
    sum = b.Binary(Fn::kSubtract, b.Unary(Fn::kLog, z, kF32), half, kF32);
    sum = b.Binary(Fn::kAdd, sum, Polynomial(b, square, series), kF32);
  } else {
    const std::array<double, 3> series = {1.0 / 42, -1.0 / 30, 1.0 / 6};
    const Tensor cube = b.Binary(Fn::kMultiply, square, inverse, kF32);
    sum = b.Binary(Fn::kAdd, inverse, half, kF32);
    sum = b.Binary(Fn::kAdd, sum, b.Binary(Fn::kMultiply, Polynomial(b, square, series), cube, kF32), kF32);
  }
  for (int i = 0; i < kRaised; ++i) {
    Tensor term = b.Unary(Fn::kReciprocal, b.Binary(Fn::kAdd, x, static_cast<double>(i), kF32), kF32);
    if (order == 1) term = b.Unary(Fn::kSquare, term, kF32);
    sum = b.Binary(order == 0 ? Fn::kSubtract : Fn::kAdd, sum, term, i + 1 == kRaised ? n.dtype() : kF32);
  }
  return sum;
}

// Modified Bessel functions of the first kind (M. Abramowitz, I. Stegun, "Handbook of Mathematical
// Functions", 9.8.1 to 9.8.4), times exp(-|x|) where `scaled`.
Tensor Bessel(NodeLowering& n, int order, bool scaled) {
  Builder& b = n.builder();
  constexpr std::array<double, 7> kNear0 = {0.0045813, 0.0360768, 0.2659732, 1.2067492,
                                            3.0899424, 3.5156229, 1.0};
  constexpr std::array<double, 9> kFar0 = {0.00392377,  -0.01647633, 0.02635537, -0.02057706, 0.00916281,
                                           -0.00157565, 0.00225319,  0.01328592, 0.39894228};
  constexpr std::array<double, 7> kNear1 = {0.00032411, 0.00301532, 0.02658733, 0.15084934,
                                            0.51498869, 0.87890594, 0.5};
  constexpr std::array<double, 9> kFar1 = {-0.00420059, 0.01787654,  -0.02895312, 0.02282967, -0.01031555,
                                           0.00163801,  -0.00362018, -0.03988024, 0.39894228};
  constexpr double kBorder = 3.75;
  const Tensor x = n.TensorAt(0, "self");
  const Tensor size = b.Named("size").Unary(Fn::kAbs, x, kF32);
  const Tensor inner =
      b.Binary(Fn::kMultiply, b.Binary(Fn::kMinimum, size, kBorder, kF32), 1 / kBorder, kF32);
  Tensor near = Polynomial(b, b.Unary(Fn::kSquare, inner, kF32), order == 0 ? kNear0 : kNear1);
  if (order == 1) near = b.Binary(Fn::kMultiply, near, size, kF32);
  if (scaled)
    near = b.Binary(Fn::kMultiply, near, b.Unary(Fn::kExp, b.Unary(Fn::kNegate, size, kF32), kF32), kF32);
  const Tensor outer = b.Binary(Fn::kMaximum, size, kBorder, kF32);
  const Tensor ratio = b.Binary(Fn::kMultiply, b.Unary(Fn::kReciprocal, outer, kF32), kBorder, kF32);
  Tensor far =
      b.Binary(Fn::kMultiply, Polynomial(b, ratio, order == 0 ? std::span<const double>(kFar0) : kFar1),
               b.Unary(Fn::kRsqrt, outer, kF32), kF32);
  if (!scaled) far = b.Binary(Fn::kMultiply, far, b.Unary(Fn::kExp, size, kF32), kF32);
  const Tensor is_near = b.Named("is_near").Binary(Fn::kLess, size, kBorder, DType::kBool);
  if (order == 0) return b.Select(is_near, near, far, n.dtype());
  return b.Binary(Fn::kMultiply, b.Select(is_near, near, far, kF32), b.Unary(Fn::kSign, x, kF32), n.dtype());
}

// exp(x*x) * erfc(x) (W. Press et al., "Numerical Recipes", 6.2: a Chebyshev fit in t = 1 / (1 + x/2)).
Tensor ScaledErfc(NodeLowering& n) {
  Builder& b = n.builder();
  constexpr std::array<double, 10> kFit = {0.17087277,  -0.82215223, 1.48851587, -1.13520398, 0.27886807,
                                           -0.18628806, 0.09678418,  0.37409196, 1.00002368,  -1.26551223};
  const Tensor x = n.TensorAt(0, "self");
  const Tensor size = b.Unary(Fn::kAbs, x, kF32);
  Tensor t = b.Binary(Fn::kAdd, b.Binary(Fn::kMultiply, size, 0.5, kF32), 1.0, kF32);
  t = b.Named("t").Unary(Fn::kReciprocal, t, kF32);
  const Tensor positive =
      b.Named("of_size").Binary(Fn::kMultiply, t, b.Unary(Fn::kExp, Polynomial(b, t, kFit), kF32), kF32);
  const Tensor bell =
      b.Binary(Fn::kMultiply, b.Unary(Fn::kExp, b.Unary(Fn::kSquare, size, kF32), kF32), 2.0, kF32);
  const Tensor negative = b.Binary(Fn::kSubtract, bell, positive, kF32);
  return b.Select(b.Named("is_negative").Binary(Fn::kLess, x, 0.0, DType::kBool), negative, positive,
                  n.dtype());
}

// The larger (smaller) of two, or the one that is a number.
Tensor ExtremeOfNumbers(NodeLowering& n, Fn fn) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self"), y = n.TensorAt(1, "other");
  const Tensor x_is_nan = b.Named("self_is_nan").Binary(Fn::kNotEqual, x, x, DType::kBool);
  const Tensor y_is_nan = b.Named("other_is_nan").Binary(Fn::kNotEqual, y, y, DType::kBool);
  const Tensor known = b.Named("or_self").Select(y_is_nan, x, b.Binary(fn, x, y, n.dtype()), n.dtype());
  return b.Select(x_is_nan, y, known, n.dtype());
}

// To the nearest whole number, halves to even, for sizes below 2^22.
Tensor Rounded(Builder& b, const Tensor& x) {
  constexpr double kNoFraction = 12582912;  // 1.5 * 2^23
  return b.Binary(Fn::kSubtract, b.Binary(Fn::kAdd, x, kNoFraction, kF32), kNoFraction, kF32);
}

// Values held to whole steps of a scale, as an integer type would hold them.
void LowerFakeQuantise(NodeLowering& n, bool per_channel) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  Tensor scale = n.TensorAt(1, "scale"), zero = n.TensorAt(2, "zero_point");
  // Some forms have an argument more before the limits: the axis, or whether quantisation is on.
  const size_t limits = per_channel || absl::StartsWith(n.op(), "aten._fake") ? 4 : 3;
  if (per_channel) {
    Dims along(x.view.dims.size(), 1);
    const int axis = n.Axis(n.IntOr(3, "axis", 0), along.size());
    if (b.failed() || along.empty()) return;
    along[axis] = x.view.dims[axis];
    scale = b.ReshapeTo(scale, along);
    zero = b.ReshapeTo(zero, along);
  }
  const double low = n.NumberAt(limits, "quant_min"), high = n.NumberAt(limits + 1, "quant_max");
  const Tensor inverse = b.Named("inverse_scale").Unary(Fn::kReciprocal, b.Cast(scale, kF32), kF32);
  Tensor steps = b.Named("steps").Binary(Fn::kMultiply, x, inverse, kF32);
  steps = b.Named("whole_steps").Binary(Fn::kAdd, Rounded(b, steps), zero, kF32);
  const Tensor inside = b.Binary(Fn::kLogicalAnd, b.Binary(Fn::kGreaterEqual, steps, low, DType::kBool),
                                 b.Binary(Fn::kLessEqual, steps, high, DType::kBool), DType::kBool);
  Tensor held = b.Binary(Fn::kMaximum, steps, low, kF32);
  held = b.Named("held").Binary(Fn::kMinimum, held, high, kF32);
  held = b.Named("from_zero").Binary(Fn::kSubtract, held, zero, kF32);
  const Tensor result = b.Binary(Fn::kMultiply, held, scale, n.dtype());
  if (n.IsRead(1)) {
    n.YieldTuple({result, inside});
  } else {
    n.YieldTuple({result});
  }
}

// Every pair of rows i < j, as the rows of a distance matrix from the diagonal on.
void LowerPairDistances(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  constexpr int64_t kMaxRows = 256;  // each is a statement
  if (b.failed() || x.view.dims.size() != 2 || x.view.dims[0] < 2 || x.view.dims[0] > kMaxRows) {
    b.Fail(absl::StrCat("distances within a set take 2 to ", kMaxRows, " rows"));
    return;
  }
  const Tensor distances = Distances(n, x, x, n.NumberOr(1, "p", 2), kF32);
  std::vector<Tensor> pieces;
  for (int64_t i = 0; i + 1 < x.view.dims[0] && !b.failed(); ++i) {
    const Tensor row = b.DropAxis(b.Slice(distances, 0, i, 1, 1), 0);
    pieces.push_back(b.Slice(row, 0, i + 1, 1, x.view.dims[0] - i - 1));
  }
  n.Yield(b.Concat(pieces, 0, n.dtype()));
}

// sum over `sumdim` of the product of three tensors, each with axes of size 1 put in.
void LowerTrilinear(NodeLowering& n) {
  Builder& b = n.builder();
  std::array<Tensor, 3> x = {n.TensorAt(0, "i1"), n.TensorAt(1, "i2"), n.TensorAt(2, "i3")};
  const bool bilinear_layer = n.IntsAt(3, "expand1") == Dims{1, 3} && n.IntsAt(4, "expand2") == Dims{0} &&
                              n.IntsAt(5, "expand3") == Dims{1, 2} && n.IntsAt(6, "sumdim") == Dims{2, 3};
  if (bilinear_layer && x[0].view.dims.size() == 2 && x[1].view.dims.size() == 3 &&
      x[2].view.dims.size() == 2) {
    // (out, rows, second) = first (rows, first) times weight (out, first, second).
    const int64_t out = x[1].view.dims[0], rows = x[0].view.dims[0];
    const Tensor first = b.ExpandTo(b.InsertAxis(x[0], 0), {out, rows, x[0].view.dims[1]});
    const Tensor half = b.Named("half").Matmul(first, x[1], kF32);
    const Tensor product = b.Named("products").Binary(Fn::kMultiply, half, b.InsertAxis(x[2], 0), kF32);
    n.Yield(b.Permute(b.Reduce(Fn::kSum, product, {false, false, true}, false, n.dtype()), {1, 0}));
    return;
  }
  for (size_t k = 0; k < x.size(); ++k) {
    for (const int64_t axis : n.IntsAt(3 + k, absl::StrCat("expand", k + 1))) {
      x[k] = b.InsertAxis(x[k], n.Axis(axis, x[k].view.dims.size() + 1));
    }
  }
  const Tensor pair = b.Named("pair").Binary(Fn::kMultiply, x[0], x[1], kF32);
  const Tensor product = b.Named("products").Binary(Fn::kMultiply, pair, x[2], kF32);
  n.Yield(
      SpreadReduce(b, Fn::kSum, product, n.AxesAt(6, "sumdim", product.view.dims.size()), false, n.dtype()));
}

// beta*self + alpha * the sum of all products of a batch.
void LowerAddedBatch(NodeLowering& n) {
  Builder& b = n.builder();
  const double beta = n.NumberOr(3, "beta", 1), alpha = n.NumberOr(4, "alpha", 1);
  const Tensor products = b.Named("products").Matmul(n.TensorAt(1, "batch1"), n.TensorAt(2, "batch2"), kF32);
  if (b.failed()) return;
  Tensor sum = b.Named("sum").Reduce(Fn::kSum, products, {true, false, false}, false, kF32);
  if (alpha != 1) sum = b.Binary(Fn::kMultiply, sum, alpha, kF32);
  Tensor bias = n.TensorAt(0, "self");
  if (beta != 1) bias = b.Binary(Fn::kMultiply, bias, beta, kF32);
  n.Yield(beta == 0 ? b.Cast(b.ExpandTo(sum, n.dims()), n.dtype())
                    : b.Binary(Fn::kAdd, bias, sum, n.dtype()));
}

// In evaluation the slope is the middle of its range; in training it is drawn.
void LowerRandomRelu(NodeLowering& n) {
  Builder& b = n.builder();
  if (n.BoolOr(4, "training", false)) {
    b.Fail("a slope that is drawn at random is not supported");
    return;
  }
  const Tensor x = n.TensorAt(0, "self");
  const double slope = (n.NumberOr(2, "lower", 0.125) + n.NumberOr(3, "upper", 1.0 / 3)) / 2;
  const Tensor scaled = b.Binary(Fn::kMultiply, x, slope, n.dtype());
  n.YieldTuple({b.Select(b.Binary(Fn::kGreater, x, 0.0, DType::kBool), x, scaled, n.dtype())});
}

}  // namespace

bool LowerSpecial(NodeLowering& n) {
  const absl::string_view op = n.op();
  Builder& b = n.builder();
  if (op == "aten.lgamma") {
    n.Yield(LogGamma(n));
  } else if (op == "aten.digamma") {
    n.Yield(Polygamma(n, n.TensorAt(0, "self"), 0));
  } else if (op == "aten.polygamma" && n.IntOr(0, "n", 0) <= 1) {
    n.Yield(Polygamma(n, n.TensorAt(1, "self"), n.IntOr(0, "n", 0)));
  } else if (op == "aten.i0" || op == "aten.special_i0e") {
    n.Yield(Bessel(n, 0, op == "aten.special_i0e"));
  } else if (op == "aten.special_i1" || op == "aten.special_i1e") {
    n.Yield(Bessel(n, 1, op == "aten.special_i1e"));
  } else if (op == "aten.special_erfcx") {
    n.Yield(ScaledErfc(n));
  } else if (op == "aten.fmax" || op == "aten.fmin") {
    n.Yield(ExtremeOfNumbers(n, op == "aten.fmax" ? Fn::kMaximum : Fn::kMinimum));
  } else if (op == "aten.signbit") {
    n.Yield(b.Binary(Fn::kLess, n.TensorAt(0, "self"), 0.0, DType::kBool));
  } else if (op == "aten.ldexp") {
    const Tensor scaled = b.Binary(Fn::kMultiply, n.TensorAt(1, "other"), std::numbers::ln2, kF32);
    n.Yield(b.Binary(Fn::kMultiply, n.TensorAt(0, "self"), b.Unary(Fn::kExp, scaled, kF32), n.dtype()));
  } else if (op == "aten.round" && n.overload() == "decimals") {
    const double scale = std::pow(10.0, n.NumberOr(1, "decimals", 0));
    const Tensor scaled = b.Binary(Fn::kMultiply, n.TensorAt(0, "self"), scale, kF32);
    n.Yield(b.Binary(Fn::kMultiply, Rounded(b, scaled), 1 / scale, n.dtype()));
  } else if (op == "aten.rrelu_with_noise_functional" || op == "aten.rrelu_with_noise") {
    LowerRandomRelu(n);
  } else if (op == "aten.fake_quantize_per_tensor_affine_cachemask" ||
             op == "aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams") {
    LowerFakeQuantise(n, /*per_channel=*/false);
  } else if (op == "aten.fake_quantize_per_channel_affine_cachemask") {
    LowerFakeQuantise(n, /*per_channel=*/true);
  } else if (op == "aten._pdist_forward") {
    LowerPairDistances(n);
  } else if (op == "aten._trilinear") {
    LowerTrilinear(n);
  } else if (op == "aten.addbmm") {
    LowerAddedBatch(n);
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
