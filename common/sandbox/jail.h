// The read-only file system in which a warm parent, and so each of its children, lives.
//
// The parent enters once, before it imports anything: a tmpfs root with read-only binds of what it needs,
// /dev/null, zero and urandom, and nothing else. Children then only copy this small mount namespace and put a
// private tmpfs on /tmp, which is what keeps a fork cheap.
#ifndef NKIAGENT_COMMON_SANDBOX_JAIL_H_
#define NKIAGENT_COMMON_SANDBOX_JAIL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/sandbox/unique_fd.h"

namespace nkiagent::sandbox {

struct JailOptions {
  // Absolute paths (folders or files) to see read-only, under the same names. The system's libraries (/usr,
  // /lib…) and ld.so.cache are always there. Paths that don't exist are left out.
  std::vector<std::string> readonly_paths;
  // User and group to become when started as root: as root of the host, a child could write what root owns
  // wherever a mount lets it, and RLIMIT_NPROC would not count.
  uint32_t unprivileged_id = 65534;
  // Size of the parent's own /tmp.
  uint64_t tmp_bytes = uint64_t{64} << 20;
};

class Jail {
 public:
  // Moves the calling process, which must have one thread, into the jail. PermissionDenied or Unimplemented,
  // naming the step, if the machine doesn't allow it. A failure after the first step leaves the process half
  // inside: exit or accept a weaker level by starting afresh.
  static absl::StatusOr<Jail> Enter(const JailOptions& options);

  // To be called after imports and before the first child: hides /proc, which imports may need but children
  // don't, and gives up the capabilities that this takes.
  absl::Status Close();

  // The host's /proc, for writing a child's uid_map from inside the child. Works after Close.
  int proc_fd() const { return proc_.get(); }

  // Mounts a private tmpfs on /tmp of a child's own mount namespace and enters it. What the jail shows below
  // /tmp (an installation that happens to live there) stays to be seen.
  absl::Status MountPrivateTmp(uint64_t bytes) const;

 private:
  UniqueFd proc_;
  std::vector<std::string> paths_below_tmp_;
};

// Whether this machine allows the jail and, inside it, a child with namespaces of its own. Tries all of it in
// a throw-away process, so that a refusal harms nobody; the status names the step that was refused.
absl::Status ProbeNamespaces(const JailOptions& options);

// Clears the calling thread's capability sets.
absl::Status DropCapabilities();

// Maps the caller's user and group, whatever they are outside, to `inside_id` in its user namespace. `proc`
// is a descriptor of /proc; `uid` and `gid` are the ids outside.
absl::Status MapIds(int proc, uint32_t inside_id, uint32_t uid, uint32_t gid);

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_JAIL_H_
