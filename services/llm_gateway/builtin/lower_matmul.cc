// Matrix products. All become one batched form, (B, M, K) times (B, K, N).

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

// The product of two matrices, or of two batches of them, without the batch axis that is added here.
Tensor Product(NodeLowering& n, const Tensor& x, const Tensor& y, DType dtype) {
  Builder& b = n.builder();
  const size_t rank = x.view.dims.size();
  if (rank != y.view.dims.size() || (rank != 2 && rank != 3)) {
    b.Fail(absl::StrCat("a product of ranks ", rank, " and ", y.view.dims.size(), " is not supported"));
    return x;
  }
  if (rank == 3) return b.Matmul(x, y, dtype);
  const Tensor z = b.Matmul(b.InsertAxis(x, 0), b.InsertAxis(y, 0), dtype);
  return b.failed() ? z : b.DropAxis(z, 0);
}

// beta*bias + alpha*(x @ y). The product keeps float32 until the bias is in.
Tensor BiasedProduct(NodeLowering& n) {
  Builder& b = n.builder();
  const Tensor bias = n.TensorAt(0, "self");
  const double beta = n.NumberOr(3, "beta", 1), alpha = n.NumberOr(4, "alpha", 1);
  b.Named("product");
  const bool by_vector = n.op() == "aten.addmv";
  Tensor right = n.TensorAt(2, by_vector ? "vec" : "mat2");
  if (by_vector) right = b.InsertAxis(right, 1);
  Tensor z = Product(n, n.TensorAt(1, by_vector ? "mat" : "mat1"), right, DType::kFloat32);
  if (by_vector && !b.failed()) z = b.DropAxis(z, 1);
  if (alpha != 1) z = b.Binary(Fn::kMultiply, z, alpha, DType::kFloat32);
  if (beta == 0) return b.Cast(z, n.dtype());
  const Tensor scaled = beta == 1 ? bias : b.Binary(Fn::kMultiply, bias, beta, DType::kFloat32);
  return b.Binary(Fn::kAdd, z, scaled, n.dtype());
}

}  // namespace

Tensor Distances(NodeLowering& n, const Tensor& x, const Tensor& y, double p, DType dtype) {
  Builder& b = n.builder();
  const int rank = static_cast<int>(x.view.dims.size());
  if (rank < 2 || rank != static_cast<int>(y.view.dims.size()) || !(p >= 0)) {
    b.Fail("distances need two sets of rows and an order that is not negative");
    return x;
  }
  const DType f32 = DType::kFloat32;
  const Tensor difference =
      b.Named("difference").Binary(Fn::kSubtract, b.InsertAxis(x, rank - 1), b.InsertAxis(y, rank - 2), f32);
  std::vector<bool> reduced(static_cast<size_t>(rank) + 1, false);
  reduced.back() = true;
  if (p == 2) {
    const Tensor squares = b.Named("squares").Unary(Fn::kSquare, difference, f32);
    return b.Unary(Fn::kSqrt, b.Named("sum").Reduce(Fn::kSum, squares, reduced, false, f32), dtype);
  }
  if (p == 0) {
    const Tensor differs = b.Named("differs").Binary(Fn::kNotEqual, difference, 0.0, DType::kBool);
    return b.Reduce(Fn::kSum, b.Named("ones").Unary(Fn::kCopy, differs, f32), reduced, false, dtype);
  }
  const Tensor sizes = b.Named("sizes").Unary(Fn::kAbs, difference, f32);
  if (p == 1 || std::isinf(p)) return b.Reduce(p == 1 ? Fn::kSum : Fn::kMax, sizes, reduced, false, dtype);
  const Tensor powers = b.Named("powers").Binary(Fn::kPower, sizes, p, f32);
  return b.Binary(Fn::kPower, b.Named("sum").Reduce(Fn::kSum, powers, reduced, false, f32), 1 / p, dtype);
}

bool LowerMatmul(NodeLowering& n) {
  const absl::string_view op = n.op();
  if (op == "aten.mm" || op == "aten.bmm" || op == "aten._int_mm") {
    n.Yield(Product(n, n.TensorAt(0, "self"), n.TensorAt(1, "mat2"), n.dtype()));
  } else if (op == "aten.addmm" || op == "aten.baddbmm" || op == "aten.addmv") {
    n.Yield(BiasedProduct(n));
  } else if (op == "aten._cdist_forward") {
    n.Yield(Distances(n, n.TensorAt(0, "x1"), n.TensorAt(1, "x2"), n.NumberOr(2, "p", 2), n.dtype()));
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
