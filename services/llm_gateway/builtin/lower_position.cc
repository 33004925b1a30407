// Operations that know where an element lies: ranges, positions of extremes, the largest few, picks by index.
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"
#include "services/llm_gateway/builtin/ranks.h"

namespace nkiagent::builtin {
namespace {

constexpr DType kF32 = DType::kFloat32;
constexpr double kExactInt = 1 << 24;  // float32 holds every whole number up to here
// A pick by index compares every candidate position with the index, so it costs picks times candidates. For
// more picks than this a table lookup is the better way.
constexpr int64_t kMaxPicks = 8;
// So many extremes are found one by one; more by counting. Rows that the instructions for it take give eight
// at a time.
constexpr int64_t kMaxRounds = 64;
constexpr int64_t kMaxSelected = 512;
constexpr int64_t kShortestSelectable = 8;  // isa-constraints of SDK 2.24, max8
constexpr int64_t kLongestSelectable = 8192;

bool Selectable(const Tensor& x, int axis) {
  const int64_t size = x.view.dims[axis];
  return !x.immediate.has_value() && IsFloat(x.dtype) && size >= kShortestSelectable &&
         size <= kLongestSelectable;
}

// Positions 0, 1, … along `axis` of a tensor shaped `dims`, as numbers that compare and select exactly up to
// 2^24.
Tensor PositionsAlong(Builder& b, const Dims& dims, int axis) {
  Dims shape(dims.size(), 1);
  shape[axis] = dims[axis];
  return b.ReshapeTo(b.Positions(dims[axis]), shape);
}

// The first position along the marked axes at which `x` has the value `extreme`; `positions` are those of x.
Tensor FirstPosition(NodeLowering& n, const Tensor& x, const Tensor& extreme, const Tensor& positions,
                     const std::vector<bool>& reduced, int64_t count, DType dtype) {
  Builder& b = n.builder();
  const Tensor hit = b.Named("is_extreme").Binary(Fn::kEqual, x, extreme, DType::kBool);
  const Tensor candidate =
      b.Named("candidate").Select(hit, positions, Builder::Number(static_cast<double>(count), kF32), kF32);
  return SpreadReduce(b.Named("position"), Fn::kMin, candidate, reduced, true, dtype);
}

// The first position of the extreme along `axis`.
Tensor PositionOfExtreme(NodeLowering& n, const Tensor& x, int axis, Fn fn, bool keep, DType dtype) {
  Builder& b = n.builder();
  if (Selectable(x, axis)) {
    const Selection first{1, fn == Fn::kMin};
    const Tensor position =
        b.Cast(b.Named("position").Top(Fn::kTopPositions, x, axis, first, DType::kInt32), dtype);
    return keep || b.failed() ? position : b.DropAxis(position, axis);
  }
  std::vector<bool> reduced(x.view.dims.size(), false);
  reduced[axis] = true;
  const Tensor extreme = b.Named("extreme").Reduce(fn, x, reduced, true, x.dtype);
  const Tensor position =
      FirstPosition(n, x, extreme, PositionsAlong(b, x.view.dims, axis), reduced, x.view.dims[axis], dtype);
  return keep || b.failed() ? position : b.DropAxis(position, axis);
}

void LowerArgExtreme(NodeLowering& n, Fn fn) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  if (x.view.dims.empty()) {
    n.Yield(Builder::Number(0, n.dtype()));
  } else if (n.Has(1, "dim")) {
    const int axis = n.Axis(n.IntOr(1, "dim", 0), x.view.dims.size());
    n.Yield(PositionOfExtreme(n, x, axis, fn, n.BoolOr(2, "keepdim", false), n.dtype()));
  } else {
    const std::vector<bool> all(x.view.dims.size(), true);
    const int64_t count = ElementCount(x.view.dims);
    const Tensor extreme = SpreadReduce(b.Named("extreme"), fn, x, all, true, x.dtype);
    const Tensor positions = b.ReshapeTo(b.Positions(count), x.view.dims);
    n.Yield(b.ReshapeTo(FirstPosition(n, x, extreme, positions, all, count, n.dtype()), n.dims()));
  }
}

// The extreme and its position.
void LowerExtremeWithPosition(NodeLowering& n, Fn fn) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  if (x.view.dims.empty()) {
    n.YieldTuple({x, Builder::Number(0, n.dtype(1))});
    return;
  }
  std::vector<bool> reduced(x.view.dims.size(), false);
  const int axis = n.Axis(n.IntOr(1, "dim", 0), reduced.size());
  const bool keep = n.BoolOr(2, "keepdim", false);
  reduced[axis] = true;
  const Tensor extreme = b.Reduce(fn, x, reduced, true, n.dtype(0));
  const Tensor position = PositionOfExtreme(n, x, axis, fn, /*keep=*/true, n.dtype(1));
  if (b.failed()) return;
  n.YieldTuple({keep ? extreme : b.DropAxis(extreme, axis), keep ? position : b.DropAxis(position, axis)});
}

// Extremes along an axis in order, and their positions.
struct Extremes {
  Tensor values, positions;
};

