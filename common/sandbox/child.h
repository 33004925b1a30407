// The child's side of a fork: from a copy of the parent to a confined process that runs one handler and
// exits.
#ifndef NKIAGENT_COMMON_SANDBOX_CHILD_H_
#define NKIAGENT_COMMON_SANDBOX_CHILD_H_

#include <cstdint>

#include "common/sandbox/jail.h"
#include "common/sandbox/level.h"
#include "common/sandbox/parent_server.h"
#include "common/sandbox/seccomp_policy.h"

namespace nkiagent::sandbox {

// What a child needs to know; all of it lies in the memory that it shares with its parent by copy-on-write.
struct ChildContext {
  Level level = Level::kRlimits;
  int socket = -1;             // Its end of a pair with the parent.
  int output = -1;             // Write end of the pipe that becomes stdout and stderr.
  int null = -1;               // /dev/null, becomes stdin.
  const Jail* jail = nullptr;  // Null below level kNamespaces.
  uint32_t uid = 0;            // The parent's, as its own namespace sees them.
  uint32_t gid = 0;
  uint32_t inside_id = 65534;
  uint64_t tmp_bytes = 0;
  const SeccompFilter* filter = nullptr;  // Null at level kRlimits.
};

// Bytes a child sends to its parent. kStarted is sent before the first untrusted instruction; whatever the
// socket carried before that is the parent's own code speaking, so a failure text without kStarted can be
// believed.
inline constexpr char kStarted = 'S';
inline constexpr char kSetupFailed = 'F';

// Enters the confinement, prepares, waits for one request, runs `handler` on it, writes the reply, exits.
// Ends at once, without a request, when the parent goes away.
[[noreturn]] void RunChild(const ChildContext& context, const Handler& handler, const Preparation& prepare);

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_CHILD_H_
