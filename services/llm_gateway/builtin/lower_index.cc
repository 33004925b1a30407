// Elements chosen by index: along one axis or several, by known indices (which become views) or by tensors of
// them (which become gathers of rows).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/indexing.h"
#include "services/llm_gateway/builtin/known.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

// Runs of evenly stepping indices that are copied one by one; beyond it rows are gathered.
constexpr size_t kMaxRuns = 24;
// Row numbers are computed in float32 on the Vector engine, exactly up to here.
constexpr int64_t kMaxRows = int64_t{1} << 24;

int Rank(const Tensor& x) { return static_cast<int>(x.view.dims.size()); }

// Axis `axis` of x replaced by axes that step through it as `steps` says.
Tensor Stepped(const Tensor& x, int axis, const StridedView& steps) {
  Tensor y = x;
  const int64_t stride = x.view.strides[axis];
  y.view.offset += steps.offset * stride;
  y.view.dims.erase(y.view.dims.begin() + axis);
  y.view.strides.erase(y.view.strides.begin() + axis);
  for (size_t k = 0; k < steps.dims.size(); ++k) {
    y.view.dims.insert(y.view.dims.begin() + axis + static_cast<int>(k), steps.dims[k]);
    y.view.strides.insert(y.view.strides.begin() + axis + static_cast<int>(k), steps.strides[k] * stride);
  }
  return y;
}

// The same along one axis for known indices that step unevenly: in blocks (0 0 1 1 2 2), or in few runs.
std::optional<Tensor> InRuns(Builder& b, const Tensor& x, int axis, const std::vector<double>& indices) {
  const int64_t count = static_cast<int64_t>(indices.size());
  for (int64_t inner = 2; inner <= count / 2; ++inner) {
    if (count % inner != 0) continue;
    const std::optional<StridedView> steps = EvenSteps(indices, {count / inner, inner});
    if (!steps.has_value()) continue;
    Dims dims = x.view.dims;
    dims[axis] = count;
    return b.ReshapeTo(Stepped(x, axis, *steps), dims);
  }
  std::vector<Tensor> runs;
  for (size_t start = 0; start < indices.size();) {
    size_t end = start + 1;
    const double step = end < indices.size() ? indices[end] - indices[start] : 0;
    while (end < indices.size() && indices[end] - indices[end - 1] == step) ++end;
    // Two neighbours step evenly by chance; the second may start a longer run.
    if (end - start == 2 && end < indices.size() && std::fabs(step) > 1) end = start + 1;
    if (runs.size() == kMaxRuns) return std::nullopt;
    const std::vector<double> run(indices.begin() + static_cast<ptrdiff_t>(start),
                                  indices.begin() + static_cast<ptrdiff_t>(end));
    runs.push_back(Stepped(x, axis, *EvenSteps(run, {static_cast<int64_t>(run.size())})));
    start = end;
  }
  return b.Concat(runs, axis, x.dtype);
}

// By a tensor of indices: rows of (everything before the axis, the axis) are gathered.
Tensor Gathered(Builder& b, const Tensor& x, int axis, const Tensor& index) {
  Dims before(x.view.dims.begin(), x.view.dims.begin() + axis);
  Dims dims = before;
  dims.insert(dims.end(), index.view.dims.begin(), index.view.dims.end());
  dims.insert(dims.end(), x.view.dims.begin() + axis + 1, x.view.dims.end());
  const int64_t outer = ElementCount(before), size = x.view.dims[axis];
  const int64_t count = ElementCount(index.view.dims);
  const int64_t inner = ElementCount(x.view.dims) / std::max<int64_t>(outer * size, 1);
  if (size == 1) {  // every index is 0
    Tensor only = b.DropAxis(x, axis);
    for (size_t k = 0; k < index.view.dims.size(); ++k) only = b.InsertAxis(only, axis);
    return b.ExpandTo(only, dims);
  }
  if (outer * size > kMaxRows) {
    b.Fail(absl::StrCat("a gather from more than ", kMaxRows, " rows is not supported"));
    return x;
  }
  Tensor rows = b.ReshapeTo(index, {count});
  if (outer > 1) {
    const Tensor first =
        b.Named("first_row")
            .Binary(Fn::kMultiply, b.Positions(outer), static_cast<double>(size), DType::kInt32);
    b.Named("row");
    rows = b.ReshapeTo(
        b.Binary(Fn::kAdd, b.ReshapeTo(first, {outer, 1}), b.ReshapeTo(rows, {1, count}), DType::kInt32),
        {outer * count});
  }
  const Tensor table = b.ReshapeTo(x, {outer * size, inner});
  return b.ReshapeTo(b.Gather(table, b.Cast(rows, DType::kInt32)), dims);
}

}  // namespace

