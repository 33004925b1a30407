#include "services/nkictl/run_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "services/nkictl/testing_runs.h"

namespace nkiagent::nkictl {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing_runs::MakeRun;

// What CheckRun says after a change of the exported document.
std::vector<std::string> After(const std::function<void(nlohmann::json*)>& change) {
  nlohmann::json document = nlohmann::json::parse(RunFileText(MakeRun("a", 3, {true, false, true})));
  change(&document);
  const absl::StatusOr<RunData> data = ParseRunFile(document.dump());
  EXPECT_TRUE(data.ok()) << data.status();
  return data.ok() ? CheckRun(*data, "") : std::vector<std::string>();
}

void Replace(nlohmann::json* text, const std::string& from, const std::string& to) {
  std::string value = text->get<std::string>();
  ASSERT_NE(value.find(from), std::string::npos) << value;
  *text = value.replace(value.find(from), from.size(), to);
}

TEST(RunFile, ComesBackAsItWas) {
  const RunData data = MakeRun("a", 3, {true, false, true});
  EXPECT_THAT(CheckRun(data, ""), IsEmpty());
  EXPECT_THAT(CheckRun(data, data.run.public_key()), IsEmpty());
  const absl::StatusOr<RunData> again = ParseRunFile(RunFileText(data));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT(CheckRun(*again, ""), IsEmpty());
  EXPECT_EQ(again->run.SerializeAsString(), data.run.SerializeAsString());
  ASSERT_THAT(again->rows, SizeIs(3));
  EXPECT_EQ(again->rows[1].kernel.source(), "# 1");
  EXPECT_EQ(again->rows[1].record.failure(), "err_unsupported_memory");
}

TEST(RunFile, EveryChangeIsFoundAndNamed) {
  EXPECT_THAT(After([](nlohmann::json* d) {
                Replace(&(*d)["rows"][1]["record"], "\"passed\":false", "\"passed\":true");
              }),
              ElementsAre(AllOf(HasSubstr("row 1 (task t1)"), HasSubstr("record was changed")),
                          HasSubstr("task t1: its row is missing")));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["rows"][2]["kernel"]["source"] = "# better"; }),
              ElementsAre(AllOf(HasSubstr("task t2"), HasSubstr("kernel is not the one"))));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["rows"].erase(1); }),
              ElementsAre(HasSubstr("task t1: its row is missing")));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["rows"].push_back((*d)["rows"][0]); }),
              ElementsAre(HasSubstr("more than once")));
  EXPECT_THAT(
      After([](nlohmann::json* d) { (*d)["run"]["spec"]["tasks"][0]["reference_source"] = "easier"; }),
      ElementsAre(HasSubstr("task t0: it is not the one in the manifest"), HasSubstr("row 0 (task t0)")));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["run"]["spec"]["suite"] = "other"; }),
              ElementsAre(HasSubstr("the run's suite")));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["run"]["spec"]["model"] = "other"; }), SizeIs(4));
  EXPECT_THAT(After([](nlohmann::json* d) { Replace(&(*d)["manifest"]["text"], "small", "large"); }),
              ElementsAre(HasSubstr("the manifest was changed")));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["rows"][0]["signature"] = "00"; }),
              testing::Contains(HasSubstr("row 0")));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["rows"][0]["record"] = "nonsense"; }),
              testing::Not(IsEmpty()));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["run"]["public_key"] = std::string(64, '0'); }),
              testing::Contains(HasSubstr("manifest was changed")));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["rows"][0].erase("kernel"); }),
              ElementsAre(AllOf(HasSubstr("row 0 (task t0)"), HasSubstr("kernel is missing"))));
  EXPECT_THAT(
      After([](nlohmann::json* d) { std::swap((*d)["rows"][0]["signature"], (*d)["rows"][2]["signature"]); }),
      testing::IsSupersetOf({HasSubstr("row 0 (task t0): its record was changed"),
                             HasSubstr("row 2 (task t2): its record was changed")}));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["run"]["spec"]["tasks"][1]["level"] = 3; }),
              ElementsAre(AllOf(HasSubstr("row 1 (task t1)"), HasSubstr("level"))));
  EXPECT_THAT(
      After([](nlohmann::json* d) { (*d)["run"]["spec"]["tasks"][1]["labels"]["category"] = "scan"; }),
      ElementsAre(AllOf(HasSubstr("row 1 (task t1)"), HasSubstr("category"))));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["run"]["spec"]["options"]["max_turns"] = 99; }),
              ElementsAre(HasSubstr("the run's set of options")));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["run"]["spec"]["suite_version"] = "9"; }),
              ElementsAre(HasSubstr("the run's version of the suite")));
  EXPECT_THAT(After([](nlohmann::json* d) { (*d)["run"]["spec"]["repeats"] = 2; }),
              testing::Contains(HasSubstr("the run's number of repeats")));
}

TEST(RunFile, RowsOfAnotherRunAndAnotherKeyAreFound) {
  RunData data = MakeRun("a", 3, {true, false, true});
  data.rows[0] = MakeRun("b", 3, {true, true, true}).rows[0];
  EXPECT_THAT(CheckRun(data, ""), testing::Contains(HasSubstr("belongs to run r-b")));
  EXPECT_THAT(CheckRun(MakeRun("a", 1, {true}), std::string(64, 'a')),
              ElementsAre(HasSubstr("another public key than the one to trust")));
}

TEST(RunFile, OtherDocumentsAreRefused) {
  for (const char* text : {"", "[]", "{}", "{\"format\": 7}", "{\"format\": \"nkiagent.run-file.v1\"}",
                           "{\"format\": \"nkiagent.run-file.v1\", \"run\": {}}", "PK\x03\x04"}) {
    EXPECT_EQ(ParseRunFile(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  const std::string whole = RunFileText(MakeRun("a", 1, {true}));
  for (const size_t cut : {size_t{1}, whole.size() / 2, whole.size() - 3}) {
    EXPECT_THAT(std::string(ParseRunFile(whole.substr(0, cut)).status().message()),
                HasSubstr("it is cut off"))
        << cut;
  }
  nlohmann::json document = nlohmann::json::parse(whole);
  document["rows"][0].erase("signature");
  EXPECT_THAT(std::string(ParseRunFile(document.dump()).status().message()),
              HasSubstr("entry 0 of \"rows\""));
  EXPECT_EQ(ReadRunFile("/nonexistent.json").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace nkiagent::nkictl
