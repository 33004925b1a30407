// Writes by index: scatters, index_put and its kin, sums over bags and segments. What lands in a place is the
// sum (product, extreme) over the sources whose index names it, so that no order of writes matters.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/indexing.h"
#include "services/llm_gateway/builtin/known.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

constexpr DType kF32 = DType::kFloat32;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Every source is compared with every place; beyond this many comparisons a kernel would run for seconds.
constexpr double kMaxComparisons = 1e11;

enum class Mode { kSet, kSum, kMean, kProduct, kMaximum, kMinimum };

std::optional<Mode> ModeNamed(absl::string_view name) {
  if (name == "sum" || name == "add") return Mode::kSum;
  if (name == "mean") return Mode::kMean;
  if (name == "prod" || name == "multiply") return Mode::kProduct;
  if (name == "amax") return Mode::kMaximum;
  if (name == "amin") return Mode::kMinimum;
  return std::nullopt;
}

int Rank(const Tensor& x) { return static_cast<int>(x.view.dims.size()); }

std::vector<int> WithAxisLast(int rank, int axis) {
  std::vector<int> order;
  for (int k = 0; k < rank; ++k) {
    if (k != axis) order.push_back(k);
  }
  order.push_back(axis);
  return order;
}

Tensor AxisLast(Builder& b, const Tensor& x, int axis) { return b.Permute(x, WithAxisLast(Rank(x), axis)); }

Tensor LastAxisTo(Builder& b, const Tensor& x, int axis) {
  std::vector<int> order(x.view.dims.size());
  for (int k = 0, next = 0; k < Rank(x); ++k) order[k] = k == axis ? Rank(x) - 1 : next++;
  return b.Permute(x, order);
}

bool WithinReason(NodeLowering& n, const Dims& sources, int64_t places) {
  if (static_cast<double>(ElementCount(sources)) * static_cast<double>(places) <= kMaxComparisons)
    return true;
  n.builder().Fail(absl::StrCat(n.node().op, " of ", ElementCount(sources), " elements into ", places,
                                " places each is not supported"));
  return false;
}

// Sources and places side by side: axes (others…, places, sources), the last one to be reduced.
struct Meeting {
  Tensor hits;     // whether the source's index names the place
  Tensor numbers;  // of the sources, 0, 1, …
  Tensor source;
  std::vector<bool> reduced;
};

Tensor ReduceSources(Builder& b, Fn fn, const Meeting& m, const Tensor& x, DType dtype) {
  return b.Reduce(fn, x, m.reduced, true, dtype);
}

// The sources that hit, `otherwise` elsewhere, taken together.
Tensor Gathered(Builder& b, Fn fn, const Meeting& m, double otherwise, DType dtype) {
  const Tensor taken =
      b.Named("hitting").Select(m.hits, m.source, Builder::Number(otherwise, m.source.dtype), m.source.dtype);
  return ReduceSources(b.Named("gathered"), fn, m, taken, dtype);
}

Tensor Counted(Builder& b, const Meeting& m) {
  const Tensor ones = b.Named("hit").Unary(Fn::kCopy, m.hits, kF32);
  return ReduceSources(b.Named("hit_count"), Fn::kSum, m, ones, kF32);
}

// The number of the last source that hits, or -1.
Tensor LastHit(Builder& b, const Meeting& m) {
  const Tensor numbered = b.Named("numbered").Select(m.hits, m.numbers, Builder::Number(-1, kF32), kF32);
  return ReduceSources(b.Named("last_hit"), Fn::kMax, m, numbered, kF32);
}

