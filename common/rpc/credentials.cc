#include "common/rpc/credentials.h"

#include <grpcpp/security/auth_metadata_processor.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/channel.h"

namespace nkiagent::rpc {
namespace {

// Takes as long for a wrong token as for a right one.
bool SameText(absl::string_view a, absl::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |=
        static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[b.empty() ? 0 : i % b.size()]);
  }
  return difference == 0;
}

class TokenProcessor : public grpc::AuthMetadataProcessor {
 public:
  explicit TokenProcessor(const std::string& token) : expected_(absl::StrCat("Bearer ", token)) {}

  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext*, OutputMetadata* consumed,
                       OutputMetadata*) override {
    const auto path = metadata.find(":path");
    if (path != metadata.end() &&
        absl::StartsWith(absl::string_view(path->second.data(), path->second.size()),
                         "/grpc.health.v1.Health/")) {
      return grpc::Status::OK;
    }
    const auto given = metadata.find("authorization");
    if (given == metadata.end())
      return {grpc::StatusCode::UNAUTHENTICATED, "the call carries no bearer token"};
    if (!SameText({given->second.data(), given->second.size()}, expected_)) {
      return {grpc::StatusCode::UNAUTHENTICATED, "the bearer token is not the server's"};
    }
    consumed->insert({"authorization", std::string(given->second.data(), given->second.size())});
    return grpc::Status::OK;
  }

 private:
  const std::string expected_;
};

bool IsLoopback(const std::string& address) {
  return address == "localhost" || address == "[::1]" || absl::StartsWith(address, "127.");
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const ServerCredentialOptions& options) {
  const bool tls = !options.tls_cert_file.empty();
  if (tls != !options.tls_key_file.empty()) {
    return absl::InvalidArgumentError("tls_cert_file and tls_key_file come together");
  }
  if (!options.tls_client_ca_file.empty() && !tls) {
    return absl::InvalidArgumentError("tls_client_ca_file needs tls_cert_file and tls_key_file");
  }
  const bool token = !options.auth_token_file.empty();
  if (token && !tls && !IsLoopback(options.address)) {
    return absl::InvalidArgumentError(absl::StrCat("auth_token_file on ", options.address,
                                                   " needs TLS: a token must not travel in the clear"));
  }

  std::shared_ptr<grpc::ServerCredentials> credentials;
  if (tls) {
    grpc::SslServerCredentialsOptions ssl(options.tls_client_ca_file.empty()
                                              ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                              : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    absl::StatusOr<std::string> cert = ReadSmallFile(options.tls_cert_file);
    if (!cert.ok()) return cert.status();
    absl::StatusOr<std::string> key = ReadSmallFile(options.tls_key_file);
    if (!key.ok()) return key.status();
    ssl.pem_key_cert_pairs.push_back({*key, *cert});
    if (!options.tls_client_ca_file.empty()) {
      absl::StatusOr<std::string> ca = ReadSmallFile(options.tls_client_ca_file);
      if (!ca.ok()) return ca.status();
      ssl.pem_root_certs = *ca;
    }
    credentials = grpc::SslServerCredentials(ssl);
  } else if (token) {
    // gRPC lets only "secure" credentials look at metadata; these accept peers of this machine and encrypt
    // nothing.
    credentials = grpc::experimental::LocalServerCredentials(LOCAL_TCP);
  } else {
    credentials = grpc::InsecureServerCredentials();
  }
  if (token) {
    absl::StatusOr<std::string> text = ReadToken(options.auth_token_file);
    if (!text.ok()) return text.status();
    credentials->SetAuthMetadataProcessor(std::make_shared<TokenProcessor>(*text));
  }
  return credentials;
}

}  // namespace nkiagent::rpc
