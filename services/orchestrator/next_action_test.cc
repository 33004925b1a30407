#include "services/orchestrator/next_action.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "services/orchestrator/testing_events.h"

namespace nkiagent::orchestrator {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using namespace testing_events;  // NOLINT(google-build-using-namespace): the vocabulary of this test
using verify::v1::VERDICT_REASON_MISMATCH;
using verify::v1::VERDICT_REASON_PASSED;
using verify::v1::VERDICT_REASON_TIMEOUT;

std::string Name(const common::v1::KernelSource& kernel) {
  return kernel.source().substr(2, kernel.source().find('\n') - 2);
}

std::string FirstText(const llm::v1::Message& message) {
  if (message.content().empty()) return "";
  return message.content(0).has_tool_result() ? message.content(0).tool_result().text()
                                              : message.content(0).text();
}

// An action in one line, for the table.
std::string Show(const Action& action) {
  struct Printer {
    std::string operator()(const Nothing&) { return "nothing"; }
    std::string operator()(const DescribeTask&) { return "describe"; }
    std::string operator()(const BuildPrompt&) { return "prompt"; }
    std::string operator()(const StartModelCall& a) {
      return absl::StrCat("start call ", a.turn, " ", a.request_id);
    }
    std::string operator()(const CallModel& a) { return absl::StrCat("call ", a.turn, " ", a.request_id); }
    std::string operator()(const StartTool& a) { return absl::StrCat("start tool ", a.call.id()); }
    std::string operator()(const CompileKernel& a) {
      return absl::StrCat("compile ", a.call_id, " ", Name(a.kernel));
    }
    std::string operator()(const VerifyKernel& a) {
      return absl::StrCat("verify ", a.call_id, " ", Name(a.kernel), " ", a.program_id);
    }
    std::string operator()(const LookUpApi& a) { return absl::StrCat("look up ", a.call_id, " ", a.name); }
    std::string operator()(const FinishTool& a) {
      return absl::StrCat("finish tool ", a.result.call_id(), a.result.is_error() ? " error: " : ": ",
                          a.result.text());
    }
    std::string operator()(const AddMessage& a) {
      return absl::StrCat("say(", a.message.content_size(), "): ", FirstText(a.message));
    }
    std::string operator()(const Finish& a) {
      return absl::StrCat(v1::SessionState_Name(a.state), " ", v1::EndReason_Name(a.reason), ": ", a.message);
    }
  };
  return std::visit(Printer(), action);
}

v1::SessionOptions Options(int max_turns = 0, bool optimize = false) {
  v1::SessionOptions options;
  options.set_max_turns(max_turns);
  options.set_optimize(optimize);
  return options;
}

Log Agent(v1::SessionOptions options = {}) {
  return std::move(Log(v1::MODE_AGENT, std::move(options)).Ready());
}
Log SingleShot() { return std::move(Log(v1::MODE_SINGLE_SHOT).Ready()); }
Log MultiTurn(int turns) { return std::move(Log(v1::MODE_MULTI_TURN, Options(turns)).Ready()); }

struct Situation {
  std::string name;
  Log log;
  testing::Matcher<std::string> expected;
};

void PrintTo(const Situation& situation, std::ostream* out) { *out << situation.name; }

std::vector<Situation> Situations() {
  const llm::v1::ToolCall a = CompileCall("a", "k1");
  const llm::v1::ToolCall b = CompileCall("b", "k2");
  const llm::v1::ToolCall verify = Call("v", kVerifyTool, "{}");
  v1::SessionOptions cheap;
  cheap.set_max_cost_micro_usd(100);
  v1::SessionOptions brief;
  brief.mutable_wall_limit()->set_seconds(1000);

  std::vector<Situation> all;
  auto add = [&all](const std::string& name, const Log& log, const testing::Matcher<std::string>& expected) {
    all.push_back({name, log, expected});
  };

  // Before the first call.
  add("Created", Log(v1::MODE_AGENT), "describe");
  add("Described", Log(v1::MODE_AGENT).Described(), "prompt");
  add("TaskProblem", Log(v1::MODE_AGENT).Problem("no class Model"),
      "SESSION_STATE_NOT_SOLVED END_REASON_TASK_PROBLEM: no class Model");
  add("Prompted", Agent(), "start call 1 s/1");
  add("CallStarted", Agent().Started(), "call 1 s/1");
  add("Ended", Agent().Ended(v1::SESSION_STATE_PASSED), "nothing");

  // Agent: one tool call.
  add("ToolCalled", Agent().Turn(Says("", {a})), "start tool a");
  add("ToolStarted", Agent().Turn(Says("", {a})).ToolStarted(a), "compile a k1");
  add("CompileFailed", Agent().Turn(Says("", {a})).ToolStarted(a).Compiled("a", "k1", false),
      AllOf(HasSubstr("finish tool a: compiled: no (1 error)"), HasSubstr("err_unsupported_memory")));
  add("CompiledIsVerifiedAtOnce", Agent().Turn(Says("", {a})).ToolStarted(a).Compiled("a", "k1", true),
      "verify a k1 program-k1");
  add("MismatchGoesIntoTheResult",
      Agent()
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_MISMATCH),
      AllOf(HasSubstr("finish tool a: compiled: yes"), HasSubstr("estimated latency: 10 us"),
            HasSubstr("verified: FAIL (mismatch)")));
  add("PassGoesIntoTheResult",
      Agent()
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_PASSED),
      HasSubstr("verified: PASS"));
  add("PassEndsTheSession",
      Agent()
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_PASSED)
          .ToolFinished("a"),
      "SESSION_STATE_PASSED END_REASON_VERIFIED: verified in turn 1");
  add("ResultsAreSent",
      Agent().Turn(Says("", {a})).ToolStarted(a).Compiled("a", "k1", false).ToolFinished("a", "why"),
      "say(1): why");
  add("NextTurn",
      Agent().Turn(Says("", {a})).ToolStarted(a).Compiled("a", "k1", false).ToolFinished("a").Replied(),
      "start call 2 s/2");
  add("LastTurnIsNotAnswered",
      Agent(Options(1)).Turn(Says("", {a})).ToolStarted(a).Compiled("a", "k1", false).ToolFinished("a"),
      "SESSION_STATE_NOT_SOLVED END_REASON_TURNS_EXHAUSTED: no kernel was verified in 1 turn: the last "
      "kernel did not "
      "compile (err_unsupported_memory)");

  // Agent: several tool calls at once.
  add("SecondCallFollowsTheFirst",
      Agent().Turn(Says("", {a, b})).ToolStarted(a).Compiled("a", "k1", false).ToolFinished("a"),
      "start tool b");
  add("SecondCallIsCompiled",
      Agent()
          .Turn(Says("", {a, b}))
          .ToolStarted(a)
          .Compiled("a", "k1", false)
          .ToolFinished("a")
          .ToolStarted(b),
      "compile b k2");
  add("AllResultsInOneMessage",
      Agent()
          .Turn(Says("", {a, b}))
          .ToolStarted(a)
          .Compiled("a", "k1", false)
          .ToolFinished("a")
          .ToolStarted(b)
          .Compiled("b", "k2", false)
          .ToolFinished("b"),
      HasSubstr("say(2)"));
  std::vector<llm::v1::ToolCall> many;
  for (int i = 0; i < 17; ++i) many.push_back(Call(absl::StrCat("m", i), "bash", "{}"));
  Log flood = Agent();
  flood.Turn(Says("", many));
  for (int i = 0; i < 16; ++i) flood.ToolStarted(many[i]).ToolFinished(many[i].id());
  flood.ToolStarted(many[16]);
  add("FloodOfCallsIsBounded", flood, HasSubstr("finish tool m16 error: This answer made 17 tool calls"));
  add("VerifyWithoutSourceTakesTheLastCompiled",
      Agent()
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_TIMEOUT)
          .ToolFinished("a")
          .Replied()
          .Turn(Says("", {verify}))
          .ToolStarted(verify),
      "compile v k1");
  add("VerifyRepeatsATimeout",
      Agent()
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_TIMEOUT)
          .ToolFinished("a")
          .Replied()
          .Turn(Says("", {verify}))
          .ToolStarted(verify)
          .Compiled("v", "k1", true),
      "verify v k1 program-k1");
  add("VerifyReusesAMismatch",
      Agent()
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_MISMATCH)
          .ToolFinished("a")
          .Replied()
          .Turn(Says("", {verify}))
          .ToolStarted(verify)
          .Compiled("v", "k1", true),
      AllOf(HasSubstr("finish tool v: This is the kernel of turn 1 again, unchanged"),
            HasSubstr("FAIL (mismatch)")));
  const llm::v1::ToolCall again = CompileCall("again", "k1");
  add("AnErrorIsToldOnce",
      Agent()
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", false)
          .ToolFinished("a")
          .Replied()
          .Turn(Says("", {again}))
          .ToolStarted(again)
          .Compiled("again", "k1", false),
      AllOf(HasSubstr("This is the kernel of turn 1 again"), HasSubstr("compiled: no (1 error)"),
            Not(HasSubstr("err_unsupported_memory"))));
  add("VerifyOfNothing", Agent().Turn(Says("", {verify})).ToolStarted(verify),
      HasSubstr("finish tool v error: No kernel has been compiled yet"));

  // Agent: tools that judge nothing.
  const llm::v1::ToolCall lookup = Call("l", kLookupTool, R"({"name": "nl.load"})");
  const llm::v1::ToolCall profile = Call("p", kProfileTool, "{}");
  add("ANameIsLookedUp", Agent().Turn(Says("", {lookup})).ToolStarted(lookup), "look up l nl.load");
  add("ALookUpIsAnswered",
      Agent().Turn(Says("", {lookup})).ToolStarted(lookup).ToolFinished("l", "a function"),
      "say(1): a function");
  add("ProfileOfNothing", Agent().Turn(Says("", {profile})).ToolStarted(profile),
      HasSubstr("finish tool p error: No kernel has been compiled yet, so there is nothing to profile"));
  add("ProfileCompiles",
      Agent()
          .Turn(Says("", {a, profile}))
          .ToolStarted(a)
          .Compiled("a", "k1", false)
          .ToolFinished("a")
          .ToolStarted(profile),
      "compile p k1");
  add("ProfileIsNotVerified",
      Agent()
          .Turn(Says("", {a, profile}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_MISMATCH)
          .ToolFinished("a")
          .ToolStarted(profile)
          .Compiled("p", "k1", true),
      AllOf(HasSubstr("finish tool p: estimated latency: 10 us"), Not(HasSubstr("verified"))));

  // Agent: what a model gets wrong.
  add("BrokenJson",
      Agent()
          .Turn(Says("", {Call("x", kCompileTool, "{\"source\": \"d")}))
          .ToolStarted(Call("x", kCompileTool, "")),
      HasSubstr("finish tool x error: The arguments of this call are not valid JSON"));
  add("UnknownTool", Agent().Turn(Says("", {Call("x", "bash", "{}")})).ToolStarted(Call("x", "bash", "")),
      HasSubstr("finish tool x error: There is no tool named `bash`"));
  add("FencedKernelIsCompiled", Agent().Turn(Says(FencedKernel("k1"))), "compile  k1");
  add("FencedKernelIsVerified", Agent().Turn(Says(FencedKernel("k1"))).Compiled("", "k1", true),
      "verify  k1 program-k1");
  add("FencedKernelGetsItsResult", Agent().Turn(Says(FencedKernel("k1"))).Compiled("", "k1", false),
      AllOf(HasSubstr("say(1): Your answer held a kernel but no tool call"), HasSubstr("compiled: no")));
  add("FencedKernelPasses",
      Agent()
          .Turn(Says(FencedKernel("k1")))
          .Compiled("", "k1", true)
          .Verified("", "k1", VERDICT_REASON_PASSED),
      HasSubstr("SESSION_STATE_PASSED"));
  add("FenceBesideACallIsNotCounted", Agent().Turn(Says(FencedKernel("k9"), {a})), "start tool a");
  add("EmptyTurn", Agent().Turn(Says("")),
      HasSubstr("say(1): Your answer holds neither a tool call nor a kernel"));
  add("CutTurn", Agent().Turn(Says("let me think"), llm::v1::STOP_REASON_MAX_TOKENS),
      HasSubstr("limit of output tokens"));
  add("ThirdIdleTurnGivesUp", Agent().Turn(Says("a")).Replied().Turn(Says("b")).Replied().Turn(Says("c")),
      AllOf(HasSubstr("END_REASON_MODEL_GAVE_UP: 3 answers in a row"), HasSubstr("it said: c")));
  add("ACallEndsAnIdleStretch",
      Agent()
          .Turn(Says("a"))
          .Replied()
          .Turn(Says("b"))
          .Replied()
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", false)
          .ToolFinished("a")
          .Replied()
          .Turn(Says("c")),
      HasSubstr("say(1)"));
  add("Refusal", Agent().Turn(Says("no"), llm::v1::STOP_REASON_REFUSAL),
      "SESSION_STATE_NOT_SOLVED END_REASON_REFUSED: the model refused");

  // Limits.
  add(
      "TenTurnsByDefault",
      [] {
        Log log = Agent();
        for (int i = 0; i < 10; ++i) {
          log.Turn(Says("", {Call("x", "bash", "{}")})).ToolStarted(Call("x", "bash", "")).ToolFinished("x");
          if (i < 9) log.Replied();
        }
        return log;
      }(),
      HasSubstr("END_REASON_TURNS_EXHAUSTED: no kernel was verified in 10 turns: no kernel was compiled"));
  add("CostLimit", Agent(cheap).Turn(Says(""), llm::v1::STOP_REASON_END_TURN, 100).Replied(),
      HasSubstr("END_REASON_BUDGET_EXHAUSTED: model calls have cost 100 of at most 100"));
  add("WithinTheWallLimit", Agent(brief), "start call 1 s/1");

  // optimize: goes on after a pass, and can't lose it.
  add("OptimizeGoesOn",
      Agent(Options(0, true))
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_PASSED)
          .ToolFinished("a"),
      HasSubstr("say(1)"));
  add("OptimizeEndsWhenTheModelDoes",
      Agent(Options(0, true))
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_PASSED)
          .ToolFinished("a")
          .Replied()
          .Turn(Says("good enough")),
      "SESSION_STATE_PASSED END_REASON_VERIFIED: verified in turn 1");
  add("OptimizeKeepsThePassWhenLaterTurnsFail",
      Agent(Options(2, true))
          .Turn(Says("", {a}))
          .ToolStarted(a)
          .Compiled("a", "k1", true)
          .Verified("a", "k1", VERDICT_REASON_PASSED)
          .ToolFinished("a")
          .Replied()
          .Turn(Says("", {b}))
          .ToolStarted(b)
          .Compiled("b", "k2", false)
          .ToolFinished("b"),
      "SESSION_STATE_PASSED END_REASON_VERIFIED: verified in turn 1");

  // Single-shot.
  add("SingleShotCompiles", SingleShot().Turn(Says(FencedKernel("k1"))), "compile  k1");
  add("SingleShotVerifies", SingleShot().Turn(Says(FencedKernel("k1"))).Compiled("", "k1", true),
      "verify  k1 program-k1");
  add("SingleShotPasses",
      SingleShot()
          .Turn(Says(FencedKernel("k1")))
          .Compiled("", "k1", true)
          .Verified("", "k1", VERDICT_REASON_PASSED),
      HasSubstr("SESSION_STATE_PASSED"));
  add("SingleShotHasNoSecondTurn", SingleShot().Turn(Says(FencedKernel("k1"))).Compiled("", "k1", false),
      HasSubstr("END_REASON_TURNS_EXHAUSTED"));
  add("SingleShotFails",
      SingleShot()
          .Turn(Says(FencedKernel("k1")))
          .Compiled("", "k1", true)
          .Verified("", "k1", VERDICT_REASON_MISMATCH),
      HasSubstr("the last kernel failed verification (mismatch)"));
  add("SingleShotWithoutAKernel", SingleShot().Turn(Says("I can't")),
      AllOf(HasSubstr("END_REASON_MODEL_GAVE_UP"), HasSubstr("it said: I can't")));
  add("SingleShotIgnoresCalls", SingleShot().Turn(Says("", {a})), HasSubstr("END_REASON_MODEL_GAVE_UP"));

  // Multi-turn.
  add("MultiTurnAsksToCheckAgain", MultiTurn(2).Turn(Says(FencedKernel("k1"))),
      HasSubstr("say(1): Check the kernel that you just wrote"));
  add("MultiTurnGoesOn", MultiTurn(2).Turn(Says(FencedKernel("k1"))).Replied(), "start call 2 s/2");
  add("MultiTurnJudgesTheLastKernel",
      MultiTurn(2).Turn(Says(FencedKernel("k1"))).Replied().Turn(Says(FencedKernel("k2"))), "compile  k2");
  add("MultiTurnKeepsAnEarlierKernel",
      MultiTurn(2).Turn(Says(FencedKernel("k1"))).Replied().Turn(Says("It is right as it stands.")),
      "compile  k1");
  add(
      "MultiTurnDefaultsToFive",
      [] {
        Log log = MultiTurn(0);
        for (int i = 0; i < 4; ++i) log.Turn(Says(FencedKernel("k1"))).Replied();
        return log.Turn(Says(FencedKernel("k5")));
      }(),
      "compile  k5");
  return all;
}