// `x` (others…, places, 1) with what hits it.
Tensor Combined(NodeLowering& n, const Tensor& x, Meeting m, Mode mode, bool with_self) {
  Builder& b = n.builder();
  const DType dtype = n.dtype();
  if (mode == Mode::kSet) {
    const Tensor last = LastHit(b, m);
    const Tensor hit = b.Named("is_hit").Binary(Fn::kGreaterEqual, last, 0.0, DType::kBool);
    if (m.source.immediate.has_value())
      return b.Select(hit, Builder::Number(*m.source.immediate, x.dtype), x, dtype);
    m.hits = b.Named("is_last").Binary(Fn::kEqual, m.numbers, last, DType::kBool);
    return b.Select(hit, Gathered(b, Fn::kSum, m, 0, dtype), x, dtype);
  }
  if (mode == Mode::kSum && with_self) {
    return b.Binary(Fn::kAdd, x, Gathered(b, Fn::kSum, m, 0, IsFloat(dtype) ? kF32 : dtype), dtype);
  }
  Tensor taken, joined;
  if (mode == Mode::kSum || mode == Mode::kMean) {
    taken = Gathered(b, Fn::kSum, m, 0, kF32);
    joined = b.Named("with_self").Binary(Fn::kAdd, x, taken, kF32);
  } else if (mode == Mode::kProduct) {
    taken = Gathered(b, Fn::kProd, m, 1, kF32);
    joined = b.Named("with_self").Binary(Fn::kMultiply, x, taken, kF32);
  } else {
    const bool largest = mode == Mode::kMaximum;
    taken = Gathered(b, largest ? Fn::kMax : Fn::kMin, m, largest ? -kInfinity : kInfinity, kF32);
    joined = b.Named("with_self").Binary(largest ? Fn::kMaximum : Fn::kMinimum, x, taken, kF32);
  }
  const Tensor count = Counted(b, m);
  if (mode == Mode::kMean) {
    Tensor shares = b.Named("shares").Binary(Fn::kAdd, count, with_self ? 1.0 : 0.0, kF32);
    shares = b.Named("shares").Binary(Fn::kMaximum, shares, 1.0, kF32);
    (with_self ? joined : taken) =
        b.Named("mean").Binary(Fn::kDivide, with_self ? joined : taken, shares, kF32);
  }
  if (with_self) return b.Cast(joined, dtype);
  const Tensor hit = b.Named("is_hit").Binary(Fn::kGreater, count, 0.0, DType::kBool);
  return b.Select(hit, taken, x, dtype);
}

// out[…, index[…, s, …], …] takes source[…, s, …]: an index for every element of the source.
Tensor ScatteredElements(NodeLowering& n, const Tensor& x, int axis, const Tensor& index, Tensor source,
                         Mode mode, bool with_self) {
  Builder& b = n.builder();
  const int rank = Rank(x);
  if (b.failed() || rank == 0 || Rank(index) != rank ||
      (!source.immediate.has_value() && Rank(source) != rank)) {
    b.Fail("a scatter takes a tensor, an index and a source of one rank");
    return x;
  }
  const int64_t places = x.view.dims[axis], sources = index.view.dims[axis];
  if (!WithinReason(n, index.view.dims, places)) return x;
  Tensor region = x;
  for (int k = 0; k < rank; ++k) {
    if (source.immediate.has_value() && Rank(source) != rank) break;
    if (source.view.dims[k] < index.view.dims[k] || (k != axis && region.view.dims[k] < index.view.dims[k])) {
      b.Fail("the index of a scatter reaches beyond the tensors");
      return x;
    }
    source = b.Slice(source, k, 0, 1, index.view.dims[k]);
    if (k != axis) region = b.Slice(region, k, 0, 1, index.view.dims[k]);
  }
  for (int k = 0; k < rank; ++k) {
    if (k != axis) region = b.Slice(region, k, 0, 1, std::min(region.view.dims[k], index.view.dims[k]));
  }
  Meeting m;
  m.numbers = b.Positions(sources);
  m.hits = b.Named("hits").Binary(Fn::kEqual, b.InsertAxis(AxisLast(b, index, axis), rank - 1),
                                  b.ReshapeTo(b.Positions(places), {places, 1}), DType::kBool);
  m.source = Rank(source) == rank ? b.InsertAxis(AxisLast(b, source, axis), rank - 1) : source;
  m.reduced.assign(static_cast<size_t>(rank) + 1, false);
  m.reduced.back() = true;
  const Tensor taken =
      Combined(n, b.InsertAxis(AxisLast(b, region, axis), rank), std::move(m), mode, with_self);
  if (b.failed()) return x;
  Tensor result = LastAxisTo(b, b.DropAxis(taken, rank), axis);
  // What lies beyond the index in the other axes stays.
  for (int k = 0; k < rank; ++k) {
    const int64_t covered = result.view.dims[k];
    if (covered == x.view.dims[k]) continue;
    Tensor rest = b.Slice(x, k, covered, 1, x.view.dims[k] - covered);
    for (int later = k + 1; later < rank; ++later) rest = b.Slice(rest, later, 0, 1, result.view.dims[later]);
    result = b.Concat({result, rest}, k, n.dtype());
  }
  return result;
}

