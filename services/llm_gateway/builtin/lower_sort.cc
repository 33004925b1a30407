// Orders by counting: an element's rank is how many others come before it. For rows too long to take extremes
// from one by one, and for places among sorted numbers.
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"
#include "services/llm_gateway/builtin/ranks.h"

namespace nkiagent::builtin {
namespace {

constexpr DType kF32 = DType::kFloat32;

int Rank(const Tensor& x) { return static_cast<int>(x.view.dims.size()); }

std::vector<bool> LastOf(int rank) {
  std::vector<bool> reduced(static_cast<size_t>(rank), false);
  reduced.back() = true;
  return reduced;
}

// How many of the last axis's truths hold.
Tensor CountLast(Builder& b, const Tensor& truth, DType dtype) {
  const Tensor ones = b.Named("ones").Unary(Fn::kCopy, truth, kF32);
  return b.Reduce(Fn::kSum, ones, LastOf(Rank(truth)), false, dtype);
}

// How many of `sorted` (…, M) lie below each of `values` (…, N).
void LowerSearch(NodeLowering& n, Tensor sorted, const Tensor& values, bool right) {
  Builder& b = n.builder();
  if (b.failed() || sorted.view.dims.empty()) return;
  if (Rank(sorted) > 1) sorted = b.InsertAxis(sorted, Rank(sorted) - 1);
  const Tensor below = b.Named("is_below")
                           .Binary(right ? Fn::kLessEqual : Fn::kLess, sorted,
                                   b.InsertAxis(values, Rank(values)), DType::kBool);
  n.Yield(CountLast(b, below, n.dtype()));
}

// How many elements fall into each of `bins` equal parts of low..high, the last one closed.
void LowerHistogram(NodeLowering& n) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "self");
  const double bins = static_cast<double>(n.IntOr(1, "bins", 100)), low = n.NumberOr(2, "min", 0),
               high = n.NumberOr(3, "max", 0);
  if (!(high > low) || bins < 1) {
    b.Fail("a histogram between the data's own extremes is not supported");
    return;
  }
  const int64_t count = ElementCount(x.view.dims);
  x = b.ReshapeTo(x, {1, count});
  Tensor bin = b.Named("above_low").Binary(Fn::kSubtract, x, low, kF32);
  bin = b.Named("scaled").Binary(Fn::kMultiply, bin, bins / (high - low), kF32);
  bin = b.Named("bin").Unary(Fn::kFloor, bin, kF32);
  const Tensor is_high = b.Named("is_high").Binary(Fn::kEqual, x, high, DType::kBool);
  bin = b.Named("bin").Select(is_high, Builder::Number(bins - 1, kF32), bin, kF32);
  const int64_t parts = n.dims()[0];
  const Tensor hits =
      b.Named("hits").Binary(Fn::kEqual, bin, b.ReshapeTo(b.Positions(parts), {parts, 1}), DType::kBool);
  n.Yield(CountLast(b, hits, n.dtype()));
}

// The value that occurs most often, the smallest of several. Where it lies is not told: PyTorch takes any
// place.
void LowerMode(NodeLowering& n) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "self");
  if (b.failed() || x.view.dims.empty()) return;
  const int axis = n.Axis(n.IntOr(1, "dim", -1), x.view.dims.size());
  const int rank = Rank(x);
  x = AxisToEnd(b, x, axis);
  if (!RanksWithinReason(n, x.view.dims)) return;
  const Tensor same =
      b.Named("same").Binary(Fn::kEqual, b.InsertAxis(x, rank), b.InsertAxis(x, rank - 1), DType::kBool);
  const Tensor count = CountLast(b.Named("occurrences"), same, kF32);
  const Tensor most = b.Named("most").Reduce(Fn::kMax, count, LastOf(rank), true, kF32);
  const Tensor frequent = b.Named("is_frequent").Binary(Fn::kEqual, count, most, DType::kBool);
  const Tensor candidates =
      b.Named("candidates")
          .Select(frequent, x, Builder::Number(std::numeric_limits<float>::infinity(), kF32), kF32);
  const Tensor value = b.Named("mode").Reduce(Fn::kMin, candidates, LastOf(rank), true, x.dtype);
  if (n.IsRead(1)) b.Fail("where the most frequent value lies is not told by the operation");
  if (b.failed()) return;
  n.YieldTuple({b.Cast(b.ReshapeTo(AxisFromEnd(b, value, axis), n.dims(0)), n.dtype(0))});
}

}  // namespace

