// `nkictl profile`: what one kernel costs on the hardware, by the timing model, with the engine timeline as a
// file.
#ifndef SERVICES_NKICTL_PROFILE_H_
#define SERVICES_NKICTL_PROFILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nkiagent/compile/v1/compile_service.pb.h"
#include "services/nkictl/commands.h"

namespace nkiagent::nkictl {

struct ProfileFlags {
  std::string file;                    // the kernel's Python
  std::string entry;                   // its @nki.jit function; empty: nki_kernel
  std::vector<std::string> arguments;  // ParseArgument
  std::string task;                    // a KernelBench-style file that says the arguments instead
  std::vector<std::string> constants;  // NAME=LITERAL
  std::vector<int> grid;
  std::string trace;  // where the timeline goes; empty: nowhere
  int max_slices = 0;
  std::string compile_server;  // empty: local services
  std::string verify_server;   // for `task`
};

// "float32[128,512]" or "x:bfloat16[64]"; without a name it is called arg0, arg1, ... by `position`. Types by
// their names in neuronxcc.nki.language. INVALID_ARGUMENT says what is wrong.
absl::StatusOr<common::v1::TensorSpec> ParseArgument(const std::string& text, int position);

// The report for a person.
std::string DescribeProfile(const compile::v1::CompileResult& result);

// Exit code 0: the kernel compiles. 1: it does not (the findings are printed), or something failed.
int Profile(const Environment& environment, const ProfileFlags& flags);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_PROFILE_H_
