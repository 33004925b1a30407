#include "services/orchestrator/tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace nkiagent::orchestrator {
namespace {

using testing::HasSubstr;

const std::vector<std::string> kAll = {kCompileTool, kVerifyTool, kProfileTool, kLookupTool};

llm::v1::ToolCall Call(const std::string& name, const std::string& arguments) {
  llm::v1::ToolCall call;
  call.set_id("c1");
  call.set_name(name);
  call.set_arguments_json(arguments);
  return call;
}

TEST(Tools, SchemasAreJsonObjectsOfObjects) {
  const auto tools = Tools({});
  ASSERT_EQ(tools.size(), 4u);
  for (const auto& tool : tools) {
    const auto schema = nlohmann::json::parse(tool.parameters_json_schema());
    EXPECT_EQ(schema["type"], "object");
    EXPECT_TRUE(schema["properties"].contains(tool.name() == kLookupTool ? "name" : "source"));
    EXPECT_FALSE(tool.description().empty());
    EXPECT_TRUE(IsTool(tool.name()));
  }
  EXPECT_EQ(nlohmann::json::parse(tools[0].parameters_json_schema())["required"], nlohmann::json({"source"}));
  ASSERT_EQ(Tools({kVerifyTool, "other"}).size(), 1u);
}

TEST(ReadToolCall, ReadsSourceAndGrid) {
  const auto read =
      ReadToolCall(Call(kCompileTool, R"({"source": "def nki_kernel(x):\n  pass", "grid": [2, 4]})"), kAll);
  const auto* request = std::get_if<ToolRequest>(&read);
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->kind, ToolKind::kCompile);
  EXPECT_EQ(request->kernel.source(), "def nki_kernel(x):\n  pass");
  EXPECT_EQ(request->kernel.entry_name(), "nki_kernel");
  EXPECT_THAT(request->kernel.grid_dims(), testing::ElementsAre(2, 4));
}

TEST(ReadToolCall, VerifyMayLeaveTheSourceOut) {
  const auto read = ReadToolCall(Call(kVerifyTool, ""), kAll);
  const auto* request = std::get_if<ToolRequest>(&read);
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->kind, ToolKind::kVerify);
  EXPECT_FALSE(request->has_kernel);
}

TEST(ReadToolCall, LookupTakesAName) {
  const auto read = ReadToolCall(Call(kLookupTool, R"({"name": "nl.load"})"), kAll);
  const auto* request = std::get_if<ToolRequest>(&read);
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->kind, ToolKind::kLookup);
  EXPECT_EQ(request->api_name, "nl.load");
}

struct BadCall {
  std::string what;
  std::string name;
  std::string arguments;
  std::string expected;
};

class ReadToolCallRefuses : public testing::TestWithParam<BadCall> {};

TEST_P(ReadToolCallRefuses, WithTextThatSaysWhatIsExpected) {
  const auto read = ReadToolCall(Call(GetParam().name, GetParam().arguments), kAll);
  const auto* problem = std::get_if<ToolProblem>(&read);
  ASSERT_NE(problem, nullptr);
  EXPECT_THAT(problem->text, HasSubstr(GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    Calls, ReadToolCallRefuses,
    testing::Values(BadCall{"UnknownTool", "run_shell", "{}", "The tools are: compile_kernel, verify_kernel"},
                    BadCall{"BrokenJson", kCompileTool, R"({"source": "def nki)", "not valid JSON"},
                    BadCall{"NoObject", kCompileTool, "[1]", "must be a JSON object"},
                    BadCall{"NoSource", kCompileTool, "{}", "needs the argument `source`"},
                    BadCall{"OtherArgument", kCompileTool, R"({"code": "x"})", "has no argument `code`"},
                    BadCall{"SourceNoString", kCompileTool, R"({"source": 3})", "must be a string"},
                    BadCall{"EmptySource", kCompileTool, R"({"source": " \n"})", "is empty"},
                    BadCall{"WrongEntry", kCompileTool, R"({"source": "def softmax(x): pass"})",
                            "no function named `nki_kernel`"},
                    BadCall{"GridNoList", kCompileTool, R"({"source": "def nki_kernel(x): pass", "grid": 2})",
                            "list of integers"},
                    BadCall{"GridZero", kCompileTool, R"({"source": "def nki_kernel(x): pass", "grid": [0]})",
                            "from 1 to"},
                    BadCall{"GridHuge", kCompileTool,
                            R"({"source": "def nki_kernel(x): pass", "grid": [99999999999]})", "from 1 to"},
                    BadCall{"GridText", kCompileTool,
                            R"({"source": "def nki_kernel(x): pass", "grid": ["a"]})", "from 1 to"},
                    BadCall{"GridLong", kCompileTool,
                            R"({"source": "def nki_kernel(x): pass", "grid": [1,1,1,1]})", "at most 3"},
                    BadCall{"Oversize", kCompileTool,
                            "{\"source\": \"def nki_kernel(x): pass" + std::string(5 << 20, ' ') + "\"}",
                            "at most 4194304"}),
    [](const auto& test) { return test.param.what; });

TEST(ReadToolCall, SurvivesDeepNestingAndKeepsTextValid) {
  EXPECT_TRUE(
      std::holds_alternative<ToolProblem>(ReadToolCall(Call(kCompileTool, std::string(1 << 20, '[')), kAll)));
  const std::string nested = std::string(1 << 20, '[') + std::string(1 << 20, ']');
  EXPECT_TRUE(std::holds_alternative<ToolProblem>(ReadToolCall(Call(kCompileTool, nested), kAll)));
  // 63 bytes, then a character of two: cutting at 64 would leave half of it.
  const auto read = ReadToolCall(Call(std::string(63, 'x') + "\xc3\xa4", "{}"), kAll);
  EXPECT_THAT(std::get<ToolProblem>(read).text, HasSubstr(std::string(63, 'x') + "`."));
}

TEST(DefinesFunction, KnowsDefinitionsFromMentions) {
  EXPECT_TRUE(DefinesFunction("import x\n\n  def  nki_kernel (a):", "nki_kernel"));
  EXPECT_TRUE(DefinesFunction("nki_kernel = nki.jit(f)", "nki_kernel"));
  EXPECT_FALSE(DefinesFunction("def nki_kernel_2(a):", "nki_kernel"));
  EXPECT_FALSE(DefinesFunction("nki_kernel(x)", "nki_kernel"));
}

}  // namespace
}  // namespace nkiagent::orchestrator