Tensor AxisToEnd(Builder& b, const Tensor& x, int axis) {
  std::vector<int> order;
  for (int k = 0; k < Rank(x); ++k) {
    if (k != axis) order.push_back(k);
  }
  order.push_back(axis);
  return b.Permute(x, order);
}

Tensor AxisFromEnd(Builder& b, const Tensor& x, int axis) {
  std::vector<int> order(x.view.dims.size());
  for (int k = 0, next = 0; k < Rank(x); ++k) order[k] = k == axis ? Rank(x) - 1 : next++;
  return b.Permute(x, order);
}

bool RanksWithinReason(NodeLowering& n, const Dims& dims) {
  // Every element is compared with every other of its row; beyond this a kernel would run for seconds.
  constexpr double kMaxComparisons = 1e10;
  if (static_cast<double>(ElementCount(dims)) * static_cast<double>(dims.back()) <= kMaxComparisons)
    return true;
  n.builder().Fail(absl::StrCat(n.node().op, " of rows of ", dims.back(), " elements is not supported"));
  return false;
}

Ordered OrderedByRank(NodeLowering& n, const Tensor& x, int64_t count, bool largest) {
  Builder& b = n.builder();
  Ordered ordered{x, x};
  if (b.failed() || !RanksWithinReason(n, x.view.dims)) return ordered;
  const int rank = Rank(x);
  const int64_t size = x.view.dims.back();
  const Tensor mine = b.InsertAxis(x, rank), others = b.InsertAxis(x, rank - 1);
  const Tensor numbers = b.Positions(size);
  const Tensor earlier =
      b.Named("is_earlier")
          .Binary(Fn::kLess, numbers, b.ReshapeTo(b.Positions(size), {size, 1}), DType::kBool);
  // Equal ones keep their order.
  const Tensor ahead =
      b.Named("is_ahead").Binary(largest ? Fn::kGreater : Fn::kLess, others, mine, DType::kBool);
  const Tensor level =
      b.Named("is_level").Binary(largest ? Fn::kGreaterEqual : Fn::kLessEqual, others, mine, DType::kBool);
  const Tensor before = b.Named("is_before").Select(earlier, level, ahead, DType::kBool);
  b.Named("rank");
  const Tensor ranks = CountLast(b, before, kF32);
  const Tensor wanted = b.ReshapeTo(b.Positions(count), {count, 1});
  const Tensor hit =
      b.Named("has_rank").Binary(Fn::kEqual, b.InsertAxis(ranks, rank - 1), wanted, DType::kBool);
  const Tensor value = b.Named("ranked").Select(hit, others, Builder::Number(0, x.dtype), x.dtype);
  const Tensor place = b.Named("ranked_place").Select(hit, numbers, Builder::Number(0, kF32), kF32);
  ordered.values = b.Named("ordered").Reduce(Fn::kSum, value, LastOf(rank + 1), false, x.dtype);
  ordered.places = b.Named("places").Reduce(Fn::kSum, place, LastOf(rank + 1), false, DType::kInt32);
  return ordered;
}

bool LowerSort(NodeLowering& n) {
  const absl::string_view op = n.op();
  if (op == "aten.searchsorted") {
    const bool right = n.BoolOr(3, "right", false) || n.TextOr(4, "side", "left") == "right";
    if (n.Has(5, "sorter")) n.builder().Fail("a search through a sorter is not supported");
    LowerSearch(n, n.TensorAt(0, "sorted_sequence"), n.TensorAt(1, "self"), right);
  } else if (op == "aten.bucketize") {
    LowerSearch(n, n.TensorAt(1, "boundaries"), n.TensorAt(0, "self"), n.BoolOr(3, "right", false));
  } else if (op == "aten.histc") {
    LowerHistogram(n);
  } else if (op == "aten.mode") {
    LowerMode(n);
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
