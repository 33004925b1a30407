// One row for each Fn: how NKI spells it, and how numbers fold.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_FN_TABLE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_FN_TABLE_H_

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/program.h"

namespace nkiagent::builtin {

struct FnRow {
  Fn fn;
  int operands;
  bool is_reduction;
  bool yields_bool;
  // The nl function (neuronxcc.nki.language, SDK 2.24), such as "nl.exp".
  absl::string_view nl_name;
  // Value for numbers (the second is unused by functions of one operand); null where numbers don't fold.
  double (*fold)(double, double);
  // Reductions and scans: the start value of an accumulator and the nl function that merges two partial
  // results.
  absl::string_view start = {};
  absl::string_view merge = {};
};

const FnRow& RowOf(Fn fn);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_FN_TABLE_H_
