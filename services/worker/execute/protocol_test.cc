#include "services/worker/execute/protocol.h"

#include <gtest/gtest.h>

#include <string>

namespace nkiagent::worker::execute {
namespace {

TEST(ExecuteProtocol, RequestsComeBackAsTheyWere) {
  Request request;
  request.trials = {{{{0, {0, 16}}, {1, {64, 4}}}, {{2, {0, 16}}}}, {{}, {}}};
  const std::string program("NKIP\n\0binary", 12);
  request.program = program;
  request.threads = 2;
  request.max_bytes = 12345;
  request.wall_limit = absl::Milliseconds(1500);
  const std::string encoded = EncodeRequest(request);
  auto decoded = DecodeRequest(encoded);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->program, program);
  ASSERT_EQ(decoded->trials.size(), 2u);
  EXPECT_EQ(decoded->trials[0].inputs[1].fd, 1);
  EXPECT_EQ(decoded->trials[0].inputs[1].slot.offset, 64u);
  EXPECT_EQ(decoded->trials[0].outputs[0].slot.size_bytes, 16u);
  EXPECT_EQ(decoded->wall_limit, absl::Milliseconds(1500));
  EXPECT_EQ(decoded->max_bytes, 12345);
  EXPECT_FALSE(DecodeRequest("no newline").ok());
  EXPECT_FALSE(DecodeRequest("{}\nprogram").ok());
}

TEST(ExecuteProtocol, RepliesComeBackWithTextsMadeValid) {
  TrialReport report;
  report.status = TrialStatus::kFault;
  report.message = "name \xff of a kernel";
  report.time = absl::Microseconds(7);
  report.outputs = {{5, 3}};
  nki::Diagnostic diagnostic;
  diagnostic.severity = nki::Severity::kWarning;
  diagnostic.rule = "read_of_unwritten_memory";
  diagnostic.line = 12;
  report.diagnostics = {diagnostic};
  auto decoded = DecodeReply(EncodeReply({report}));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ASSERT_EQ(decoded->size(), 1u);
  const TrialReport& back = decoded->front();
  EXPECT_EQ(back.status, TrialStatus::kFault);
  EXPECT_EQ(back.message, "name \xef\xbf\xbd of a kernel");
  EXPECT_EQ(back.time, absl::Microseconds(7));
  EXPECT_EQ(back.outputs[0].unwritten_elements, 5);
  EXPECT_EQ(back.outputs[0].first_unwritten, 3);
  EXPECT_EQ(back.diagnostics[0].severity, nki::Severity::kWarning);
  EXPECT_EQ(back.diagnostics[0].line, 12);
}

TEST(ExecuteProtocol, BentRepliesAreRefused) {
  for (const char* bent :
       {"", "{}", "7", "[7]", "[{}]", R"([{"status": 99}])",
        R"([{"status": 0, "message": "", "time_ns": 1, "outputs": [[1]], "diagnostics": []}])",
        R"([{"status": 0, "message": 5, "time_ns": 1, "outputs": [], "diagnostics": []}])"}) {
    EXPECT_EQ(DecodeReply(bent).status().code(), absl::StatusCode::kInvalidArgument) << bent;
  }
  std::string many = "[";
  for (int i = 0; i < 65; ++i) many += std::string(i > 0 ? "," : "") + "{}";
  EXPECT_FALSE(DecodeReply(many + "]").ok());
}

}  // namespace
}  // namespace nkiagent::worker::execute
