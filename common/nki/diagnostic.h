// What the toolchain says about a kernel: one finding, told so that its reader can fix the kernel in one
// turn.
#ifndef NKIAGENT_COMMON_NKI_DIAGNOSTIC_H_
#define NKIAGENT_COMMON_NKI_DIAGNOSTIC_H_

#include <cstdint>
#include <string>

namespace nkiagent::nki {

enum class Severity : uint8_t { kError, kWarning, kNote };

struct Diagnostic {
  Severity severity = Severity::kError;
  // The SDK's own name where it has one, e.g. "err_num_partition_exceed_arch_limit"; otherwise a name of the
  // same form.
  std::string rule;
  std::string message;
  // 1-based position in the kernel source; 0 when the finding has no single place.
  int line = 0;
  int column = 0;
  // The limit that was exceeded and what was found, as a reader would write them ("128 partitions"); may be
  // empty.
  std::string limit;
  std::string actual;
  // The usual fix; may be empty.
  std::string hint;
};

}  // namespace nkiagent::nki

#endif  // NKIAGENT_COMMON_NKI_DIAGNOSTIC_H_
