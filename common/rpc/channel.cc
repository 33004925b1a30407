#include "common/rpc/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <algorithm>
#include <fstream>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/context.h"
#include "common/rpc/status.h"

namespace nkiagent::rpc {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

// Puts the bearer token on every call. gRPC's own call credentials refuse connections without TLS, which a
// server on the loopback address allows.
class TokenInterceptor : public grpc::experimental::Interceptor {
 public:
  explicit TokenInterceptor(const std::string& value) : value_(value) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->insert({"authorization", value_});
    }
    methods->Proceed();
  }

 private:
  const std::string& value_;
};

class TokenInterceptorFactory : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit TokenInterceptorFactory(const std::string& token) : value_(absl::StrCat("Bearer ", token)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo*) override {
    return new TokenInterceptor(value_);  // gRPC owns it; the channel owns the factory and outlives its calls
  }

 private:
  const std::string value_;
};

// grpc.health.v1: HealthCheckRequest { string service = 1; }, HealthCheckResponse { ServingStatus status = 1;
// }
constexpr char kHealthMethod[] = "/grpc.health.v1.Health/Check";
constexpr char kServiceTag = 0x0a;
constexpr char kStatusTag = 0x08;
constexpr char kServing = 1;

}  // namespace

void ChannelOptions::Declare(config::OptionSet& set, const std::string& prefix) {
  set.Add(prefix + "_target", &target, "Address of the " + prefix + " service, host:port.");
  set.Add(prefix + "_tls_ca_file", &tls_ca_file, "PEM file of the CA that signed the server; turns TLS on.");
  set.Add(prefix + "_tls_cert_file", &tls_cert_file, "PEM file of this client's certificate (mTLS).");
  set.Add(prefix + "_tls_key_file", &tls_key_file, "PEM file of this client's key (mTLS).");
  set.Add(prefix + "_tls_server_name", &tls_server_name,
          "Name on the server's certificate, if not the host.");
  set.Add(prefix + "_auth_token_file", &auth_token_file, "File with the bearer token the server asks for.");
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(kMaxFileBytes + 1, '\0');
  if (!file || (file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())), file.bad())) {
    return absl::NotFoundError(absl::StrCat("file ", path, " can't be read"));
  }
  bytes.resize(static_cast<size_t>(file.gcount()));
  if (bytes.empty()) return absl::InvalidArgumentError(absl::StrCat("file ", path, " is empty"));
  if (bytes.size() > kMaxFileBytes)
    return absl::InvalidArgumentError(absl::StrCat("file ", path, " is over 1 MiB"));
  return bytes;
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadSmallFile(path);
  if (!bytes.ok()) return bytes;
  std::string token(absl::StripAsciiWhitespace(*bytes));
  const bool printable = std::all_of(
      token.begin(), token.end(), [](char c) { return absl::ascii_isgraph(static_cast<unsigned char>(c)); });
  if (token.empty() || !printable) {
    return absl::InvalidArgumentError(
        absl::StrCat("file ", path, " does not hold a token: one printable word"));
  }
  return token;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> CreateChannel(const ChannelOptions& options) {
  if (options.target.empty()) return absl::InvalidArgumentError("the target address is empty");
  const bool tls = !options.tls_ca_file.empty();
  if (options.tls_cert_file.empty() != options.tls_key_file.empty()) {
    return absl::InvalidArgumentError("tls_cert_file and tls_key_file come together");
  }
  if (!tls && !(options.tls_cert_file.empty() && options.tls_server_name.empty())) {
    return absl::InvalidArgumentError("TLS options need tls_ca_file");
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes.value));
  arguments.SetMaxSendMessageSize(static_cast<int>(options.max_message_bytes.value));
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // our services are not behind a web proxy
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);

  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (tls) {
    grpc::SslCredentialsOptions ssl;
    const std::pair<const std::string*, grpc::string*> files[] = {
        {&options.tls_ca_file, &ssl.pem_root_certs},
        {&options.tls_cert_file, &ssl.pem_cert_chain},
        {&options.tls_key_file, &ssl.pem_private_key}};
    for (const auto& [path, target] : files) {
      if (path->empty()) continue;
      absl::StatusOr<std::string> pem = ReadSmallFile(*path);
      if (!pem.ok()) return pem.status();
      *target = *std::move(pem);
    }
    if (!options.tls_server_name.empty()) arguments.SetSslTargetNameOverride(options.tls_server_name);
    credentials = grpc::SslCredentials(ssl);
  }
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!options.auth_token_file.empty()) {
    absl::StatusOr<std::string> token = ReadToken(options.auth_token_file);
    if (!token.ok()) return token.status();
    interceptors.push_back(std::make_unique<TokenInterceptorFactory>(*token));
  }
  return grpc::experimental::CreateCustomChannelWithInterceptors(options.target, credentials, arguments,
                                                                 std::move(interceptors));
}

absl::Status AwaitConnected(grpc::Channel& channel, const std::string& target, absl::Time deadline) {
  if (channel.WaitForConnected(absl::ToChronoTime(deadline))) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("can't connect to ", target));
}

absl::StatusOr<bool> CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service,
                                 absl::Time deadline) {
  if (service.size() > 127) return absl::InvalidArgumentError("a service name is at most 127 bytes");
  std::string request;
  if (!service.empty()) request = {kServiceTag, static_cast<char>(service.size())};
  request += service;
  const grpc::Slice slice(request);
  const grpc::ByteBuffer sent(&slice, 1);
  grpc::ByteBuffer received;
  ClientCall call(CallContext("", deadline));
  grpc::GenericStub stub(channel);
  std::promise<grpc::Status> ended;
  stub.UnaryCall(call.context(), kHealthMethod, {}, &sent, &received,
                 [&](grpc::Status status) { ended.set_value(std::move(status)); });
  const grpc::Status status = ended.get_future().get();  // ends with the deadline
  if (!status.ok()) return FromGrpcStatus(status);
  grpc::Slice answer;
  if (!received.TrySingleSlice(&answer).ok()) return absl::InternalError("health answer is not one message");
  const std::string bytes(reinterpret_cast<const char*>(answer.begin()), answer.size());
  return bytes == std::string({kStatusTag, kServing});
}

}  // namespace nkiagent::rpc
