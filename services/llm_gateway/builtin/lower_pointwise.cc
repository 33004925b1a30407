// Elementwise operations and activations.
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <set>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/fn_table.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

const std::map<absl::string_view, Fn>& SimpleUnary() {
  static const auto* const kTable = new std::map<absl::string_view, Fn>{
      {"aten.neg", Fn::kNegate},
      {"aten.abs", Fn::kAbs},
      {"aten.exp", Fn::kExp},
      {"aten.log", Fn::kLog},
      {"aten.sqrt", Fn::kSqrt},
      {"aten.rsqrt", Fn::kRsqrt},
      {"aten.reciprocal", Fn::kReciprocal},
      {"aten.square", Fn::kSquare},
      {"aten.relu", Fn::kRelu},
      {"aten.sigmoid", Fn::kSigmoid},
      {"aten.tanh", Fn::kTanh},
      {"aten.erf", Fn::kErf},
      {"aten.sign", Fn::kSign},
      {"aten.sgn", Fn::kSign},
      {"aten.floor", Fn::kFloor},
      {"aten.ceil", Fn::kCeil},
      {"aten.trunc", Fn::kTrunc},
      {"aten.logical_not", Fn::kLogicalNot},
      {"aten.tan", Fn::kTan},
  };
  return *kTable;
}

const std::map<absl::string_view, Fn>& SimpleBinary() {
  static const auto* const kTable = new std::map<absl::string_view, Fn>{
      {"aten.mul", Fn::kMultiply},
      {"aten.maximum", Fn::kMaximum},
      {"aten.minimum", Fn::kMinimum},
      {"aten.remainder", Fn::kMod},
      {"aten.fmod", Fn::kFmod},
      {"aten.eq", Fn::kEqual},
      {"aten.ne", Fn::kNotEqual},
      {"aten.lt", Fn::kLess},
      {"aten.le", Fn::kLessEqual},
      {"aten.gt", Fn::kGreater},
      {"aten.ge", Fn::kGreaterEqual},
      {"aten.bitwise_left_shift", Fn::kShiftLeft},
      {"aten.bitwise_right_shift", Fn::kShiftRight},
      {"aten.__lshift__", Fn::kShiftLeft},
      {"aten.__rshift__", Fn::kShiftRight},
      {"aten.logical_and", Fn::kLogicalAnd},
      {"aten.logical_or", Fn::kLogicalOr},
      {"aten.logical_xor", Fn::kLogicalXor},
  };
  return *kTable;
}

// Intermediate results inside one node are not rounded to its type: PyTorch computes a node in float32.
DType Inner(NodeLowering& n) { return IsFloat(n.dtype()) ? DType::kFloat32 : n.dtype(); }

// x + alpha*y or x - alpha*y.
Tensor AddOrSubtract(NodeLowering& n, Fn fn, const Tensor& x, Tensor y) {
  const double alpha = n.NumberOr(2, "alpha", 1);
  if (alpha != 1) y = n.builder().Binary(Fn::kMultiply, y, Builder::Number(alpha, Inner(n)), Inner(n));
  return n.builder().Binary(fn, x, y, n.dtype());
}

Tensor Divide(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const Tensor y = n.TensorAt(1, "other");
  const std::string mode = n.TextOr(2, "rounding_mode", "");
  if (mode.empty()) return b.Binary(Fn::kDivide, x, y, n.dtype());
  const Tensor quotient = b.Binary(Fn::kDivide, x, y, DType::kFloat32);
  return b.Unary(mode == "floor" ? Fn::kFloor : Fn::kTrunc, quotient, n.dtype());
}

