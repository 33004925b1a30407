// Keys: read when needed, sent to their provider, shown to nobody.
#ifndef SERVICES_LLM_GATEWAY_SECRETS_H_
#define SERVICES_LLM_GATEWAY_SECRETS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/model_config.h"

namespace nkiagent::llm_gateway {

// What a call to a provider is signed or sent with. Empty strings: none.
struct Credentials {
  std::string key;
  // AWS: signature version 4.
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;

  // All that must not be shown.
  std::vector<std::string> Secrets() const { return {key, secret_access_key, session_token, access_key_id}; }
};

// The model's credentials; empty if its configuration names no place for a key. Of provider "bedrock" without
// a key: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the environment, or else the
// profile (aws_profile, AWS_PROFILE, "default") in aws_credentials_file, AWS_SHARED_CREDENTIALS_FILE or
// ~/.aws/credentials. FAILED_PRECONDITION names the environment variable or the file that is missing, empty,
// too large (16 KiB; 1 MiB for AWS's file) or holds what can't be sent in a header; never its content.
absl::StatusOr<Credentials> ReadCredentials(const ModelConfig& config);

// `text` with every occurrence of a secret and everything that looks like a key (sk-..., Bearer ..., AKIA...)
// replaced. For all text that comes from a provider and goes into an error or a log, and for cassettes.
// Redacting twice changes nothing more.
std::string Redact(absl::string_view text, const std::vector<std::string>& secrets = {});

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_SECRETS_H_
