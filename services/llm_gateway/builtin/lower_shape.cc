// Operations that move, cut and join tensors without computing: nearly all become views.
#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

// More pieces than this would be more stages than any kernel has.
constexpr int64_t kMaxPieces = 1024;

int Rank(const Tensor& x) { return static_cast<int>(x.view.dims.size()); }

Tensor Permuted(NodeLowering& n) {
  const Tensor x = n.TensorAt(0, "self");
  const int rank = Rank(x);
  std::vector<int> order(rank);
  for (int i = 0; i < rank; ++i) order[i] = i;
  if (n.op() == "aten.permute") {
    const std::vector<int64_t> axes = n.IntsAt(1, "dims");
    if (static_cast<int>(axes.size()) != rank) {
      n.builder().Fail("the permutation's length differs from the rank");
      return x;
    }
    for (int i = 0; i < rank; ++i) order[i] = n.Axis(axes[i], rank);
    std::vector<int> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    for (int i = 0; i < rank; ++i) {
      if (sorted[i] != i) {
        n.builder().Fail("the permutation names an axis twice");
        return x;
      }
    }
  } else if (rank >= 2) {
    const int a = n.op() == "aten.t" ? 0 : n.Axis(n.IntOr(1, "dim0", 0), rank);
    const int c = n.op() == "aten.t" ? 1 : n.Axis(n.IntOr(2, "dim1", 0), rank);
    std::swap(order[a], order[c]);
  }
  return n.builder().Permute(x, order);
}

Tensor Sliced(NodeLowering& n) {
  const Tensor x = n.TensorAt(0, "self");
  if (Rank(x) == 0) {
    n.builder().Fail("a tensor of rank 0 has no axis to slice");
    return x;
  }
  const int axis = n.Axis(n.IntOr(1, "dim", 0), Rank(x));
  const int64_t size = x.view.dims[axis];
  int64_t start = n.IntOr(2, "start", 0), end = n.IntOr(3, "end", size);
  const int64_t step = n.IntOr(4, "step", 1);
  if (start < 0) start += size;
  if (end < 0) end += size;
  start = std::clamp<int64_t>(start, 0, size);
  end = std::clamp<int64_t>(end, start, size);
  if (step < 1) {
    n.builder().Fail(absl::StrCat("slice step ", step, " is not positive"));
    return x;
  }
  return n.builder().Slice(x, axis, start, step, (end - start + step - 1) / step);
}

Tensor Selected(NodeLowering& n) {
  const Tensor x = n.TensorAt(0, "self");
  const int axis = n.Axis(n.IntOr(1, "dim", 0), x.view.dims.size());
  if (Rank(x) == 0) return x;
  int64_t index = n.IntOr(2, "index", 0);
  const int64_t size = x.view.dims[axis];
  if (index < 0) index += size;
  if (index < 0 || index >= size) {
    n.builder().Fail(absl::StrCat("index ", index, " is outside an axis of ", size));
    return x;
  }
  return n.builder().DropAxis(n.builder().Slice(x, axis, index, 1, 1), axis);
}

Tensor Squeezed(NodeLowering& n) {
  Tensor x = n.TensorAt(0, "self");
  std::vector<bool> drop(Rank(x), n.op() == "aten.squeeze" && n.overload() == "default");
  for (int64_t axis : n.IntsAt(1, "dim")) {
    if (Rank(x) > 0) drop[n.Axis(axis, Rank(x))] = true;
  }
  for (int i = Rank(x) - 1; i >= 0; --i) {
    if (drop[i] && x.view.dims[i] == 1) x = n.builder().DropAxis(x, i);
  }
  return x;
}

// Cuts `axis` into pieces of the given sizes.
std::vector<Tensor> Cut(NodeLowering& n, const Tensor& x, int axis, const std::vector<int64_t>& sizes) {
  std::vector<Tensor> pieces;
  int64_t start = 0;
  for (int64_t size : sizes) {
    if (size < 0 || size > x.view.dims[axis] - start) {
      n.builder().Fail("the pieces of a split exceed the axis");
      return pieces;
    }
    pieces.push_back(n.builder().Slice(x, axis, start, 1, size));
    start += size;
  }
  return pieces;
}

std::vector<Tensor> Split(NodeLowering& n) {
  const Tensor x = n.TensorAt(0, "self");
  const int axis = n.Axis(n.IntOr(2, "dim", 0), x.view.dims.size());
  if (Rank(x) == 0) return {x};
  std::vector<int64_t> sizes = n.IntsAt(1, "split_size");
  const Arg* arg = n.Find(1, "split_size");
  if (arg != nullptr && std::holds_alternative<int64_t>(arg->value)) {
    const int64_t size = sizes.front(), total = x.view.dims[axis];
    sizes.clear();
    if (size < 1) {
      n.builder().Fail(absl::StrCat("split size ", size, " is not positive"));
      return {x};
    }
    if (total / size >= kMaxPieces) {
      n.builder().Fail(absl::StrCat("a split into more than ", kMaxPieces, " pieces is not supported"));
      return {x};
    }
    for (int64_t start = 0; start < total; start += size) sizes.push_back(std::min(size, total - start));
  }
  return Cut(n, x, axis, sizes);
}

