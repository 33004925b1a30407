// Padding, tensors written into others, and views that step backwards or overlap.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

int Rank(const Tensor& x) { return static_cast<int>(x.view.dims.size()); }

// The part of a buffer that starts at `start` and has the shape `dims`.
Tensor Part(const Tensor& buffer, const Dims& start, const Dims& dims) {
  Tensor part = buffer;
  for (size_t k = 0; k < dims.size(); ++k) part.view.offset += start[k] * buffer.view.strides[k];
  part.view.dims = dims;
  return part;
}

}  // namespace

Tensor Padded(Builder& b, const Tensor& x, const Dims& before, const Dims& after, double value) {
  Dims size = x.view.dims;
  for (size_t k = 0; k < size.size(); ++k) size[k] += before[k] + after[k];
  if (b.failed() || size == x.view.dims) return x;
  const Tensor buffer = b.Buffer(size, x.dtype);
  b.Fill(Part(buffer, before, x.view.dims), x);
  // Margins: along the first axis over everything, along the next within what lies between those, and so on.
  Dims from(size.size(), 0);
  for (size_t k = 0; k < from.size(); ++k) {
    for (const bool front : {true, false}) {
      Dims margin_from = from, margin = size;
      margin_from[k] = front ? 0 : before[k] + x.view.dims[k];
      margin[k] = front ? before[k] : after[k];
      if (margin[k] > 0) {
        b.Named("margin");
        b.Fill(Part(buffer, margin_from, margin), Builder::Number(value, x.dtype, margin));
      }
    }
    from[k] = before[k];
    size[k] = x.view.dims[k];
  }
  return buffer;
}

namespace {

// The numbers in the list are pairs (before, after), last axis first; negative ones cut.
void LowerConstantPad(NodeLowering& n) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "self");
  const std::vector<int64_t> pads = n.IntsAt(1, "pad");
  const double value = n.NumberOr(2, "value", 0);
  if (pads.size() % 2 != 0 || pads.size() / 2 > x.view.dims.size()) {
    b.Fail("the padding doesn't fit the tensor");
    return;
  }
  Dims before(x.view.dims.size(), 0), after(x.view.dims.size(), 0);
  for (size_t i = 0; i < pads.size() / 2; ++i) {
    const int axis = Rank(x) - 1 - static_cast<int>(i);
    const int64_t cut_front = std::max<int64_t>(-pads[2 * i], 0),
                  cut_back = std::max<int64_t>(-pads[2 * i + 1], 0);
    const int64_t kept = x.view.dims[axis] - cut_front - cut_back;
    if (kept < 1) {
      b.Fail("padding that cuts a whole axis is not supported");
      return;
    }
    x = b.Slice(x, axis, cut_front, 1, kept);
    before[axis] = std::max<int64_t>(pads[2 * i], 0);
    after[axis] = std::max<int64_t>(pads[2 * i + 1], 0);
    if (before[axis] + kept + after[axis] != n.dims()[axis]) {
      b.Fail("the padding doesn't give the stated shape");
      return;
    }
  }
  n.Yield(b.Cast(Padded(b, x, before, after, value), n.dtype()));
}

// x with `source` in place of elements start..end-1 of an axis.
Tensor Replaced(NodeLowering& n, const Tensor& x, const Tensor& source, int axis, int64_t start) {
  Builder& b = n.builder();
  const int64_t size = x.view.dims[axis], count = source.view.dims[axis];
  if (start < 0 || start + count > size) {
    b.Fail("what is written lies outside the tensor");
    return x;
  }
  std::vector<Tensor> pieces;
  if (start > 0) pieces.push_back(b.Slice(x, axis, 0, 1, start));
  pieces.push_back(source);
  if (start + count < size) pieces.push_back(b.Slice(x, axis, start + count, 1, size - start - count));
  return pieces.size() == 1 ? b.Cast(source, n.dtype()) : b.Concat(pieces, axis, n.dtype());
}

