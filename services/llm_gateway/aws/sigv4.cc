#include "services/llm_gateway/aws/sigv4.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/storage/content_hash.h"

namespace nkiagent::llm_gateway::aws {
namespace {

constexpr char kAlgorithm[] = "AWS4-HMAC-SHA256";

std::string Hmac(absl::string_view key, absl::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
  return {reinterpret_cast<const char*>(digest), size};
}

// Parameters in the order of their encoded names, then values.
std::string CanonicalQuery(absl::string_view query) {
  std::vector<std::pair<std::string, std::string>> parameters;
  for (const absl::string_view parameter : absl::StrSplit(query, '&', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(parameter, absl::MaxSplits('=', 1));
    parameters.push_back(pair);
  }
  std::sort(parameters.begin(), parameters.end());
  return absl::StrJoin(parameters, "&", absl::PairFormatter("="));
}

// Without blanks around it, and one for each run of them inside.
std::string CanonicalValue(absl::string_view value) {
  return absl::StrJoin(absl::StrSplit(value, absl::ByAnyChar(" \t\n"), absl::SkipEmpty()), " ");
}

}  // namespace

std::string PercentEncode(absl::string_view text, bool keep_slashes) {
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '_' || c == '.' || c == '~' || c == '-' ||
        (c == '/' && keep_slashes)) {
      encoded.push_back(c);
    } else {
      absl::StrAppend(&encoded, "%", absl::AsciiStrToUpper(absl::BytesToHexString(absl::string_view(&c, 1))));
    }
  }
  return encoded;
}

std::string AmzDate(absl::Time time) { return absl::FormatTime("%Y%m%dT%H%M%SZ", time, absl::UTCTimeZone()); }

std::string Authorization(const SigningKey& key, const RequestToSign& request, absl::Time time) {
  std::string headers;
  std::vector<std::string> names;
  for (const auto& [name, value] : request.headers) {
    absl::StrAppend(&headers, name, ":", CanonicalValue(value), "\n");
    names.push_back(name);
  }
  const std::string signed_headers = absl::StrJoin(names, ";");
  const std::string canonical = absl::StrCat(
      request.method, "\n", PercentEncode(request.path, /*keep_slashes=*/true), "\n",
      CanonicalQuery(request.query), "\n", headers, "\n", signed_headers, "\n", request.payload_sha256);
  const std::string date = absl::FormatTime("%Y%m%d", time, absl::UTCTimeZone());
  const std::string scope = absl::StrCat(date, "/", key.region, "/", key.service, "/aws4_request");
  const std::string to_sign =
      absl::StrCat(kAlgorithm, "\n", AmzDate(time), "\n", scope, "\n", storage::Sha256Hex(canonical));
  const std::string signing_key =
      Hmac(Hmac(Hmac(Hmac(absl::StrCat("AWS4", key.secret_access_key), date), key.region), key.service),
           "aws4_request");
  return absl::StrCat(kAlgorithm, " Credential=", key.access_key_id, "/", scope,
                      ", SignedHeaders=", signed_headers,
                      ", Signature=", absl::BytesToHexString(Hmac(signing_key, to_sign)));
}

}  // namespace nkiagent::llm_gateway::aws
