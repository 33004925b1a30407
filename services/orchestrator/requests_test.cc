#include "services/orchestrator/requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

namespace nkiagent::orchestrator {
namespace {

using testing::HasSubstr;

v1::SubmitTaskRequest Good() {
  v1::SubmitTaskRequest request;
  request.set_model("builtin");
  request.mutable_task()->set_name("softmax");
  request.mutable_task()->set_reference_source("class Model: pass");
  return request;
}

struct BadRequest {
  std::string name;
  std::function<void(v1::SubmitTaskRequest*)> spoil;
  std::string expected;
};

class CheckSubmitRefuses : public testing::TestWithParam<BadRequest> {};

TEST_P(CheckSubmitRefuses, NamingTheFieldAndTheLimit) {
  v1::SubmitTaskRequest request = Good();
  GetParam().spoil(&request);
  const absl::Status status = CheckSubmit(request, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().expected));
}

using Request = v1::SubmitTaskRequest;
INSTANTIATE_TEST_SUITE_P(
    Requests, CheckSubmitRefuses,
    testing::Values(
        BadRequest{"NoModel", [](Request* r) { r->clear_model(); }, "model is empty"},
        BadRequest{"NoSource", [](Request* r) { r->mutable_task()->clear_reference_source(); },
                   "reference_source is empty"},
        BadRequest{
            "OversizeSource",
            [](Request* r) { r->mutable_task()->set_reference_source(std::string((4 << 20) + 1, 'x')); },
            "4194305 bytes; at most 4194304"},
        BadRequest{"LongRequestId", [](Request* r) { r->set_request_id(std::string(129, 'x')); },
                   "at most 128"},
        BadRequest{"UnknownMode", [](Request* r) { r->set_mode(static_cast<v1::Mode>(17)); }, "mode 17"},
        BadRequest{"TooManyTurns", [](Request* r) { r->mutable_options()->set_max_turns(101); },
                   "max_turns is 101"},
        BadRequest{"NegativeTurns", [](Request* r) { r->mutable_options()->set_max_turns(-1); },
                   "max_turns is -1"},
        BadRequest{"TooManyTrials", [](Request* r) { r->mutable_options()->set_trials(65); }, "trials is 65"},
        BadRequest{"SeedsForOtherTrials", [](Request* r) { r->mutable_options()->add_seeds(1); },
                   "1 entries for 3 trials"},
        BadRequest{"NaNTolerance",
                   [](Request* r) {
                     r->mutable_task()->mutable_tolerance()->set_atol(
                         std::numeric_limits<double>::quiet_NaN());
                   },
                   "must be finite"},
        BadRequest{"NegativeTolerance",
                   [](Request* r) { r->mutable_options()->mutable_tolerance()->set_rtol(-1); },
                   "options.tolerance"},
        BadRequest{"ZeroWallLimit", [](Request* r) { r->mutable_options()->mutable_wall_limit(); },
                   "wall_limit"},
        BadRequest{"HugeWallLimit",
                   [](Request* r) { r->mutable_options()->mutable_wall_limit()->set_seconds(1000000); },
                   "at most 24h"},
        BadRequest{"UnknownTool", [](Request* r) { r->mutable_options()->add_tools("bash"); },
                   "compile_kernel"},
        BadRequest{"UnknownPrompt", [](Request* r) { r->mutable_options()->set_prompt_name("nope"); },
                   "rank-aware"},
        BadRequest{"UnknownLevel", [](Request* r) { r->mutable_task()->set_level(4); }, "level is 4"},
        BadRequest{"NegativeCost", [](Request* r) { r->mutable_options()->set_max_cost_micro_usd(-1); },
                   "negative"},
        BadRequest{"TooManyLabels",
                   [](Request* r) {
                     for (int i = 0; i < 65; ++i)
                       (*r->mutable_task()->mutable_labels())[std::to_string(i)] = "x";
                   },
                   "labels has 65"}),
    [](const auto& test) { return test.param.name; });

TEST(NewSessionFor, FillsInDefaults) {
  ASSERT_TRUE(CheckSubmit(Good(), {}).ok());
  const v1::Session session = NewSessionFor(Good(), "s-1", {});
  EXPECT_EQ(session.mode(), v1::MODE_AGENT);
  EXPECT_EQ(session.options().max_turns(), 10);
  EXPECT_EQ(session.options().trials(), 3);
  EXPECT_EQ(session.options().prompt_name(), "rank-aware");
  EXPECT_EQ(session.options().wall_limit().seconds(), 1800);
  EXPECT_EQ(session.state(), v1::SESSION_STATE_QUEUED);
}

TEST(RequestHash, IgnoresTheRequestIdOnly) {
  Request a = Good();
  Request b = Good();
  a.set_request_id("1");
  b.set_request_id("2");
  for (int i = 0; i < 20; ++i) (*a.mutable_task()->mutable_labels())[std::to_string(i)] = "x";
  for (int i = 19; i >= 0; --i) (*b.mutable_task()->mutable_labels())[std::to_string(i)] = "x";
  EXPECT_EQ(RequestHash(a), RequestHash(b));
  b.mutable_task()->set_weight_seed(1);
  EXPECT_NE(RequestHash(a), RequestHash(b));
}

TEST(PageToken, BelongsToItsFilters) {
  v1::ListSessionsRequest request;
  request.add_states(v1::SESSION_STATE_PASSED);
  request.add_states(v1::SESSION_STATE_FAILED);
  request.set_page_token(MakePageToken(ListFilterText(request), 42));
  EXPECT_EQ(*ReadPageToken(ListFilterText(request), request.page_token()), 42);
  request.mutable_states()->SwapElements(0, 1);
  EXPECT_EQ(*ReadPageToken(ListFilterText(request), request.page_token()), 42);
  request.set_model("other");
  EXPECT_EQ(ReadPageToken(ListFilterText(request), request.page_token()).status().code(),
            absl::StatusCode::kInvalidArgument);
  for (const char* token : {"x", "-1-ab", "42", "0-0", "99999999999999999999-x"}) {
    request.set_page_token(token);
    EXPECT_EQ(ReadPageToken(ListFilterText(request), request.page_token()).status().code(),
              absl::StatusCode::kInvalidArgument)
        << token;
  }
}

TEST(PageSize, HasADefaultAndABound) {
  EXPECT_EQ(*PageSize(0), 50);
  EXPECT_EQ(*PageSize(7), 7);
  EXPECT_EQ(*PageSize(10000), 500);
  EXPECT_FALSE(PageSize(-1).ok());
}

}  // namespace
}  // namespace nkiagent::orchestrator
