// Text of strangers as the contract's strings take it.
#ifndef COMMON_CONTRACT_CLEAN_TEXT_H_
#define COMMON_CONTRACT_CLEAN_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace nkiagent::contract {

// `text` with invalid UTF-8 replaced by "?", cut to `max_bytes` at a character: what may go into a proto
// string.
std::string CleanText(absl::string_view text, size_t max_bytes);

}  // namespace nkiagent::contract

#endif  // COMMON_CONTRACT_CLEAN_TEXT_H_