// Rows of `x` (outer, places, inner) that `index` (sources) names take those of `source` (outer, sources,
// inner): a product with the matrix of hits.
Tensor ScatteredRows(NodeLowering& n, const Tensor& x, const Tensor& index, const Tensor& source, bool sums) {
  Builder& b = n.builder();
  if (b.failed()) return x;
  const int64_t outer = x.view.dims[0], places = x.view.dims[1], inner = x.view.dims[2];
  const int64_t sources = index.view.dims[0];
  if (!WithinReason(n, {sources}, places)) return x;
  Meeting m;
  m.numbers = b.Positions(sources);
  m.hits = b.Named("hits").Binary(Fn::kEqual, b.ReshapeTo(index, {1, sources}),
                                  b.ReshapeTo(b.Positions(places), {places, 1}), DType::kBool);
  m.reduced = {false, true};
  const DType dtype = n.dtype();
  Tensor hit;
  if (!sums) {
    const Tensor last = LastHit(b, m);
    hit = b.Named("is_hit").Binary(Fn::kGreaterEqual, last, 0.0, DType::kBool);
    if (source.immediate.has_value())
      return b.Select(hit, Builder::Number(*source.immediate, x.dtype), x, dtype);
    m.hits = b.Named("is_last").Binary(Fn::kEqual, m.numbers, last, DType::kBool);
  } else if (source.immediate.has_value()) {
    const Tensor amount = b.Named("amount").Binary(Fn::kMultiply, Counted(b, m), *source.immediate,
                                                   IsFloat(dtype) ? kF32 : dtype);
    return b.Binary(Fn::kAdd, x, amount, dtype);
  }
  const Tensor ones = b.Named("hit").Unary(Fn::kCopy, m.hits, kF32);
  const Tensor taken =
      b.Named("taken").Matmul(b.ExpandTo(b.InsertAxis(ones, 0), {outer, places, sources}),
                              b.ReshapeTo(source, {outer, sources, inner}), IsFloat(dtype) ? kF32 : dtype);
  return sums ? b.Binary(Fn::kAdd, x, taken, dtype) : b.Select(hit, taken, x, dtype);
}

// Indices that run along axes of their own, such as those of col2im, add up one axis after the other.
std::optional<Tensor> AddedAxisByAxis(NodeLowering& n, const Tensor& x,
                                      const std::vector<std::optional<Tensor>>& indices,
                                      const Dims& broadcast, const Tensor& values) {
  Builder& b = n.builder();
  int first = 0;
  std::vector<Tensor> given;
  for (int axis = 0; axis < Rank(x); ++axis) {
    if (!indices[axis].has_value()) continue;
    if (given.empty()) first = axis;
    if (axis != first + static_cast<int>(given.size())) return std::nullopt;
    given.push_back(*indices[axis]);
  }
  if (given.size() < 2) return std::nullopt;
  // How many elements of the indices' common shape each index runs over; each starts where the last ended.
  std::vector<int64_t> counts;
  size_t next = 0;
  for (const Tensor& index : given) {
    const size_t lead = broadcast.size() - index.view.dims.size();
    size_t from = broadcast.size(), to = 0;
    for (size_t k = 0; k < index.view.dims.size(); ++k) {
      if (index.view.dims[k] == 1) continue;
      from = std::min(from, lead + k);
      to = std::max(to, lead + k + 1);
    }
    if (from < next) return std::nullopt;
    counts.push_back(ElementCount(index.view.dims));
    next = std::max(next, to);
  }
  const Dims before(x.view.dims.begin(), x.view.dims.begin() + first);
  const Dims after(x.view.dims.begin() + first + static_cast<int>(given.size()), x.view.dims.end());
  Tensor sum = values;
  for (size_t k = given.size(); k-- > 0;) {
    const int64_t places = x.view.dims[static_cast<size_t>(first) + k];
    int64_t outer = ElementCount(before), inner = ElementCount(after);
    for (size_t i = 0; i < k; ++i) outer *= counts[i];
    for (size_t i = k + 1; i < given.size(); ++i) inner *= x.view.dims[static_cast<size_t>(first) + i];
    const Tensor index = Wrapped(b, b.ReshapeTo(given[k], {counts[k]}), places);
    sum = ScatteredRows(n, Builder::Number(0, n.dtype(), {outer, places, inner}), index,
                        b.ReshapeTo(sum, {outer, counts[k], inner}), /*sums=*/true);
    if (b.failed()) return x;
  }
  return b.Binary(Fn::kAdd, x, b.ReshapeTo(sum, x.view.dims), n.dtype());
}

