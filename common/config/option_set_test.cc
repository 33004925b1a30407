#include "common/config/option_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>

namespace nkiagent::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OptionSetTest : public ::testing::Test {
 protected:
  OptionSetTest() {
    set_.Add("port", &port_, "Port.").Range(0, 65535);
    set_.Add("reflection", &reflection_, "Reflection.");
    set_.Add("drain_deadline", &drain_, "Drain.");
    set_.Add("store_bytes", &store_, "Store.");
    set_.Add("log_format", &format_, "Format.").OneOf({"text", "json"});
    set_.Add("model", &models_, "Models.");
    set_.AddSection("providers", &providers_, "Providers by name.");
  }

  std::string WriteFile(const std::string& text) {
    std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::replace(name.begin(), name.end(), '/', '_');
    const std::string path = ::testing::TempDir() + "option_set_" + name + ".yaml";
    std::ofstream(path) << text;
    return path;
  }

  absl::Status Parse(const std::vector<std::string>& args) {
    return set_
        .Parse(args,
               [this](const std::string& name) -> std::optional<std::string> {
                 const auto it = environment_.find(name);
                 return it == environment_.end() ? std::nullopt : std::optional<std::string>(it->second);
               })
        .status();
  }

  int port_ = 7601;
  bool reflection_ = true;
  absl::Duration drain_ = absl::Seconds(10);
  Bytes store_{1024};
  std::string format_ = "text";
  std::vector<std::string> models_;
  YAML::Node providers_;
  std::map<std::string, std::string> environment_;
  OptionSet set_{"compile", "Test service."};
};

TEST_F(OptionSetTest, KeepsDefaultsWhenNothingIsGiven) {
  ASSERT_TRUE(Parse({}).ok());
  EXPECT_EQ(port_, 7601);
  EXPECT_EQ(drain_, absl::Seconds(10));
}

TEST_F(OptionSetTest, FlagBeatsYamlBeatsEnvironmentBeatsDefault) {
  environment_ = {{"NKIAGENT_COMPILE_PORT", "1"},
                  {"NKIAGENT_COMPILE_DRAIN_DEADLINE", "1s"},
                  {"NKIAGENT_COMPILE_STORE_BYTES", "1MiB"}};
  const std::string path = WriteFile("port: 2\ndrain_deadline: 2s\n");
  ASSERT_TRUE(Parse({"--config", path, "--port=3"}).ok());
  EXPECT_EQ(port_, 3);
  EXPECT_EQ(drain_, absl::Seconds(2));
  EXPECT_EQ(store_.value, 1 << 20);
  EXPECT_EQ(format_, "text");
}

TEST_F(OptionSetTest, TakesTheFileFromTheEnvironment) {
  environment_["NKIAGENT_COMPILE_CONFIG"] = WriteFile("port: 5");
  ASSERT_TRUE(Parse({}).ok());
  EXPECT_EQ(port_, 5);
}

TEST_F(OptionSetTest, BoolFlagsWorkWithAndWithoutValue) {
  ASSERT_TRUE(Parse({"--reflection=false"}).ok());
  EXPECT_FALSE(reflection_);
  ASSERT_TRUE(Parse({"--reflection"}).ok());
  EXPECT_TRUE(reflection_);
}

TEST_F(OptionSetTest, ListsComeFromRepeatedFlagsSequencesAndCommas) {
  ASSERT_TRUE(Parse({"--model", "a", "--model=b"}).ok());
  EXPECT_THAT(models_, ElementsAre("a", "b"));
  ASSERT_TRUE(Parse({"--config", WriteFile("model: [c, d]")}).ok());
  EXPECT_THAT(models_, ElementsAre("c", "d"));
  environment_["NKIAGENT_COMPILE_MODEL"] = "e,f";
  ASSERT_TRUE(Parse({}).ok());
  EXPECT_THAT(models_, ElementsAre("e", "f"));
}

TEST_F(OptionSetTest, HandsOverSections) {
  ASSERT_TRUE(Parse({"--config", WriteFile("providers: {builtin: {kind: builtin}}")}).ok());
  EXPECT_EQ(providers_["builtin"]["kind"].as<std::string>(), "builtin");
}

struct Refusal {
  const char* name;
  std::vector<std::string> args;
  const char* yaml;     // empty: no file
  const char* message;  // in the error
};

class OptionSetRefuses : public OptionSetTest, public ::testing::WithParamInterface<Refusal> {};

TEST_P(OptionSetRefuses, ByName) {
  std::vector<std::string> args = GetParam().args;
  if (*GetParam().yaml != '\0') {
    args.insert(args.begin(), {"--config", WriteFile(GetParam().yaml)});
  }
  const absl::Status status = Parse(args);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, OptionSetRefuses,
    ::testing::Values(
        Refusal{"UnknownKey", {}, "prot: 1", "unknown option prot"},
        Refusal{"UnknownKeyLine", {}, "port: 1\nprot: 1", "line 2"},
        Refusal{"TwiceInFile", {}, "port: 1\nport: 2", "option port"},
        Refusal{"NotAMap", {}, "- port", "is not a map"},
        Refusal{"MapForScalar", {}, "port: {a: 1}", "option port"},
        Refusal{"BadYaml", {}, "port: [", "config file"}, Refusal{"UnknownFlag", {"--prot=1"}, "", "--prot"},
        Refusal{"Positional", {"stray"}, "", "stray"},
        Refusal{"FlagTwice", {"--port=1", "--port=2"}, "", "takes one value"},
        Refusal{
            "NotAnInteger", {"--port=abc"}, "", "option port (flag --port): 'abc' is not a 32-bit integer"},
        Refusal{"OutOfRange", {"--port=65536"}, "", "'65536' is outside 0..65535"},
        Refusal{"BadDuration", {"--drain_deadline=10"}, "", "'10' is not a duration such as 10s"},
        Refusal{"NegativeDuration", {"--drain_deadline=-1s"}, "", "negative"},
        Refusal{"BadBytes", {"--store_bytes=4MB"}, "", "'4MB' is not a size"},
        Refusal{"BytesOverflow", {"--store_bytes=9999999TiB"}, "", "is not a size"},
        Refusal{"BadBool", {"--reflection=maybe"}, "", "'maybe'"},
        Refusal{"NotInClosedSet", {"--log_format=xml"}, "", "'xml' is not one of text, json"},
        Refusal{"MissingFile", {"--config=/nonexistent/x.yaml"}, "", "/nonexistent/x.yaml can't be read"}),
    [](const auto& tested) { return tested.param.name; });

TEST_F(OptionSetTest, HelpNamesEveryOptionWithItsDefault) {
  const auto outcome = set_.Parse({"--help"}, [](const std::string&) { return std::nullopt; });
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->kind, OptionSet::Outcome::kHelp);
  EXPECT_THAT(outcome->text, HasSubstr("--drain_deadline"));
  EXPECT_THAT(outcome->text, HasSubstr("Default: 10s."));
  EXPECT_THAT(outcome->text, HasSubstr("NKIAGENT_COMPILE_"));
  EXPECT_THAT(outcome->text, HasSubstr("providers"));
}

}  // namespace
}  // namespace nkiagent::config