// Small whole and half exponents have instructions of their own; nl.power goes through logarithms.
Tensor Power(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const Tensor y = n.TensorAt(1, "exponent");
  if (x.immediate.has_value() && !y.immediate.has_value() && *x.immediate > 0) {
    const Tensor scaled = b.Binary(Fn::kMultiply, y, std::log(*x.immediate), DType::kFloat32);
    return b.Unary(Fn::kExp, scaled, n.dtype());
  }
  if (!y.immediate.has_value()) return b.Binary(Fn::kPower, x, y, n.dtype());
  const double e = *y.immediate;
  if (e == 0) return Builder::Number(1, n.dtype(), n.dims());
  if (e == 1) return b.Cast(x, n.dtype());
  if (e == 2) return b.Binary(Fn::kMultiply, x, x, n.dtype());
  if (e == 3) return b.Binary(Fn::kMultiply, b.Binary(Fn::kMultiply, x, x, Inner(n)), x, n.dtype());
  if (e == 4) {
    const Tensor square = b.Binary(Fn::kMultiply, x, x, Inner(n));
    return b.Binary(Fn::kMultiply, square, square, n.dtype());
  }
  if (e == 0.5) return b.Unary(Fn::kSqrt, x, n.dtype());
  if (e == -0.5) return b.Unary(Fn::kRsqrt, x, n.dtype());
  if (e == -1) return b.Unary(Fn::kReciprocal, x, n.dtype());
  return b.Binary(Fn::kPower, x, y, n.dtype());
}

Tensor Clamp(NodeLowering& n) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "self");
  const bool has_low = n.Has(1, "min"), has_high = n.Has(2, "max");
  if (has_low) x = b.Binary(Fn::kMaximum, x, n.TensorAt(1, "min"), n.dtype());
  if (has_high) x = b.Binary(Fn::kMinimum, x, n.TensorAt(2, "max"), n.dtype());
  return b.Cast(x, n.dtype());
}

Tensor HardTanh(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const Tensor low = b.Binary(Fn::kMaximum, x, n.NumberOr(1, "min_val", -1), n.dtype());
  return b.Binary(Fn::kMinimum, low, n.NumberOr(2, "max_val", 1), n.dtype());
}

Tensor LeakyRelu(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const double slope = n.NumberOr(1, "negative_slope", 0.01);
  const Tensor scaled = b.Binary(Fn::kMultiply, x, slope, n.dtype());
  return b.Select(b.Binary(Fn::kGreater, x, 0.0, DType::kBool), x, scaled, n.dtype());
}

Tensor Elu(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const double alpha = n.NumberOr(1, "alpha", 1), scale = n.NumberOr(2, "scale", 1);
  const double input_scale = n.NumberOr(3, "input_scale", 1);
  // The exponent is held at or below 0, so that the branch not taken can't overflow.
  Tensor negative = b.Binary(Fn::kMinimum, x, 0.0, Inner(n));
  if (input_scale != 1) negative = b.Binary(Fn::kMultiply, negative, input_scale, Inner(n));
  negative = b.Binary(Fn::kSubtract, b.Unary(Fn::kExp, negative, Inner(n)), 1.0, Inner(n));
  if (alpha * scale != 1) negative = b.Binary(Fn::kMultiply, negative, alpha * scale, Inner(n));
  const Tensor positive = scale == 1 ? x : b.Binary(Fn::kMultiply, x, scale, Inner(n));
  return b.Select(b.Binary(Fn::kGreater, x, 0.0, DType::kBool), positive, negative, n.dtype());
}

// log(1 + exp(beta*x)) / beta as max(x, 0) + log(1 + exp(-|beta*x|)) / beta, which can't overflow.
Tensor Softplus(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const double beta = n.NumberOr(1, "beta", 1);
  const DType inner = Inner(n);
  Tensor tail = b.Unary(Fn::kAbs, x, inner);
  tail = b.Unary(Fn::kExp, b.Binary(Fn::kMultiply, tail, -beta, inner), inner);
  tail = b.Unary(Fn::kLog, b.Binary(Fn::kAdd, tail, 1.0, inner), inner);
  if (beta != 1) tail = b.Binary(Fn::kMultiply, tail, 1 / beta, inner);
  return b.Binary(Fn::kAdd, b.Unary(Fn::kRelu, x, inner), tail, n.dtype());
}

