// What a call carries through a service: request id, deadline, cancellation, and a logger that names the
// request.
//
// A handler gets a CallContext from RunUnary; work without a caller (a resumed session) makes its own. An
// onward RPC starts from ClientCall, which hands on all three.
#ifndef COMMON_RPC_CONTEXT_H_
#define COMMON_RPC_CONTEXT_H_

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>

#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/rpc/logging.h"

namespace nkiagent::rpc {

// Metadata key of the request id, in both directions.
inline constexpr char kRequestIdKey[] = "x-request-id";

// A copyable value; thread safe to read.
class CallContext {
 public:
  // `request_id` empty: a fresh one is made. `stop` requested: the work should end soon, nobody waits for it.
  explicit CallContext(std::string request_id = "", absl::Time deadline = absl::InfiniteFuture(),
                       std::stop_token stop = {});

  // From a call's metadata and deadline; a request id with odd characters or over 128 long is replaced by a
  // fresh one.
  static CallContext FromServer(const grpc::ServerContextBase& context, std::stop_token stop);

  const std::string& request_id() const { return request_id_; }
  absl::Time deadline() const { return deadline_; }
  // Until the deadline; zero when it has passed.
  absl::Duration Remaining() const;
  const std::stop_token& stop_token() const { return stop_; }

  // OK while the work is still wanted; else CANCELLED or DEADLINE_EXCEEDED. Long loops ask between steps.
  absl::Status Check() const;

  // The same call with an earlier deadline.
  CallContext WithTimeout(absl::Duration timeout) const;

  // A logger that puts request_id on every line.
  Logger Log(absl::string_view name = "") const;

 private:
  std::string request_id_;
  absl::Time deadline_;
  std::stop_token stop_;
};

// 32 hexadecimal digits from the system's random source.
std::string NewRequestId();

// The client side of one onward RPC: a grpc::ClientContext with the call's deadline and request id, cancelled
// when the call is. Lives until the RPC has ended; used for one RPC.
//
//   rpc::ClientCall onward(call);
//   grpc::Status status = stub.Compile(onward.context(), request, &response);
class ClientCall {
 public:
  explicit ClientCall(const CallContext& call);
  ClientCall(const ClientCall&) = delete;
  ClientCall& operator=(const ClientCall&) = delete;

  grpc::ClientContext* context() { return &context_; }

 private:
  struct Cancel {
    grpc::ClientContext* context;
    void operator()() const { context->TryCancel(); }
  };
  grpc::ClientContext context_;
  std::stop_callback<Cancel> on_stop_;
};

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_CONTEXT_H_