class NextActionTable : public testing::TestWithParam<Situation> {};

TEST_P(NextActionTable, Decides) {
  EXPECT_THAT(Show(NextAction(GetParam().log.Fold(), absl::FromUnixSeconds(100))), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Situations, NextActionTable, testing::ValuesIn(Situations()),
                         [](const auto& test) { return test.param.name; });

TEST(NextAction, WallLimitEndsTheSessionAtAnyPoint) {
  v1::SessionOptions options;
  options.mutable_wall_limit()->set_seconds(60);
  const Log log = std::move(Agent(options).Started());
  // The first event after the creation is at second 1.
  EXPECT_EQ(Show(NextAction(log.Fold(), absl::FromUnixSeconds(60))), "call 1 s/1");
  EXPECT_THAT(Show(NextAction(log.Fold(), absl::FromUnixSeconds(61))),
              HasSubstr("END_REASON_BUDGET_EXHAUSTED: the wall-clock limit of 1m has passed"));
}

// Whatever point a log is cut at, a reader of the rest decides the same: nothing outside the events counts.
TEST(NextAction, FollowsFromTheEventsAlone) {
  const llm::v1::ToolCall a = CompileCall("a", "k1");
  Log log = Agent();
  log.Turn(Says("", {a}))
      .ToolStarted(a)
      .Compiled("a", "k1", true)
      .Verified("a", "k1", VERDICT_REASON_MISMATCH);
  Snapshot live;
  for (const v1::SessionEvent& event : log.events()) {
    ASSERT_TRUE(Apply(event, &live).ok());
    Snapshot again;
    for (int64_t i = 0; i < live.session.last_sequence(); ++i)
      ASSERT_TRUE(Apply(log.events()[i], &again).ok());
    EXPECT_EQ(Show(NextAction(live, absl::FromUnixSeconds(100))),
              Show(NextAction(again, absl::FromUnixSeconds(100))));
  }
}

TEST(BestAfter, FirstPassStaysUnlessOptimizeFindsAFasterOne) {
  const llm::v1::ToolCall a = CompileCall("a", "k1");
  const llm::v1::ToolCall b = CompileCall("b", "k2");
  auto second = [&](bool optimize, double latency_us) {
    Log log = Agent(Options(0, optimize));
    log.Turn(Says("", {a}))
        .ToolStarted(a)
        .Compiled("a", "k1", true, 10)
        .Verified("a", "k1", VERDICT_REASON_PASSED);
    log.ToolFinished("a").Replied().Turn(Says("", {b})).ToolStarted(b).Compiled("b", "k2", true, latency_us);
    log.Verified("b", "k2", VERDICT_REASON_PASSED);
    const v1::Session session = log.Fold().session;
    return absl::StrCat(Name(session.best().kernel()), " turn ", session.best().turn(), " ",
                        session.best().program_id());
  };
  EXPECT_EQ(second(false, 5), "k1 turn 1 program-k1");
  EXPECT_EQ(second(true, 5), "k2 turn 2 program-k2");
  EXPECT_EQ(second(true, 20), "k1 turn 1 program-k1");
}

TEST(Snapshot, CountsTurnsUsageAndWork) {
  const llm::v1::ToolCall a = CompileCall("a", "k1");
  Log log = Agent();
  log.Turn(Says("", {a}), llm::v1::STOP_REASON_TOOL_USE, 7).ToolStarted(a).Compiled("a", "k1", true);
  log.Verified("a", "k1", VERDICT_REASON_MISMATCH).ToolFinished("a").Replied().Turn(Says(""), {}, 5);
  const Snapshot snapshot = log.Fold();
  EXPECT_EQ(snapshot.session.turns_used(), 2);
  EXPECT_EQ(snapshot.session.usage().cost_micro_usd(), 12);
  EXPECT_EQ(snapshot.session.usage().calls(), 2);
  EXPECT_EQ(snapshot.session.compilations(), 1);
  EXPECT_EQ(snapshot.session.verifications(), 1);
  EXPECT_EQ(snapshot.session.state(), v1::SESSION_STATE_RUNNING);
  EXPECT_EQ(snapshot.session.last().verdict().reason(), VERDICT_REASON_MISMATCH);
  EXPECT_FALSE(snapshot.session.has_best());
  EXPECT_EQ(snapshot.session.last_sequence(), static_cast<int64_t>(log.events().size()));
  // user, assistant, results, assistant: the last one was empty, which no provider takes back.
  ASSERT_EQ(snapshot.conversation.size(), 4u);
  EXPECT_EQ(snapshot.conversation[3].content(0).text(), "(empty answer)");
}

TEST(Snapshot, CallsInAModeWithoutToolsAreNotSentBack) {
  Log log = MultiTurn(3);
  log.Turn(Says(FencedKernel("k1"), {CompileCall("a", "k1")}));
  const Snapshot snapshot = log.Fold();
  ASSERT_EQ(snapshot.conversation.back().content_size(), 1);
  EXPECT_TRUE(snapshot.conversation.back().content(0).has_text());
}

TEST(Snapshot, RefusesGapsRepeatsAndUnknownEvents) {
  Log log = Agent();
  Snapshot snapshot = log.Fold();
  v1::SessionEvent event = log.events().back();
  EXPECT_EQ(Apply(event, &snapshot).code(), absl::StatusCode::kDataLoss);
  event.set_sequence(snapshot.session.last_sequence() + 2);
  EXPECT_EQ(Apply(event, &snapshot).code(), absl::StatusCode::kDataLoss);
  v1::SessionEvent empty;
  empty.set_sequence(snapshot.session.last_sequence() + 1);
  EXPECT_EQ(Apply(empty, &snapshot).code(), absl::StatusCode::kDataLoss);
  v1::SessionEvent created = log.events().front();
  created.set_sequence(snapshot.session.last_sequence() + 1);
  EXPECT_EQ(Apply(created, &snapshot).code(), absl::StatusCode::kDataLoss);
}

TEST(NextAction, AConversationBeyondTheWindowEndsTheSession) {
  Log log = Agent();
  Snapshot snapshot = log.Fold();
  snapshot.context_window_tokens = kDefaultOutputTokens + 1;
  EXPECT_THAT(Show(NextAction(snapshot, absl::FromUnixSeconds(100))),
              AllOf(HasSubstr("END_REASON_BUDGET_EXHAUSTED"), HasSubstr("the model's window has 8193")));
  snapshot.context_window_tokens = 200000;
  EXPECT_EQ(Show(NextAction(snapshot, absl::FromUnixSeconds(100))), "start call 1 s/1");
}

}  // namespace
}  // namespace nkiagent::orchestrator