// Pieces along `axis`, with that axis taken away.
std::vector<Tensor> Unbind(NodeLowering& n) {
  const Tensor x = n.TensorAt(0, "self");
  const int axis = n.Axis(n.IntOr(1, "dim", 0), x.view.dims.size());
  if (Rank(x) == 0) return {x};
  if (x.view.dims[axis] > kMaxPieces) {
    n.builder().Fail(absl::StrCat("a split into more than ", kMaxPieces, " pieces is not supported"));
    return {x};
  }
  std::vector<Tensor> pieces = Cut(n, x, axis, std::vector<int64_t>(x.view.dims[axis], 1));
  for (Tensor& piece : pieces) piece = n.builder().DropAxis(piece, axis);
  return pieces;
}

Tensor Joined(NodeLowering& n, bool stack) {
  std::vector<Tensor> pieces = n.TensorsAt(0, "tensors");
  if (pieces.empty() || n.builder().failed()) return Builder::Number(0, n.dtype(), n.dims());
  if (!stack && pieces.front().view.dims.empty()) {
    n.builder().Fail("tensors of rank 0 can't be joined");
    return pieces.front();
  }
  const int axis = n.Axis(n.IntOr(1, "dim", 0), pieces.front().view.dims.size() + (stack ? 1 : 0));
  for (Tensor& piece : pieces) {
    if (stack) piece = n.builder().InsertAxis(piece, axis);
    Dims others = piece.view.dims, expected = pieces.front().view.dims;
    if (others.size() != expected.size()) {
      n.builder().Fail("the joined tensors differ in rank");
      return piece;
    }
    others[axis] = expected[axis] = 1;
    if (others != expected) {
      n.builder().Fail("the joined tensors differ outside the joined axis");
      return piece;
    }
  }
  return n.builder().Concat(pieces, axis, n.dtype());
}

Tensor Expanded(NodeLowering& n) {
  const Tensor x = n.TensorAt(0, "self");
  Dims dims = n.IntsAt(1, "size");
  const size_t rank = x.view.dims.size();
  for (size_t i = 0; i < dims.size() && i < rank; ++i) {
    int64_t& size = dims[dims.size() - 1 - i];
    if (size == -1) size = x.view.dims[rank - 1 - i];
  }
  return n.builder().ExpandTo(x, dims);
}

Tensor Repeated(NodeLowering& n) {
  Tensor x = n.TensorAt(0, "self");
  const Dims times = n.IntsAt(1, "repeats");
  Dims wide, flat;
  // Each axis gets an axis of repetitions in front of it, which then merges with it.
  const size_t lead = times.size() < x.view.dims.size() ? 0 : times.size() - x.view.dims.size();
  for (size_t i = 0; i < lead; ++i) x = n.builder().InsertAxis(x, 0);
  for (size_t i = times.size(); i-- > 0;) {
    if (i < x.view.dims.size()) x = n.builder().InsertAxis(x, static_cast<int>(i));
  }
  for (size_t i = 0; i < times.size(); ++i) {
    const int64_t size = 2 * i + 1 < x.view.dims.size() ? x.view.dims[2 * i + 1] : 1;
    if (times[i] < 1 || times[i] > INT32_MAX) {
      n.builder().Fail(absl::StrCat(times[i], " is no number of repeats"));
      return x;
    }
    wide.push_back(times[i]);
    wide.push_back(size);
    flat.push_back(times[i] * size);
  }
  return n.builder().ReshapeTo(n.builder().ExpandTo(x, wide), flat);
}

Tensor Converted(NodeLowering& n) {
  // The graph states the resulting type, so the dtype argument needs no reading.
  return n.builder().Cast(n.TensorAt(0, "self"), n.dtype());
}

}  // namespace

bool LowerShape(NodeLowering& n) {
  const absl::string_view op = n.op();
  Builder& b = n.builder();
  if (op == "aten.view" || op == "aten.reshape" || op == "aten._unsafe_view" || op == "aten.flatten") {
    n.Yield(b.ReshapeTo(n.TensorAt(0, "self"), n.dims()));
  } else if (op == "aten.permute" || op == "aten.t" || op == "aten.transpose") {
    n.Yield(Permuted(n));
  } else if (op == "aten.expand") {
    n.Yield(Expanded(n));
  } else if (op == "aten.repeat") {
    n.Yield(Repeated(n));
  } else if (op == "aten.unsqueeze") {
    const Tensor x = n.TensorAt(0, "self");
    n.Yield(b.InsertAxis(x, n.Axis(n.IntOr(1, "dim", 0), x.view.dims.size() + 1)));
  } else if (op == "aten.squeeze") {
    n.Yield(Squeezed(n));
  } else if (op == "aten.slice") {
    n.Yield(Sliced(n));
  } else if (op == "aten.select") {
    n.Yield(Selected(n));
  } else if (op == "aten.split" || op == "aten.split_with_sizes") {
    n.YieldTuple(Split(n));
  } else if (op == "aten.unbind") {
    n.YieldTuple(Unbind(n));
  } else if (op == "aten.cat" || op == "aten.stack") {
    n.Yield(Joined(n, op == "aten.stack"));
  } else if (op == "aten._to_copy" || op == "aten.clone" || op == "aten.alias" || op == "aten.detach" ||
             op == "aten.contiguous" || op == "aten.lift_fresh_copy") {
    n.Yield(Converted(n));
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