// x[mask] = number.
void LowerMaskedPut(NodeLowering& n, const Tensor& x, Tensor mask, int axis, const Tensor& values) {
  Builder& b = n.builder();
  if (ElementCount(values.view.dims) != 1) {
    b.Fail("a mask takes as many of the values as the data says; only one value for all is supported");
    return;
  }
  while (axis + Rank(mask) < Rank(x)) mask = b.InsertAxis(mask, Rank(mask));
  const Tensor value = b.ReshapeTo(values, {});
  n.Yield(b.Select(b.Cast(mask, DType::kBool), value, x, n.dtype()));
}

void LowerIndexPut(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self"), values = n.TensorAt(2, "values");
  const bool sums = n.BoolOr(3, "accumulate", false);
  std::vector<std::optional<Tensor>> indices = IndicesPerAxis(n, x.view.dims.size());
  if (b.failed()) return;
  const auto is_mask = [](const std::optional<Tensor>& i) {
    return i.has_value() && i->dtype == DType::kBool;
  };
  const auto mask = std::find_if(indices.begin(), indices.end(), is_mask);
  if (mask != indices.end() && !sums &&
      std::count_if(indices.begin(), indices.end(), [](const auto& i) { return i.has_value(); }) == 1) {
    LowerMaskedPut(n, x, **mask, static_cast<int>(mask - indices.begin()), values);
    return;
  }
  const std::optional<MergedIndex> merged = Merged(b, x, indices);
  if (!merged.has_value()) return;
  const Tensor y = b.Permute(x, merged->order);
  const auto first = y.view.dims.begin() + merged->first;
  const Dims before(y.view.dims.begin(), first), after(first + merged->count, y.view.dims.end());
  const Dims& picked = merged->index.view.dims;
  Dims dims = before;
  dims.insert(dims.end(), picked.begin(), picked.end());
  dims.insert(dims.end(), after.begin(), after.end());
  const Tensor source = b.ExpandTo(values, dims);
  if (b.failed()) return;
  if (sums && merged->first + merged->count <= Rank(x)) {
    if (std::optional<Tensor> sum = AddedAxisByAxis(n, x, indices, picked, source)) {
      n.Yield(*std::move(sum));
      return;
    }
  }
  const int64_t outer = ElementCount(before), inner = ElementCount(after), count = ElementCount(picked);
  Tensor index = b.ReshapeTo(merged->index, {count});
  if (merged->wraps) index = Wrapped(b, index, merged->size);
  const Tensor result = ScatteredRows(n, b.ReshapeTo(y, {outer, merged->size, inner}), index,
                                      b.ReshapeTo(source, {outer, count, inner}), sums);
  if (b.failed()) return;
  std::vector<int> back(merged->order.size());
  for (size_t k = 0; k < back.size(); ++k) back[static_cast<size_t>(merged->order[k])] = static_cast<int>(k);
  n.Yield(b.Permute(b.ReshapeTo(result, y.view.dims), back));
}

// One index for whole slices along an axis: index_add, index_copy, index_fill, index_reduce.
void LowerIndexedSlices(NodeLowering& n, Mode mode) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  Tensor source = n.TensorAt(3, n.op() == "aten.index_fill" ? "value" : "source");
  const int axis = n.Axis(n.IntOr(1, "dim", 0), x.view.dims.size());
  const Tensor index = n.TensorAt(2, "index");
  const int64_t count = ElementCount(index.view.dims);
  if (b.failed() || Rank(x) == 0) return;
  if (n.op() == "aten.index_add" && n.NumberOr(4, "alpha", 1) != 1) {
    source = b.Binary(Fn::kMultiply, source, n.NumberOr(4, "alpha", 1), source.dtype);
  }
  Dims dims = x.view.dims;
  dims[axis] = count;
  source = ElementCount(source.view.dims) == 1 ? b.ExpandTo(b.ReshapeTo(source, {}), dims) : source;
  Dims along(dims.size(), 1);
  along[axis] = count;
  if (mode != Mode::kSum && mode != Mode::kSet) {
    n.Yield(ScatteredElements(n, x, axis, b.ExpandTo(b.ReshapeTo(index, along), dims), source, mode,
                              n.BoolOr(5, "include_self", true)));
    return;
  }
  const Dims before(x.view.dims.begin(), x.view.dims.begin() + axis);
  const int64_t outer = ElementCount(before), places = x.view.dims[axis];
  const int64_t inner = ElementCount(x.view.dims) / std::max<int64_t>(outer * places, 1);
  const Tensor result = ScatteredRows(n, b.ReshapeTo(x, {outer, places, inner}), b.ReshapeTo(index, {count}),
                                      b.ReshapeTo(source, {outer, count, inner}), mode == Mode::kSum);
  n.Yield(b.ReshapeTo(result, x.view.dims));
}

