#include "services/llm_gateway/builtin/fn_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>

namespace nkiagent::builtin {
namespace {

double Sign(double x, double) { return x > 0 ? 1 : x < 0 ? -1 : x; }
double Gelu(double x, double) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
double GeluTanh(double x, double) {
  constexpr double kRootTwoOverPi = 0.7978845608028654;
  return 0.5 * x * (1 + std::tanh(kRootTwoOverPi * (x + 0.044715 * x * x * x)));
}
double FloorMod(double x, double y) { return x - y * std::floor(x / y); }

template <typename Operation>
double OnBits(double x, double y) {
  return static_cast<double>(Operation()(static_cast<int64_t>(x), static_cast<int64_t>(y)));
}
int Shift(double y) { return static_cast<int>(std::clamp(y, 0.0, 63.0)); }

constexpr absl::string_view kScan = "nisa.tensor_tensor_scan";

constexpr std::array<FnRow, 66> kRows = {{
    {Fn::kCopy, 1, false, false, "nl.copy", [](double x, double) { return x; }},
    {Fn::kNegate, 1, false, false, "nl.negative", [](double x, double) { return -x; }},
    {Fn::kAbs, 1, false, false, "nl.abs", [](double x, double) { return std::fabs(x); }},
    {Fn::kExp, 1, false, false, "nl.exp", [](double x, double) { return std::exp(x); }},
    {Fn::kLog, 1, false, false, "nl.log", [](double x, double) { return std::log(x); }},
    {Fn::kSqrt, 1, false, false, "nl.sqrt", [](double x, double) { return std::sqrt(x); }},
    {Fn::kRsqrt, 1, false, false, "nl.rsqrt", [](double x, double) { return 1 / std::sqrt(x); }},
    {Fn::kReciprocal, 1, false, false, "nl.reciprocal", [](double x, double) { return 1 / x; }},
    {Fn::kSquare, 1, false, false, "nl.square", [](double x, double) { return x * x; }},
    {Fn::kRelu, 1, false, false, "nl.relu", [](double x, double) { return std::max(x, 0.0); }},
    {Fn::kGelu, 1, false, false, "nl.gelu", Gelu},
    {Fn::kGeluTanh, 1, false, false, "nl.gelu_apprx_tanh", GeluTanh},
    {Fn::kSigmoid, 1, false, false, "nl.sigmoid", [](double x, double) { return 1 / (1 + std::exp(-x)); }},
    {Fn::kTanh, 1, false, false, "nl.tanh", [](double x, double) { return std::tanh(x); }},
    {Fn::kErf, 1, false, false, "nl.erf", [](double x, double) { return std::erf(x); }},
    {Fn::kSign, 1, false, false, "nl.sign", Sign},
    {Fn::kFloor, 1, false, false, "nl.floor", [](double x, double) { return std::floor(x); }},
    {Fn::kCeil, 1, false, false, "nl.ceil", [](double x, double) { return std::ceil(x); }},
    {Fn::kTrunc, 1, false, false, "nl.trunc", [](double x, double) { return std::trunc(x); }},
    {Fn::kSin, 1, false, false, "nl.sin", [](double x, double) { return std::sin(x); }},
    {Fn::kCos, 1, false, false, "nl.cos", [](double x, double) { return std::cos(x); }},
    {Fn::kLogicalNot, 1, false, true, "nl.logical_not", [](double x, double) { return x == 0 ? 1.0 : 0.0; }},
    {Fn::kTan, 1, false, false, "nl.tan", [](double x, double) { return std::tan(x); }},
    {Fn::kArctan, 1, false, false, "nl.arctan", [](double x, double) { return std::atan(x); }},
    {Fn::kBitNot, 1, false, false, "nl.invert",
     [](double x, double) { return static_cast<double>(~static_cast<int64_t>(x)); }},
    {Fn::kAdd, 2, false, false, "nl.add", [](double x, double y) { return x + y; }},
    {Fn::kSubtract, 2, false, false, "nl.subtract", [](double x, double y) { return x - y; }},
    {Fn::kMultiply, 2, false, false, "nl.multiply", [](double x, double y) { return x * y; }},
    {Fn::kDivide, 2, false, false, "nl.divide", [](double x, double y) { return x / y; }},
    {Fn::kPower, 2, false, false, "nl.power", [](double x, double y) { return std::pow(x, y); }},
    {Fn::kMaximum, 2, false, false, "nl.maximum", [](double x, double y) { return std::max(x, y); }},
    {Fn::kMinimum, 2, false, false, "nl.minimum", [](double x, double y) { return std::min(x, y); }},
    {Fn::kMod, 2, false, false, "nl.mod", FloorMod},
    {Fn::kFmod, 2, false, false, "nl.fmod", [](double x, double y) { return std::fmod(x, y); }},
    {Fn::kEqual, 2, false, true, "nl.equal", [](double x, double y) { return x == y ? 1.0 : 0.0; }},
    {Fn::kNotEqual, 2, false, true, "nl.not_equal", [](double x, double y) { return x != y ? 1.0 : 0.0; }},
    {Fn::kLess, 2, false, true, "nl.less", [](double x, double y) { return x < y ? 1.0 : 0.0; }},
    {Fn::kLessEqual, 2, false, true, "nl.less_equal", [](double x, double y) { return x <= y ? 1.0 : 0.0; }},
    {Fn::kGreater, 2, false, true, "nl.greater", [](double x, double y) { return x > y ? 1.0 : 0.0; }},
    {Fn::kGreaterEqual, 2, false, true, "nl.greater_equal",
     [](double x, double y) { return x >= y ? 1.0 : 0.0; }},
    {Fn::kLogicalAnd, 2, false, true, "nl.logical_and",
     [](double x, double y) { return x != 0 && y != 0 ? 1.0 : 0.0; }},
    {Fn::kLogicalOr, 2, false, true, "nl.logical_or",
     [](double x, double y) { return x != 0 || y != 0 ? 1.0 : 0.0; }},
    {Fn::kLogicalXor, 2, false, true, "nl.logical_xor",
     [](double x, double y) { return (x != 0) != (y != 0) ? 1.0 : 0.0; }},
    {Fn::kBitAnd, 2, false, false, "nl.bitwise_and", OnBits<std::bit_and<>>},
    {Fn::kBitOr, 2, false, false, "nl.bitwise_or", OnBits<std::bit_or<>>},
    {Fn::kBitXor, 2, false, false, "nl.bitwise_xor", OnBits<std::bit_xor<>>},
    {Fn::kShiftLeft, 2, false, false, "nl.left_shift",
     [](double x, double y) { return std::ldexp(x, Shift(y)); }},
    {Fn::kShiftRight, 2, false, false, "nl.right_shift",
     [](double x, double y) { return std::floor(std::ldexp(x, -Shift(y))); }},
    {Fn::kSelect, 3, false, false, "nl.where", nullptr},
    {Fn::kCumSum, 1, false, false, kScan, nullptr, "0.0", "nl.add"},
    {Fn::kCumProd, 1, false, false, kScan, nullptr, "1.0", "nl.multiply"},
    {Fn::kCumMax, 1, false, false, kScan, nullptr, "float(\"-inf\")", "nl.maximum"},
    {Fn::kCumMin, 1, false, false, kScan, nullptr, "float(\"inf\")", "nl.minimum"},
    {Fn::kLinearScan, 3, false, false, kScan, nullptr, "0.0", "nl.multiply"},
    {Fn::kSum, 1, true, false, "nl.sum", nullptr, "0.0", "nl.add"},
    {Fn::kMean, 1, true, false, "nl.mean", nullptr, "0.0", "nl.add"},
    {Fn::kMax, 1, true, false, "nl.max", nullptr, "float(\"-inf\")", "nl.maximum"},
    {Fn::kMin, 1, true, false, "nl.min", nullptr, "float(\"inf\")", "nl.minimum"},
    {Fn::kProd, 1, true, false, "nl.prod", nullptr, "1.0", "nl.multiply"},
    {Fn::kTopValues, 1, false, false, "nisa.max8", nullptr},
    {Fn::kTopPositions, 1, false, false, "nisa.nc_find_index8", nullptr},
    {Fn::kMatmul, 2, false, false, "nisa.nc_matmul", nullptr},
    {Fn::kWindow, 2, false, false, "", nullptr},
    {Fn::kGather, 2, false, false, "", nullptr},
    {Fn::kRecurrence, 7, false, false, "", nullptr},
    {Fn::kAttention, 3, false, false, "", nullptr},
}};

constexpr bool RowsInOrder() {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<size_t>(kRows[i].fn) != i) return false;
  }
  return static_cast<size_t>(Fn::kAttention) + 1 == kRows.size();
}
static_assert(RowsInOrder(), "kRows must list every Fn in the order of the enumeration");

}  // namespace

