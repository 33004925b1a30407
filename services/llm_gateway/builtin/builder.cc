#include "services/llm_gateway/builtin/builder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/builtin/fn_table.h"

namespace nkiagent::builtin {
namespace {

// Numbers are kept as the type would hold them where that matters for what they mean (integers, truth
// values).
double Held(double value, DType dtype) {
  if (dtype == DType::kBool) return value != 0 ? 1 : 0;
  return value;
}

// A tile of 128 rows with a contraction of this many float32 elements takes two thirds of SBUF. Longer ones
// are cut into parts.
constexpr int64_t kLongestContraction = 32768;

// How many parts a contraction is best cut into; 1 where nothing divides it.
int64_t ContractionParts(int64_t length) {
  for (int64_t parts = (length + kLongestContraction - 1) / kLongestContraction; parts <= 1024; ++parts) {
    if (length % parts == 0) return parts;
  }
  return 1;
}

// Beyond this a tensor isn't real, and products of its sizes might overflow.
constexpr int64_t kMaxElements = int64_t{1} << 40;

bool IsReal(const Dims& dims) {
  int64_t elements = 1;
  for (int64_t d : dims) {
    if (d < 1 || d > kMaxElements / elements) return false;
    elements *= d;
  }
  return true;
}

// An operation over `axis` of `x`, without its type.
Op Along(Fn fn, const Tensor& x, int axis) {
  Op op;
  op.fn = fn;
  op.operands = {x};
  op.dims = x.view.dims;
  op.reduced.assign(op.dims.size(), false);
  op.reduced[axis] = true;
  return op;
}

}  // namespace

void Builder::Fail(const std::string& message) {
  if (!status_.ok()) return;
  status_ =
      absl::UnimplementedError(origin_.empty() ? message : absl::StrCat("node '%", origin_, "': ", message));
}

Tensor Builder::Argument(std::string name, const TensorType& type) {
  program_.values.push_back({std::move(name), type.dtype, type.dims, /*is_argument=*/true});
  Tensor tensor;
  tensor.value = static_cast<int>(program_.values.size()) - 1;
  tensor.view = ContiguousView(type.dims);
  tensor.dtype = type.dtype;
  return tensor;
}

Tensor Builder::Number(double value, DType dtype, Dims dims) {
  Tensor tensor;
  tensor.immediate = Held(value, dtype);
  tensor.dtype = dtype;
  tensor.view.strides.assign(dims.size(), 0);
  tensor.view.dims = std::move(dims);
  return tensor;
}

Tensor Builder::Emit(Op op, const Dims& result_dims) {
  bool real = IsReal(op.dims);
  for (const Operand& operand : op.operands) real = real && IsReal(operand.view.dims);
  if (!real) {
    Fail("tensors without elements, or with too many, are not supported");
    return Number(0, op.dtype, result_dims);
  }
  op.origin = origin_;
  op.label = std::exchange(label_, "");
  op.destination = ContiguousView(result_dims);
  op.result = static_cast<int>(program_.values.size());
  Tensor tensor;
  tensor.value = op.result;
  tensor.view = ContiguousView(result_dims);
  tensor.dtype = op.dtype;
  program_.values.push_back({origin_.empty() ? "value" : origin_, op.dtype, result_dims});
  program_.ops.push_back(std::move(op));
  return tensor;
}

std::optional<Dims> Builder::Broadcast(const Dims& a, const Dims& b) {
  Dims dims(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t da = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t db = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (da != db && da != 1 && db != 1) {
      Fail(absl::StrCat("shapes [", absl::StrJoin(a, ", "), "] and [", absl::StrJoin(b, ", "),
                        "] don't broadcast"));
      return std::nullopt;
    }
    dims[dims.size() - 1 - i] = da == 1 ? db : da;
  }
  return dims;
}

Tensor Builder::Widen(const Tensor& x, const Dims& dims) {
  Tensor wide = x;
  std::optional<StridedView> view = BroadcastTo(x.view, dims);
  if (view.has_value()) {
    wide.view = *std::move(view);
  } else {
    Fail(absl::StrCat("[", absl::StrJoin(x.view.dims, ", "), "] doesn't broadcast to [",
                      absl::StrJoin(dims, ", "), "]"));
  }
  return wide;
}

Tensor Builder::Unary(Fn fn, const Tensor& x, DType dtype) {
  if (failed()) return x;
  if (x.immediate.has_value()) return Number(RowOf(fn).fold(*x.immediate, 0), dtype, x.view.dims);
  Op op;
  op.fn = fn;
  op.operands = {x};
  op.dims = x.view.dims;
  op.dtype = dtype;
  return Emit(std::move(op), x.view.dims);
}

Tensor Builder::Binary(Fn fn, const Tensor& x, const Tensor& y, DType dtype) {
  if (failed()) return x;
  const std::optional<Dims> dims = Broadcast(x.view.dims, y.view.dims);
  if (!dims.has_value()) return x;
  if (x.immediate.has_value() && y.immediate.has_value()) {
    return Number(RowOf(fn).fold(*x.immediate, *y.immediate), dtype, *dims);
  }
  if (IsFloat(dtype) && y.immediate.has_value() && (fn == Fn::kMultiply || fn == Fn::kDivide)) {
    if (*y.immediate == 1 && x.dtype == dtype && x.view.dims == *dims) return x;
    // Dividing by a power of two is multiplying by another, exactly.
    int exponent = 0;
    if (fn == Fn::kDivide && std::fabs(std::frexp(*y.immediate, &exponent)) == 0.5 &&
        std::abs(exponent) < 100)
      return Binary(Fn::kMultiply, x, Number(1 / *y.immediate, y.dtype, y.view.dims), dtype);
  }
  Op op;
  op.fn = fn;
  op.operands = {Widen(x, *dims), Widen(y, *dims)};
  op.dims = *dims;
  op.dtype = dtype;
  return Emit(std::move(op), *dims);
}

Tensor Builder::Select(const Tensor& condition, const Tensor& x, const Tensor& y, DType dtype) {
  if (failed()) return x;
  std::optional<Dims> dims = Broadcast(condition.view.dims, x.view.dims);
  if (dims.has_value()) dims = Broadcast(*dims, y.view.dims);
  if (!dims.has_value()) return x;
  if (condition.immediate.has_value()) {
    return ExpandTo(Cast(*condition.immediate != 0 ? x : y, dtype), *dims);
  }
  Op op;
  op.fn = Fn::kSelect;
  op.operands = {Widen(condition, *dims), Widen(x, *dims), Widen(y, *dims)};
  op.dims = *dims;
  op.dtype = dtype;
  return Emit(std::move(op), *dims);
}

Tensor Builder::Cast(const Tensor& x, DType dtype) {
  if (x.dtype == dtype) return x;
  const auto is_word = [](DType d) { return d == DType::kInt32 || d == DType::kInt64; };
  if (is_word(x.dtype) && is_word(dtype)) {  // on chip both are int32
    Tensor same = x;
    same.dtype = dtype;
    return same;
  }
  if (dtype == DType::kBool) return Binary(Fn::kNotEqual, x, 0.0, dtype);
  if (IsFloat(x.dtype) && !IsFloat(dtype)) return Unary(Fn::kTrunc, x, dtype);
  return Unary(Fn::kCopy, x, dtype);
}

Tensor Builder::Reduce(Fn fn, const Tensor& x, std::vector<bool> reduced, bool keep, DType dtype) {
  if (failed()) return x;
  Dims kept, kept_ones;
  int64_t extent = 1;
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (!reduced[i]) kept.push_back(x.view.dims[i]);
    if (reduced[i]) extent *= x.view.dims[i];
    kept_ones.push_back(reduced[i] ? 1 : x.view.dims[i]);
  }
  if (x.immediate.has_value()) {
    double value = *x.immediate;
    if (fn == Fn::kSum) value *= static_cast<double>(extent);
    if (fn == Fn::kProd) value = RowOf(Fn::kPower).fold(value, static_cast<double>(extent));
    return Number(value, dtype, keep ? kept_ones : kept);
  }
  Tensor result;
  if (extent == 1) {
    result = ReshapeTo(Cast(x, dtype), kept);
  } else {
    Op op;
    op.fn = fn;
    op.operands = {x};
    op.dims = x.view.dims;
    op.reduced = std::move(reduced);
    op.dtype = dtype;
    result = Emit(std::move(op), kept);
  }
  return keep ? ReshapeTo(result, kept_ones) : result;
}

