// Tells a strided access to an HBM tensor as subscripts of that tensor under some shape of the same size.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_ACCESS_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_ACCESS_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "services/llm_gateway/builtin/graph.h"

namespace nkiagent::builtin {

// One subscript: constant + sum of coefficient * (index along an axis of the iteration).
struct Subscript {
  int64_t constant = 0;
  std::vector<std::pair<size_t, int64_t>> terms;  // iteration axis, coefficient
};

// `tensor.reshape(shape)[subscripts]`.
struct HbmIndex {
  Dims shape;
  std::vector<Subscript> subscripts;
};

// Subscripts for element `offset + sum(i_k * strides[k])`, 0 <= i_k < extents[k], of a row-major tensor of
// shape `tensor_dims`. Every subscript stays inside its axis for all indices. None when no shape of the
// tensor makes that so.
std::optional<HbmIndex> IndexOf(const Dims& tensor_dims, int64_t offset, const Dims& strides,
                                const Dims& extents);

// Subscripts of a tensor whose shape is settled.
std::optional<std::vector<Subscript>> SubscriptsIn(const Dims& shape, int64_t offset, const Dims& strides,
                                                   const Dims& extents);

// The shape of `total` elements whose axes take the steps given, as far as these divide each other.
Dims ShapeWithSteps(std::vector<int64_t> steps, int64_t total);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_ACCESS_H_
