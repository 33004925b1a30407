#include "services/worker/outcome_proto.h"

#include <gtest/gtest.h>

#include <string>

namespace nkiagent::worker {
namespace {

TEST(CleanTextTest, KeepsValidUtf8) {
  const std::string text = "plain, \u00e9, \u20ac, \U0001f600";
  EXPECT_EQ(CleanText(text, 1000), text);
}

TEST(CleanTextTest, ReplacesEachInvalidByte) {
  EXPECT_EQ(CleanText("a\xff"
                      "b\xc3",
                      1000),
            "a?b?");
  EXPECT_EQ(CleanText("\xc0\x80", 1000), "??");            // overlong
  EXPECT_EQ(CleanText("\xed\xa0\x80", 1000), "???");       // surrogate
  EXPECT_EQ(CleanText("\xf4\x90\x80\x80", 1000), "????");  // beyond U+10FFFF
}

TEST(CleanTextTest, CutsAtACharacter) {
  EXPECT_EQ(CleanText("ab\u20ac", 4), "ab");
  EXPECT_EQ(CleanText("ab\u20ac", 5), "ab\u20ac");
}

TEST(OutcomeProtoTest, CarriesHowTheChildEndedAndTheEndOfItsOutput) {
  sandbox::Outcome outcome;
  outcome.kind = sandbox::OutcomeKind::kCrashed;
  outcome.detail = "killed by SIGSEGV";
  outcome.signal = 11;
  outcome.output = std::string(10'000, 'x') + "the end\xff";
  outcome.wall_time = absl::Milliseconds(1500);
  const common::v1::SandboxOutcome proto = ToProto(outcome);
  EXPECT_EQ(proto.status(), common::v1::SANDBOX_STATUS_CRASH);
  EXPECT_EQ(proto.signal(), 11);
  EXPECT_EQ(proto.stderr_tail().size(), 4096);
  EXPECT_EQ(proto.stderr_tail().substr(4088), "the end?");
  EXPECT_EQ(proto.wall_time().seconds(), 1);
  EXPECT_EQ(proto.wall_time().nanos(), 500'000'000);
}

TEST(OutcomeProtoTest, EveryKindHasAStatusOfItsOwn) {
  for (const auto kind :
       {sandbox::OutcomeKind::kOk, sandbox::OutcomeKind::kException, sandbox::OutcomeKind::kWallTimeout,
        sandbox::OutcomeKind::kCpuLimit, sandbox::OutcomeKind::kMemoryLimit, sandbox::OutcomeKind::kCrashed,
        sandbox::OutcomeKind::kExited, sandbox::OutcomeKind::kOutputFlood,
        sandbox::OutcomeKind::kPolicyViolation}) {
    sandbox::Outcome outcome;
    outcome.kind = kind;
    EXPECT_NE(ToProto(outcome).status(), common::v1::SANDBOX_STATUS_UNSPECIFIED);
  }
}

}  // namespace
}  // namespace nkiagent::worker
