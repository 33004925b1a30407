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
  Dims start(x.view.dims.size(), 0), after(x.view.dims.size(), 0);
  bool padded = false;
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
    start[axis] = std::max<int64_t>(pads[2 * i], 0);
    after[axis] = std::max<int64_t>(pads[2 * i + 1], 0);
    padded |= start[axis] + after[axis] > 0;
  }
  if (!padded) {
    n.Yield(b.Cast(x, n.dtype()));
    return;
  }
  const Tensor buffer = b.Buffer(n.dims(), n.dtype());
  if (b.failed()) return;
  for (size_t k = 0; k < start.size(); ++k) {
    if (start[k] + x.view.dims[k] + after[k] != n.dims()[k]) {
      b.Fail("the padding doesn't give the stated shape");
      return;
    }
  }
  b.Fill(Part(buffer, start, x.view.dims), x);
  // Margins: along the first axis over everything, along the next within what lies between those, and so on.
  Dims from(start.size(), 0), size = n.dims();
  for (size_t k = 0; k < start.size(); ++k) {
    for (const bool front : {true, false}) {
      Dims margin_from = from, margin = size;
      margin_from[k] = front ? 0 : start[k] + x.view.dims[k];
      margin[k] = front ? start[k] : after[k];
      if (margin[k] > 0) {
        b.Named("margin");
        b.Fill(Part(buffer, margin_from, margin), Builder::Number(value, n.dtype(), margin));
      }
    }
    from[k] = start[k];
    size[k] = x.view.dims[k];
  }
  n.Yield(buffer);
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

void LowerScatterIntoSlice(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor x = n.TensorAt(0, "self");
  Tensor source = n.TensorAt(1, "src");
  const int axis = n.Axis(n.IntOr(2, "dim", 0), x.view.dims.size());
  if (b.failed() || Rank(x) == 0) return;
  const int64_t size = x.view.dims[axis];
  int64_t start = n.IntOr(3, n.op() == "aten.select_scatter" ? "index" : "start", 0);
  if (start < 0) start += size;
  if (n.op() == "aten.select_scatter") {
    source = b.InsertAxis(source, axis);
  } else if (n.IntOr(5, "step", 1) != 1) {
    b.Fail("writing to every other element is not supported");
    return;
  }
  start = std::clamp<int64_t>(start, 0, size);
  if (Rank(source) == Rank(x)) n.Yield(Replaced(n, x, source, axis, start));
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
