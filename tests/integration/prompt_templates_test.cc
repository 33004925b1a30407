// The kernels that the system prompt shows are right: each compiles, and computes what its module computes,
// at sizes that are no multiple of a tile where the template promises as much.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/nkictl/local_cluster.h"
#include "services/orchestrator/backends.h"
#include "services/orchestrator/kernel_text.h"
#include "services/orchestrator/prompts.h"
#include "services/orchestrator/tool_results.h"
#include "services/orchestrator/tools.h"
#include "tests/support/service_process.h"

namespace nkiagent::orchestrator {
namespace {

// The modules of the templates in the order in which the prompt shows them.
constexpr const char* kModules[] = {
    // 2-D: x * sigmoid(x).
    R"py(
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)

def get_inputs():
    return [torch.randn(300, 65)]

def get_init_inputs():
    return []
)py",
    // 3-D: centred rows times a weight.
    R"py(
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(96))

    def forward(self, x):
        return (x - x.mean(dim=-1, keepdim=True)) * self.weight

def get_inputs():
    return [torch.randn(3, 150, 96)]

def get_init_inputs():
    return []
)py",
    // 4-D: relu.
    R"py(
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)

def get_inputs():
    return [torch.randn(2, 200, 7, 9)]

def get_init_inputs():
    return []
)py",
    // Matrix product: sizes that the template's assertion allows.
    R"py(
import torch

class Model(torch.nn.Module):
    def forward(self, a, b):
        return a @ b

def get_inputs():
    return [torch.randn(256, 384), torch.randn(384, 1024)]

def get_init_inputs():
    return []
)py"};

TEST(PromptTemplates, EachCompilesAndComputesItsModule) {
  nkictl::ClusterOptions options;
  options.bin_dir = testing::RequiredEnv("NKI_BUILD_DIR") + "/services";
  auto cluster = nkictl::LocalCluster::Start(options);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  BackendOptions targets;
  targets.compile.target = (*cluster)->target(nkictl::Service::kCompile);
  targets.verify.target = (*cluster)->target(nkictl::Service::kVerify);
  targets.llm.target = (*cluster)->target(nkictl::Service::kLlm);
  auto backends = ConnectBackends(targets);
  ASSERT_TRUE(backends.ok()) << backends.status();
  const rpc::CallContext call("", absl::Now() + absl::Seconds(60));

  std::vector<std::string> kernels;
  for (FencedBlock& block : FencedBlocks(MakeSystemPrompt("", v1::MODE_AGENT, 10)->text)) {
    if (block.info == "python") kernels.push_back(std::move(block.text));
  }
  ASSERT_EQ(kernels.size(), std::size(kModules));
  for (size_t i = 0; i < kernels.size(); ++i) {
    SCOPED_TRACE(kernels[i]);
    verify::v1::DescribeTaskRequest describe;
    describe.mutable_task()->set_reference_source(kModules[i]);
    const auto described = (*backends)->DescribeTask(call, describe);
    ASSERT_TRUE(described.ok()) << described.status();
    ASSERT_TRUE(described->has_facts()) << described->problem().DebugString();
    compile::v1::CompileRequest compile;
    compile.mutable_kernel()->set_source(kernels[i]);
    *compile.mutable_arguments() = described->facts().arguments();
    compile.set_include_program(true);
    const auto compiled = (*backends)->Compile(call, compile);
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    ASSERT_EQ(compiled->result().outcome(), compile::v1::COMPILE_OUTCOME_COMPILED)
        << DescribeCompile(compiled->result());
    verify::v1::VerifyRequest verify;
    *verify.mutable_task() = describe.task();
    verify.set_program_bytes(compiled->program());
    const auto verified = (*backends)->Verify(call, verify);
    ASSERT_TRUE(verified.ok()) << verified.status();
    EXPECT_TRUE(verified->verdict().passed()) << DescribeVerdict(verified->verdict());
  }
}

}  // namespace
}  // namespace nkiagent::orchestrator
