#include "services/nkictl/bench_suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace nkiagent::nkictl {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class SuiteTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/suite_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    for (const char* id : {"relu", "gelu"})
      Write(std::string("tasks/level1/") + id + ".py", "class Model: pass");
    Write("tasks/level3/block.py", "class Model: pass");
    Write("tasks/level1/relu.yaml",
          "id: relu\ntitle: ReLU\nlevel: 1\ncategory: activation\nranks: [2, 4]\natol: 1.0e-4\norigin: "
          "\"KernelBench\"\n");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = folder_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  std::string Refusal(const std::string& yaml, absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    const absl::Status status = LoadSuite(Write("suites/bad.yaml", yaml), {}).status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }
  static std::vector<std::string> Ids(const absl::StatusOr<Suite>& suite) {
    std::vector<std::string> ids;
    EXPECT_TRUE(suite.ok()) << suite.status();
    if (suite.ok()) {
      for (const common::v1::Task& task : suite->tasks) ids.push_back(task.id());
    }
    return ids;
  }

  std::string folder_;
};

TEST_F(SuiteTest, AYamlFileListsTasksAndTheirMetadataIsRead) {
  const std::string path =
      Write("suites/small.yaml", "name: small\nversion: \"2\"\ntasks:\n  - block\n  - relu\n");
  const absl::StatusOr<Suite> suite = LoadSuite(path, {});
  EXPECT_THAT(Ids(suite), ElementsAre("block", "relu"));
  EXPECT_EQ(suite->name, "small");
  EXPECT_EQ(suite->version, "2");
  EXPECT_EQ(suite->tasks[0].level(), 3) << "from the folder, without metadata";
  const common::v1::Task& relu = suite->tasks[1];
  EXPECT_EQ(relu.level(), 1);
  EXPECT_EQ(relu.name(), "ReLU");
  EXPECT_EQ(relu.labels().at("category"), "activation");
  EXPECT_EQ(relu.labels().at("ranks"), "2, 4");
  EXPECT_EQ(relu.tolerance().atol(), 1e-4);
  EXPECT_EQ(relu.tolerance().rtol(), 1e-3);
}

TEST_F(SuiteTest, AFolderOfPlainFilesIsASuite) {
  Write("kb/level2/10_x.py", "a");
  Write("kb/level2/9_y.py", "a");
  Write("kb/top.py", "a");
  Write("kb/__init__.py", "a");
  Write("kb/__pycache__/z.py", "a");
  Write("kb/README.md", "a");
  // An editor's lock, and a link that leads nowhere.
  std::filesystem::create_symlink("someone@somewhere:1", folder_ + "/kb/.#top.py");
  std::filesystem::create_symlink("gone.py", folder_ + "/kb/link.py");
  const absl::StatusOr<Suite> suite = LoadSuite(folder_ + "/kb", {});
  EXPECT_THAT(Ids(suite), ElementsAre("level2/9_y", "level2/10_x", "top"));
  EXPECT_EQ(suite->name, "kb");
  EXPECT_EQ(suite->tasks[0].level(), 2);
  EXPECT_EQ(suite->tasks[2].level(), 0);
  EXPECT_THAT(Ids(LoadSuite(folder_ + "/kb/top.py", {})), ElementsAre("top"));
  EXPECT_THAT(Ids(LoadSuite(folder_ + "/kb/level2", {})), ElementsAre("9_y", "10_x"));
  EXPECT_EQ(LoadSuite(folder_ + "/kb/level2", {})->tasks[0].level(), 2);
}

TEST_F(SuiteTest, FiltersByLevelAndPattern) {
  const std::string path = Write("suites/small.yaml", "name: small\ntasks: [block, relu, gelu]\n");
  EXPECT_THAT(Ids(LoadSuite(path, {{}, {1}})), ElementsAre("relu", "gelu"));
  EXPECT_THAT(Ids(LoadSuite(path, {{"*elu"}, {}})), ElementsAre("relu", "gelu"));
  EXPECT_THAT(Ids(LoadSuite(path, {{"g*", "b*"}, {1}})), ElementsAre("gelu"));
  EXPECT_EQ(LoadSuite(path, {{"none*"}, {}}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SuiteTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(Refusal("tasks: [relu, nope, missing]\n", absl::StatusCode::kNotFound),
              AllOf(HasSubstr("bad.yaml"), HasSubstr("2 of 3"), HasSubstr("nope, missing")));
  EXPECT_THAT(Refusal("tasks: [relu, gelu, relu]\n"), AllOf(HasSubstr("more than once"), HasSubstr("relu")));
  EXPECT_THAT(Refusal("name: x\n"), HasSubstr("needs a key \"tasks\""));
  EXPECT_THAT(Refusal("tasks: []\n"), HasSubstr("needs a key \"tasks\""));
  EXPECT_THAT(Refusal("tasks: [../../etc/passwd]\n"), HasSubstr("no id"));
  EXPECT_THAT(Refusal("tasks: [[a]]\n"), HasSubstr("no id"));
  EXPECT_THAT(Refusal("tasks: [relu\n"), HasSubstr("bad.yaml"));
  EXPECT_THAT(Refusal("just text\n"), HasSubstr("not a suite"));
  EXPECT_EQ(LoadSuite(folder_ + "/none.yaml", {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(LoadSuite("no-such-suite", {}).status().message()), HasSubstr("no suite is named"));
  Write("tasks/level2/gelu.py", "class Model: pass");
  EXPECT_THAT(Refusal("tasks: [gelu]\n"), AllOf(HasSubstr("task gelu: two files could be meant"),
                                                HasSubstr("level1/gelu.py"), HasSubstr("level2/gelu.py")));
  std::filesystem::create_directories(folder_ + "/empty");
  EXPECT_EQ(LoadSuite(folder_ + "/empty", {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SuiteTest, MetadataThatContradictsItselfIsRefused) {
  const auto refusal = [this](const std::string& yaml) {
    Write("tasks/level1/gelu.yaml", yaml);
    return Refusal("tasks: [gelu]\n");
  };
  EXPECT_THAT(refusal("id: other\n"), AllOf(HasSubstr("gelu.yaml"), HasSubstr("other")));
  EXPECT_THAT(refusal("id: gelu\nlevel: 4\n"), HasSubstr("level is \"4\""));
  EXPECT_THAT(refusal("id: gelu\natol: -1\n"), HasSubstr("atol"));
  EXPECT_THAT(refusal("id: gelu\nrtol: much\n"), HasSubstr("rtol is no number"));
  EXPECT_THAT(refusal("- a\n"), HasSubstr("not a map"));
}

}  // namespace
}  // namespace nkiagent::nkictl
