#include "common/nki/exec/scalar_math.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace nkiagent::nki::exec {

using isa::ActFn;
using isa::AluOp;

float ApplyAlu(AluOp op, float a, float b) {
  switch (op) {
    case AluOp::kAdd:
      return a + b;
    case AluOp::kMultiply:
      return a * b;
    case AluOp::kSubtract:
      return a - b;
    case AluOp::kMaximum:
      return a > b || a != a ? a : b;
    case AluOp::kMinimum:
      return a < b || a != a ? a : b;
    case AluOp::kEqual:
      return a == b ? 1.0f : 0.0f;
    case AluOp::kNotEqual:
      return a != b ? 1.0f : 0.0f;
    case AluOp::kGreaterEqual:
      return a >= b ? 1.0f : 0.0f;
    case AluOp::kGreater:
      return a > b ? 1.0f : 0.0f;
    case AluOp::kLessEqual:
      return a <= b ? 1.0f : 0.0f;
    case AluOp::kLess:
      return a < b ? 1.0f : 0.0f;
    case AluOp::kLogicalNot:
      return a == 0.0f ? 1.0f : 0.0f;
    case AluOp::kLogicalAnd:
      return a != 0.0f && b != 0.0f ? 1.0f : 0.0f;
    case AluOp::kLogicalOr:
      return a != 0.0f || b != 0.0f ? 1.0f : 0.0f;
    case AluOp::kLogicalXor:
      return (a != 0.0f) != (b != 0.0f) ? 1.0f : 0.0f;
    case AluOp::kRsqrt:
      return static_cast<float>(1.0 / std::sqrt(static_cast<double>(a)));
    case AluOp::kReciprocal:
      return 1.0f / a;
    case AluOp::kAbs:
      return std::fabs(a);
    case AluOp::kPower:
      return static_cast<float>(std::pow(static_cast<double>(a), static_cast<double>(b)));
    case AluOp::kDivide:
      return a / b;
    case AluOp::kMod: {
      const float r = std::fmod(a, b);
      return r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r;
    }
    case AluOp::kFmod:
      return std::fmod(a, b);
    case AluOp::kNone:
    case AluOp::kInvert:
    case AluOp::kBitwiseAnd:
    case AluOp::kBitwiseOr:
    case AluOp::kBitwiseXor:
    case AluOp::kLeftShift:
    case AluOp::kRightShift:
      break;
  }
  return a;
}

int64_t ApplyBitvec(AluOp op, int64_t a, int64_t b, int bits) {
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  const bool count_ok = b >= 0 && b < bits;
  switch (op) {
    case AluOp::kInvert:
      return ~a;
    case AluOp::kBitwiseAnd:
      return a & b;
    case AluOp::kBitwiseOr:
      return a | b;
    case AluOp::kBitwiseXor:
      return a ^ b;
    case AluOp::kLeftShift:
      return count_ok ? static_cast<int64_t>((static_cast<uint64_t>(a) << b) & mask) : 0;
    case AluOp::kRightShift:
      return count_ok ? static_cast<int64_t>((static_cast<uint64_t>(a) & mask) >> b) : 0;
    default:
      return a;
  }
}

float ApplyAct(ActFn fn, float xf) {
  const double x = xf;
  const auto sigmoid = [](double v) { return 1.0 / (1.0 + std::exp(-v)); };
  const auto softplus = [](double v) { return std::fmax(v, 0.0) + std::log1p(std::exp(-std::fabs(v))); };
  const auto normal_cdf = [](double v) { return 0.5 * std::erfc(-v / std::numbers::sqrt2); };
  double y = x;  // NOLINT(clang-analyzer-deadcode.DeadStores): g++ does not see that each case sets it
  switch (fn) {
    case ActFn::kCopy:
      return xf;
    case ActFn::kSquare:
      return xf * xf;
    case ActFn::kSigmoid:
      y = sigmoid(x);
      break;
    case ActFn::kRelu:
      return xf > 0.0f || xf != xf ? xf : 0.0f;
    case ActFn::kGelu:
      y = std::isinf(x) ? (x > 0 ? x : 0.0) : x * normal_cdf(x);
      break;
    case ActFn::kGeluDx:
      y = std::isinf(x) ? (x > 0 ? 1.0 : 0.0)
                        : normal_cdf(x) + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi);
      break;
    case ActFn::kGeluApprxTanh: {
      // 0.5 x (1 + tanh(u)) = x sigmoid(2u), which keeps its accuracy where tanh(u) is near -1.
      const double u = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      y = std::isinf(x) ? (x > 0 ? x : 0.0) : x * sigmoid(2.0 * u);
      break;
    }
    case ActFn::kSilu:
      y = x == -std::numeric_limits<double>::infinity() ? 0.0 : x * sigmoid(x);
      break;
    case ActFn::kSiluDx: {
      const double s = sigmoid(x);
      y = std::isinf(x) ? (x > 0 ? 1.0 : 0.0) : s * (1.0 + x * (1.0 - s));
      break;
    }
    case ActFn::kTanh:
      y = std::tanh(x);
      break;
    case ActFn::kSoftplus:
      y = x != x ? x : softplus(x);
      break;
    case ActFn::kMish:
      y = x != x ? x : (x == -std::numeric_limits<double>::infinity() ? 0.0 : x * std::tanh(softplus(x)));
      break;
    case ActFn::kErf:
      y = std::erf(x);
      break;
    case ActFn::kErfDx:
      y = 2.0 * std::numbers::inv_sqrtpi * std::exp(-x * x);
      break;
    case ActFn::kExp:
      y = std::exp(x);
      break;
    case ActFn::kSign:
      return xf > 0.0f ? 1.0f : (xf < 0.0f ? -1.0f : xf);
    case ActFn::kAbs:
      return std::fabs(xf);
    case ActFn::kLog:
      y = std::log(x);
      break;
    case ActFn::kSin:
      y = std::sin(x);
      break;
    case ActFn::kArctan:
      y = std::atan(x);
      break;
    case ActFn::kSqrt:
      return std::sqrt(xf);
    case ActFn::kRsqrt:
      y = 1.0 / std::sqrt(x);
      break;
    case ActFn::kReciprocal:
      return 1.0f / xf;
    case ActFn::kCos:
      y = std::cos(x);
      break;
    case ActFn::kTan:
      y = std::tan(x);
      break;
    case ActFn::kFloor:
      return std::floor(xf);
    case ActFn::kCeil:
      return std::ceil(xf);
    case ActFn::kTrunc:
      return std::trunc(xf);
  }
  return static_cast<float>(y);
}

float FoldIdentity(AluOp op) {
  switch (op) {
    case AluOp::kMultiply:
    case AluOp::kLogicalAnd:
      return 1.0f;
    case AluOp::kMaximum:
      return -std::numeric_limits<float>::infinity();
    case AluOp::kMinimum:
      return std::numeric_limits<float>::infinity();
    default:
      return 0.0f;
  }
}

int64_t FoldIdentityBits(AluOp op) { return op == AluOp::kBitwiseAnd ? -1 : 0; }

uint64_t MixSeed(uint64_t a, uint64_t b) {
  // The finaliser of SplitMix64 over a combination of both.
  uint64_t z = a + 0x9E3779B97F4A7C15u * (b + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

float UniformAt(uint64_t stream, uint64_t k) {
  return static_cast<float>(MixSeed(stream, k) >> 40) * 0x1p-24f;
}

}  // namespace nkiagent::nki::exec
