// The toolchain's findings and estimates in the terms of the contract.
#ifndef COMMON_CONTRACT_ANALYSIS_H_
#define COMMON_CONTRACT_ANALYSIS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/nki/diagnostic.h"
#include "common/nki/ir/program.h"
#include "nkiagent/common/v1/diagnostic.pb.h"
#include "nkiagent/common/v1/latency.pb.h"
#include "nkiagent/common/v1/tensor.pb.h"

namespace nkiagent::contract {

common::v1::Diagnostic ToProto(const nki::Diagnostic& diagnostic);

// Name, element type and shape of one tensor of a program.
common::v1::TensorSpec ToProto(const nki::ir::Tensor& tensor);

// Findings of the whole-program rules.
std::vector<common::v1::Diagnostic> CheckProgram(const nki::ir::Program& program);

// What the program costs; source lines are filled in from `source`. INTERNAL if the timing model refuses the
// program, whose target has been validated.
absl::StatusOr<common::v1::LatencyEstimate> EstimateProgram(const nki::ir::Program& program,
                                                            absl::string_view source);

// The program's engine timeline as JSON of the Trace Event Format; 0 slices mean the default.
absl::StatusOr<std::string> TimelineOf(const nki::ir::Program& program, absl::string_view source,
                                       int max_slices);

// The lines of a kernel, by number.
class SourceLines {
 public:
  // `source` outlives this.
  explicit SourceLines(absl::string_view source);
  // Text of line `line` (from 1) without its end, at most 500 bytes; empty for a line that isn't there.
  std::string Line(int32_t line) const;

 private:
  std::vector<absl::string_view> lines_;
};

}  // namespace nkiagent::contract

#endif  // COMMON_CONTRACT_ANALYSIS_H_
