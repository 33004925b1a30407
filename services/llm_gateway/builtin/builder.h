// Builds a Program operation by operation: folds numbers, broadcasts operands, and turns shape operations
// into views.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_BUILDER_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_BUILDER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/llm_gateway/builtin/program.h"

namespace nkiagent::builtin {

// A tensor while the program is built: a number, or a view of a value.
using Tensor = Operand;

// Errors are sticky: the first is kept, and everything after it yields harmless tensors.
class Builder {
 public:
  // Operations made from now on belong to the graph node `origin` and, where they make its final value, carry
  // its name.
  void SetOrigin(std::string origin) {
    origin_ = std::move(origin);
    label_.clear();
  }
  // The next operation is a step inside its node and is called `label` in the kernel.
  Builder& Named(std::string label) {
    label_ = std::move(label);
    return *this;
  }

  Tensor Argument(std::string name, const TensorType& type);
  static Tensor Number(double value, DType dtype, Dims dims = {});

  // Elementwise; the result has the broadcast shape and type `dtype`.
  Tensor Unary(Fn fn, const Tensor& x, DType dtype);
  Tensor Binary(Fn fn, const Tensor& x, const Tensor& y, DType dtype);
  Tensor Binary(Fn fn, const Tensor& x, double y, DType dtype) {
    return Binary(fn, x, Number(y, x.dtype), dtype);
  }
  Tensor Select(const Tensor& condition, const Tensor& x, const Tensor& y, DType dtype);
  // As `x`, converted; `x` itself where nothing changes.
  Tensor Cast(const Tensor& x, DType dtype);

  // Over the axes marked in `reduced` (same length as the shape); with `keep` these stay with size 1.
  Tensor Reduce(Fn fn, const Tensor& x, std::vector<bool> reduced, bool keep, DType dtype);

  // Running along `axis`; the result has the shape of `x`.
  Tensor Scan(Fn fn, const Tensor& x, int axis, DType dtype);
  // The largest or smallest few along `axis`, in order and in its place: Fn::kTopValues or kTopPositions.
  Tensor Top(Fn fn, const Tensor& x, int axis, Selection selection, DType dtype);
  // What a scan along `axis` computes, in reverse order; none unless `x` is the whole of such a scan.
  std::optional<Tensor> ReversedScan(const Tensor& x, int axis);
  // The numbers 0 to count-1, int32. They are made where they are used and lie nowhere.
  Tensor Positions(int64_t count);

  // A value that several operations fill, piece by piece.
  Tensor Buffer(const Dims& dims, DType dtype);
  // Runs a recurrent layer; its hidden states go to `into`, a view of a buffer. Operands: see recurrence.h.
  void Recur(Recurrence recurrence, std::vector<Tensor> operands, const Tensor& into);

  // (B, M, K) times (B, K, N); integers are multiplied as floats, exactly up to 2^24.
  Tensor Matmul(const Tensor& x, const Tensor& y, DType dtype);

  // `x` and, but for poolings, `weight` as Window::kind says. `dims` as for Fn::kWindow, `result` what the
  // graph calls it.
  Tensor Windowed(Window window, const Tensor& x, const Tensor* weight, const Dims& dims, const Dims& result,
                  DType dtype);

  // The rows of `table` (V, R) that `numbers` names, or with `base` those at numbers * scale + base.
  Tensor Gather(const Tensor& table, const Tensor& numbers, double scale = 1, const Tensor* base = nullptr);
  // `x` goes to `into`, a view of a buffer.
  void Fill(const Tensor& into, const Tensor& x);

  // Shape operations. Those that no view can tell make a copy.
  Tensor ReshapeTo(const Tensor& x, const Dims& dims);
  Tensor ExpandTo(const Tensor& x, const Dims& dims);
  Tensor Permute(const Tensor& x, const std::vector<int>& order);
  // Elements start, start+step, … of `axis`, `count` of them.
  Tensor Slice(const Tensor& x, int axis, int64_t start, int64_t step, int64_t count);
  // What was copied where `x` is the whole of such a copy; else `x`.
  Tensor CopiedFrom(const Tensor& x) const;
  Tensor DropAxis(const Tensor& x, int axis);  // of size 1
  Tensor InsertAxis(const Tensor& x, int axis);
  // Pieces without elements are left out.
  Tensor Concat(std::vector<Tensor> pieces, int axis, DType dtype);

  // The kernel returns `x` in this place: a value of its own, row-major.
  void Return(const Tensor& x);

  void Fail(const std::string& message);
  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }

  Program& program() { return program_; }

 private:
  Tensor Emit(Op op, const Dims& result_dims);
  Tensor Materialise(const Tensor& x);
  std::optional<Dims> Broadcast(const Dims& a, const Dims& b);
  Tensor Widen(const Tensor& x, const Dims& dims);

  Program program_;
  std::string origin_, label_;
  absl::Status status_;
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_BUILDER_H_
