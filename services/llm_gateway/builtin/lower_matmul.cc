// Matrix products. All become one batched form, (B, M, K) times (B, K, N).

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
  Tensor z = Product(n, n.TensorAt(1, "mat1"), n.TensorAt(2, "mat2"), DType::kFloat32);
  if (alpha != 1) z = b.Binary(Fn::kMultiply, z, alpha, DType::kFloat32);
  if (beta == 0) return b.Cast(z, n.dtype());
  const Tensor scaled = beta == 1 ? bias : b.Binary(Fn::kMultiply, bias, beta, DType::kFloat32);
  return b.Binary(Fn::kAdd, z, scaled, n.dtype());
}

}  // namespace

bool LowerMatmul(NodeLowering& n) {
  const absl::string_view op = n.op();
  if (op == "aten.mm" || op == "aten.bmm") {
    n.Yield(Product(n, n.TensorAt(0, "self"), n.TensorAt(1, "mat2"), n.dtype()));
  } else if (op == "aten.addmm" || op == "aten.baddbmm") {
    n.Yield(BiasedProduct(n));
  } else {
    return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
