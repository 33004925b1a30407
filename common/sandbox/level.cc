#include "common/sandbox/level.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace nkiagent::sandbox {

absl::string_view LevelName(Level level) {
  switch (level) {
    case Level::kRlimits:
      return "rlimits";
    case Level::kSeccomp:
      return "seccomp";
    case Level::kNamespaces:
      return "namespaces";
  }
  return "unknown";
}

absl::StatusOr<Level> ParseLevel(absl::string_view name) {
  for (Level level : {Level::kRlimits, Level::kSeccomp, Level::kNamespaces}) {
    if (name == LevelName(level)) {
      return level;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("sandbox level '", name, "' is not one of namespaces, seccomp, rlimits"));
}

}  // namespace nkiagent::sandbox
