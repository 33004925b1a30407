// Server credentials: TLS, client certificates, bearer token.
#ifndef COMMON_RPC_CREDENTIALS_H_
#define COMMON_RPC_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace nkiagent::rpc {

// File names may be empty; see ServerOptions for what they mean.
struct ServerCredentialOptions {
  std::string address;
  std::string tls_cert_file;
  std::string tls_key_file;
  std::string tls_client_ca_file;
  std::string auth_token_file;
};

// INVALID_ARGUMENT if the options contradict each other (a key without its certificate, a token on an open
// address without TLS), NOT_FOUND if a file can't be read. Calls without the token get UNAUTHENTICATED;
// grpc.health.v1 is exempt, because probes carry none.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const ServerCredentialOptions& options);

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_CREDENTIALS_H_