Tensor Builder::Scan(Fn fn, const Tensor& x, int axis, DType dtype) {
  if (failed()) return x;
  Op op = Along(fn, x, axis);
  op.dtype = dtype;
  const Dims dims = op.dims;
  return dims[axis] == 1 ? Cast(x, dtype) : Emit(std::move(op), dims);
}

Tensor Builder::Top(Fn fn, const Tensor& x, int axis, Selection selection, DType dtype) {
  if (failed()) return x;
  Op op = Along(fn, x, axis);
  op.selection = selection;
  op.dtype = dtype;
  Dims dims = op.dims;
  dims.erase(dims.begin() + axis);
  dims.push_back(selection.count);
  const Tensor selected = Emit(std::move(op), dims);
  std::vector<int> order(dims.size());
  for (size_t i = 0, from = 0; i < order.size(); ++i) {
    order[i] = static_cast<int>(i) == axis ? static_cast<int>(dims.size()) - 1 : static_cast<int>(from++);
  }
  return Permute(selected, order);
}

std::optional<Tensor> Builder::ReversedScan(const Tensor& x, int axis) {
  if (failed() || x.immediate.has_value() || !IsContiguous(x.view)) return std::nullopt;
  const auto writer = std::find_if(program_.ops.begin(), program_.ops.end(),
                                   [&](const Op& op) { return op.result == x.value; });
  if (writer == program_.ops.end() || !IsScan(writer->fn) || writer->dims != x.view.dims ||
      !writer->reduced[axis] || !IsContiguous(writer->destination)) {
    return std::nullopt;
  }
  Op op = *writer;
  const Dims dims = op.dims;
  const Tensor reversed = Emit(std::move(op), dims);
  StridedView& into = program_.ops.back().destination;
  into.offset = (dims[axis] - 1) * into.strides[axis];
  into.strides[axis] = -into.strides[axis];
  return reversed;
}

