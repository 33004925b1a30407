// TLS, client certificates and bearer tokens, over certificates made for the test by the openssl command.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/credentials.h"
#include "common/rpc/echo_service_for_test.h"

namespace nkiagent::rpc {
namespace {

using ::testing::HasSubstr;

class TlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new std::string(::testing::TempDir() + "tls_test_XXXXXX");
    ASSERT_NE(mkdtemp(dir_->data()), nullptr);
    const std::string key = "ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    Shell("openssl req -x509 -newkey " + key + " -keyout ca.key -out ca.pem -subj /CN=test-ca -days 2");
    std::ofstream(*dir_ + "/san") << "subjectAltName=DNS:localhost,IP:127.0.0.1";
    for (const std::string name : {"server", "client"}) {
      Shell("openssl req -newkey " + key + " -keyout " + name + ".key -out " + name +
            ".csr -subj /CN=" + name);
      Shell("openssl x509 -req -in " + name + ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -out " + name +
            ".pem -days 2 -extfile san");
    }
    std::ofstream(*dir_ + "/token") << "s3cret-token\n";
    std::ofstream(*dir_ + "/other") << "another-token\n";
    std::ofstream(*dir_ + "/blank") << "two words\n";
  }
  static void TearDownTestSuite() {
    std::filesystem::remove_all(*dir_);
    delete dir_;
  }
  static void Shell(const std::string& command) {
    ASSERT_EQ(std::system(("cd " + *dir_ + " && " + command + " 2>/dev/null >/dev/null").c_str()), 0)
        << command;
  }
  static std::string File(const std::string& name) { return *dir_ + "/" + name; }

  void StartServer(ServerOptions options) {
    options.name = "echo-service";
    options.metrics_port = -1;
    auto server = Server::Start(options, runtime_, {{"nkiagent.rpc.testdata.EchoService", &handler_}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  absl::StatusCode Call(ChannelOptions options) {
    options.target = server_->Target();
    const auto channel = CreateChannel(options);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return CallEcho(*channel, CallContext("", absl::Now() + absl::Seconds(20)), "").status().code();
  }

  static std::string* dir_;
  Runtime runtime_{{.service = "echo"}};
  EchoHandler handler_{runtime_};
  std::unique_ptr<Server> server_;
};

std::string* TlsTest::dir_ = nullptr;

TEST_F(TlsTest, ServesClientsThatTrustTheCaAndNoOthers) {
  StartServer({.tls_cert_file = File("server.pem"), .tls_key_file = File("server.key")});
  EXPECT_EQ(Call({.tls_ca_file = File("ca.pem")}), absl::StatusCode::kOk);
  EXPECT_EQ(Call({.tls_ca_file = File("client.pem")}), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Call({}), absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, MutualTlsAsksForACertificate) {
  StartServer({.tls_cert_file = File("server.pem"),
               .tls_key_file = File("server.key"),
               .tls_client_ca_file = File("ca.pem")});
  EXPECT_EQ(Call({.tls_ca_file = File("ca.pem")}), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Call({.tls_ca_file = File("ca.pem"),
                  .tls_cert_file = File("client.pem"),
                  .tls_key_file = File("client.key")}),
            absl::StatusCode::kOk);
}

TEST_F(TlsTest, TokenIsAskedForOnTls) {
  StartServer({.tls_cert_file = File("server.pem"),
               .tls_key_file = File("server.key"),
               .auth_token_file = File("token")});
  EXPECT_EQ(Call({.tls_ca_file = File("ca.pem")}), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(Call({.tls_ca_file = File("ca.pem"), .auth_token_file = File("other")}),
            absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(Call({.tls_ca_file = File("ca.pem"), .auth_token_file = File("token")}), absl::StatusCode::kOk);
}

TEST_F(TlsTest, TokenIsAskedForOnLoopbackButNotByHealth) {
  StartServer({.auth_token_file = File("token")});
  EXPECT_EQ(Call({}), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(Call({.auth_token_file = File("other")}), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(Call({.auth_token_file = File("token")}), absl::StatusCode::kOk);
  const auto channel = CreateChannel({.target = server_->Target()});
  const auto health = CheckHealth(*channel, "", absl::Now() + absl::Seconds(20));
  ASSERT_TRUE(health.ok()) << health.status();
  EXPECT_TRUE(*health);
  EXPECT_EQ(handler_.started, 1);
}

struct BadOptions {
  const char* name;
  ServerCredentialOptions options;  // file names without their folder
  absl::StatusCode code;
  const char* message;
};

class CredentialsRefuse : public TlsTest, public ::testing::WithParamInterface<BadOptions> {};

TEST_P(CredentialsRefuse, ByName) {
  ServerCredentialOptions options = GetParam().options;
  for (std::string* file : {&options.tls_cert_file, &options.tls_key_file, &options.tls_client_ca_file,
                            &options.auth_token_file}) {
    if (!file->empty()) *file = File(*file);
  }
  const absl::Status status = MakeServerCredentials(options).status();
  EXPECT_EQ(status.code(), GetParam().code);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Cases, CredentialsRefuse,
                         ::testing::Values(BadOptions{"KeyWithoutCertificate",
                                                      {.tls_key_file = "server.key"},
                                                      absl::StatusCode::kInvalidArgument,
                                                      "come together"},
                                           BadOptions{"ClientCaWithoutTls",
                                                      {.tls_client_ca_file = "ca.pem"},
                                                      absl::StatusCode::kInvalidArgument,
                                                      "tls_client_ca_file needs"},
                                           BadOptions{"TokenInTheClear",
                                                      {.address = "0.0.0.0", .auth_token_file = "token"},
                                                      absl::StatusCode::kInvalidArgument,
                                                      "0.0.0.0 needs TLS"},
                                           BadOptions{"TokenOfTwoWords",
                                                      {.address = "127.0.0.1", .auth_token_file = "blank"},
                                                      absl::StatusCode::kInvalidArgument,
                                                      "one printable word"},
                                           BadOptions{
                                               "MissingFile",
                                               {.tls_cert_file = "none.pem", .tls_key_file = "server.key"},
                                               absl::StatusCode::kNotFound,
                                               "none.pem can't be read"}),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace nkiagent::rpc
