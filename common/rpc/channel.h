// Client channels to our services, with the TLS and token options that their servers take.
#ifndef COMMON_RPC_CHANNEL_H_
#define COMMON_RPC_CHANNEL_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/config/option_set.h"

namespace nkiagent::rpc {

struct ChannelOptions {
  // "host:port" or any gRPC target.
  std::string target;
  // PEM files. A CA file turns TLS on; certificate and key together identify this client (mTLS).
  std::string tls_ca_file;
  std::string tls_cert_file;
  std::string tls_key_file;
  // The name that the server's certificate must carry, if it differs from the target's host.
  std::string tls_server_name;
  // A file with the bearer token that the server asks for.
  std::string auth_token_file;
  // Must match what the server sends.
  config::Bytes max_message_bytes{int64_t{64} << 20};

  // Declares <prefix>_target, <prefix>_tls_ca_file, … ("compile_target"); `this` must outlive the set.
  void Declare(config::OptionSet& set, const std::string& prefix);
};

// INVALID_ARGUMENT for options that contradict each other, NOT_FOUND for files that can't be read. Does not
// connect.
absl::StatusOr<std::shared_ptr<grpc::Channel>> CreateChannel(const ChannelOptions& options);

// Waits until the channel is connected; UNAVAILABLE names the target if it isn't by then.
absl::Status AwaitConnected(grpc::Channel& channel, const std::string& target, absl::Time deadline);

// What grpc.health.v1.Health/Check says of `service` ("" for the whole server): true for SERVING. NOT_FOUND
// for a service that the server doesn't have; otherwise the call's own error.
absl::StatusOr<bool> CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service,
                                 absl::Time deadline);

// The bytes of a (small) file; NOT_FOUND if it can't be read, INVALID_ARGUMENT if it is empty or over 1 MiB.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

// The token in a file, without white space around it.
absl::StatusOr<std::string> ReadToken(const std::string& path);

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_CHANNEL_H_
