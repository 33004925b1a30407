#include "services/worker/outcome_proto.h"

#include <gtest/gtest.h>

#include <string>

namespace nkiagent::worker {
namespace {

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
