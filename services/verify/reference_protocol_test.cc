// Replies of reference children are hostile: each test bends one thing of a good one.
#include "services/verify/reference_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace nkiagent::verify {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr uint64_t kArenaBytes = 4096;

json Tensor(const std::string& name, const std::string& role, std::vector<int64_t> dims) {
  return {{"name", name},
          {"role", role},
          {"dtype", "float32"},
          {"dims", std::move(dims)},
          {"reference_dtype", "float32"},
          {"rank_zero", false},
          {"reference_name", name}};
}

json GoodDescribe() {
  return {{"arguments", {Tensor("x", "input", {4, 8}), Tensor("w", "parameter", {8})}},
          {"outputs", {Tensor("output", "output", {4, 8})}},
          {"signature", "def anything"},
          {"graph", "graph nki.graph.v1\n"},
          {"folded_scalars", {{{"name", "scale"}, {"literal", "0.5"}}}},
          {"notes", {"a note"}},
          {"slots", {{{"offset", 0}, {"size_bytes", 32}}}},
          {"reference_time_s", 0.25},
          {"torch_version", "2.0"}};
}

absl::Status DescribeStatus(const std::function<void(json&)>& bend) {
  json reply = GoodDescribe();
  bend(reply);
  return ParseDescribeReply(reply.dump(), kArenaBytes).status();
}

