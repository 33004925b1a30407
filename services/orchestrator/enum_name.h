// Names of the contract's enums as people and metrics spell them.
#ifndef SERVICES_ORCHESTRATOR_ENUM_NAME_H_
#define SERVICES_ORCHESTRATOR_ENUM_NAME_H_

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace nkiagent::orchestrator {

// "mismatch" for VERDICT_REASON_MISMATCH and the prefix VERDICT_REASON_.
inline std::string EnumName(absl::string_view name, absl::string_view prefix) {
  return absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_ENUM_NAME_H_
