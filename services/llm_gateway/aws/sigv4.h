// AWS signature version 4, as in "Create a signed AWS API request" of the IAM user guide.
#ifndef SERVICES_LLM_GATEWAY_AWS_SIGV4_H_
#define SERVICES_LLM_GATEWAY_AWS_SIGV4_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nkiagent::llm_gateway::aws {

struct SigningKey {
  std::string access_key_id;
  std::string secret_access_key;
  std::string region;   // "us-east-1"
  std::string service;  // "bedrock"
};

struct RequestToSign {
  std::string method = "POST";
  // As in the request line, without the query; it is percent-encoded once more for the signature.
  std::string path = "/";
  // As in the request line, percent-encoded, without the '?'.
  std::string query;
  // All headers that are signed, names in lower case; with "host" and "x-amz-date".
  std::map<std::string, std::string> headers;
  std::string payload_sha256;  // lower-case hex
};

// "20150830T123600Z", the value of x-amz-date.
std::string AmzDate(absl::Time time);

// The value of the header Authorization.
std::string Authorization(const SigningKey& key, const RequestToSign& request, absl::Time time);

// Every byte but [A-Za-z0-9_.~-] as %XX; '/' stays if `keep_slashes`.
std::string PercentEncode(absl::string_view text, bool keep_slashes);

}  // namespace nkiagent::llm_gateway::aws

#endif  // SERVICES_LLM_GATEWAY_AWS_SIGV4_H_