// sin or cos, after bringing the argument into -pi..pi where the data is not known to lie there.
Tensor Trigonometry(NodeLowering& n, Fn fn) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "self");
  if (n.options().trigonometry_in_domain) {
    b.program().used_unreduced_trigonometry = true;
    return b.Unary(fn, x, n.dtype());
  }
  constexpr double kPi = std::numbers::pi;
  const double shift = fn == Fn::kCos ? kPi * 1.5 : kPi;  // cos(x) = sin(x + pi/2)
  Tensor turned = b.Binary(Fn::kAdd, x, shift, DType::kFloat32);
  turned = b.Binary(Fn::kMod, turned, 2 * kPi, DType::kFloat32);
  turned = b.Binary(Fn::kSubtract, turned, kPi, DType::kFloat32);
  return b.Unary(Fn::kSin, turned, n.dtype());
}

Tensor Gelu(NodeLowering& n) {
  const bool approximate = n.TextOr(1, "approximate", "none") == "tanh";
  return n.builder().Unary(approximate ? Fn::kGeluTanh : Fn::kGelu, n.TensorAt(0, "self"), n.dtype());
}

// Truth values are whole bytes of 0 and 1, on which logic works; integers are worked on bit by bit.
Tensor BitOperation(NodeLowering& n) {
  const absl::string_view op = n.op();
  const bool truth = n.dtype() == DType::kBool;
  Fn fn = truth ? Fn::kLogicalXor : Fn::kBitXor;
  if (op == "aten.bitwise_and") fn = truth ? Fn::kLogicalAnd : Fn::kBitAnd;
  if (op == "aten.bitwise_or") fn = truth ? Fn::kLogicalOr : Fn::kBitOr;
  return n.builder().Binary(fn, n.TensorAt(0, "self"), n.TensorAt(1, "other"), n.dtype());
}

// The engine knows arctan within -pi/2..pi/2 only (isa-constraints, activation table); beyond 1 it is a
// quarter turn less that of the reciprocal.
Tensor Arctan(Builder& b, const Tensor& x, DType dtype) {
  const DType f32 = DType::kFloat32;
  const Tensor size = b.Named("size").Unary(Fn::kAbs, x, f32);
  const Tensor beyond = b.Named("beyond").Binary(Fn::kGreater, size, 1.0, DType::kBool);
  // Held at 1 from below, so that the branch not taken stays finite.
  const Tensor inverse =
      b.Named("inverse").Unary(Fn::kReciprocal, b.Binary(Fn::kMaximum, size, 1.0, f32), f32);
  const Tensor angle = b.Named("angle").Unary(Fn::kArctan, b.Binary(Fn::kMinimum, size, inverse, f32), f32);
  const Tensor rest = b.Binary(Fn::kSubtract, Builder::Number(std::numbers::pi / 2, f32), angle, f32);
  const Tensor positive = b.Select(beyond, rest, angle, f32);
  return b.Binary(Fn::kMultiply, positive, b.Named("sign").Unary(Fn::kSign, x, f32), dtype);
}

