// The service on a real server, with a client of gRPC.
#include "services/llm_gateway/llm_handler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "common/rpc/channel.h"
#include "common/rpc/server.h"
#include "common/rpc/status.h"
#include "services/llm_gateway/test_util.h"
#include "tests/standins/chat_standin.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;
using ::testing::HasSubstr;

class LlmHandlerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    unsetenv("http_proxy");
    setenv("STANDIN_OPENAI_KEY", standins::kOpenAiKey, 1);
    auto standin = standins::ChatStandin::Start();
    ASSERT_TRUE(standin.ok()) << standin.status();
    standin_ = *std::move(standin);
    std::vector<ModelConfig> models(4);
    for (ModelConfig& model : models) {
      model.provider = "openai";
      model.base_url = standin_->url() + "/v1";
      model.key_env = "STANDIN_OPENAI_KEY";
    }
    models[0].name = "chat";
    models[1].name = "silent";
    models[2].name = "long";
    models[3].name = "stream-hangs";
    GatewayOptions gateway_options;
    gateway_options.http.max_response_bytes = size_t{64} << 20;
    auto gateway = Gateway::Create(gateway_options, models, nullptr, runtime_.metrics());
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
    handler_ = std::make_unique<LlmHandler>(runtime_, *gateway_);
    rpc::ServerOptions options{.name = "llm-gateway"};
    options.metrics_port = -1;
    auto server =
        rpc::Server::Start(options, runtime_, {{llm::LlmService::service_full_name(), handler_.get()}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = *rpc::CreateChannel({.target = server_->Target()});
    stub_ = llm::LlmService::NewStub(channel_);
  }

  std::unique_ptr<standins::ChatStandin> standin_;
  rpc::Runtime runtime_{{.service = "llm"}};
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<LlmHandler> handler_;
  std::unique_ptr<rpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<llm::LlmService::Stub> stub_;
};

TEST_F(LlmHandlerTest, AnswersListsAndIsHealthy) {
  grpc::ClientContext context;
  GenerateResponse response;
  const grpc::Status status = stub_->Generate(&context, Ask("chat", "hello"), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.message().content(0).text(), "You said: hello");

  grpc::ClientContext list_context;
  llm::ListModelsResponse list;
  ASSERT_TRUE(stub_->ListModels(&list_context, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 4);
  EXPECT_EQ(list.models(0).name(), "chat");
  EXPECT_TRUE(list.models(0).available());
  EXPECT_TRUE(
      *rpc::CheckHealth(channel_, llm::LlmService::service_full_name(), absl::Now() + absl::Seconds(10)));
}

TEST_F(LlmHandlerTest, GivesTypedErrors) {
  grpc::ClientContext unknown_context;
  GenerateResponse response;
  const grpc::Status unknown = stub_->Generate(&unknown_context, Ask("gone", "hello"), &response);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(unknown.error_message(), HasSubstr("'gone'; known are: chat, long, silent"));

  grpc::ClientContext empty_context;
  EXPECT_EQ(stub_->Generate(&empty_context, {}, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  grpc::ClientContext stream_context;
  auto stream = stub_->StreamGenerate(&stream_context, {});
  llm::StreamGenerateResponse piece;
  EXPECT_FALSE(stream->Read(&piece));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(LlmHandlerTest, StreamsPiecesAndThenTheWholeAnswer) {
  grpc::ClientContext context;
  llm::StreamGenerateRequest request;
  *request.mutable_request() = Ask("chat", "hello, I am a text of some length");
  auto stream = stub_->StreamGenerate(&context, request);
  std::string text;
  llm::StreamGenerateResponse piece;
  std::vector<llm::GenerateResponse> answers;
  while (stream->Read(&piece)) {
    EXPECT_TRUE(answers.empty()) << "something follows the answer";
    text += piece.delta().text();
    if (piece.has_response()) answers.push_back(piece.response());
  }
  const grpc::Status status = stream->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(text, "You said: hello, I am a text of some length");
  EXPECT_EQ(answers[0].message().content(0).text(), text);
}

TEST_F(LlmHandlerTest, ASlowReaderGetsEverything) {
  grpc::ClientContext context;
  llm::StreamGenerateRequest request;
  *request.mutable_request() = Ask("long", "?");
  auto stream = stub_->StreamGenerate(&context, request);
  // Nothing is read until the provider has noticed.
  ASSERT_TRUE(standin_->Await("long", "stalled"));
  size_t bytes = 0;
  llm::StreamGenerateResponse piece;
  while (stream->Read(&piece)) bytes += piece.delta().text().size();
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(bytes, size_t{16384} * 2048 + 1);
  EXPECT_EQ(piece.response().message().content(0).text().size(), bytes);
}

TEST_F(LlmHandlerTest, ACancelledStreamClosesTheProvidersSocket) {
  llm::StreamGenerateRequest request;
  *request.mutable_request() = Ask("stream-hangs", "?");
  grpc::ClientContext context;
  auto stream = stub_->StreamGenerate(&context, request);
  llm::StreamGenerateResponse piece;
  EXPECT_TRUE(stream->Read(&piece));
  context.TryCancel();
  while (stream->Read(&piece)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(standin_->Await("stream-hangs", "disconnected"));
}

TEST_F(LlmHandlerTest, ACancelledCallClosesTheProvidersSocket) {
  grpc::ClientContext context;
  grpc::Status status;
  GenerateResponse response;
  std::thread caller([&] { status = stub_->Generate(&context, Ask("silent", "hello"), &response); });
  EXPECT_TRUE(standin_->Await("silent", "begun"));
  context.TryCancel();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(standin_->Await("silent", "disconnected"));
}

}  // namespace
}  // namespace nkiagent::llm_gateway
