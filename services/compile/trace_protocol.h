// The messages of the trace role (services/worker/README.md): what compile-service tells the child, and what
// it makes of the answer. The child ran a stranger's code, so every byte of the reply is doubted.
#ifndef SERVICES_COMPILE_TRACE_PROTOCOL_H_
#define SERVICES_COMPILE_TRACE_PROTOCOL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nkiagent/common/v1/diagnostic.pb.h"
#include "nkiagent/compile/v1/compile_service.pb.h"

namespace nkiagent::compile {

// Longer texts of a diagnostic are cut.
inline constexpr size_t kMaxDiagnosticText = 2000;
// Diagnostics of one reply beyond this are dropped when read; CompileResult then keeps 50 at most.
inline constexpr size_t kMaxReplyDiagnostics = 1000;

// `request` has been validated (compile_request.h).
std::string TraceRequestJson(const v1::CompileRequest& request, int64_t max_instructions);

struct TraceReply {
  // The program's bytes; empty if the kernel was refused.
  std::string program;
  std::vector<common::v1::Diagnostic> diagnostics;
};

// INVALID_ARGUMENT says what about the reply is not as the protocol has it.
absl::StatusOr<TraceReply> ParseTraceReply(absl::string_view reply);

}  // namespace nkiagent::compile

#endif  // SERVICES_COMPILE_TRACE_PROTOCOL_H_