// Inverse and hyperbolic functions, by their definitions through exp, log, sqrt and arctan.
Tensor InverseOrHyperbolic(NodeLowering& n) {
  Builder& b = n.builder();
  const absl::string_view op = n.op();
  const DType f32 = DType::kFloat32;
  const Tensor x = n.TensorAt(0, "self");
  const auto one_plus = [&](double scale) {
    return b.Binary(Fn::kAdd, b.Binary(Fn::kMultiply, x, scale, f32), 1.0, f32);
  };
  if (op == "aten.atan") return Arctan(b, x, n.dtype());
  if (op == "aten.sinh" || op == "aten.cosh") {
    const Tensor up = b.Unary(Fn::kExp, x, f32);
    const Tensor down = b.Unary(Fn::kReciprocal, up, f32);
    const Tensor both = b.Binary(op == "aten.sinh" ? Fn::kSubtract : Fn::kAdd, up, down, f32);
    return b.Binary(Fn::kMultiply, both, 0.5, n.dtype());
  }
  if (op == "aten.atanh") {
    const Tensor ratio = b.Binary(Fn::kDivide, one_plus(1), one_plus(-1), f32);
    return b.Binary(Fn::kMultiply, b.Unary(Fn::kLog, ratio, f32), 0.5, n.dtype());
  }
  const Tensor square = b.Unary(Fn::kSquare, x, f32);
  if (op == "aten.asinh" || op == "aten.acosh") {
    const bool odd = op == "aten.asinh";
    const Tensor root = b.Unary(Fn::kSqrt, b.Binary(Fn::kAdd, square, odd ? 1.0 : -1.0, f32), f32);
    const Tensor size = odd ? b.Unary(Fn::kAbs, x, f32) : x;  // a sum that can't cancel
    const Tensor log = b.Unary(Fn::kLog, b.Binary(Fn::kAdd, size, root, f32), odd ? f32 : n.dtype());
    return odd ? b.Binary(Fn::kMultiply, log, b.Unary(Fn::kSign, x, f32), n.dtype()) : log;
  }
  const Tensor rest = b.Binary(Fn::kMultiply, one_plus(1), one_plus(-1), f32);
  const Tensor tangent = b.Binary(Fn::kMultiply, x, b.Unary(Fn::kRsqrt, rest, f32), f32);
  if (op == "aten.asin") return Arctan(b, tangent, n.dtype());
  return b.Binary(Fn::kSubtract, Builder::Number(std::numbers::pi / 2, f32), Arctan(b, tangent, f32),
                  n.dtype());
}

bool IsInverseOrHyperbolic(absl::string_view op) {
  static const auto* const kNames =
      new std::set<absl::string_view>{"aten.atan", "aten.asin",  "aten.acos",  "aten.sinh",
                                      "aten.cosh", "aten.asinh", "aten.acosh", "aten.atanh"};
  return kNames->contains(op);
}

// x with the sign of y.
Tensor WithSignOf(Builder& b, const Tensor& x, const Tensor& y, DType dtype) {
  const DType f32 = DType::kFloat32;
  const Tensor size = b.Named("size").Unary(Fn::kAbs, x, f32);
  const Tensor negative = b.Named("is_negative").Binary(Fn::kLess, y, 0.0, DType::kBool);
  return b.Select(negative, b.Named("negated").Unary(Fn::kNegate, size, f32), size, dtype);
}

// The angle of (x, y): arctan of the smaller over the larger, from the nearer axis.
Tensor Arctan2(NodeLowering& n, const Tensor& y, const Tensor& x) {
  Builder& b = n.builder();
  const DType f32 = DType::kFloat32;
  const Tensor width = b.Unary(Fn::kAbs, x, f32), height = b.Unary(Fn::kAbs, y, f32);
  const Tensor larger = b.Binary(Fn::kMaximum, b.Binary(Fn::kMaximum, width, height, f32), 1e-38, f32);
  const Tensor ratio = b.Binary(Fn::kDivide, b.Binary(Fn::kMinimum, width, height, f32), larger, f32);
  const Tensor angle = b.Named("angle").Unary(Fn::kArctan, ratio, f32);
  const Tensor steep = b.Named("is_steep").Binary(Fn::kGreater, height, width, DType::kBool);
  const Tensor quarter = b.Binary(Fn::kSubtract, Builder::Number(std::numbers::pi / 2, f32), angle, f32);
  const Tensor first = b.Named("first_quadrant").Select(steep, quarter, angle, f32);
  const Tensor left = b.Named("is_left").Binary(Fn::kLess, x, 0.0, DType::kBool);
  const Tensor half = b.Binary(Fn::kSubtract, Builder::Number(std::numbers::pi, f32), first, f32);
  return WithSignOf(b, b.Named("upper_half").Select(left, half, first, f32), y, n.dtype());
}

