// Keys: read when needed, sent to their provider, shown to nobody.
#ifndef SERVICES_LLM_GATEWAY_SECRETS_H_
#define SERVICES_LLM_GATEWAY_SECRETS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/model_config.h"

namespace nkiagent::llm_gateway {

// The model's key; empty if its configuration names no place for one. FAILED_PRECONDITION names the
// environment variable or the file that is missing, empty, too large (16 KiB) or holds what can't be sent in
// a header; never its content.
absl::StatusOr<std::string> ReadKey(const ModelConfig& config);

// `text` with every occurrence of `key` and everything that looks like a key (sk-..., Bearer ...) replaced.
// For all text that comes from a provider and goes into an error or a log.
std::string Redact(absl::string_view text, absl::string_view key);

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_SECRETS_H_
