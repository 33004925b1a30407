// Reads what tools say to a model: diagnostics and verdicts as plain text. Unknown text is no error, it only
// says less.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_TOOL_TEXT_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_TOOL_TEXT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace nkiagent::builtin {

// An "error[rule] line L, col C: message" with its "limit: … actual: …".
struct ToldError {
  std::string rule;
  int line = 0;  // of the kernel's source, from 1; 0 when it isn't told
  std::string message;
  // The first number in the limit and in what was found instead; 0 when none is told.
  double limit = 0;
  double actual = 0;
};

struct Observation {
  std::optional<bool> compiled;
  std::optional<bool> verified;
  std::string failure;  // the word in parentheses of a failed verdict, such as "mismatch"
  bool has_nan = false;
  std::vector<ToldError> errors;

  // Nothing in the text was understood.
  bool empty() const { return !compiled.has_value() && !verified.has_value() && errors.empty(); }
};

Observation ReadToolText(absl::string_view text);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_TOOL_TEXT_H_
