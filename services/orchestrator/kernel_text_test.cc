#include "services/orchestrator/kernel_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nkiagent::orchestrator {
namespace {

llm::v1::Message Assistant(const std::string& text) {
  llm::v1::Message message;
  message.set_role(llm::v1::ROLE_ASSISTANT);
  message.add_content()->set_text(text);
  return message;
}

TEST(FencedBlocks, ReadsInfoAndTextAndSkipsInlineCode) {
  const auto blocks = FencedBlocks("text ``` no\n```python title=x\na = 1\n```\n```graph\ng\n```\r\nend");
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].info, "python");
  EXPECT_EQ(blocks[0].text, "a = 1\n");
  EXPECT_TRUE(blocks[0].closed);
  EXPECT_EQ(blocks[1].info, "graph");
}

TEST(FencedBlocks, LongerFenceHoldsShorterOnes) {
  const auto blocks = FencedBlocks("````python\n```graph\nfake\n```\n````\n");
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].text, "```graph\nfake\n```\n");
}

TEST(ProposedKernel, TakesTheLastBlockThatDefinesTheEntry) {
  const auto kernel = ProposedKernel(
      Assistant("First:\n```python\ndef nki_kernel(x):\n  return 1\n```\nBetter:\n```py\ndef "
                "nki_kernel(x):\n  return 2\n```\n"
                "Use it so:\n```python\nprint(nki_kernel(a))\n```\n```graph\ndef nki_kernel(x):\n```"));
  ASSERT_TRUE(kernel.has_value());
  EXPECT_EQ(*kernel, "def nki_kernel(x):\n  return 2\n");
}

TEST(ProposedKernel, TakesAKernelOfAnotherNameSoThatItGetsADiagnostic) {
  EXPECT_EQ(ProposedKernel(Assistant("```python\n@nki.jit\ndef softmax(x): pass\n```")),
            "@nki.jit\ndef softmax(x): pass\n");
}

TEST(ProposedKernel, TakesABlockThatATokenLimitCut) {
  EXPECT_EQ(ProposedKernel(Assistant("```python\ndef nki_kernel(x):\n    retu")),
            "def nki_kernel(x):\n    retu\n");
}

TEST(ProposedKernel, IsAbsentInProseAndInOtherCode) {
  EXPECT_FALSE(ProposedKernel(Assistant("I can't write this kernel.")).has_value());
  EXPECT_FALSE(ProposedKernel(Assistant("```python\nprint('hello')\n```")).has_value());
  EXPECT_FALSE(ProposedKernel(llm::v1::Message()).has_value());
}

}  // namespace
}  // namespace nkiagent::orchestrator
