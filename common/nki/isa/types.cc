#include "common/nki/isa/types.h"

#include <array>
#include <cstddef>
#include <limits>

namespace nkiagent::nki::isa {
namespace {

struct DTypeInfo {
  absl::string_view name;
  int size;
  bool is_float;
  bool is_integer;
};

constexpr std::array<DTypeInfo, kDTypeCount> kDTypes = {{
    {"float32", 4, true, false},
    {"tfloat32", 4, true, false},
    {"bfloat16", 2, true, false},
    {"float16", 2, true, false},
    {"float8_e4m3", 1, true, false},
    {"float8_e5m2", 1, true, false},
    {"int32", 4, false, true},
    {"int16", 2, false, true},
    {"int8", 1, false, true},
    {"uint32", 4, false, true},
    {"uint16", 2, false, true},
    {"uint8", 1, false, true},
    {"bool_", 1, false, false},
}};

constexpr std::array<absl::string_view, kBufferCount> kBuffers = {"hbm", "shared_hbm", "private_hbm", "sbuf",
                                                                  "psum"};

constexpr std::array<absl::string_view, kEngineCount> kEngines = {"unknown", "tensor", "vector", "scalar",
                                                                  "gpsimd",  "sync",   "dma"};

constexpr uint8_t Bit(Engine e) { return static_cast<uint8_t>(1u << static_cast<int>(e)); }
constexpr uint8_t kV = Bit(Engine::kVector);
constexpr uint8_t kS = Bit(Engine::kScalar);
constexpr uint8_t kG = Bit(Engine::kGpSimd);

// Operator table of nki.api.shared.rst (v2.24.0). Scalar computes add and multiply from NeuronCore-v3 on
// only, so it is not listed for them.
constexpr std::array<AluOpInfo, kAluOpCount> kAluOps = {{
    {AluOp::kNone, "none", 1, false, false, false, false, 0},
    {AluOp::kInvert, "invert", 1, true, false, false, true, kV},
    {AluOp::kBitwiseAnd, "bitwise_and", 2, true, false, true, true, kV},
    {AluOp::kBitwiseOr, "bitwise_or", 2, true, false, true, true, kV},
    {AluOp::kBitwiseXor, "bitwise_xor", 2, true, false, true, true, kV},
    {AluOp::kLeftShift, "left_shift", 2, true, false, false, true, kV},
    {AluOp::kRightShift, "right_shift", 2, true, false, false, true, kV},
    {AluOp::kAdd, "add", 2, false, false, true, true, kV | kG},
    {AluOp::kMultiply, "multiply", 2, false, false, true, true, kV | kG},
    {AluOp::kSubtract, "subtract", 2, false, false, true, true, kV},
    {AluOp::kMaximum, "maximum", 2, false, false, true, true, kV},
    {AluOp::kMinimum, "minimum", 2, false, false, true, true, kV},
    {AluOp::kEqual, "equal", 2, false, true, false, true, kV},
    {AluOp::kNotEqual, "not_equal", 2, false, true, false, true, kV},
    {AluOp::kGreaterEqual, "greater_equal", 2, false, true, false, true, kV},
    {AluOp::kGreater, "greater", 2, false, true, false, true, kV},
    {AluOp::kLessEqual, "less_equal", 2, false, true, false, true, kV},
    {AluOp::kLess, "less", 2, false, true, false, true, kV},
    {AluOp::kLogicalNot, "logical_not", 1, false, true, false, true, kV},
    {AluOp::kLogicalAnd, "logical_and", 2, false, true, true, true, kV},
    {AluOp::kLogicalOr, "logical_or", 2, false, true, true, true, kV},
    {AluOp::kLogicalXor, "logical_xor", 2, false, true, true, true, kV},
    {AluOp::kRsqrt, "rsqrt", 1, false, false, false, true, kS | kG},
    {AluOp::kReciprocal, "reciprocal", 1, false, false, false, true, kV | kS},
    {AluOp::kAbs, "abs", 1, false, false, false, true, kV | kS},
    {AluOp::kPower, "power", 2, false, false, false, true, kG},
    {AluOp::kDivide, "divide", 2, false, false, false, false, kV},
    {AluOp::kMod, "mod", 2, false, false, false, false, kV},
    {AluOp::kFmod, "fmod", 2, false, false, false, false, kV},
}};

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double Exp2(int n) { return n == 0 ? 1.0 : (n > 0 ? 2.0 * Exp2(n - 1) : 0.5 * Exp2(n + 1)); }
constexpr double kPi = 3.14159265358979323846;

// Activation table of nki.api.shared.rst (v2.24.0), with the valid input ranges printed there.
constexpr std::array<ActFnInfo, kActFnCount> kActFns = {{
    {ActFn::kCopy, "copy", true, -kInf, kInf},
    {ActFn::kSquare, "square", true, -kInf, kInf},
    {ActFn::kSigmoid, "sigmoid", true, -kInf, kInf},
    {ActFn::kRelu, "relu", true, -kInf, kInf},
    {ActFn::kGelu, "gelu", true, -kInf, kInf},
    {ActFn::kGeluDx, "gelu_dx", true, -kInf, kInf},
    {ActFn::kGeluApprxTanh, "gelu_apprx_tanh", true, -kInf, kInf},
    {ActFn::kSilu, "silu", true, -kInf, kInf},
    {ActFn::kSiluDx, "silu_dx", true, -kInf, kInf},
    {ActFn::kTanh, "tanh", true, -kInf, kInf},
    {ActFn::kSoftplus, "softplus", true, -kInf, kInf},
    {ActFn::kMish, "mish", true, -kInf, kInf},
    {ActFn::kErf, "erf", true, -kInf, kInf},
    {ActFn::kErfDx, "erf_dx", true, -kInf, kInf},
    {ActFn::kExp, "exp", true, -kInf, kInf},
    {ActFn::kSign, "sign", true, -kInf, kInf},
    {ActFn::kAbs, "abs", true, -kInf, kInf},
    {ActFn::kLog, "log", true, Exp2(-64), Exp2(64)},
    {ActFn::kSin, "sin", true, -kPi, kPi},
    {ActFn::kArctan, "arctan", true, -kPi / 2, kPi / 2},
    {ActFn::kSqrt, "sqrt", true, Exp2(-100), Exp2(100)},
    {ActFn::kRsqrt, "rsqrt", true, Exp2(-87), Exp2(97)},
    {ActFn::kReciprocal, "reciprocal", true, -Exp2(42), Exp2(42)},
    {ActFn::kCos, "cos", false, -kPi, kPi},
    {ActFn::kTan, "tan", false, -kPi / 2, kPi / 2},
    {ActFn::kFloor, "floor", false, -kInf, kInf},
    {ActFn::kCeil, "ceil", false, -kInf, kInf},
    {ActFn::kTrunc, "trunc", false, -kInf, kInf},
}};

int IntegerRank(DType d) {  // bytes; used only for integers
  return SizeOf(d);
}

bool IsSigned(DType d) { return d == DType::kInt32 || d == DType::kInt16 || d == DType::kInt8; }

DType PromoteIntegers(DType a, DType b) {
  if (IsSigned(a) == IsSigned(b)) return IntegerRank(a) >= IntegerRank(b) ? a : b;
  const DType s = IsSigned(a) ? a : b;
  const DType u = IsSigned(a) ? b : a;
  if (IntegerRank(s) > IntegerRank(u)) return s;
  // A signed type covering the unsigned one; there is no int64, so uint32 with a signed type goes to float32.
  switch (SizeOf(u)) {
    case 1:
      return DType::kInt16;
    case 2:
      return DType::kInt32;
    default:
      return DType::kFloat32;
  }
}

DType PromoteFloats(DType a, DType b) {
  const auto either = [&](DType x, DType y) { return (a == x && b == y) || (a == y && b == x); };
  if (either(DType::kFloat16, DType::kBFloat16)) return DType::kFloat32;
  if (either(DType::kFloat8E4M3, DType::kFloat8E5M2)) return DType::kBFloat16;
  if (either(DType::kFloat32, DType::kTFloat32)) return DType::kFloat32;
  return SizeOf(a) >= SizeOf(b) ? a : b;
}

}  // namespace

int SizeOf(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].size; }
bool IsFloat(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].is_float; }
bool IsInteger(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].is_integer; }
absl::string_view Name(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }

