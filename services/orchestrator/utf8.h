// Text from outside as valid UTF-8: what is stored and sent as a string of the contract must be, or it can't
// be read back. Pure functions; any thread.
#ifndef SERVICES_ORCHESTRATOR_UTF8_H_
#define SERVICES_ORCHESTRATOR_UTF8_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace nkiagent::orchestrator {

// True for well-formed UTF-8 (Unicode 15, table 3-7): no overlong forms, no surrogates, nothing above
// U+10FFFF.
bool IsUtf8(absl::string_view text);

// `text` with each byte that is no part of a well-formed character replaced by U+FFFD.
std::string CleanUtf8(absl::string_view text);

// The longest prefix of at most `max_bytes` bytes that ends between two characters of `text`, which is valid
// UTF-8.
absl::string_view CutUtf8(absl::string_view text, size_t max_bytes);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_UTF8_H_
