// Contents of tensors that depend on no argument of the kernel, such as the indices that padding, flipping
// and interpolation are told with.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_KNOWN_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_KNOWN_H_

#include <optional>
#include <vector>

#include "services/llm_gateway/builtin/builder.h"
#include "services/llm_gateway/builtin/program.h"

namespace nkiagent::builtin {

// The elements of `x`, row-major, as its element type holds them; none when they depend on an argument, or
// are too many to be looked at.
std::optional<std::vector<double>> KnownContents(const Program& program, const Tensor& x);

// Contents that step evenly along every axis of `dims`: `offset + sum(i_k * strides[k])`; strides may be
// negative.
std::optional<StridedView> EvenSteps(const std::vector<double>& contents, const Dims& dims);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_KNOWN_H_
