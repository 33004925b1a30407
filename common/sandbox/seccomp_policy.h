// The system calls that each role of child may make. The one place to read or change them is
// seccomp_policy.cc.
#ifndef NKIAGENT_COMMON_SANDBOX_SECCOMP_POLICY_H_
#define NKIAGENT_COMMON_SANDBOX_SECCOMP_POLICY_H_

#include <linux/filter.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nkiagent::sandbox {

enum class Policy {
  kNative,  // C++ that computes on shared memory: memory, threads, time; no files at all.
  kPython,  // And read files, write below tmp: what an interpreter needs.
  kTorch,   // And what PyTorch's kernels and thread pools ask.
};

// "native", "python" or "torch"; InvalidArgument for others.
absl::StatusOr<Policy> ParsePolicy(absl::string_view name);

// A compiled filter, ready to be installed in any number of children.
class SeccompFilter {
 public:
  // Unimplemented if the kernel has no seccomp filters.
  static absl::StatusOr<SeccompFilter> Compile(Policy policy);

  // Installs it in all threads of the process, for good. Needs no_new_privs. Async-signal-safe but for the
  // Status.
  absl::Status Install() const;

 private:
  std::vector<sock_filter> program_;
};

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_SECCOMP_POLICY_H_