Tensor Wrapped(Builder& b, const Tensor& index, int64_t size) {
  const Tensor negative = b.Named("is_negative").Binary(Fn::kLess, index, 0.0, DType::kBool);
  const Tensor shifted =
      b.Named("from_end").Binary(Fn::kAdd, index, static_cast<double>(size), DType::kInt32);
  return b.Named("index").Select(negative, shifted, index, DType::kInt32);
}

Tensor Indexed(Builder& b, const Tensor& x, int axis, const Tensor& index, bool wraps) {
  if (b.failed()) return x;
  const double size = static_cast<double>(x.view.dims[axis]);
  if (std::optional<std::vector<double>> known = KnownContents(b.program(), index)) {
    for (double& i : *known) {
      if (wraps && i < 0) i += size;
      if (!(i >= 0 && i < size && i == std::floor(i))) {
        b.Fail(absl::StrCat("index ", i, " is outside an axis of ", size));
        return x;
      }
    }
    if (const std::optional<StridedView> steps = EvenSteps(*known, index.view.dims))
      return Stepped(x, axis, *steps);
    if (Rank(index) == 1) {
      if (std::optional<Tensor> runs = InRuns(b, x, axis, *known)) return *std::move(runs);
    }
    return Gathered(b, x, axis, index);
  }
  return Gathered(b, x, axis, wraps ? Wrapped(b, index, x.view.dims[axis]) : index);
}

namespace {}  // namespace

std::vector<std::optional<Tensor>> IndicesPerAxis(NodeLowering& n, size_t rank) {
  Builder& b = n.builder();
  std::vector<std::optional<Tensor>> indices(rank);
  const Arg* arg = n.Find(1, "indices");
  const auto* list = arg == nullptr ? nullptr : std::get_if<std::vector<Arg>>(&arg->value);
  if (list == nullptr || list->size() > rank) {
    b.Fail("the list of indices doesn't fit the tensor");
    return indices;
  }
  for (size_t axis = 0; axis < list->size(); ++axis) {
    if (!(*list)[axis].IsNone()) indices[axis] = n.TensorOf((*list)[axis], "indices");
  }
  return indices;
}

std::optional<MergedIndex> Merged(Builder& b, const Tensor& x,
                                  const std::vector<std::optional<Tensor>>& indices) {
  std::vector<int> indexed, others;
  for (int axis = 0; axis < Rank(x); ++axis) {
    (indices[axis].has_value() ? indexed : others).push_back(axis);
    if (indices[axis].has_value() &&
        (indices[axis]->dtype == DType::kBool || indices[axis]->dtype == DType::kUInt8)) {
      b.Fail("a mask among the indices picks as many elements as the data says");
    }
  }
  if (b.failed() || indexed.empty()) return std::nullopt;
  MergedIndex merged;
  merged.first = indexed.front();
  merged.count = static_cast<int>(indexed.size());
  for (int axis = 0; axis < Rank(x); ++axis) merged.order.push_back(axis);
  if (indexed.back() - indexed.front() + 1 != merged.count) {
    merged.order = indexed;
    merged.order.insert(merged.order.end(), others.begin(), others.end());
    merged.first = 0;
  }
  if (indexed.size() == 1) {
    merged.size = x.view.dims[indexed[0]];
    merged.index = *indices[indexed[0]];
    return merged;
  }
  merged.wraps = false;
  for (size_t k = 0; k < indexed.size(); ++k) {
    Tensor index = *indices[indexed[k]];
    const int64_t extent = x.view.dims[indexed[k]];
    merged.size *= extent;
    const std::optional<std::vector<double>> known = KnownContents(b.program(), index);
    const bool counts_up =
        known.has_value() && std::none_of(known->begin(), known->end(), [](double i) { return i < 0; });
    if (!counts_up) index = Wrapped(b, index, extent);
    if (k == 0) {
      merged.index = index;
      continue;
    }
    b.Named("scaled_index");
    merged.index = b.Binary(Fn::kMultiply, merged.index, static_cast<double>(extent), DType::kInt32);
    b.Named("combined_index");
    merged.index = b.Binary(Fn::kAdd, merged.index, index, DType::kInt32);
  }
  return merged;
}