Tensor Builder::Positions(int64_t count) {
  Tensor tensor = Argument("positions", {DType::kInt32, {count}});
  program_.values.back().is_argument = false;
  program_.values.back().is_positions = true;
  return tensor;
}

Tensor Builder::Buffer(const Dims& dims, DType dtype) {
  Tensor tensor = Argument(origin_.empty() ? "value" : origin_, {dtype, dims});
  program_.values.back().is_argument = false;
  return tensor;
}

void Builder::Recur(Recurrence recurrence, std::vector<Tensor> operands, const Tensor& into) {
  if (failed()) return;
  Op op;
  op.fn = Fn::kRecurrence;
  // A state may be a number; what goes through the Tensor engine lies in memory.
  for (size_t i = 0; i < operands.size(); ++i) {
    const bool is_state = i >= 3 && operands[i].view.dims.size() == 2;
    op.operands.push_back(operands[i].immediate.has_value() && !is_state ? Materialise(operands[i])
                                                                         : operands[i]);
  }
  op.dims = into.view.dims;
  op.destination = into.view;
  op.result = into.value;
  op.dtype = into.dtype;
  op.origin = origin_;
  op.recurrence = std::move(recurrence);
  program_.ops.push_back(std::move(op));
}

Tensor Builder::Matmul(const Tensor& x, const Tensor& y, DType dtype) {
  if (failed()) return x;
  const Dims& a = x.view.dims;
  const Dims& b = y.view.dims;
  if (a.size() != 3 || b.size() != 3 || a[0] != b[0] || a[2] != b[1]) {
    Fail(absl::StrCat("can't multiply [", absl::StrJoin(a, ", "), "] by [", absl::StrJoin(b, ", "), "]"));
    return x;
  }
  const int64_t parts = a[0] == 1 ? ContractionParts(a[2]) : 1;
  if (parts > 1) {
    const int64_t length = a[2] / parts;
    const Tensor left = Permute(ReshapeTo(DropAxis(x, 0), {a[1], parts, length}), {1, 0, 2});
    const Tensor right = ReshapeTo(DropAxis(y, 0), {parts, length, b[2]});
    const std::string label = std::exchange(label_, "");
    const Tensor products = Named("partial_products").Matmul(left, right, DType::kFloat32);
    return InsertAxis(Named(label).Reduce(Fn::kSum, products, {true, false, false}, false, dtype), 0);
  }
  Op op;
  op.fn = Fn::kMatmul;
  for (Tensor factor : {x, y}) {
    // The Tensor engine takes no integers. bfloat16 holds all of 8 bits.
    const DType narrow = DTypeBytes(factor.dtype) == 1 ? DType::kBFloat16 : DType::kFloat32;
    if (!IsFloat(factor.dtype)) factor = Unary(Fn::kCopy, factor, narrow);
    op.operands.push_back(factor.immediate.has_value() ? Materialise(factor) : factor);
  }
  op.dims = {a[0], a[1], b[2]};
  op.dtype = IsFloat(dtype) ? dtype : DType::kFloat32;
  const Dims dims = op.dims;
  const Tensor product = Emit(std::move(op), dims);
  return IsFloat(dtype) ? product : Unary(Fn::kCopy, product, dtype);
}

