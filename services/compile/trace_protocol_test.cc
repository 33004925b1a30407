#include "services/compile/trace_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace nkiagent::compile {
namespace {

using ::testing::HasSubstr;

TEST(TraceProtocolTest, RequestHasWhatTheRoleReads) {
  v1::CompileRequest request;
  request.mutable_kernel()->set_source("line \"one\"\n");
  request.mutable_kernel()->add_grid_dims(2);
  auto* argument = request.add_arguments();
  argument->set_name("x");
  argument->set_dtype(common::v1::DATA_TYPE_BFLOAT16);
  argument->add_dims(128);
  auto* constant = request.add_constants();
  constant->set_name("eps");
  constant->set_literal("1e-5");
  const auto json = nlohmann::json::parse(TraceRequestJson(request, 77));
  EXPECT_EQ(json, nlohmann::json::parse(R"({
    "source": "line \"one\"\n", "entry": "nki_kernel",
    "arguments": [{"name": "x", "dtype": "bfloat16", "shape": [128]}],
    "constants": {"eps": "1e-5"}, "grid": [2], "target": "trn1", "sdk": "2.24", "max_instructions": 77})"));
}

TEST(TraceProtocolTest, ReadsAProgram) {
  const auto reply = ParseTraceReply(std::string("{\"ok\": true, \"diagnostics\": []}\nNK\0P", 36));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->program, std::string("NK\0P", 4));
}

TEST(TraceProtocolTest, ReadsDiagnosticsAndBoundsThem) {
  const std::string text(10'000, 'x');
  const auto reply =
      ParseTraceReply(R"({"ok": false, "diagnostics": [{"severity": "error", "rule": "err_x", "message": ")" +
                      text + R"(", "line": 12, "column": 99999999999, "hint": 5}]})" + "\n");
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_EQ(reply->diagnostics.size(), 1);
  EXPECT_EQ(reply->diagnostics[0].rule(), "err_x");
  EXPECT_EQ(reply->diagnostics[0].message().size(), kMaxDiagnosticText);
  EXPECT_EQ(reply->diagnostics[0].line(), 12);
  EXPECT_EQ(reply->diagnostics[0].column(), 2147483647);
  EXPECT_EQ(reply->diagnostics[0].hint(), "");
}

struct BadReply {
  const char* name;
  std::string reply;
  const char* message;
};

class TraceReplyRefused : public ::testing::TestWithParam<BadReply> {};

TEST_P(TraceReplyRefused, SayingWhy) {
  const auto reply = ParseTraceReply(GetParam().reply);
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(reply.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, TraceReplyRefused,
    ::testing::Values(
        BadReply{"Empty", "", "no header line"}, BadReply{"NotJson", "hello\n", "not a JSON object"},
        BadReply{"DeepNesting", std::string(3'000'000, '[') + "\n", "not a JSON object"},
        BadReply{"LongHeader", std::string(5 << 20, ' ') + "\n", "over 4 MiB"},
        BadReply{"NoVerdict", "{\"diagnostics\": []}\n", "lacks ok"},
        BadReply{"NoSeverity", "{\"ok\": false, \"diagnostics\": [{}]}\n", "severity"},
        BadReply{"DiagnosticIsText", "{\"ok\": false, \"diagnostics\": [\"x\"]}\n", "not an object"},
        BadReply{"OkWithoutProgram", "{\"ok\": true, \"diagnostics\": []}\n", "contradict"},
        BadReply{"RefusedWithProgram", "{\"ok\": false, \"diagnostics\": [{\"severity\": \"error\"}]}\nNKIP",
                 "contradict"},
        BadReply{"RefusedWithoutError", "{\"ok\": false, \"diagnostics\": []}\n", "contradict"}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace nkiagent::compile
