// The tools that a model is offered in agent mode, and what its calls mean.
//
//   compile_kernel {"source": string, "grid": [int, ...]}  compiles; a kernel that compiles is verified as
//   well verify_kernel  {"source": string, "grid": [int, ...]}  verifies; without a source, the kernel
//   compiled last profile_kernel {"source": string, "grid": [int, ...]}  estimated latency, what binds,
//   costly lines; likewise lookup_api     {"name": string}                        what a name of the kernel
//   language is
//
// The first two are those of the published system; a session may be offered any subset. Pure functions; any
// thread.
#ifndef SERVICES_ORCHESTRATOR_TOOLS_H_
#define SERVICES_ORCHESTRATOR_TOOLS_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "nkiagent/common/v1/kernel.pb.h"
#include "nkiagent/llm/v1/chat.pb.h"

namespace nkiagent::orchestrator {

inline constexpr char kCompileTool[] = "compile_kernel";
inline constexpr char kVerifyTool[] = "verify_kernel";
inline constexpr char kProfileTool[] = "profile_kernel";
inline constexpr char kLookupTool[] = "lookup_api";
inline constexpr char kEntryName[] = "nki_kernel";

// Most bytes of a kernel's source; compile-service refuses more (KernelSource.source).
inline constexpr int64_t kMaxSourceBytes = int64_t{4} << 20;

// Longest name that lookup_api takes (compile_service.proto).
inline constexpr int64_t kMaxApiNameBytes = 256;

// The tools named in `names`, in the order above; all of them when `names` is empty. Unknown names are left
// out.
std::vector<llm::v1::Tool> Tools(const std::vector<std::string>& names);

// True for a name that Tools() knows.
bool IsTool(const std::string& name);

// All names, in the order above.
std::vector<std::string> ToolNames();

// What a call asks for.
enum class ToolKind { kCompile, kVerify, kProfile, kLookup };

// A call that can be carried out. `kernel` is absent where the kernel compiled last is meant.
struct ToolRequest {
  ToolKind kind = ToolKind::kCompile;
  bool has_kernel = false;
  common::v1::KernelSource kernel;
  std::string api_name;  // of kLookup
};

// Why a call can't be carried out, as text for the model.
struct ToolProblem {
  std::string text;
};

// Reads a call. `offered` are the names of the tools that the model was given. Broken JSON, unknown tools,
// missing or mistyped arguments and oversize sources become a ToolProblem that says what is expected instead.
std::variant<ToolRequest, ToolProblem> ReadToolCall(const llm::v1::ToolCall& call,
                                                    const std::vector<std::string>& offered);

// True if `source` has a line that defines `name` as a function; a hint for messages, not a parser.
bool DefinesFunction(const std::string& source, const std::string& name);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_TOOLS_H_
