// Rows in order by counting, for rows too long to take extremes from one by one.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_RANKS_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_RANKS_H_

#include <cstdint>

#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {

// `axis` moved to the end, and back.
Tensor AxisToEnd(Builder& b, const Tensor& x, int axis);
Tensor AxisFromEnd(Builder& b, const Tensor& x, int axis);

// Whether rows of the last axis may be compared element by element; fails the builder otherwise.
bool RanksWithinReason(NodeLowering& n, const Dims& dims);

// The first `count` elements of each sorted row of the last axis, and where they lay. Equal ones
// keep their order.
struct Ordered {
  Tensor values, places;
};
Ordered OrderedByRank(NodeLowering& n, const Tensor& x, int64_t count, bool largest);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_RANKS_H_
