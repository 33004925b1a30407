// Providers whose certificates are right, and wrong in each way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "services/llm_gateway/conformance_fixture.h"

namespace nkiagent::llm_gateway {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class GatewayTlsTest : public ::testing::Test {
 protected:
  // The places of certificates in tls_url().
  enum Certificate { kRight, kSelfSigned, kOtherHost, kExpired };

  static void SetUpTestSuite() {
    for (const char* proxy : {"https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"}) unsetenv(proxy);
    setenv("STANDIN_OPENAI_KEY", standins::kOpenAiKey, 1);
    dir_ = new std::string(::testing::TempDir() + "gateway_tls_test_XXXXXX");
    ASSERT_NE(mkdtemp(dir_->data()), nullptr);
    std::ofstream(*dir_ + "/here") << "subjectAltName=IP:127.0.0.1";
    std::ofstream(*dir_ + "/elsewhere") << "subjectAltName=DNS:api.example.com";
    Shell(Request("-x509 -keyout ca.key -out ca.pem -subj /CN=test-ca -days 2"));
    Shell(
        Request("-x509 -keyout self.key -out self.pem -subj /CN=127.0.0.1 -addext \"$(cat here)\" -days 2"));
    Sign("right", "here", 2);
    Sign("elsewhere-cert", "elsewhere", 2);
    Sign("expired", "here", -1);
    std::vector<std::string> pems;
    for (const std::string name : {"right", "self", "elsewhere-cert", "expired"}) {
      Shell("cat " + name + ".key >> " + name + ".pem");
      pems.push_back(*dir_ + "/" + name + ".pem");
    }
    auto started = standins::ChatStandin::Start(pems);
    ASSERT_TRUE(started.ok()) << started.status();
    standin_ = std::move(started)->release();
  }
  static void TearDownTestSuite() {
    delete standin_;
    std::filesystem::remove_all(*dir_);
    delete dir_;
  }

  static std::string Request(const std::string& options) {
    return "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes " + options;
  }
  static void Sign(const std::string& name, const std::string& extensions, int days) {
    Shell(Request("-keyout " + name + ".key -out " + name + ".csr -subj /CN=" + name));
    Shell("openssl x509 -req -in " + name + ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -out " + name +
          ".pem -extfile " + extensions + " -days " + std::to_string(days));
  }
  static void Shell(const std::string& command) {
    ASSERT_EQ(std::system(("cd " + *dir_ + " && (" + command + ") >/dev/null 2>&1").c_str()), 0) << command;
  }

  void StartTrusting(const std::string& ca_file) {
    std::vector<ModelConfig> models;
    for (const Certificate certificate : {kRight, kSelfSigned, kOtherHost, kExpired}) {
      ModelConfig& model = models.emplace_back(StandinModels(standin_->url()).front());
      model.name = absl::StrCat("model-", static_cast<int>(certificate));
      model.provider = "openai";
      model.provider_model = "chat";
      model.base_url = standin_->tls_url(certificate) + "/v1";
      model.key_env = "STANDIN_OPENAI_KEY";
    }
    GatewayOptions options = FastOptions();
    options.client.ca_file = ca_file;
    auto gateway = Gateway::Create(options, models, nullptr, metrics_,
                                   {{.name = "falls-over", .models = {"model-3", "model-0"}}});
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
  }

  absl::Status Ask(const std::string& model, bool stream) {
    Answer answer;
    auto request = std::make_shared<const GenerateRequest>(llm_gateway::Ask(model, "hello"));
    std::shared_ptr<PieceSink> sink;
    if (stream) sink = std::make_shared<DroppingSink>();
    gateway_->Stream(request, CallContext(), sink, answer.Catch());
    return answer.Wait().status();
  }

  // Whole and streamed: refused once, and said why.
  void ExpectRefused(Certificate certificate, const std::string& why) {
    for (const bool stream : {false, true}) {
      const size_t before = standin_->Log("tls-connection").size();
      const absl::Status status = Ask(absl::StrCat("model-", static_cast<int>(certificate)), stream);
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
      EXPECT_THAT(std::string(status.message()),
                  AllOf(HasSubstr(absl::StrCat("the certificate of ", standin_->tls_url(certificate))),
                        HasSubstr("is not trusted"), HasSubstr(why), Not(HasSubstr("tried")),
                        Not(HasSubstr(standins::kOpenAiKey))));
      ASSERT_TRUE(standin_->Await("tls-connection", "begun", static_cast<int>(before) + 1));
      EXPECT_EQ(standin_->Log("tls-connection").size(), before + 1);
    }
  }

  static inline std::string* dir_ = nullptr;
  static inline standins::ChatStandin* standin_ = nullptr;
  metrics::Metrics metrics_{"llm"};
  std::unique_ptr<Gateway> gateway_;
};

TEST_F(GatewayTlsTest, ACertificateOfATrustedAuthorityIsTaken) {
  StartTrusting(*dir_ + "/ca.pem");
  EXPECT_TRUE(Ask("model-0", false).ok()) << Ask("model-0", false);
  EXPECT_TRUE(Ask("model-0", true).ok());
}

TEST_F(GatewayTlsTest, WhatIsWrongWithACertificateIsSaidAndNotTriedAgain) {
  StartTrusting(*dir_ + "/ca.pem");
  ExpectRefused(kSelfSigned, "self-signed");
  ExpectRefused(kOtherHost, "127.0.0.1");
  ExpectRefused(kExpired, "expired");
  // Another endpoint may still answer.
  EXPECT_TRUE(Ask("falls-over", false).ok());
}

TEST_F(GatewayTlsTest, AnAuthorityThatTheSystemDoesNotKnowIsRefused) {
  StartTrusting("");
  ExpectRefused(kRight, "certificate");
}

TEST_F(GatewayTlsTest, AFileOfAuthoritiesThatCanNotBeReadIsNamed) {
  StartTrusting(*dir_ + "/none.pem");
  const absl::Status status = Ask("model-0", false);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("none.pem"));
}

}  // namespace
}  // namespace nkiagent::llm_gateway
