// Tensors of indices as reads and writes by index share them.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_INDEXING_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_INDEXING_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {

// Indices of an axis of `size` with the negative ones counted from the end.
Tensor Wrapped(Builder& b, const Tensor& index, int64_t size);

// x[…, index, …] along `axis`; negative indices count from the end where `wraps`.
Tensor Indexed(Builder& b, const Tensor& x, int axis, const Tensor& index, bool wraps);

// The node's list of indices, one entry for each of `rank` axes; none where an axis is taken whole.
std::vector<std::optional<Tensor>> IndicesPerAxis(NodeLowering& n, size_t rank);

// Several indexed axes as one: the axes of x in `order`, those from `first` on, `count` of them, merged into
// one of `size`, which `index` names the elements of.
struct MergedIndex {
  std::vector<int> order;
  int first = 0, count = 1;
  int64_t size = 1;
  Tensor index;
  bool wraps = true;  // negative indices count from the end
};

// By PyTorch's rule the indexed axes go in front where they don't lie next to each other. None when nothing
// is indexed, or with the builder failed.
std::optional<MergedIndex> Merged(Builder& b, const Tensor& x,
                                  const std::vector<std::optional<Tensor>>& indices);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_INDEXING_H_