const FnRow& RowOf(Fn fn) { return kRows[static_cast<size_t>(fn)]; }

bool IsReduction(Fn fn) { return RowOf(fn).is_reduction; }

bool IsScan(Fn fn) { return RowOf(fn).nl_name == kScan; }

bool IsSelection(Fn fn) { return fn == Fn::kTopValues || fn == Fn::kTopPositions; }

std::vector<int> Results(const Op& op) {
  if (op.recurrence.has_value() && op.recurrence->cell_result >= 0)
    return {op.result, op.recurrence->cell_result};
  return {op.result};
}

int SoleWriter(const Program& program, int value) {
  int writer = -1;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const std::vector<int> results = Results(program.ops[i]);
    if (std::find(results.begin(), results.end(), value) == results.end()) continue;
    if (writer >= 0 || program.ops[i].result != value) return -1;
    writer = static_cast<int>(i);
  }
  if (writer < 0 || !IsContiguous(program.ops[writer].destination)) return -1;
  const int64_t written = ElementCount(program.ops[writer].destination.dims);
  return written == ElementCount(program.values[value].dims) ? writer : -1;
}

std::vector<bool> LiveOps(const Program& program) {
  std::vector<bool> live_value(program.values.size(), false), live(program.ops.size(), false);
  for (int value : program.results) live_value[value] = true;
  for (size_t i = program.ops.size(); i-- > 0;) {
    const Op& op = program.ops[i];
    const std::vector<int> results = Results(op);
    if (std::none_of(results.begin(), results.end(), [&](int value) { return live_value[value]; })) continue;
    live[i] = true;
    for (const Operand& operand : op.operands) {
      if (!operand.immediate.has_value()) live_value[operand.value] = true;
    }
  }
  return live;
}

int64_t ReducedCount(const Op& op) {
  int64_t count = 1;
  for (size_t i = 0; i < op.dims.size(); ++i) count *= op.reduced[i] ? op.dims[i] : 1;
  return count;
}

Dims ResultDims(const Op& op) {
  if (!IsReduction(op.fn)) return op.dims;
  Dims dims;
  for (size_t i = 0; i < op.dims.size(); ++i) {
    if (!op.reduced[i]) dims.push_back(op.dims[i]);
  }
  return dims;
}

}  // namespace nkiagent::builtin