// Where the mask holds, the next element of the source: its place in it is how often the mask held so far.
void LowerMaskedScatter(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const Tensor mask = b.ExpandTo(n.TensorAt(1, "mask"), x.view.dims), source = n.TensorAt(2, "source");
  const int64_t count = ElementCount(x.view.dims), sources = ElementCount(source.view.dims);
  const Tensor held = b.Named("held").Unary(Fn::kCopy, b.ReshapeTo(mask, {1, count}), kF32);
  Tensor place = b.Named("held_so_far").Scan(Fn::kCumSum, held, 1, kF32);
  place = b.Named("place").Binary(Fn::kSubtract, place, 1.0, kF32);
  place = b.Named("place").Binary(Fn::kMaximum, place, 0.0, kF32);
  place = b.Named("place").Binary(Fn::kMinimum, place, static_cast<double>(sources - 1), DType::kInt32);
  if (b.failed()) return;
  b.Named("taken");
  const Tensor taken =
      Indexed(b, b.ReshapeTo(source, {sources}), 0, b.ReshapeTo(place, {count}), /*wraps=*/false);
  n.Yield(b.Select(mask, b.ReshapeTo(taken, x.view.dims), x, n.dtype()));
}

// The indices of bags of the same size, one after the other.
std::optional<int64_t> EvenBags(const Program& program, const Tensor& offsets, int64_t bags, int64_t count) {
  const std::optional<std::vector<double>> known = KnownContents(program, offsets);
  if (!known.has_value() || count % bags != 0) return std::nullopt;
  const int64_t size = count / bags;
  for (int64_t i = 0; i < bags; ++i) {
    if ((*known)[static_cast<size_t>(i)] != static_cast<double>(i * size)) return std::nullopt;
  }
  return size;
}

void LowerEmbeddingBag(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor table = n.TensorAt(0, "weight"), index = n.TensorAt(1, "indices");
  Tensor offsets = n.TensorAt(2, "offsets");
  const int64_t mode = n.IntOr(4, "mode", 0), padding = n.IntOr(8, "padding_idx", -1);
  if (b.failed() || Rank(table) != 2 || Rank(index) != 1 || Rank(offsets) != 1 || mode < 0 || mode > 2) {
    b.Fail("an embedding bag takes a table of rank 2 and lists of indices and offsets");
    return;
  }
  const int64_t count = index.view.dims[0], width = table.view.dims[1], bags = n.dims()[0];
  offsets = b.Slice(offsets, 0, 0, 1, bags);
  b.Named("rows");
  Tensor rows = Indexed(b, table, 0, index, /*wraps=*/false);
  if (n.Has(6, "per_sample_weights")) {
    const Tensor weights = b.ReshapeTo(n.TensorAt(6, "per_sample_weights"), {count, 1});
    rows = b.Named("weighted_rows").Binary(Fn::kMultiply, rows, weights, kF32);
  }
  const std::optional<int64_t> even = EvenBags(b.program(), offsets, bags, count);
  const bool largest = mode == 2;
  if (even.has_value() && padding < 0) {
    const Fn fn = largest ? Fn::kMax : mode == 1 ? Fn::kMean : Fn::kSum;
    n.YieldTuple(
        {b.Reduce(fn, b.ReshapeTo(rows, {bags, *even, width}), {false, true, false}, false, n.dtype())});
    return;
  }
  // Index l is in the bag whose offset is the last at or before l.
  const Tensor places = b.Positions(count);
  const Tensor started =
      b.Named("started").Binary(Fn::kLessEqual, b.ReshapeTo(offsets, {bags, 1}), places, DType::kBool);
  Tensor ends = Builder::Number(static_cast<double>(count), DType::kInt32, {1});
  if (bags > 1)
    ends = b.Concat({b.Cast(b.Slice(offsets, 0, 1, 1, bags - 1), DType::kInt32), ends}, 0, DType::kInt32);
  const Tensor open =
      b.Named("is_open").Binary(Fn::kGreater, b.ReshapeTo(ends, {bags, 1}), places, DType::kBool);
  Meeting m;
  m.hits = b.Named("in_bag").Binary(Fn::kLogicalAnd, started, open, DType::kBool);
  if (padding >= 0) {
    const Tensor real =
        b.Named("is_real").Binary(Fn::kNotEqual, index, static_cast<double>(padding), DType::kBool);
    m.hits = b.Named("in_bag").Binary(Fn::kLogicalAnd, m.hits, real, DType::kBool);
  }
  m.reduced = {false, true};
  Tensor result;
  if (largest) {
    const Tensor size = Counted(b, m);
    m.hits = b.ReshapeTo(m.hits, {bags, 1, count});
    m.source = b.Permute(rows, {1, 0});
    m.reduced = {false, false, true};
    const Tensor extreme = b.ReshapeTo(Gathered(b, Fn::kMax, m, -kInfinity, kF32), {bags, width});
    const Tensor filled = b.Named("is_filled").Binary(Fn::kGreater, size, 0.0, DType::kBool);
    result = b.Select(filled, extreme, Builder::Number(0, kF32), n.dtype());
  } else {
    const Tensor ones = b.Named("member").Unary(Fn::kCopy, m.hits, kF32);
    result = b.ReshapeTo(b.Named("sums").Matmul(b.InsertAxis(ones, 0), b.InsertAxis(rows, 0), kF32),
                         {bags, width});
    if (mode == 1) {
      const Tensor size = b.Named("size").Binary(Fn::kMaximum, Counted(b, m), 1.0, kF32);
      result = b.Binary(Fn::kDivide, result, size, n.dtype());
    }
    result = b.Cast(result, n.dtype());
  }
  n.YieldTuple({result});
}