// By taking the extreme and striking it out, one by one.
Extremes StrikeOutExtremes(NodeLowering& n, const Tensor& from, int64_t count, int axis, bool largest) {
  Tensor x = from;
  Builder& b = n.builder();
  const Fn fn = largest ? Fn::kMax : Fn::kMin;
  const DType dtype = x.dtype;
  const Tensor positions = PositionsAlong(b, x.view.dims, axis);
  const double infinity = std::numeric_limits<float>::infinity();
  std::vector<bool> reduced(x.view.dims.size(), false);
  reduced[axis] = true;
  std::vector<Tensor> extremes, found;
  for (int64_t round = 0; round < count && !b.failed(); ++round) {
    const Tensor extreme = b.Named("extreme").Reduce(fn, x, reduced, true, x.dtype);
    const Tensor position = FirstPosition(n, x, extreme, positions, reduced, x.view.dims[axis], kF32);
    extremes.push_back(extreme);
    found.push_back(position);
    if (round + 1 == count) break;
    const Tensor taken = b.Named("taken").Binary(Fn::kEqual, positions, position, DType::kBool);
    x = b.Named("rest").Select(taken, Builder::Number(largest ? -infinity : infinity, x.dtype), x, x.dtype);
  }
  if (b.failed()) return {};
  return {b.Concat(extremes, axis, dtype), b.Concat(found, axis, DType::kInt32)};
}

Extremes CountedExtremes(NodeLowering& n, const Tensor& x, int64_t count, int axis, bool largest) {
  Builder& b = n.builder();
  const Ordered ordered = OrderedByRank(n, AxisToEnd(b, x, axis), count, largest);
  return {AxisFromEnd(b, ordered.values, axis), AxisFromEnd(b, ordered.places, axis)};
}

// The `count` largest (smallest) along `axis`. What nobody reads of it is left out later.
Extremes TakeExtremes(NodeLowering& n, const Tensor& x, int64_t count, int axis, bool largest) {
  Builder& b = n.builder();
  const bool by_eights = Selectable(x, axis) && count >= 1 && count <= kMaxSelected;
  const auto otherwise = count <= kMaxRounds ? StrikeOutExtremes : CountedExtremes;
  if (!by_eights) return otherwise(n, x, count, axis, largest);
  const Selection selection{count, !largest};
  Extremes extremes;
  extremes.values = b.Named("extremes").Top(Fn::kTopValues, x, axis, selection, x.dtype);
  // Equal elements share the position of the first. Numbers of few bits are often equal.
  const bool distinct = n.options().distinct_extremes && DTypeBytes(x.dtype) >= 4;
  if (count == 1 || distinct) {
    extremes.positions = b.Named("positions").Top(Fn::kTopPositions, x, axis, selection, DType::kInt32);
    b.program().used_distinct_extremes |= count > 1 && distinct;
  } else {
    extremes.positions = otherwise(n, x, count, axis, largest).positions;
  }
  return extremes;
}

void LowerTopK(NodeLowering& n, int64_t count, int axis, bool largest) {
  const Tensor x = n.TensorAt(0, "self");
  if (x.view.dims.empty()) {
    n.YieldTuple({x, Builder::Number(0, n.dtype(1))});
    return;
  }
  if (count < 1 || count > x.view.dims[axis]) {
    n.builder().Fail(absl::StrCat(count, " elements of an axis of ", x.view.dims[axis], " can't be taken"));
    return;
  }
  const Extremes found = TakeExtremes(n, x, count, axis, largest);
  if (n.builder().failed()) return;
  n.YieldTuple({n.builder().Cast(found.values, n.dtype(0)), n.builder().Cast(found.positions, n.dtype(1))});
}

// The k-th smallest along an axis, or the lower median, and its position: the last of the k smallest.
void LowerOrderStatistic(NodeLowering& n) {
  Builder& b = n.builder();
  const bool median = n.op() == "aten.median", whole = median && n.overload() == "default";
  Tensor x = n.TensorAt(0, "self");
  if (whole) x = b.ReshapeTo(x, {ElementCount(x.view.dims)});
  if (x.view.dims.empty()) {
    n.YieldTuple({x, Builder::Number(0, n.dtype(1))});
    return;
  }
  const int axis = whole ? 0 : n.Axis(n.IntOr(median ? 1 : 2, "dim", -1), x.view.dims.size());
  const int64_t k = median ? (x.view.dims[axis] + 1) / 2 : n.IntOr(1, "k", 1);
  if (k < 1 || k > x.view.dims[axis]) {
    b.Fail(absl::StrCat("an axis of ", x.view.dims[axis], " has no element ", k));
    return;
  }
  const Extremes smallest = TakeExtremes(n, x, k, axis, /*largest=*/false);
  if (b.failed()) return;
  const auto last = [&](const Tensor& found, size_t output) {
    return b.ReshapeTo(b.Cast(b.Slice(found, axis, k - 1, 1, 1), n.dtype(output)), n.dims(output));
  };
  if (whole) {
    n.Yield(last(smallest.values, 0));
  } else {
    n.YieldTuple({last(smallest.values, 0), last(smallest.positions, 1)});
  }
}