Tensor Hypotenuse(NodeLowering& n, const Tensor& x, const Tensor& y) {
  Builder& b = n.builder();
  const DType f32 = DType::kFloat32;
  const Tensor sum = b.Binary(Fn::kAdd, b.Unary(Fn::kSquare, x, f32), b.Unary(Fn::kSquare, y, f32), f32);
  return b.Unary(Fn::kSqrt, sum, n.dtype());
}

// M. Giles, "Approximating the erfinv function" (2010), single precision: a polynomial in w = -log(1 - x*x)
// for each of two ranges.
Tensor InverseErf(Builder& b, const Tensor& x, DType dtype) {
  const DType f32 = DType::kFloat32;
  constexpr double kNear[] = {2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
                              -0.00125372503, -0.00417768164, 0.246640727,    1.50140941};
  constexpr double kFar[] = {-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
                             -0.0076224613,   0.00943887047,  1.00167406,    2.83297682};
  const auto polynomial = [&](const double(&coefficients)[9], const Tensor& w) {
    Tensor sum = Builder::Number(coefficients[0], f32);
    for (int i = 1; i < 9; ++i) {
      sum = b.Binary(Fn::kAdd, b.Binary(Fn::kMultiply, sum, w, f32), coefficients[i], f32);
    }
    return sum;
  };
  const Tensor rest = b.Binary(Fn::kSubtract, Builder::Number(1, f32), b.Unary(Fn::kSquare, x, f32), f32);
  const Tensor w = b.Named("w").Unary(Fn::kNegate, b.Unary(Fn::kLog, rest, f32), f32);
  const Tensor near = polynomial(kNear, b.Binary(Fn::kSubtract, w, 2.5, f32));
  const Tensor far = polynomial(kFar, b.Binary(Fn::kSubtract, b.Unary(Fn::kSqrt, w, f32), 3.0, f32));
  const Tensor is_near = b.Named("is_near").Binary(Fn::kLess, w, 5.0, DType::kBool);
  return b.Binary(Fn::kMultiply, b.Named("factor").Select(is_near, near, far, f32), x, dtype);
}

// To the nearest whole number, halves to even: adding and taking away 1.5 * 2^23 leaves no room for a
// fraction.
Tensor RoundedToEven(NodeLowering& n) {
  Builder& b = n.builder();
  const DType f32 = DType::kFloat32;
  const Tensor x = n.TensorAt(0, "self");
  constexpr double kNoFraction = 12582912;
  const Tensor shifted = b.Named("shifted").Binary(Fn::kAdd, x, kNoFraction, f32);
  const Tensor rounded = b.Named("rounded").Binary(Fn::kSubtract, shifted, kNoFraction, f32);
  const Tensor small =
      b.Named("has_fraction").Binary(Fn::kLess, b.Unary(Fn::kAbs, x, f32), 4194304.0, DType::kBool);
  return b.Select(small, rounded, x, n.dtype());
}

Tensor Filled(NodeLowering& n, double value) { return Builder::Number(value, n.dtype(), n.dims()); }

Tensor ScaledLog(NodeLowering& n, double base) {
  Builder& b = n.builder();
  const Tensor log = b.Unary(Fn::kLog, n.TensorAt(0, "self"), Inner(n));
  return b.Binary(Fn::kMultiply, log, 1 / std::log(base), n.dtype());
}