Tensor Builder::Windowed(Window window, const Tensor& x, const Tensor* weight, const Dims& dims,
                         const Dims& result, DType dtype) {
  if (failed()) return x;
  Op op;
  op.fn = Fn::kWindow;
  op.operands = {x.immediate.has_value() ? Materialise(x) : x};
  if (weight != nullptr) {
    // The taps of a channel are read as one run.
    op.operands.push_back(weight->immediate.has_value() || !IsContiguous(weight->view) ? Materialise(*weight)
                                                                                       : *weight);
  }
  op.window = std::move(window);
  op.dims = dims;
  op.dtype = dtype;
  return Emit(std::move(op), result);
}

Tensor Builder::Materialise(const Tensor& x) {
  Op op;
  op.operands = {x};
  op.dims = x.view.dims;
  op.dtype = x.dtype;
  return Emit(std::move(op), x.view.dims);
}

Tensor Builder::ReshapeTo(const Tensor& x, const Dims& dims) {
  if (failed()) return x;
  if (!IsReal(dims) || ElementCount(dims) != ElementCount(x.view.dims)) {
    Fail(absl::StrCat("[", absl::StrJoin(x.view.dims, ", "), "] can't become [", absl::StrJoin(dims, ", "),
                      "]"));
    return x;
  }
  if (x.immediate.has_value()) return Number(*x.immediate, x.dtype, dims);
  Tensor result = x;
  std::optional<StridedView> view = Reshape(x.view, dims);
  if (!view.has_value()) {
    result = Materialise(x);
    view = ContiguousView(dims);
  }
  result.view = *std::move(view);
  return result;
}

Tensor Builder::ExpandTo(const Tensor& x, const Dims& dims) {
  if (failed()) return x;
  if (!IsReal(dims)) {
    Fail(absl::StrCat("[", absl::StrJoin(dims, ", "), "] is no shape to expand to"));
    return x;
  }
  return Widen(x, dims);
}

Tensor Builder::Permute(const Tensor& x, const std::vector<int>& order) {
  Tensor result = x;
  for (size_t i = 0; i < order.size(); ++i) {
    result.view.dims[i] = x.view.dims[order[i]];
    result.view.strides[i] = x.view.strides[order[i]];
  }
  return result;
}

Tensor Builder::Slice(const Tensor& x, int axis, int64_t start, int64_t step, int64_t count) {
  Tensor result = x;
  result.view.offset += start * x.view.strides[axis];
  result.view.dims[axis] = count;
  if (count > 1) result.view.strides[axis] *= step;
  if (x.immediate.has_value()) result.view.offset = 0;
  return result;
}

Tensor Builder::CopiedFrom(const Tensor& x) const {
  if (x.immediate.has_value() || !IsContiguous(x.view)) return x;
  const Op* writer = nullptr;
  for (const Op& op : program_.ops) {
    if (op.result != x.value) continue;
    if (writer != nullptr) return x;
    writer = &op;
  }
  const bool whole = writer != nullptr && writer->fn == Fn::kCopy && writer->dtype == x.dtype &&
                     IsContiguous(writer->destination) &&
                     ElementCount(writer->dims) == ElementCount(x.view.dims);
  return whole && !writer->operands[0].immediate.has_value() && writer->operands[0].dtype == x.dtype
             ? writer->operands[0]
             : x;
}

