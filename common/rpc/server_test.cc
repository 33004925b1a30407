#include "common/rpc/server.h"

#include <curl/curl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>

#include "absl/time/clock.h"
#include "common/rpc/echo_service_for_test.h"

namespace nkiagent::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kEcho[] = "nkiagent.rpc.testdata.EchoService";

CallContext Within(absl::Duration timeout, std::string request_id = "") {
  return CallContext(std::move(request_id), absl::Now() + timeout);
}

std::string Scrape(int port) {
  std::string body;
  CURL* curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_URL, absl::StrCat("http://127.0.0.1:", port, "/metrics").c_str());
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(
      curl, CURLOPT_WRITEFUNCTION, +[](char* data, size_t size, size_t count, void* out) {
        static_cast<std::string*>(out)->append(data, size * count);
        return size * count;
      });
  EXPECT_EQ(curl_easy_perform(curl), CURLE_OK);
  curl_easy_cleanup(curl);
  return body;
}

class ServerTest : public ::testing::Test {
 protected:
  void StartServer(ServerOptions options = {}) {
    options.name = "echo-service";
    auto server = Server::Start(options, runtime_, {{kEcho, &handler_}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = *CreateChannel({.target = server_->Target()});
  }

  Runtime runtime_{{.service = "echo", .executor = {.threads = 2, .max_queued = 0}}};
  EchoHandler handler_{runtime_};
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(ServerTest, CarriesTheRequestIdAndMakesOneWhenMissing) {
  StartServer();
  const auto named = CallEcho(channel_, Within(absl::Seconds(30), "req-7"), "", "hi");
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->request_id(), "req-7");
  EXPECT_EQ(named->text(), "hi");

  grpc::ClientContext bare;
  testdata::EchoResponse response;
  ASSERT_TRUE(testdata::EchoService::NewStub(channel_)->Echo(&bare, {}, &response).ok());
  EXPECT_EQ(response.request_id().size(), 32);
  EXPECT_EQ(bare.GetServerTrailingMetadata().find(kRequestIdKey)->second, response.request_id());
}

TEST_F(ServerTest, ReplacesAHostileRequestId) {
  StartServer();
  for (const std::string& id : {std::string("a b"), std::string(129, 'x'), std::string("a\"b=c")}) {
    grpc::ClientContext context;
    context.AddMetadata(kRequestIdKey, id);
    testdata::EchoResponse response;
    ASSERT_TRUE(testdata::EchoService::NewStub(channel_)->Echo(&context, {}, &response).ok());
    EXPECT_EQ(response.request_id().size(), 32);
  }
}

TEST_F(ServerTest, ErrorsArriveWithCodeMessageAndDetails) {
  StartServer();
  const absl::Status status = CallEcho(channel_, Within(absl::Seconds(30)), "fail").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "tile partition 256 > 128");
  EXPECT_EQ(status.GetPayload("test/detail"), absl::Cord("128"));
}

TEST_F(ServerTest, AnExceptionIsInternalAndKeepsItsTextInTheLog) {
  StartServer();
  const absl::Status status = CallEcho(channel_, Within(absl::Seconds(30)), "throw").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("secret")));
}

TEST_F(ServerTest, RetryHintArrives) {
  StartServer();
  const absl::Status status = CallEcho(channel_, Within(absl::Seconds(30)), "full").status();
  EXPECT_EQ(RetryAfter(status), absl::Milliseconds(70));
}

TEST_F(ServerTest, FullExecutorAnswersResourceExhaustedAndCancelFreesIt) {
  StartServer();
  std::stop_source stop;
  const auto wait = [&] {
    return CallEcho(channel_, CallContext("", absl::InfiniteFuture(), stop.get_token()), "wait")
        .status()
        .code();
  };
  auto first = std::async(std::launch::async, wait);
  auto second = std::async(std::launch::async, wait);
  while (handler_.started < 2) std::this_thread::yield();
  const absl::Status refused = CallEcho(channel_, Within(absl::Seconds(30)), "").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryAfter(refused).has_value());
  stop.request_stop();
  EXPECT_EQ(first.get(), absl::StatusCode::kCancelled);
  EXPECT_EQ(second.get(), absl::StatusCode::kCancelled);
  while (handler_.stopped < 2 || runtime_.executor().running() > 0) std::this_thread::yield();
  EXPECT_TRUE(CallEcho(channel_, Within(absl::Seconds(30)), "").ok());
}