TEST(ParseDescribeReply, ReadsAGoodReplyAndWritesTheSignatureItself) {
  auto parsed = ParseDescribeReply(GoodDescribe().dump(), kArenaBytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& reply = std::get<DescribeReply>(*parsed);
  EXPECT_EQ(reply.input_count, 1);
  EXPECT_EQ(reply.facts.signature(), "def nki_kernel(x, w):");
  EXPECT_EQ(reply.facts.arguments(1).role(), common::v1::TENSOR_ROLE_PARAMETER);
  EXPECT_EQ(reply.facts.reference_time().nanos(), 250'000'000);
  EXPECT_EQ(reply.parameter_slots[0].size_bytes, 32u);
  EXPECT_EQ(reply.facts.notes(0), "a note");
}

TEST(ParseDescribeReply, RefusesWhatIsOutOfBounds) {
  const std::vector<std::pair<const char*, std::function<void(json&)>>> cases = {
      {"identifier", [](json& r) { r["arguments"][0]["name"] = "x; import os"; }},
      {"one name", [](json& r) { r["arguments"][1]["name"] = "x"; }},
      {"role", [](json& r) { r["arguments"][0]["role"] = "king"; }},
      {"an output among", [](json& r) { r["arguments"][1]["role"] = "output"; }},
      {"behind a parameter", [](json& r) { std::swap(r["arguments"][0], r["arguments"][1]); }},
      {"no input", [](json& r) { r["arguments"].erase(0); }},
      {"dtype", [](json& r) { r["arguments"][0]["dtype"] = "int64"; }},
      {"rank", [](json& r) { r["arguments"][0]["dims"] = json::array(); }},
      {"rank", [](json& r) { r["arguments"][0]["dims"] = {1, 1, 1, 1, 1, 1}; }},
      {"extents", [](json& r) { r["arguments"][0]["dims"] = {0}; }},
      {"extents",
       [](json& r) {
         r["arguments"][0]["dims"] = {int64_t{1} << 40, int64_t{1} << 40};
       }},
      {"size", [](json& r) { r["slots"][0]["size_bytes"] = 31; }},
      {"outside", [](json& r) { r["slots"][0]["offset"] = 4096; }},
      {"outside", [](json& r) { r["slots"][0]["offset"] = 1; }},
      {"number of slots", [](json& r) { r["slots"] = json::array(); }},
      {"outputs", [](json& r) { r["outputs"] = json::array(); }},
      {"time", [](json& r) { r["reference_time_s"] = -1; }},
      {"malformed", [](json& r) { r.erase("graph"); }},
      {"malformed", [](json& r) { r["arguments"] = 7; }},
      {"malformed", [](json& r) { r = "text"; }},
      {"unknown kind", [](json& r) {
         r = {{"problem", {{"kind", "NO_SUCH"}, {"message", ""}}}};
       }}};
  for (const auto& [says, bend] : cases) {
    const absl::Status status = DescribeStatus(bend);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << says;
    EXPECT_THAT(std::string(status.message()), HasSubstr(says));
  }
  EXPECT_FALSE(ParseDescribeReply("", kArenaBytes).ok());
  EXPECT_FALSE(ParseDescribeReply(std::string(100'000, '['), kArenaBytes).ok());
}

TEST(ParseDescribeReply, CutsTextsAndDropsAGraphThatIsTooLong) {
  json reply = GoodDescribe();
  reply["graph"] = std::string((1 << 20) + 1, 'g');
  reply["notes"] = json::array();
  for (int i = 0; i < 1000; ++i) reply["notes"].push_back(std::string(5000, 'n'));
  auto parsed = ParseDescribeReply(reply.dump(), kArenaBytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const v1::TaskFacts& facts = std::get<DescribeReply>(*parsed).facts;
  EXPECT_EQ(facts.reference_graph(), "");
  EXPECT_EQ(facts.notes_size(), 64);
  EXPECT_THAT(facts.notes(0), HasSubstr("1048577 bytes"));
  EXPECT_EQ(facts.notes(1).size(), 1000u);
}

TEST(ParseDescribeReply, ReadsAProblem) {
  const json reply = {
      {"problem",
       {{"kind", "SYNTAX"}, {"message", "bad"}, {"line", 3}, {"traceback", "File \"reference.py\""}}}};
  auto parsed = ParseDescribeReply(reply.dump(), kArenaBytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& problem = std::get<v1::TaskProblem>(*parsed);
  EXPECT_EQ(problem.kind(), v1::TASK_PROBLEM_KIND_SYNTAX);
  EXPECT_EQ(problem.line(), 3);
}

TaskData Described() {
  TaskData data;
  auto parsed = ParseDescribeReply(GoodDescribe().dump(), kArenaBytes);
  auto& reply = std::get<DescribeReply>(*parsed);
  data.facts = reply.facts;
  data.input_count = reply.input_count;
  data.parameter_slots = reply.parameter_slots;
  return data;
}

TEST(ParseRunReply, SlotsAreExactlyThoseOfTheFacts) {
  const TaskData data = Described();
  const json slot = {{"offset", 0}, {"size_bytes", 128}};
  const json trial = {{"input_slots", {slot}}, {"output_slots", {slot}}, {"reference_time_s", 0.001}};
  const std::vector<TrialPlan> one = {{1, v1::INPUT_FAMILY_DRAWN}};
  const std::vector<TrialPlan> two = {{1, v1::INPUT_FAMILY_DRAWN}, {2, v1::INPUT_FAMILY_DRAWN}};
  auto good = ParseRunReply(json{{"trials", {trial, trial}}}.dump(), data, two);
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(std::get<std::vector<TrialReply>>(*good)[1].input_slots[0].size_bytes, 128u);
  EXPECT_FALSE(ParseRunReply(json{{"trials", {trial}}}.dump(), data, two).ok());
  json bent = trial;
  bent["output_slots"][0]["size_bytes"] = 256;
  EXPECT_FALSE(ParseRunReply(json{{"trials", {bent}}}.dump(), data, one).ok());
  bent = trial;
  bent["input_slots"][0]["offset"] = 64;
  EXPECT_FALSE(ParseRunReply(json{{"trials", {bent}}}.dump(), data, one).ok());
}

TEST(ParseRunReply, OnlyFamiliesAreSkippedAndAllOthersTellTheirSensitivity) {
  const TaskData data = Described();
  const std::vector<TrialPlan> drawn = {{1, v1::INPUT_FAMILY_DRAWN}};
  const std::vector<TrialPlan> large = {{1, v1::INPUT_FAMILY_LARGE}};
  const auto parse = [&](const json& trial, const std::vector<TrialPlan>& plans) {
    return ParseRunReply(json{{"trials", {trial}}}.dump(), data, plans);
  };
  auto skipped = parse({{"skipped", "forward raised"}}, large);
  ASSERT_TRUE(skipped.ok()) << skipped.status();
  EXPECT_EQ(std::get<std::vector<TrialReply>>(*skipped)[0].skipped, "forward raised");
  EXPECT_FALSE(parse({{"skipped", "forward raised"}}, drawn).ok());
  EXPECT_FALSE(parse({{"skipped", ""}}, large).ok());
  const json slot = {{"offset", 0}, {"size_bytes", 128}};
  json trial = {{"input_slots", {slot}}, {"output_slots", {slot}}, {"reference_time_s", 0.001}};
  EXPECT_FALSE(parse(trial, large).ok());
  trial["sensitivity"] = {0.5};
  EXPECT_TRUE(parse(trial, large).ok());
  trial["sensitivity"] = {-0.5};
  EXPECT_FALSE(parse(trial, large).ok());
  trial["sensitivity"] = {0.5, 0.5};
  EXPECT_FALSE(parse(trial, large).ok());
}

TEST(RunRequestJson, SaysWhatTheTensorsAreInTheReference) {
  common::v1::Task task;
  task.set_reference_source("x = '\xff'");  // Not UTF-8: replaced, for Python to complain about.
  task.set_weight_seed(9);
  TaskData data = Described();
  data.facts.mutable_arguments(0)->set_reference_dtype(common::v1::DATA_TYPE_INT64);
  const std::vector<TrialPlan> plans = {{1, v1::INPUT_FAMILY_DRAWN}, {UINT64_MAX, v1::INPUT_FAMILY_TINY}};
  const json request = json::parse(RunRequestJson(task, data, plans));
  EXPECT_EQ(request["trials"][0], (json{{"seed", 1}, {"family", "drawn"}}));
  EXPECT_EQ(request["trials"][1], (json{{"seed", UINT64_MAX}, {"family", "tiny"}}));
  EXPECT_EQ(request["arguments"][0]["reference_dtype"], "int64");
  EXPECT_EQ(request["weight_seed"], 9);
  EXPECT_EQ(request["slots"][0]["size_bytes"], 32);
}

}  // namespace
}  // namespace nkiagent::verify
