#include "tests/bench/gateway_client.h"

#include <chrono>
#include <utility>

namespace nkiagent::gateway_load {
namespace {

constexpr int kChannels = 4;

void SetDeadline(grpc::ClientContext* context, absl::Duration deadline) {
  if (deadline > absl::ZeroDuration())
    context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(deadline));
}

class Unary final : public Call, public grpc::ClientUnaryReactor {
 public:
  Unary(llm::v1::GenerateRequest request, Done done) : Call(std::move(done)), request_(std::move(request)) {}

  // `self` is this: from here on its only owner. It may be gone when this returns.
  void Start(llm::v1::LlmService::Stub& stub, absl::Duration deadline, std::shared_ptr<Call> self) {
    self_ = std::move(self);
    SetDeadline(&context_, deadline);
    stub.async()->Generate(&context_, &request_, &response_, this);
    StartCall();
  }

 private:
  void OnDone(const grpc::Status& status) override { Ended(status); }

  const llm::v1::GenerateRequest request_;
  llm::v1::GenerateResponse response_;
};

class Stream final : public Call, public grpc::ClientReadReactor<llm::v1::StreamGenerateResponse> {
 public:
  Stream(llm::v1::GenerateRequest request, std::function<void(const llm::v1::ContentDelta&)> on_delta,
         Done done)
      : Call(std::move(done)), on_delta_(std::move(on_delta)) {
    *request_.mutable_request() = std::move(request);
  }

  // `self` is this: from here on its only owner. It may be gone when this returns.
  void Start(llm::v1::LlmService::Stub& stub, absl::Duration deadline, std::shared_ptr<Call> self) {
    self_ = std::move(self);
    SetDeadline(&context_, deadline);
    stub.async()->StreamGenerate(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (on_delta_ && response_.has_delta()) on_delta_(response_.delta());
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override { Ended(status); }

  const std::function<void(const llm::v1::ContentDelta&)> on_delta_;
  llm::v1::StreamGenerateRequest request_;
  llm::v1::StreamGenerateResponse response_;
};

template <typename T>
std::weak_ptr<Call> Begin(std::shared_ptr<T> call, llm::v1::LlmService::Stub& stub, absl::Duration deadline) {
  std::weak_ptr<Call> weak = call;
  T* raw = call.get();
  raw->Start(stub, deadline, std::move(call));
  return weak;
}

}  // namespace

Channels::Channels(const std::string& target) {
  for (int i = 0; i < kChannels; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("nki.number", i);  // or they would share one connection
    stubs_.push_back(llm::v1::LlmService::NewStub(
        grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments)));
  }
}

void Call::Ended(const grpc::Status& status) {
  // The status may be a part of what goes away.
  const grpc::Status copy = status;
  const Done done = std::move(done_);
  std::exchange(self_, nullptr).reset();
  done(copy);
}

std::weak_ptr<Call> StartUnary(llm::v1::LlmService::Stub& stub, llm::v1::GenerateRequest request,
                               absl::Duration deadline, Call::Done done) {
  auto call = std::make_shared<Unary>(std::move(request), std::move(done));
  return Begin(std::move(call), stub, deadline);
}

std::weak_ptr<Call> StartStream(llm::v1::LlmService::Stub& stub, llm::v1::GenerateRequest request,
                                absl::Duration deadline,
                                std::function<void(const llm::v1::ContentDelta&)> on_delta, Call::Done done) {
  auto call = std::make_shared<Stream>(std::move(request), std::move(on_delta), std::move(done));
  return Begin(std::move(call), stub, deadline);
}

llm::v1::GenerateRequest Question(const std::string& model) {
  llm::v1::GenerateRequest request;
  request.set_model(model);
  request.set_system("You write kernels.");
  llm::v1::Message* message = request.add_messages();
  message->set_role(llm::v1::ROLE_USER);
  message->add_content()->set_text("Write a kernel that adds two tensors, and say why it is right.");
  return request;
}

}  // namespace nkiagent::gateway_load
