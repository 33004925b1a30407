// JSON from strangers: bounded in depth, never an exception.
#ifndef SERVICES_LLM_GATEWAY_JSON_UTIL_H_
#define SERVICES_LLM_GATEWAY_JSON_UTIL_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nkiagent::llm_gateway {

using Json = nlohmann::json;

// Deeper nesting is refused: what reads and writes JSON recurses.
inline constexpr int kMaxJsonDepth = 100;

// More values are refused: in memory an empty object takes some 80 bytes, in text three.
inline constexpr int64_t kMaxJsonValues = 4'000'000;

// INVALID_ARGUMENT with the byte at which it stops being JSON, or when it nests deeper than kMaxJsonDepth or
// has more than kMaxJsonValues values.
absl::StatusOr<Json> ParseJson(absl::string_view text);

// The member `name` if `json` is an object that has it and it is of the wanted type; otherwise the default.
std::string StringOr(const Json& json, const char* name, absl::string_view fallback = "");
int64_t IntOr(const Json& json, const char* name, int64_t fallback = 0);
// The member itself, or null when there is none of that name.
const Json& Member(const Json& json, const char* name);

// Compact text. Invalid UTF-8 becomes U+FFFD.
std::string Dump(const Json& json);

// At most `max_bytes` of a foreign text on one line, for an error message: control characters become blanks,
// invalid UTF-8 is left out, and what is cut is said.
std::string Excerpt(absl::string_view text, size_t max_bytes = 300);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_JSON_UTIL_H_