bool LowerArithmetic(NodeLowering& n) {
  Builder& b = n.builder();
  const absl::string_view op = n.op();
  if (op == "aten.add") {
    n.Yield(AddOrSubtract(n, Fn::kAdd, n.TensorAt(0, "self"), n.TensorAt(1, "other")));
  } else if (op == "aten.sub") {
    n.Yield(AddOrSubtract(n, Fn::kSubtract, n.TensorAt(0, "self"), n.TensorAt(1, "other")));
  } else if (op == "aten.rsub") {
    n.Yield(AddOrSubtract(n, Fn::kSubtract, n.TensorAt(1, "other"), n.TensorAt(0, "self")));
  } else if (op == "aten.div") {
    n.Yield(Divide(n));
  } else if (op == "aten.pow") {
    n.Yield(Power(n));
  } else if (op == "aten.clamp" || op == "aten.clamp_min" || op == "aten.clamp_max") {
    if (op == "aten.clamp_max") {
      n.Yield(b.Binary(Fn::kMinimum, n.TensorAt(0, "self"), n.TensorAt(1, "max"), n.dtype()));
    } else {
      n.Yield(Clamp(n));
    }
  } else if (op == "aten.bitwise_not") {
    n.Yield(
        b.Unary(n.dtype() == DType::kBool ? Fn::kLogicalNot : Fn::kBitNot, n.TensorAt(0, "self"), n.dtype()));
  } else if (op == "aten.bitwise_and" || op == "aten.bitwise_or" || op == "aten.bitwise_xor") {
    n.Yield(BitOperation(n));
  } else if (op == "aten.isnan") {
    const Tensor x = n.TensorAt(0, "self");
    n.Yield(b.Binary(Fn::kNotEqual, x, x, DType::kBool));
  } else if (op == "aten.isinf") {
    const Tensor size = b.Unary(Fn::kAbs, n.TensorAt(0, "self"), DType::kFloat32);
    n.Yield(b.Binary(Fn::kEqual, size, std::numeric_limits<double>::infinity(), DType::kBool));
  } else if (op == "aten.where") {
    n.Yield(b.Select(n.TensorAt(0, "condition"), n.TensorAt(1, "self"), n.TensorAt(2, "other"), n.dtype()));
  } else {
    return false;
  }
  return true;
}