TEST_F(ServerTest, TheDeadlineReachesTheHandler) {
  StartServer();
  EXPECT_EQ(CallEcho(channel_, Within(absl::Milliseconds(50)), "wait").status().code(),
            absl::StatusCode::kDeadlineExceeded);
  while (handler_.stopped < 1) std::this_thread::yield();
}

TEST_F(ServerTest, MessagesOverTheLimitAreRefused) {
  StartServer({.max_message_bytes = {1 << 20}});
  const absl::Status status =
      CallEcho(channel_, Within(absl::Seconds(30)), "", std::string(2 << 20, 'x')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(CallEcho(channel_, Within(absl::Seconds(30)), "", "small").ok());
}

TEST_F(ServerTest, HealthIsToldForTheServerAndForEachService) {
  StartServer();
  const absl::Time soon = absl::Now() + absl::Seconds(30);
  EXPECT_EQ(*CheckHealth(channel_, "", soon), true);
  EXPECT_EQ(*CheckHealth(channel_, kEcho, soon), true);
  EXPECT_EQ(CheckHealth(channel_, "no.such.Service", soon).status().code(), absl::StatusCode::kNotFound);
  server_->SetServing(kEcho, false);
  EXPECT_EQ(*CheckHealth(channel_, kEcho, soon), false);
  EXPECT_EQ(*CheckHealth(channel_, "", soon), true);
}

TEST_F(ServerTest, PortFileNamesTheBoundPorts) {
  const std::string path = ::testing::TempDir() + "server_test_ports.json";
  StartServer({.port_file = path});
  const auto json = nlohmann::json::parse(std::ifstream(path));
  EXPECT_EQ(json["grpc"], server_->Target());
  EXPECT_EQ(json["metrics"], absl::StrCat("127.0.0.1:", runtime_.metrics().port()));
  EXPECT_EQ(json["pid"], getpid());
}

TEST_F(ServerTest, CallsAreCountedByMethodAndCode) {
  StartServer();
  ASSERT_TRUE(CallEcho(channel_, Within(absl::Seconds(30)), "").ok());
  ASSERT_FALSE(CallEcho(channel_, Within(absl::Seconds(30)), "fail").ok());
  const std::string body = Scrape(runtime_.metrics().port());
  EXPECT_THAT(body, HasSubstr("nkiagent_echo_requests_total{code=\"OK\",method=\"Echo\"} 1"));
  EXPECT_THAT(body, HasSubstr("nkiagent_echo_requests_total{code=\"INVALID_ARGUMENT\",method=\"Echo\"} 1"));
  EXPECT_THAT(body, HasSubstr("nkiagent_echo_request_duration_seconds_count{method=\"Echo\"} 2"));
}

TEST_F(ServerTest, ATakenPortIsUnavailable) {
  StartServer();
  Runtime other({.service = "other"});
  EchoHandler handler(other);
  const auto second = Server::Start({.name = "second", .port = server_->port()}, other, {{kEcho, &handler}});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(server_->port())));
}

TEST_F(ServerTest, SigtermDrainsFinishesQuickCallsAndCancelsSlowOnes) {
  StartServer({.drain_deadline = absl::Milliseconds(100)});
  auto slow = std::async(std::launch::async, [&] {
    return CallEcho(channel_, Within(absl::Seconds(60)), "wait").status().code();
  });
  while (handler_.started < 1) std::this_thread::yield();
  ASSERT_EQ(raise(SIGTERM), 0);
  EXPECT_EQ(server_->Wait(), 0);
  EXPECT_NE(slow.get(), absl::StatusCode::kOk);
  EXPECT_EQ(handler_.stopped, 1);
  EXPECT_TRUE(runtime_.draining().stop_requested());
  EXPECT_EQ(CallEcho(channel_, Within(absl::Seconds(5)), "").status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ServerTest, ACallThatEndsWithinTheDrainDeadlineIsFinished) {
  StartServer({.drain_deadline = absl::Seconds(30)});
  std::stop_source stop;
  auto running = std::async(std::launch::async, [&] {
    return CallEcho(channel_, CallContext("", absl::InfiniteFuture(), stop.get_token()), "wait_for_drain");
  });
  while (handler_.started < 1) std::this_thread::yield();
  server_->RequestStop();
  EXPECT_EQ(server_->Wait(), 0);
  EXPECT_TRUE(running.get().ok());
}

TEST_F(ServerTest, RequestStopMakesWaitReturn) {
  StartServer();
  std::thread stopper([&] { server_->RequestStop(); });
  EXPECT_EQ(server_->Wait(), 0);
  stopper.join();
}

}  // namespace
}  // namespace nkiagent::rpc