// x with `source` in every `step`-th place of an axis from `start` on: x cut into groups of `step`, each with
// one element replaced.
Tensor ReplacedInSteps(NodeLowering& n, const Tensor& x, const Tensor& source, int axis, int64_t start,
                       int64_t step) {
  Builder& b = n.builder();
  const int64_t size = x.view.dims[axis], count = source.view.dims[axis];
  if (start < 0 || step < 1 || count > (size - start + step - 1) / step) {
    b.Fail("what is written lies outside the tensor");
    return x;
  }
  const Tensor buffer = b.Buffer(x.view.dims, n.dtype());
  const auto copy = [&](int64_t from, int64_t stride, int64_t elements, const Tensor& data) {
    if (elements > 0) b.Fill(b.Slice(buffer, axis, from, stride, elements), data);
  };
  copy(0, 1, start, b.Slice(x, axis, 0, 1, start));
  copy(start, step, count, source);
  const int64_t end = start + (count - 1) * step + 1;
  for (int64_t k = 1; k < step; ++k) {
    copy(start + k, step, count - 1, b.Slice(x, axis, start + k, step, count - 1));
  }
  copy(end, 1, size - end, b.Slice(x, axis, end, 1, size - end));
  return buffer;
}

// More steps are more statements than any kernel has.
constexpr int64_t kMaxStep = 64;

void LowerScatterIntoSlice(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  Tensor source = n.TensorAt(1, "src");
  const bool selects = n.op() == "aten.select_scatter";
  const int axis = n.Axis(n.IntOr(2, "dim", 0), x.view.dims.size());
  if (b.failed() || Rank(x) == 0) return;
  const int64_t size = x.view.dims[axis], step = selects ? 1 : n.IntOr(5, "step", 1);
  int64_t start = n.IntOr(3, selects ? "index" : "start", 0);
  if (start < 0) start += size;
  if (selects) source = b.InsertAxis(source, axis);
  start = std::clamp<int64_t>(start, 0, size);
  if (step > kMaxStep) {
    b.Fail(absl::StrCat("writing to every ", step, "th element is not supported"));
  } else if (Rank(source) == Rank(x)) {
    n.Yield(step == 1 || source.view.dims[axis] == 1 ? Replaced(n, x, source, axis, start)
                                                     : ReplacedInSteps(n, x, source, axis, start, step));
  }
}

// Any strides over the elements of a tensor that lies row-major.
void LowerAsStrided(NodeLowering& n) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "self");
  const Dims size = n.IntsAt(1, "size"), strides = n.IntsAt(2, "stride");
  const int64_t offset = n.IntOr(3, "storage_offset", 0);
  if (b.failed()) return;
  int64_t last = offset;
  bool sound = size.size() == strides.size() && size == n.dims() && offset >= 0;
  const int64_t elements = ElementCount(x.view.dims);
  for (size_t k = 0; sound && k < size.size(); ++k) {
    sound = strides[k] >= 0 && (size[k] == 1 || strides[k] < elements);
    last += (size[k] - 1) * strides[k];
    sound = sound && last < elements;
  }
  const bool whole = x.immediate.has_value() || (IsContiguous(x.view) && x.view.offset == 0 &&
                                                 elements == ElementCount(b.program().values[x.value].dims));
  if (!sound || !whole) {
    b.Fail(sound ? "strides over a tensor that is a view itself are not supported"
                 : "the strides leave the tensor");
    return;
  }
  if (x.immediate.has_value()) {
    n.Yield(Builder::Number(*x.immediate, x.dtype, size));
    return;
  }
  x.view = {offset, size, strides};
  n.Yield(x);
}

// x with `source` on a diagonal: where row and column differ by the offset, the source, spread over both.
void LowerScatterIntoDiagonal(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self"), source = n.TensorAt(1, "src");
  const int64_t offset = n.IntOr(2, "offset", 0);
  const int rank = Rank(x);
  const int row = n.Axis(n.IntOr(3, "dim1", 0), x.view.dims.size());
  const int column = n.Axis(n.IntOr(4, "dim2", 1), x.view.dims.size());
  if (b.failed() || rank < 2 || row == column || Rank(source) != rank - 1) {
    b.Fail("the diagonal's axes don't fit the tensor");
    return;
  }
  // The source's last axis counts along the diagonal; it is brought to the rows, and padded to all of them.
  const int64_t down = std::max<int64_t>(-offset, 0), count = source.view.dims.back();
  Tensor spread = source;
  std::vector<int> order;
  for (int k = 0, other = 0; k < rank; ++k) {
    if (k != column) order.push_back(k == row ? rank - 2 : other++);
  }
  spread = b.Permute(spread, order);
  const int at = row < column ? row : row - 1;
  Dims before(spread.view.dims.size(), 0), after = before;
  before[at] = down;
  after[at] = x.view.dims[row] - down - count;
  if (after[at] < 0) {
    b.Fail("the diagonal's source doesn't fit the tensor");
    return;
  }
  spread = b.InsertAxis(Padded(b, spread, before, after, 0), column);
  const auto positions = [&](int axis) {
    Dims along(static_cast<size_t>(rank), 1);
    along[axis] = x.view.dims[axis];
    return b.ReshapeTo(b.Positions(x.view.dims[axis]), along);
  };
  const Tensor distance =
      b.Named("distance").Binary(Fn::kSubtract, positions(column), positions(row), DType::kInt32);
  const Tensor on_diagonal =
      b.Named("on_diagonal").Binary(Fn::kEqual, distance, static_cast<double>(offset), DType::kBool);
  n.Yield(b.Select(on_diagonal, spread, x, n.dtype()));
}

