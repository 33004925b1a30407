#include "services/orchestrator/result_record.h"

#include <gtest/gtest.h>

#include "common/storage/content_hash.h"
#include "services/orchestrator/testing_events.h"

namespace nkiagent::orchestrator {
namespace {

using testing_events::Kernel;
using testing_events::Log;

v1::SessionEvent Compiled(const std::string& kernel, const std::string& rule = "") {
  v1::SessionEvent event;
  *event.mutable_compiled()->mutable_kernel() = Kernel(kernel);
  event.mutable_compiled()->set_turn(1);
  compile::v1::CompileResult* result = event.mutable_compiled()->mutable_result();
  result->set_outcome(rule.empty() ? compile::v1::COMPILE_OUTCOME_COMPILED
                                   : compile::v1::COMPILE_OUTCOME_REJECTED);
  if (!rule.empty()) {
    result->add_diagnostics()->set_rule("a_warning");
    result->mutable_diagnostics(0)->set_severity(common::v1::SEVERITY_WARNING);
    result->add_diagnostics()->set_rule(rule);
    result->mutable_diagnostics(1)->set_severity(common::v1::SEVERITY_ERROR);
  }
  return event;
}

v1::SessionEvent Verified(const std::string& kernel, verify::v1::VerdictReason reason) {
  v1::SessionEvent event;
  *event.mutable_verified()->mutable_kernel() = Kernel(kernel);
  event.mutable_verified()->set_turn(1);
  event.mutable_verified()->mutable_verdict()->set_reason(reason);
  event.mutable_verified()->mutable_verdict()->set_passed(reason == verify::v1::VERDICT_REASON_PASSED);
  event.mutable_verified()->mutable_verdict()->add_trials()->set_seed(17);
  event.mutable_verified()->mutable_verdict()->mutable_total_time()->set_seconds(2);
  return event;
}

v1::SessionEvent Finished(v1::EndReason reason) {
  v1::SessionEvent event;
  event.mutable_finished()->set_state(v1::SESSION_STATE_NOT_SOLVED);
  event.mutable_finished()->set_reason(reason);
  return event;
}

v1::ResultRecord RecordOf(const std::vector<v1::SessionEvent>& steps) {
  Log log(v1::MODE_AGENT);
  log.Described();
  for (const v1::SessionEvent& step : steps) log.Add(step);
  SessionHistory history;
  for (const v1::SessionEvent& event : log.events()) EXPECT_TRUE(history.Add(event).ok());
  return history.Record();
}

TEST(ResultRecord, ClassesOfFailure) {
  const auto turns = Finished(v1::END_REASON_TURNS_EXHAUSTED);
  struct {
    std::vector<v1::SessionEvent> steps;
    v1::FailureClass kind;
    std::string name;
  } const cases[] = {
      {{Compiled("k", "err_python_name"), turns}, v1::FAILURE_CLASS_TRACE, "err_python_name"},
      {{Compiled("k", "err_unsupported_memory"), turns}, v1::FAILURE_CLASS_COMPILE, "err_unsupported_memory"},
      {{Compiled("k"), Verified("k", verify::v1::VERDICT_REASON_MISMATCH), turns},
       v1::FAILURE_CLASS_MISMATCH,
       "mismatch"},
      {{Compiled("k"), Verified("k", verify::v1::VERDICT_REASON_NAN), turns},
       v1::FAILURE_CLASS_MISMATCH,
       "nan"},
      {{Compiled("k"), Verified("k", verify::v1::VERDICT_REASON_TIMEOUT), turns},
       v1::FAILURE_CLASS_TIMEOUT,
       "timeout"},
      {{Compiled("k"), Verified("k", verify::v1::VERDICT_REASON_CRASH), turns},
       v1::FAILURE_CLASS_RUNTIME,
       "crash"},
      {{turns}, v1::FAILURE_CLASS_GAVE_UP, "no_kernel"},
      {{Finished(v1::END_REASON_MODEL_GAVE_UP)}, v1::FAILURE_CLASS_GAVE_UP, ""},
      {{Finished(v1::END_REASON_REFUSED)}, v1::FAILURE_CLASS_GAVE_UP, "refused"},
      {{Finished(v1::END_REASON_BUDGET_EXHAUSTED)}, v1::FAILURE_CLASS_TIMEOUT, "session"},
  };
  for (const auto& test : cases) {
    const v1::ResultRecord record = RecordOf(test.steps);
    EXPECT_FALSE(record.passed());
    EXPECT_EQ(record.failure_class(), test.kind) << test.name;
    EXPECT_EQ(record.failure(), test.name);
  }
}

TEST(ResultRecord, NamesTheKernelThatWasJudgedAndItsSeeds) {
  const v1::ResultRecord record = RecordOf({Compiled("k"), Verified("k", verify::v1::VERDICT_REASON_MISMATCH),
                                            Finished(v1::END_REASON_TURNS_EXHAUSTED)});
  EXPECT_EQ(record.kernel_hash(), storage::Sha256Hex(KernelKey(Kernel("k"))));
  ASSERT_EQ(record.seeds_size(), 1);
  EXPECT_EQ(record.seeds(0), 17u);
  EXPECT_EQ(record.verify_time().seconds(), 2);
  EXPECT_EQ(record.verdict(), verify::v1::VERDICT_REASON_MISMATCH);
}

TEST(ResultRecord, ALaterKernelDoesNotGetAnEarlierOnesVerdict) {
  const v1::ResultRecord record =
      RecordOf({Compiled("k"), Verified("k", verify::v1::VERDICT_REASON_MISMATCH),
                Compiled("l", "err_python_name"), Finished(v1::END_REASON_TURNS_EXHAUSTED)});
  EXPECT_EQ(record.kernel_hash(), storage::Sha256Hex(KernelKey(Kernel("l"))));
  EXPECT_EQ(record.verdict(), verify::v1::VERDICT_REASON_UNSPECIFIED);
  EXPECT_EQ(record.failure_class(), v1::FAILURE_CLASS_TRACE);
  EXPECT_EQ(record.attempts_size(), 2);
}

TEST(ResultRecord, ATasksProblemIsNamed) {
  Log log(v1::MODE_AGENT);
  v1::SessionEvent described;
  described.mutable_described()->mutable_problem()->set_kind(verify::v1::TASK_PROBLEM_KIND_NON_DETERMINISTIC);
  log.Add(described).Add(Finished(v1::END_REASON_TASK_PROBLEM));
  SessionHistory history;
  for (const v1::SessionEvent& event : log.events()) ASSERT_TRUE(history.Add(event).ok());
  EXPECT_EQ(history.Record().failure_class(), v1::FAILURE_CLASS_TASK_PROBLEM);
  EXPECT_EQ(history.Record().failure(), "non_deterministic");
}

}  // namespace
}  // namespace nkiagent::orchestrator
