// Running sums, products and extremes along one axis.
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

constexpr DType kF32 = DType::kFloat32;

int ScanAxis(NodeLowering& n, const Tensor& x) { return n.Axis(n.IntOr(1, "dim", 0), x.view.dims.size()); }

// Running extremes and where each was last met.
void LowerRunningExtreme(NodeLowering& n, Fn fn) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  if (x.view.dims.empty()) {
    n.YieldTuple({x, Builder::Number(0, n.dtype(1))});
    return;
  }
  const int axis = ScanAxis(n, x);
  const Tensor extreme = b.Scan(fn, x, axis, n.dtype(0));
  Dims shape(x.view.dims.size(), 1);
  shape[axis] = x.view.dims[axis];
  const Tensor positions = b.ReshapeTo(b.Positions(x.view.dims[axis]), shape);
  const Tensor met = b.Named("met").Binary(Fn::kEqual, x, extreme, DType::kBool);
  const Tensor candidate = b.Named("candidate").Select(met, positions, Builder::Number(0, kF32), kF32);
  n.YieldTuple({extreme, b.Named("last_met").Scan(Fn::kCumMax, candidate, axis, n.dtype(1))});
}

// log of the running sum of exp, taken relative to the row's maximum.
Tensor RunningLogSumExp(NodeLowering& n, const Tensor& x) {
  Builder& b = n.builder();
  const int axis = ScanAxis(n, x);
  std::vector<bool> reduced(x.view.dims.size(), false);
  reduced[axis] = true;
  const Tensor row_max = b.Named("row_max").Reduce(Fn::kMax, x, reduced, true, kF32);
  const Tensor shifted = b.Named("shifted").Binary(Fn::kSubtract, x, row_max, kF32);
  const Tensor exponential = b.Named("exponentials").Unary(Fn::kExp, shifted, kF32);
  const Tensor sum = b.Named("running_sum").Scan(Fn::kCumSum, exponential, axis, kF32);
  return b.Binary(Fn::kAdd, b.Named("log_sum").Unary(Fn::kLog, sum, kF32), row_max, n.dtype());
}

}  // namespace

bool LowerScan(NodeLowering& n) {
  Builder& b = n.builder();
  const absl::string_view op = n.op();
  if (op == "aten.cumsum" || op == "aten.cumprod") {
    const Tensor x = n.TensorAt(0, "self");
    const Fn fn = op == "aten.cumsum" ? Fn::kCumSum : Fn::kCumProd;
    n.Yield(x.view.dims.empty() ? b.Cast(x, n.dtype()) : b.Scan(fn, x, ScanAxis(n, x), n.dtype()));
  } else if (op == "aten.cummax" || op == "aten.cummin") {
    LowerRunningExtreme(n, op == "aten.cummax" ? Fn::kCumMax : Fn::kCumMin);
  } else if (op == "aten.logcumsumexp") {
    const Tensor x = n.TensorAt(0, "self");
    n.Yield(x.view.dims.empty() ? b.Cast(x, n.dtype()) : RunningLogSumExp(n, x));
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