// What a pooling took, back at the place it came from; places are counted over all spatial axes.
void LowerMaxUnpool(NodeLowering& n, int axes) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self"), index = n.TensorAt(1, "indices");
  const Dims& out = n.dims();
  if (b.failed() || Rank(x) <= axes || out.size() != x.view.dims.size()) return;
  const auto flat = [&](const Dims& dims) {
    Dims joined(dims.begin(), dims.end() - axes);
    joined.push_back(ElementCount(Dims(dims.end() - axes, dims.end())));
    return joined;
  };
  const Dims from = flat(x.view.dims), to = flat(out);
  const Tensor result =
      ScatteredElements(n, Builder::Number(0, n.dtype(), to), static_cast<int>(to.size()) - 1,
                        b.ReshapeTo(index, from), b.ReshapeTo(x, from), Mode::kSet, true);
  n.Yield(b.ReshapeTo(result, out));
}

void LowerElementScatter(NodeLowering& n) {
  const Tensor x = n.TensorAt(0, "self"), index = n.TensorAt(2, "index");
  const bool by_value = n.Has(3, "value") && absl::StartsWith(n.overload(), "value");
  const Tensor source = n.TensorAt(3, by_value ? "value" : "src");
  const int axis = n.Axis(n.IntOr(1, "dim", 0), x.view.dims.size());
  std::optional<Mode> mode = n.op() == "aten.scatter_add" ? Mode::kSum : Mode::kSet;
  if (n.Has(4, "reduce")) mode = ModeNamed(n.TextOr(4, "reduce", ""));
  if (!mode.has_value()) {
    n.builder().Fail("the reduction is not known");
    return;
  }
  n.Yield(ScatteredElements(n, x, axis, index, source, *mode, n.BoolOr(5, "include_self", true)));
}

}  // namespace

bool LowerScatter(NodeLowering& n) {
  const absl::string_view op = n.op();
  if (op == "aten.index_put" || op == "aten._unsafe_index_put") {
    LowerIndexPut(n);
  } else if (op == "aten.scatter" || op == "aten.scatter_add" || op == "aten.scatter_reduce") {
    LowerElementScatter(n);
  } else if (op == "aten.index_add") {
    LowerIndexedSlices(n, Mode::kSum);
  } else if (op == "aten.index_copy" || op == "aten.index_fill") {
    LowerIndexedSlices(n, Mode::kSet);
  } else if (op == "aten.index_reduce") {
    const std::optional<Mode> mode = ModeNamed(n.TextOr(4, "reduce", ""));
    if (!mode.has_value()) n.builder().Fail("the reduction is not known");
    LowerIndexedSlices(n, mode.value_or(Mode::kSum));
  } else if (op == "aten.masked_scatter") {
    LowerMaskedScatter(n);
  } else if (op == "aten._embedding_bag" || op == "aten._embedding_bag_forward_only") {
    LowerEmbeddingBag(n);
  } else if (op == "aten.max_unpool2d" || op == "aten.max_unpool3d") {
    LowerMaxUnpool(n, op == "aten.max_unpool2d" ? 2 : 3);
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
