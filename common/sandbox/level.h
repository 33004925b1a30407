// How strongly this machine lets a child be isolated. The parent finds out by doing it, not by asking for
// versions.
#ifndef NKIAGENT_COMMON_SANDBOX_LEVEL_H_
#define NKIAGENT_COMMON_SANDBOX_LEVEL_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nkiagent::sandbox {

// Ordered: a larger value is stronger and includes what the smaller ones give.
enum class Level : uint32_t {
  kRlimits = 1,  // Resource limits, private session, cleared environment.
  kSeccomp =
      2,  // And a system call filter. The file system is the host's, read and write as the worker's user may.
  kNamespaces =
      3,  // And user, pid, net, mount, ipc and uts namespaces with a read-only root and a private tmp.
};

// "rlimits", "seccomp" or "namespaces": the names that flags, health and metrics use.
absl::string_view LevelName(Level level);

// InvalidArgument for anything but the three names.
absl::StatusOr<Level> ParseLevel(absl::string_view name);

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_LEVEL_H_
