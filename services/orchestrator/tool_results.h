// What services found out, as plain text for a reader who must fix a kernel in one turn: a model, or a person
// at a terminal. Pure functions; any thread.
#ifndef SERVICES_ORCHESTRATOR_TOOL_RESULTS_H_
#define SERVICES_ORCHESTRATOR_TOOL_RESULTS_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "nkiagent/common/v1/diagnostic.pb.h"
#include "nkiagent/common/v1/latency.pb.h"
#include "nkiagent/common/v1/tensor.pb.h"
#include "nkiagent/compile/v1/compile_service.pb.h"
#include "nkiagent/verify/v1/verdict.pb.h"

namespace nkiagent::orchestrator {

// Longest tool result in bytes: about 2000 tokens, so that ten turns of results stay small beside ten
// kernels.
inline constexpr size_t kMaxToolTextBytes = 6 << 10;

// "float32[128, 512]".
std::string TypeAndShape(const common::v1::TensorSpec& spec);
// "float32", as in neuronxcc.nki.language.
std::string DtypeName(common::v1::DataType dtype);
// "mismatch" for VERDICT_REASON_MISMATCH, and so on.
std::string ReasonName(verify::v1::VerdictReason reason);
// "vector" for ENGINE_VECTOR, and so on.
std::string EngineName(common::v1::Engine engine);

// One finding:
//   error[err_num_partition_exceed_arch_limit] line 12, col 4: message
//     source line
//        ^
//     limit: partition <= 128 actual: partition = 256
//     fix: tile by 128
std::string DescribeDiagnostic(const common::v1::Diagnostic& diagnostic);

// "compiled: yes" or "compiled: no (2 errors)", then the findings and what the kernel printed.
std::string DescribeCompile(const compile::v1::CompileResult& result);

// "verified: PASS ..." or "verified: FAIL (mismatch): ...", then where, how many, and values side by side.
std::string DescribeVerdict(const verify::v1::Verdict& verdict);

// "12.3 us, bound by the vector engine"; empty without an estimate.
std::string DescribeEstimate(const common::v1::LatencyEstimate& estimate);

// What a kernel costs to run, for profile_kernel: latency and what binds, distance from the roofline,
// engines, memory, the costliest lines, and what usually helps. A sentence that says so where there is no
// estimate.
std::string DescribeProfile(const common::v1::LatencyEstimate& estimate);

// An answer of lookup_api, for the name that was asked for.
std::string DescribeApi(const std::string& name, const compile::v1::LookupApiResponse& response);

// `text` cut to at most `max_bytes` at a line end (or a character, where a line is longer), saying how much
// was cut.
std::string Bounded(absl::string_view text, size_t max_bytes = kMaxToolTextBytes);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_TOOL_RESULTS_H_
