#include "services/orchestrator/run_snapshot.h"

#include <gtest/gtest.h>

namespace nkiagent::orchestrator {
namespace {

// A log of a run with one task for each of two levels, two repeats; a second between events.
class RunSnapshotTest : public testing::Test {
 protected:
  RunSnapshotTest() {
    v1::RunEvent event;
    v1::RunSpec* spec = event.mutable_created()->mutable_run()->mutable_spec();
    spec->set_repeats(2);
    spec->add_tasks()->set_level(1);
    spec->add_tasks()->set_level(3);
    EXPECT_TRUE(Add(event).ok());
  }

  absl::Status Add(v1::RunEvent event, int64_t seconds = 1) {
    time_ += seconds;
    event.set_sequence(snapshot_.last_sequence() + 1);
    event.mutable_time()->set_seconds(time_);
    return Apply(event, &snapshot_);
  }
  absl::Status Started(int row) {
    v1::RunEvent event;
    event.mutable_session_started()->set_row(row);
    event.mutable_session_started()->set_session_id("s");
    return Add(event);
  }
  absl::Status Ended(int row, v1::SessionState state) {
    v1::RunEvent event;
    event.mutable_session_ended()->set_row(row);
    event.mutable_session_ended()->set_state(state);
    event.mutable_session_ended()->mutable_usage()->set_cost_micro_usd(10);
    return Add(event);
  }

  RunSnapshot snapshot_;
  int64_t time_ = 0;
};

TEST_F(RunSnapshotTest, CountsRowsByStateAndLevel) {
  ASSERT_TRUE(Started(0).ok());
  ASSERT_TRUE(Started(1).ok());
  ASSERT_TRUE(Ended(1, v1::SESSION_STATE_PASSED).ok());
  const v1::RunCounts& counts = snapshot_.run.counts();
  EXPECT_EQ(counts.total(), 4);
  EXPECT_EQ(counts.queued(), 2);
  EXPECT_EQ(counts.running(), 1);
  EXPECT_EQ(counts.passed(), 1);
  ASSERT_EQ(snapshot_.run.levels_size(), 2);
  EXPECT_EQ(snapshot_.run.levels(1).level(), 3);
  EXPECT_EQ(snapshot_.run.levels(1).counts().passed(), 1);
  EXPECT_EQ(snapshot_.run.levels(0).counts().running(), 1);
  EXPECT_EQ(snapshot_.RepeatOf(1), 1);
  EXPECT_EQ(snapshot_.RepeatOf(2), 2);
}

TEST_F(RunSnapshotTest, StartsUpToItsConcurrencyAndEndsWhenAllHave) {
  EXPECT_EQ(NextStep(snapshot_, 1).start, 0);
  ASSERT_TRUE(Started(0).ok());
  EXPECT_EQ(NextStep(snapshot_, 1).start, std::nullopt);
  EXPECT_EQ(NextStep(snapshot_, 2).start, 1);
  ASSERT_TRUE(Ended(0, v1::SESSION_STATE_FAILED).ok());
  for (int row = 1; row < 4; ++row) {
    EXPECT_EQ(NextStep(snapshot_, 1).start, row);
    EXPECT_FALSE(NextStep(snapshot_, 1).end);
    ASSERT_TRUE(Started(row).ok());
    ASSERT_TRUE(Ended(row, v1::SESSION_STATE_NOT_SOLVED).ok());
  }
  ASSERT_TRUE(NextStep(snapshot_, 1).end);
  EXPECT_EQ(NextStep(snapshot_, 1).end->state(), v1::RUN_STATE_FINISHED);
}

TEST_F(RunSnapshotTest, RefusesEventsThatMakeNoSense) {
  EXPECT_TRUE(absl::IsDataLoss(Ended(0, v1::SESSION_STATE_PASSED)));
  EXPECT_TRUE(absl::IsDataLoss(Started(4)));
  EXPECT_TRUE(absl::IsDataLoss(Started(-1)));
  ASSERT_TRUE(Started(0).ok());
  EXPECT_TRUE(absl::IsDataLoss(Started(0)));
  EXPECT_TRUE(absl::IsDataLoss(Ended(0, v1::SESSION_STATE_RUNNING)));
  v1::RunEvent event;
  event.set_sequence(7);
  EXPECT_TRUE(absl::IsDataLoss(Apply(event, &snapshot_)));
}

TEST_F(RunSnapshotTest, ThePauseBetweenTwoProcessesIsNotItsTime) {
  ASSERT_TRUE(Started(0).ok());
  v1::RunEvent resumed;
  resumed.mutable_resumed()->set_from_sequence(2);
  ASSERT_TRUE(Add(resumed, 1000).ok());
  ASSERT_TRUE(Ended(0, v1::SESSION_STATE_PASSED).ok());
  EXPECT_EQ(snapshot_.run.active_time().seconds(), 2);
}

TEST_F(RunSnapshotTest, WhatHasNotEndedByTheRunsEndIsCancelled) {
  ASSERT_TRUE(Started(0).ok());
  v1::RunEvent ended;
  ended.mutable_ended()->set_state(v1::RUN_STATE_CANCELLED);
  ASSERT_TRUE(Add(ended).ok());
  EXPECT_EQ(snapshot_.run.counts().cancelled(), 4);
  EXPECT_TRUE(snapshot_.Ended());
  EXPECT_TRUE(absl::IsDataLoss(Started(1)));
  EXPECT_FALSE(NextStep(snapshot_, 4).start || NextStep(snapshot_, 4).end);
}

}  // namespace
}  // namespace nkiagent::orchestrator