namespace {

// x[:, i, :, j]: axes with an index tensor each, which become one axis with one.
void LowerIndex(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  const std::optional<MergedIndex> merged = Merged(b, x, IndicesPerAxis(n, x.view.dims.size()));
  if (!merged.has_value()) return;
  const Tensor y = b.Permute(x, merged->order);
  Dims dims(y.view.dims.begin(), y.view.dims.begin() + merged->first);
  dims.push_back(merged->size);
  dims.insert(dims.end(), y.view.dims.begin() + merged->first + merged->count, y.view.dims.end());
  n.Yield(Indexed(b, b.ReshapeTo(y, dims), merged->first, merged->index, merged->wraps));
}

// out[i, j] = x[i, index[i, j]]: every element is a row of one.
void LowerElementGather(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self"), index = n.TensorAt(2, "index");
  const size_t rank = x.view.dims.size();
  if (b.failed() || rank == 0 || index.view.dims.size() != rank) {
    b.Fail("a gather takes a tensor and an index of one rank");
    return;
  }
  const int axis = n.Axis(n.IntOr(1, "dim", 0), rank);
  const Dims strides = ContiguousStrides(x.view.dims);
  if (ElementCount(x.view.dims) > kMaxRows) {
    b.Fail(absl::StrCat("a gather from more than ", kMaxRows, " elements is not supported"));
    return;
  }
  // Where the row of each index starts; the numbers themselves step along the axis.
  Tensor first = b.Positions(ElementCount(x.view.dims));
  first.view = {0, index.view.dims, strides};
  first.view.strides[axis] = 0;
  const Tensor table = b.ReshapeTo(x, {ElementCount(x.view.dims), 1});
  const Tensor numbers = b.Cast(index, DType::kInt32);
  const Tensor picked = b.Gather(table, numbers, static_cast<double>(strides[axis]), &first);
  n.Yield(b.ReshapeTo(picked, index.view.dims));
}

}  // namespace

bool LowerIndexing(NodeLowering& n) {
  const absl::string_view op = n.op();
  Builder& b = n.builder();
  if (op == "aten.index" || op == "aten._unsafe_index") {
    LowerIndex(n);
  } else if (op == "aten.index_select") {
    const Tensor x = n.TensorAt(0, "self");
    const int axis = n.Axis(n.IntOr(1, "dim", 0), x.view.dims.size());
    if (Rank(x) == 0) b.Fail("a tensor of rank 0 has no axis to index");
    n.Yield(Indexed(b, x, axis, n.TensorAt(2, "index"), /*wraps=*/false));
  } else if (op == "aten.embedding") {
    const Tensor table = n.TensorAt(0, "weight"), index = n.TensorAt(1, "indices");
    if (Rank(table) != 2) b.Fail("an embedding takes a table of rank 2");
    n.Yield(Indexed(b, table, 0, index, /*wraps=*/false));
  } else if (op == "aten.gather") {
    LowerElementGather(n);
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
