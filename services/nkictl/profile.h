// How `nkictl profile` reads the arguments of a kernel and tells what it costs. Pure functions.
#ifndef SERVICES_NKICTL_PROFILE_H_
#define SERVICES_NKICTL_PROFILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "nkiagent/compile/v1/compile_service.pb.h"

namespace nkiagent::nkictl {

// "float32[128,512]" or "x:bfloat16[64]"; without a name it is called arg0, arg1, ... by `position`. Types by
// their names in neuronxcc.nki.language. INVALID_ARGUMENT says what is wrong.
absl::StatusOr<common::v1::TensorSpec> ParseArgument(const std::string& text, int position);

// The report for a person.
std::string DescribeProfile(const compile::v1::CompileResult& result);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_PROFILE_H_
