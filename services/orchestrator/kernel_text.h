// Kernels in the free text of a model. Pure functions; any thread.
#ifndef SERVICES_ORCHESTRATOR_KERNEL_TEXT_H_
#define SERVICES_ORCHESTRATOR_KERNEL_TEXT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nkiagent/llm/v1/chat.pb.h"

namespace nkiagent::orchestrator {

// One fenced code block of a Markdown text.
struct FencedBlock {
  std::string info;    // the word after the opening fence, lower case, such as "python"; may be empty
  std::string text;    // the lines between the fences
  bool closed = true;  // false when the text ends before the closing fence
};

// The fenced blocks of a text, in order. A block is closed by a fence of at least as many backticks as opened
// it.
std::vector<FencedBlock> FencedBlocks(absl::string_view text);

// The kernel that a message proposes in its text: the last Python (or unlabelled) block that defines
// `nki_kernel`; if none does, the last such block that uses `nki.jit`, so that the missing name gets a
// diagnostic. A block that the text leaves open counts, since models cut by a token limit still deserve a
// diagnostic.
std::optional<std::string> ProposedKernel(const llm::v1::Message& message);

// All text blocks of a message, joined by blank lines.
std::string PlainText(const llm::v1::Message& message);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_KERNEL_TEXT_H_