std::optional<DType> DTypeFromName(absl::string_view name) {
  if (name == "bool") return DType::kBool;
  for (size_t i = 0; i < kDTypes.size(); ++i) {
    if (kDTypes[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

DType Promote(DType a, DType b) {
  if (a == b) return a;
  if (a == DType::kBool) a = DType::kUInt8;
  if (b == DType::kBool) b = DType::kUInt8;
  if (a == b) return a;
  if (IsFloat(a) != IsFloat(b)) return IsFloat(a) ? a : b;
  return IsFloat(a) ? PromoteFloats(a, b) : PromoteIntegers(a, b);
}

bool IsHbm(Buffer buffer) {
  return buffer == Buffer::kHbm || buffer == Buffer::kSharedHbm || buffer == Buffer::kPrivateHbm;
}
absl::string_view Name(Buffer buffer) { return kBuffers[static_cast<size_t>(buffer)]; }
absl::string_view Name(Engine engine) { return kEngines[static_cast<size_t>(engine)]; }

const AluOpInfo& Info(AluOp op) { return kAluOps[static_cast<size_t>(op)]; }
std::optional<AluOp> AluOpFromName(absl::string_view name) {
  for (const AluOpInfo& info : kAluOps) {
    if (info.op != AluOp::kNone && info.name == name) return info.op;
  }
  return std::nullopt;
}

const ActFnInfo& Info(ActFn fn) { return kActFns[static_cast<size_t>(fn)]; }
std::optional<ActFn> ActFnFromName(absl::string_view name) {
  for (const ActFnInfo& info : kActFns) {
    if (info.name == name) return info.fn;
  }
  return std::nullopt;
}

}  // namespace nkiagent::nki::isa