// out[…, j, …] = x[…, index[…, j, …], …] as the sum over all candidates that the index names.
bool LowerPick(NodeLowering& n) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "self");
  Tensor index = n.TensorAt(2, "index");
  const size_t rank = x.view.dims.size();
  if (b.failed() || rank == 0 || index.view.dims.size() != rank) return false;
  const int axis = n.Axis(n.IntOr(1, "dim", 0), rank);
  if (index.view.dims[axis] > kMaxPicks) return false;
  for (size_t i = 0; i < rank; ++i) {
    if (static_cast<int>(i) != axis) x = b.Slice(x, static_cast<int>(i), 0, 1, index.view.dims[i]);
  }
  // The candidates become an axis of their own, last.
  const Tensor positions = b.Positions(x.view.dims[axis]);
  x = b.InsertAxis(x, static_cast<int>(rank));
  std::swap(x.view.dims[axis], x.view.dims[rank]);
  std::swap(x.view.strides[axis], x.view.strides[rank]);
  const Tensor named =
      b.Named("is_named")
          .Binary(Fn::kEqual, positions, b.InsertAxis(index, static_cast<int>(rank)), DType::kBool);
  const Tensor chosen = b.Named("chosen").Select(named, x, Builder::Number(0, x.dtype), x.dtype);
  std::vector<bool> reduced(rank + 1, false);
  reduced[rank] = true;
  n.Yield(b.Reduce(Fn::kSum, chosen, reduced, false, n.dtype()));
  return true;
}

void LowerRange(NodeLowering& n) {
  Builder& b = n.builder();
  const bool has_start = n.overload() != "default";
  const double start = has_start ? n.NumberAt(0, "start") : 0;
  const double step = n.overload() == "start_step" ? n.NumberOr(2, "step", 1) : 1;
  if (n.dims().size() != 1) {
    b.Fail("a range has one axis");
    return;
  }
  Tensor range = b.Positions(n.dims()[0]);
  const DType inner = IsFloat(n.dtype()) ? kF32 : n.dtype();
  if (start == std::trunc(start) && step == std::trunc(step) &&
      std::fabs(start) + std::fabs(step) < kExactInt) {
    range.view.offset = static_cast<int64_t>(start);
    range.view.strides[0] = static_cast<int64_t>(step);
  } else {
    range = b.Binary(Fn::kMultiply, range, Builder::Number(step, inner), inner);
    range = b.Binary(Fn::kAdd, range, Builder::Number(start, inner), inner);
  }
  n.Yield(b.Cast(range, n.dtype()));
}

// Keeps what lies on or below (above) a diagonal.
void LowerTriangle(NodeLowering& n, bool lower) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const int rank = static_cast<int>(x.view.dims.size());
  if (rank < 2) {
    b.Fail("a triangle needs a matrix");
    return;
  }
  const Tensor row = PositionsAlong(b, x.view.dims, rank - 2);
  const Tensor column = PositionsAlong(b, x.view.dims, rank - 1);
  const Tensor distance = b.Named("distance").Binary(Fn::kSubtract, column, row, DType::kInt32);
  const Tensor kept = b.Named("kept").Binary(lower ? Fn::kLessEqual : Fn::kGreaterEqual, distance,
                                             n.NumberOr(1, "diagonal", 0), DType::kBool);
  n.Yield(b.Select(kept, x, Builder::Number(0, x.dtype), n.dtype()));
}

}  // namespace

bool LowerPosition(NodeLowering& n) {
  const absl::string_view op = n.op();
  if (op == "aten.arange") {
    LowerRange(n);
  } else if (op == "aten.argmax" || op == "aten.argmin") {
    LowerArgExtreme(n, op == "aten.argmax" ? Fn::kMax : Fn::kMin);
  } else if ((op == "aten.max" || op == "aten.min") && n.overload() == "dim") {
    LowerExtremeWithPosition(n, op == "aten.max" ? Fn::kMax : Fn::kMin);
  } else if (op == "aten.topk") {
    const Tensor x = n.TensorAt(0, "self");
    LowerTopK(n, n.IntOr(1, "k", 0), n.Axis(n.IntOr(2, "dim", -1), x.view.dims.size()),
              n.BoolOr(3, "largest", true));
  } else if (op == "aten.sort") {
    // The first of equal extremes is taken first, so that every order here is stable.
    const Tensor x = n.TensorAt(0, "self");
    const int axis = n.Axis(n.IntOr(1, "dim", -1), x.view.dims.size());
    LowerTopK(n, x.view.dims.empty() ? 1 : x.view.dims[axis], axis, n.BoolOr(2, "descending", false));
  } else if (op == "aten.kthvalue" || op == "aten.median") {
    LowerOrderStatistic(n);
  } else if (op == "aten.tril" || op == "aten.triu") {
    LowerTriangle(n, op == "aten.tril");
  } else if (op == "aten.gather") {
    return LowerPick(n);
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