Tensor Flipped(NodeLowering& n) {
  Tensor x = n.TensorAt(0, "self");
  for (int64_t dim : n.IntsAt(1, "dims")) {
    if (Rank(x) == 0) break;
    const int axis = n.Axis(dim, x.view.dims.size());
    if (x.view.dims[axis] == 1) continue;
    if (std::optional<Tensor> reversed = n.builder().ReversedScan(x, axis)) {
      x = *std::move(reversed);
      continue;
    }
    x.view.offset += (x.view.dims[axis] - 1) * x.view.strides[axis];
    x.view.strides[axis] = -x.view.strides[axis];
  }
  return x;
}

// Windows of `size` along an axis, every `step` elements, as a last axis.
void LowerUnfold(NodeLowering& n) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "self");
  const int axis = n.Axis(n.IntOr(1, "dimension", 0), x.view.dims.size());
  const int64_t size = n.IntOr(2, "size", 1), step = n.IntOr(3, "step", 1);
  if (Rank(x) == 0 || size < 1 || step < 1 || size > x.view.dims[axis]) {
    b.Fail("the windows don't fit the axis");
    return;
  }
  x.view.dims[axis] = (x.view.dims[axis] - size) / step + 1;
  x.view.dims.push_back(size);
  x.view.strides.push_back(x.view.strides[axis]);
  x.view.strides[axis] *= step;
  n.Yield(x);
}

void LowerDiagonal(NodeLowering& n) {
  Builder& b = n.builder();
  Tensor x = n.TensorAt(0, "self");
  const int64_t offset = n.IntOr(1, "offset", 0);
  const int row = n.Axis(n.IntOr(2, "dim1", 0), x.view.dims.size());
  const int column = n.Axis(n.IntOr(3, "dim2", 1), x.view.dims.size());
  if (b.failed() || Rank(x) < 2 || row == column || n.dims().empty()) {
    b.Fail("the diagonal's axes don't fit the tensor");
    return;
  }
  const int64_t row_stride = x.view.strides[row], column_stride = x.view.strides[column];
  const int64_t down = std::max<int64_t>(-offset, 0), right = std::max<int64_t>(offset, 0);
  const int64_t count = std::min(x.view.dims[row] - down, x.view.dims[column] - right);
  if (count < 1) {
    b.Fail("the diagonal is empty");
    return;
  }
  x.view.offset += down * row_stride + right * column_stride;
  x = b.DropAxis(b.DropAxis(x, std::max(row, column)), std::min(row, column));
  x.view.dims.push_back(count);
  x.view.strides.push_back(row_stride + column_stride);
  n.Yield(x);
}

}  // namespace

bool LowerPad(NodeLowering& n) {
  const absl::string_view op = n.op();
  Builder& b = n.builder();
  if (op == "aten.constant_pad_nd") {
    LowerConstantPad(n);
  } else if (op == "aten.slice_scatter" || op == "aten.select_scatter") {
    LowerScatterIntoSlice(n);
  } else if (op == "aten.diagonal_scatter") {
    LowerScatterIntoDiagonal(n);
  } else if (op == "aten.as_strided") {
    LowerAsStrided(n);
  } else if (op == "aten.flip") {
    n.Yield(Flipped(n));
  } else if (op == "aten.unfold") {
    LowerUnfold(n);
  } else if (op == "aten.diagonal") {
    LowerDiagonal(n);
  } else if (op == "aten.copy") {
    n.Yield(b.ExpandTo(b.Cast(n.TensorAt(1, "src"), n.dtype()), n.dims()));
  } else if (op == "aten.empty") {
    n.Yield(Builder::Number(0, n.dtype(), n.dims()));
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
