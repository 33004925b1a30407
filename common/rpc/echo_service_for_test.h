// EchoService on a real server, for the tests of this folder.
#ifndef COMMON_RPC_ECHO_SERVICE_FOR_TEST_H_
#define COMMON_RPC_ECHO_SERVICE_FOR_TEST_H_

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "common/rpc/channel.h"
#include "common/rpc/runtime.h"
#include "common/rpc/server.h"
#include "common/rpc/status.h"
#include "echo.grpc.pb.h"

namespace nkiagent::rpc {

class EchoHandler final : public testdata::EchoService::CallbackService {
 public:
  explicit EchoHandler(Runtime& runtime) : runtime_(runtime) {}

  grpc::ServerUnaryReactor* Echo(grpc::CallbackServerContext* context, const testdata::EchoRequest* request,
                                 testdata::EchoResponse* response) override {
    return RunUnary(runtime_, context, "Echo", [=, this](const CallContext& call) -> absl::Status {
      ++started;
      response->set_request_id(call.request_id());
      response->set_text(request->text());
      if (request->behaviour() == "fail") {
        absl::Status status = absl::InvalidArgumentError("tile partition 256 > 128");
        status.SetPayload("test/detail", absl::Cord("128"));
        return status;
      }
      if (request->behaviour() == "throw") throw std::runtime_error("secret");
      if (request->behaviour() == "full") {
        return WithRetryAfter(absl::ResourceExhaustedError("full"), absl::Milliseconds(70));
      }
      if (request->behaviour() == "wait_for_drain") {
        while (!runtime_.draining().stop_requested()) std::this_thread::yield();
        return absl::OkStatus();
      }
      if (request->behaviour() == "wait") {
        while (call.Check().ok()) std::this_thread::yield();
        ++stopped;
        return call.Check();
      }
      return absl::OkStatus();
    });
  }

  std::atomic<int> started = 0;
  std::atomic<int> stopped = 0;

 private:
  Runtime& runtime_;
};

// One call, with the codes of absl.
inline absl::StatusOr<testdata::EchoResponse> CallEcho(const std::shared_ptr<grpc::Channel>& channel,
                                                       const CallContext& call, const std::string& behaviour,
                                                       const std::string& text = "") {
  testdata::EchoRequest request;
  request.set_behaviour(behaviour);
  request.set_text(text);
  testdata::EchoResponse response;
  ClientCall onward(call);
  const grpc::Status status =
      testdata::EchoService::NewStub(channel)->Echo(onward.context(), request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_ECHO_SERVICE_FOR_TEST_H_
