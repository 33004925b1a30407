// Requests, key and signatures of AWS's published test suite for signature version 4 (aws-c-auth 495329c,
// tests/aws-signing-test-suite/v4, the signed-by-header form of each case).
#include "services/llm_gateway/aws/sigv4.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/storage/content_hash.h"

namespace nkiagent::llm_gateway::aws {
namespace {

const SigningKey kKey = {.access_key_id = "AKIDEXAMPLE",
                         .secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                         .region = "us-east-1",
                         .service = "service"};
const absl::Time kTime = absl::FromCivil(absl::CivilSecond(2015, 8, 30, 12, 36, 0), absl::UTCTimeZone());

RequestToSign Request(const std::string& method, const std::string& path, const std::string& query,
                      const std::string& payload = "") {
  return {.method = method,
          .path = path,
          .query = query,
          .headers = {{"host", "example.amazonaws.com"}, {"x-amz-date", AmzDate(kTime)}},
          .payload_sha256 = storage::Sha256Hex(payload)};
}

std::string Expected(const std::string& signed_headers, const std::string& signature) {
  return absl::StrCat("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, ",
                      "SignedHeaders=", signed_headers, ", Signature=", signature);
}

struct Case {
  const char* name;
  RequestToSign request;
  const char* signature;
};

TEST(SigV4, SignsThePublishedRequests) {
  const Case cases[] = {
      {"get-vanilla", Request("GET", "/", ""),
       "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"post-vanilla", Request("POST", "/", ""),
       "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
      {"get-vanilla-query-order-key-case", Request("GET", "/", "Param2=value2&Param1=value1"),
       "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
      {"get-vanilla-empty-query-key", Request("GET", "/", "Param1=value1"),
       "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
      {"get-utf8", Request("GET", "/\u1234", ""),
       "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
      {"get-space", Request("GET", "/example space/", ""),
       "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
  };
  for (const Case& test : cases) {
    EXPECT_EQ(Authorization(kKey, test.request, kTime), Expected("host;x-amz-date", test.signature))
        << test.name;
  }
}

TEST(SigV4, TrimsValuesOfHeaders) {
  RequestToSign request = Request("GET", "/", "");
  request.headers["my-header1"] = " value1";
  request.headers["my-header2"] = " \"a   b   c\"";
  EXPECT_EQ(Authorization(kKey, request, kTime),
            Expected("host;my-header1;my-header2;x-amz-date",
                     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"));
}

TEST(SigV4, SignsTheBody) {
  RequestToSign request = Request("POST", "/", "", "Param1=value1");
  request.headers["content-type"] = "application/x-www-form-urlencoded";
  request.headers["content-length"] = "13";
  request.headers["x-amz-content-sha256"] = request.payload_sha256;
  EXPECT_EQ(Authorization(kKey, request, kTime),
            Expected("content-length;content-type;host;x-amz-content-sha256;x-amz-date",
                     "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"));
}

TEST(SigV4, SignsTheSessionToken) {
  RequestToSign request = Request("POST", "/", "");
  request.headers["x-amz-security-token"] =
      "AQoDYXdzEPT//////////"
      "wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTfl"
      "fKD8YUuwthAx7mSEI/qkPpKPi/"
      "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvl"
      "Rd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"
      "scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rv"
      "x3iSIlTJabIQwj2ICCR/oLxBA==";
  EXPECT_EQ(Authorization(kKey, request, kTime),
            Expected("host;x-amz-date;x-amz-security-token",
                     "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"));
}

}  // namespace
}  // namespace nkiagent::llm_gateway::aws
