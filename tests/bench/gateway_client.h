// Calls to llm-gateway for the load programs.
#ifndef TESTS_BENCH_GATEWAY_CLIENT_H_
#define TESTS_BENCH_GATEWAY_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "nkiagent/llm/v1/llm_service.grpc.pb.h"

namespace nkiagent::gateway_load {

// A few connections to one gateway. Outlives its calls: gRPC 1.51 joins its threads where a channel is let go
// of for the last time, and a callback that did so would wait for its own thread.
class Channels {
 public:
  explicit Channels(const std::string& target);
  llm::v1::LlmService::Stub& operator[](size_t i) { return *stubs_[i % stubs_.size()]; }

 private:
  std::vector<std::unique_ptr<llm::v1::LlmService::Stub>> stubs_;
};

// A call in progress. It owns itself until it has ended; whoever locks a pointer to it holds its channel too.
class Call {
 public:
  // Called once, on a thread of gRPC, when the call is no more.
  using Done = std::function<void(const grpc::Status&)>;

  virtual ~Call() = default;
  void Cancel() { context_.TryCancel(); }

 protected:
  explicit Call(Done done) : done_(std::move(done)) {}

  // The end of it, from the reactor's OnDone.
  void Ended(const grpc::Status& status);

  grpc::ClientContext context_;
  Done done_;
  std::shared_ptr<Call> self_;
};

// Zero is no deadline.
std::weak_ptr<Call> StartUnary(llm::v1::LlmService::Stub& stub, llm::v1::GenerateRequest request,
                               absl::Duration deadline, Call::Done done);
// `on_delta` gets each piece, on a thread of gRPC; may be null.
std::weak_ptr<Call> StartStream(llm::v1::LlmService::Stub& stub, llm::v1::GenerateRequest request,
                                absl::Duration deadline,
                                std::function<void(const llm::v1::ContentDelta&)> on_delta, Call::Done done);

// A short question to `model`.
llm::v1::GenerateRequest Question(const std::string& model);

}  // namespace nkiagent::gateway_load

#endif  // TESTS_BENCH_GATEWAY_CLIENT_H_
