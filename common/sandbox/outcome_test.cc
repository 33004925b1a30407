#include "common/sandbox/outcome.h"

#include <signal.h>

#include "common/sandbox/level.h"
#include "common/sandbox/wire.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nkiagent::sandbox {
namespace {

using ::testing::HasSubstr;

Outcome ClassifyWith(const ExitFacts& facts) {
  Limits limits;
  limits.cpu_seconds = 3;
  Outcome outcome;
  Classify(facts, limits, absl::Seconds(5), outcome);
  return outcome;
}

ExitFacts Signalled(int signal, absl::Duration cpu = absl::ZeroDuration()) {
  ExitFacts facts;
  facts.wait_status = signal;  // As the kernel encodes death by a signal.
  facts.cpu_time = cpu;
  return facts;
}

ExitFacts ExitedWith(int code, ReplyState state) {
  ExitFacts facts;
  facts.wait_status = code << 8;
  facts.reply_state = static_cast<uint32_t>(state);
  return facts;
}

TEST(Classify, WhatTheParentDidOutranksWhatTheChildClaims) {
  ExitFacts facts = ExitedWith(0, ReplyState::kOk);
  facts.kill_reason = KillReason::kWallLimit;
  EXPECT_EQ(ClassifyWith(facts).kind, OutcomeKind::kWallTimeout);
  EXPECT_THAT(ClassifyWith(facts).detail, HasSubstr("5s"));
  facts.kill_reason = KillReason::kOutputFlood;
  EXPECT_EQ(ClassifyWith(facts).kind, OutcomeKind::kOutputFlood);
}

TEST(Classify, TheCpuLimitIsToldByTheChildOrByTheKernel) {
  ExitFacts facts = ExitedWith(128 + SIGXCPU, ReplyState::kNone);
  facts.recorded_signal = SIGXCPU;
  EXPECT_EQ(ClassifyWith(facts).kind, OutcomeKind::kCpuLimit);
  EXPECT_EQ(ClassifyWith(Signalled(SIGXCPU)).kind, OutcomeKind::kCpuLimit);
  EXPECT_EQ(ClassifyWith(Signalled(SIGKILL, absl::Seconds(3))).kind, OutcomeKind::kCpuLimit);
  const Outcome other = ClassifyWith(Signalled(SIGKILL, absl::Seconds(1)));
  EXPECT_EQ(other.kind, OutcomeKind::kCrashed);
  EXPECT_EQ(other.signal, SIGKILL);
}

TEST(Classify, NamesTheForbiddenCall) {
  ExitFacts facts = ExitedWith(128 + SIGSYS, ReplyState::kNone);
  facts.recorded_signal = SIGSYS;
  facts.recorded_syscall = 41;  // x86-64's socket; other architectures have another name for it.
  const Outcome outcome = ClassifyWith(facts);
  EXPECT_EQ(outcome.kind, OutcomeKind::kPolicyViolation);
#ifdef __x86_64__
  EXPECT_EQ(outcome.detail, "called socket, which is not allowed");
#endif
}

TEST(Classify, DistinguishesRepliesFromEarlyExits) {
  EXPECT_EQ(ClassifyWith(ExitedWith(0, ReplyState::kOk)).kind, OutcomeKind::kOk);
  EXPECT_EQ(ClassifyWith(ExitedWith(0, ReplyState::kException)).kind, OutcomeKind::kException);
  EXPECT_EQ(ClassifyWith(ExitedWith(0, ReplyState::kMemory)).kind, OutcomeKind::kMemoryLimit);
  const Outcome exited = ClassifyWith(ExitedWith(3, ReplyState::kNone));
  EXPECT_EQ(exited.kind, OutcomeKind::kExited);
  EXPECT_EQ(exited.exit_code, 3);
  EXPECT_EQ(ClassifyWith(ExitedWith(0, static_cast<ReplyState>(99))).kind, OutcomeKind::kExited);
}

TEST(Level, NamesRoundTripAndOthersAreRefused) {
  for (Level level : {Level::kRlimits, Level::kSeccomp, Level::kNamespaces}) {
    EXPECT_EQ(*ParseLevel(LevelName(level)), level);
  }
  EXPECT_EQ(ParseLevel("none").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nkiagent::sandbox
