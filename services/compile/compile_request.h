// What a CompileRequest must be, and the names of its enums in the toolchain's own terms.
#ifndef SERVICES_COMPILE_COMPILE_REQUEST_H_
#define SERVICES_COMPILE_COMPILE_REQUEST_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "nkiagent/common/v1/kernel.pb.h"
#include "nkiagent/common/v1/target.pb.h"
#include "nkiagent/compile/v1/compile_service.pb.h"

namespace nkiagent::compile {

// Limits of the contract (proto/nkiagent/compile/v1/compile_service.proto, proto/nkiagent/common/v1).
inline constexpr size_t kMaxSourceBytes = size_t{4} << 20;
// A DenseNet-201 has some 1,000 parameters and statistics.
inline constexpr int kMaxArguments = 2048;
inline constexpr int kMaxConstants = 64;
inline constexpr size_t kMaxLiteralBytes = 4096;
// Weights of 3-D convolutions have 5 axes.
inline constexpr int kMaxRank = 5;
inline constexpr int kMaxTimelineSlices = 50'000;
inline constexpr int kMaxGridRank = 3;
// Not in the contract: beyond it a grid is a mistake.
inline constexpr int64_t kMaxGridPrograms = 65536;

// INVALID_ARGUMENT names the field and the limit.
absl::Status ValidateCompileRequest(const v1::CompileRequest& request);

// "nki_kernel" unless the kernel names another.
std::string EntryName(const common::v1::KernelSource& kernel);
// "trn1"; empty for hardware that this toolchain does not model.
std::string TargetName(const common::v1::Target& target);
// "2.24"; empty for a dialect that this toolchain does not speak.
std::string SdkName(const common::v1::Target& target);

}  // namespace nkiagent::compile

#endif  // SERVICES_COMPILE_COMPILE_REQUEST_H_