bool LowerActivation(NodeLowering& n) {
  Builder& b = n.builder();
  const absl::string_view op = n.op();
  if (op == "aten.gelu") {
    n.Yield(Gelu(n));
  } else if (op == "aten.silu") {
    const Tensor x = n.TensorAt(0, "self");
    n.Yield(b.Binary(Fn::kMultiply, x, b.Unary(Fn::kSigmoid, x, Inner(n)), n.dtype()));
  } else if (op == "aten.hardtanh") {
    n.Yield(HardTanh(n));
  } else if (op == "aten.leaky_relu") {
    n.Yield(LeakyRelu(n));
  } else if (op == "aten.elu") {
    n.Yield(Elu(n));
  } else if (op == "aten.softplus") {
    n.Yield(Softplus(n));
  } else if (op == "aten.sin" || op == "aten.cos") {
    n.Yield(Trigonometry(n, op == "aten.sin" ? Fn::kSin : Fn::kCos));
  } else if (op == "aten.log1p") {
    n.Yield(b.Unary(Fn::kLog, b.Binary(Fn::kAdd, n.TensorAt(0, "self"), 1.0, Inner(n)), n.dtype()));
  } else if (op == "aten.expm1") {
    n.Yield(b.Binary(Fn::kSubtract, b.Unary(Fn::kExp, n.TensorAt(0, "self"), Inner(n)), 1.0, n.dtype()));
  } else if (op == "aten.log2" || op == "aten.log10") {
    n.Yield(ScaledLog(n, op == "aten.log2" ? 2 : 10));
  } else if (IsInverseOrHyperbolic(op)) {
    n.Yield(InverseOrHyperbolic(n));
  } else if (op == "aten.atan2") {
    n.Yield(Arctan2(n, n.TensorAt(0, "self"), n.TensorAt(1, "other")));
  } else if (op == "aten.copysign") {
    n.Yield(WithSignOf(b, n.TensorAt(0, "self"), n.TensorAt(1, "other"), n.dtype()));
  } else if (op == "aten.hypot") {
    n.Yield(Hypotenuse(n, n.TensorAt(0, "self"), n.TensorAt(1, "other")));
  } else if (op == "aten.erfinv") {
    n.Yield(InverseErf(b, n.TensorAt(0, "self"), n.dtype()));
  } else if (op == "aten.special_ndtri") {
    const Tensor doubled = b.Binary(Fn::kMultiply, n.TensorAt(0, "self"), 2.0, Inner(n));
    const Tensor inverse = InverseErf(b, b.Binary(Fn::kSubtract, doubled, 1.0, Inner(n)), Inner(n));
    n.Yield(b.Binary(Fn::kMultiply, inverse, std::numbers::sqrt2, n.dtype()));
  } else if (op == "aten.erfc") {
    const Tensor erf = b.Unary(Fn::kErf, n.TensorAt(0, "self"), Inner(n));
    n.Yield(b.Binary(Fn::kSubtract, Builder::Number(1, Inner(n)), erf, n.dtype()));
  } else if (op == "aten.round" && !n.Has(1, "decimals")) {
    n.Yield(RoundedToEven(n));
  } else if (op == "aten.frac") {
    const Tensor x = n.TensorAt(0, "self");
    n.Yield(b.Binary(Fn::kSubtract, x, b.Unary(Fn::kTrunc, x, Inner(n)), n.dtype()));
  } else if (op == "aten.addcmul" || op == "aten.addcdiv") {
    Tensor part = b.Binary(op == "aten.addcmul" ? Fn::kMultiply : Fn::kDivide, n.TensorAt(1, "tensor1"),
                           n.TensorAt(2, "tensor2"), Inner(n));
    if (n.NumberOr(3, "value", 1) != 1)
      part = b.Binary(Fn::kMultiply, part, n.NumberOr(3, "value", 1), Inner(n));
    n.Yield(b.Binary(Fn::kAdd, n.TensorAt(0, "self"), part, n.dtype()));
  } else if (op == "aten.exp2") {
    const Tensor scaled = b.Binary(Fn::kMultiply, n.TensorAt(0, "self"), std::numbers::ln2, Inner(n));
    n.Yield(b.Unary(Fn::kExp, scaled, n.dtype()));
  } else {
    return false;
  }
  return true;
}

bool LowerCreation(NodeLowering& n) {
  const absl::string_view op = n.op();
  if (op == "aten.full" || op == "aten.full_like") {
    n.Yield(Filled(n, n.NumberAt(1, "fill_value")));
  } else if (op == "aten.scalar_tensor") {
    n.Yield(Filled(n, n.NumberAt(0, "s")));
  } else if (op == "aten.fill") {
    n.Yield(Filled(n, n.NumberAt(1, "value")));
  } else if (op == "aten.zeros" || op == "aten.zeros_like" || op == "aten.empty" || op == "aten.empty_like" ||
             op == "aten.empty_permuted" || op == "aten.new_zeros") {
    // What is empty has any value; zero is one.
    n.Yield(Filled(n, 0));
  } else if (op == "aten.ones" || op == "aten.ones_like") {
    n.Yield(Filled(n, 1));
  } else {
    return false;
  }
  return true;
}

}  // namespace

bool LowerPointwise(NodeLowering& n) {
  Builder& b = n.builder();
  if (const auto found = SimpleUnary().find(n.op()); found != SimpleUnary().end()) {
    n.Yield(b.Unary(found->second, n.TensorAt(0, "self"), n.dtype()));
    return true;
  }
  if (const auto found = SimpleBinary().find(n.op()); found != SimpleBinary().end()) {
    const Fn fn = found->second;
    n.Yield(b.Binary(fn, n.TensorAt(0, "self"), n.TensorAt(1, "other"), n.dtype()));
    return true;
  }
  return LowerArithmetic(n) || LowerActivation(n) || LowerCreation(n);
}

}  // namespace nkiagent::builtin
