// Which toolchain this process is, so that stored results are never taken for another's.
#ifndef SERVICES_COMPILE_TOOLCHAIN_IDENTITY_H_
#define SERVICES_COMPILE_TOOLCHAIN_IDENTITY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nkiagent/common/v1/target.pb.h"

namespace nkiagent::compile {

// version and commit from the build; table_version is a hash of everything that can change a result: this
// executable (IR, checks, timing, instruction table) and the Python and extension modules below `python_path`
// that belong to the trace role (folders nki_frontend, neuronxcc and nkiagent_worker, and *.so files). Takes
// some 50 ms, once. UNAVAILABLE if the executable can't be read.
absl::StatusOr<common::v1::ToolchainVersion> ToolchainIdentity(const std::vector<std::string>& python_path);

}  // namespace nkiagent::compile

#endif  // SERVICES_COMPILE_TOOLCHAIN_IDENTITY_H_