Tensor Builder::DropAxis(const Tensor& x, int axis) {
  Tensor result = x;
  result.view.dims.erase(result.view.dims.begin() + axis);
  result.view.strides.erase(result.view.strides.begin() + axis);
  return result;
}

Tensor Builder::InsertAxis(const Tensor& x, int axis) {
  Tensor result = x;
  result.view.dims.insert(result.view.dims.begin() + axis, 1);
  result.view.strides.insert(result.view.strides.begin() + axis, 0);
  return result;
}

Tensor Builder::Gather(const Tensor& table, const Tensor& numbers, double scale, const Tensor* base) {
  if (failed()) return table;
  Op op;
  op.fn = Fn::kGather;
  // A row is read as one run.
  const bool runs = !table.immediate.has_value() && (table.view.dims[1] == 1 || table.view.strides[1] == 1);
  op.operands = {numbers.immediate.has_value() || program_.values[numbers.value].is_positions
                     ? Materialise(numbers)
                     : numbers,
                 runs ? table : Materialise(table)};
  op.dims = numbers.view.dims;
  if (base != nullptr) {
    op.operands.push_back(Number(scale, DType::kInt32, op.dims));
    op.operands.push_back(Widen(*base, op.dims));
  }
  op.dims.push_back(table.view.dims[1]);
  op.dtype = table.dtype;
  const Dims dims = op.dims;
  return Emit(std::move(op), dims);
}

void Builder::Fill(const Tensor& into, const Tensor& x) {
  if (failed()) return;
  Op op;
  op.operands = {x};
  op.dims = x.view.dims;
  op.dtype = into.dtype;
  op.origin = origin_;
  op.label = std::exchange(label_, "");
  op.result = into.value;
  op.destination = into.view;
  program_.ops.push_back(std::move(op));
}

Tensor Builder::Concat(std::vector<Tensor> pieces, int axis, DType dtype) {
  if (failed() || pieces.empty()) return Number(0, dtype);
  std::erase_if(pieces, [&](const Tensor& piece) { return piece.view.dims[axis] == 0 && pieces.size() > 1; });
  if (pieces.empty()) return Number(0, dtype);
  Dims dims = pieces.front().view.dims;
  dims[axis] = 0;
  for (const Tensor& piece : pieces) dims[axis] += piece.view.dims[axis];
  if (!std::all_of(pieces.begin(), pieces.end(), [](const Tensor& p) { return IsReal(p.view.dims); }) ||
      !IsReal(dims)) {
    Fail("tensors without elements can't be joined");
    return Number(0, dtype, dims);
  }
  const Dims strides = ContiguousStrides(dims);
  const int value = static_cast<int>(program_.values.size());
  program_.values.push_back({origin_.empty() ? "value" : origin_, dtype, dims});
  int64_t start = 0;
  for (const Tensor& piece : pieces) {
    Op op;
    op.operands = {piece};
    op.dims = piece.view.dims;
    op.dtype = dtype;
    op.origin = origin_;
    op.result = value;
    op.destination = {start * strides[axis], piece.view.dims, strides};
    start += piece.view.dims[axis];
    program_.ops.push_back(std::move(op));
  }
  Tensor result;
  result.value = value;
  result.view = ContiguousView(dims);
  result.dtype = dtype;
  return result;
}

void Builder::Return(const Tensor& x) {
  if (failed()) return;
  Tensor whole = x;
  const bool own = !x.immediate.has_value() && !program_.values[x.value].is_argument &&
                   IsContiguous(x.view) &&
                   ElementCount(x.view.dims) == ElementCount(program_.values[x.value].dims);
  const bool returned_before =
      std::find(program_.results.begin(), program_.results.end(), x.value) != program_.results.end();
  if (!own || returned_before) whole = Materialise(x);
  program_.values[whole.value].dims = x.view.dims;
  program_.results.push_back(whole.value);
}

}  // namespace nkiagent::builtin
