// Reference graphs as the tests of several parts use them, in the form that torch.export gives.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_TESTING_GRAPHS_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_TESTING_GRAPHS_H_

#include <string>

#include "absl/strings/str_cat.h"

namespace nkiagent::builtin {

inline std::string SoftmaxGraph(int rows, int columns) {
  const std::string type = absl::StrCat("float32[", rows, ", ", columns, "]");
  return absl::StrCat("graph nki.graph.v1\ninput x: ", type, "\n%_softmax: ", type,
                      " = aten._softmax.default(%x, -1, False)\nreturn %_softmax\n");
}

inline constexpr char kLayerNormGraph[] = R"(graph nki.graph.v1
input x: float32[2, 64, 96]
param weight: float32[96]
param bias: float32[96]
%native_layer_norm: (float32[2, 64, 96], float32[2, 64, 1], float32[2, 64, 1]) = aten.native_layer_norm.default(%x, [96], %weight, %bias, 1e-05)
%getitem: float32[2, 64, 96] = getitem(%native_layer_norm, 0)
return %getitem
)";

inline constexpr char kRmsNormGraph[] = R"(graph nki.graph.v1
input x: float32[2, 64, 96]
param weight: float32[96]
%pow_1: float32[2, 64, 96] = aten.pow.Tensor_Scalar(%x, 2)
%mean: float32[2, 64, 1] = aten.mean.dim(%pow_1, [2], True)
%add: float32[2, 64, 1] = aten.add.Scalar(%mean, 1.1920928955078125e-07)
%rsqrt: float32[2, 64, 1] = aten.rsqrt.default(%add)
%mul: float32[2, 64, 96] = aten.mul.Tensor(%x, %rsqrt)
%mul_1: float32[2, 64, 96] = aten.mul.Tensor(%mul, %weight)
return %mul_1
)";

// Linear, GELU, linear on (2, 100, 256) -> (2, 100, 64).
inline constexpr char kMlpGraph[] = R"(graph nki.graph.v1
input x: float32[2, 100, 256]
param up_weight: float32[600, 256]
param up_bias: float32[600]
param down_weight: float32[64, 600]
param down_bias: float32[64]
%view: float32[200, 256] = aten.view.default(%x, [200, 256])
%permute: float32[256, 600] = aten.permute.default(%up_weight, [1, 0])
%addmm: float32[200, 600] = aten.addmm.default(%up_bias, %view, %permute)
%view_1: float32[2, 100, 600] = aten.view.default(%addmm, [2, 100, 600])
%gelu: float32[2, 100, 600] = aten.gelu.default(%view_1)
%view_2: float32[200, 600] = aten.view.default(%gelu, [200, 600])
%permute_1: float32[600, 64] = aten.permute.default(%down_weight, [1, 0])
%addmm_1: float32[200, 64] = aten.addmm.default(%down_bias, %view_2, %permute_1)
%view_3: float32[2, 100, 64] = aten.view.default(%addmm_1, [2, 100, 64])
return %view_3
)";

inline constexpr char kInverseGraph[] = R"(graph nki.graph.v1
input x: float32[4, 4]
%inverse: float32[4, 4] = aten.linalg_inv.default(%x)
return %inverse
)";

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_TESTING_GRAPHS_H_
