#include "common/metrics/metrics.h"

#include <curl/curl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nkiagent::metrics {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

std::string Scrape(int port) {
  std::string body;
  CURL* curl = curl_easy_init();
  const std::string url = "http://127.0.0.1:" + std::to_string(port) + "/metrics";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
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

TEST(MetricsTest, ServesCountersUnderTheServicesPrefixOnAFreePort) {
  Metrics metrics("compile");
  metrics.Counter("requests_total", "RPCs.").Add({{"method", "Compile"}, {"code", "OK"}}).Increment(3);
  ASSERT_TRUE(metrics.Expose({}).ok());
  ASSERT_GT(metrics.port(), 0);
  const std::string body = Scrape(metrics.port());
  EXPECT_THAT(body, ContainsRegex("nkiagent_compile_requests_total\\{code=\"OK\",method=\"Compile\"\\} 3"));
}

TEST(MetricsTest, TellsMemoryUptimeAndBuild) {
  Metrics metrics("verify");
  ASSERT_TRUE(metrics.Expose({}).ok());
  const std::string body = Scrape(metrics.port());
  EXPECT_THAT(body, ContainsRegex("\nnkiagent_verify_resident_memory_bytes [1-9]"));
  EXPECT_THAT(body, HasSubstr("\nnkiagent_verify_uptime_seconds "));
  EXPECT_THAT(body, ContainsRegex("\nnkiagent_verify_threads [1-9]"));
  EXPECT_THAT(body, ContainsRegex("nkiagent_verify_build_info\\{version=\"[0-9.]+\"\\} 1"));
}

TEST(MetricsTest, SameNameIsTheSameFamily) {
  Metrics metrics("compile");
  metrics.Counter("hits_total", "Hits.").Add({}).Increment();
  EXPECT_EQ(metrics.Counter("hits_total", "Hits.").Add({}).Value(), 1);
}

TEST(MetricsTest, RefusesABoundPort) {
  Metrics first("a"), second("b");
  ASSERT_TRUE(first.Expose({}).ok());
  const absl::Status status = second.Expose({.address = "127.0.0.1", .port = first.port()});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::to_string(first.port())));
}

}  // namespace
}  // namespace nkiagent::metrics
