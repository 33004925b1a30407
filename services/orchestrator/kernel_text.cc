#include "services/orchestrator/kernel_text.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/orchestrator/tools.h"

namespace nkiagent::orchestrator {
namespace {

// Number of backticks that start the line, at most three spaces in; 0 for a line that is no fence.
size_t FenceLength(absl::string_view line, absl::string_view* rest) {
  size_t spaces = 0;
  while (spaces < 3 && spaces < line.size() && line[spaces] == ' ') ++spaces;
  line.remove_prefix(spaces);
  size_t ticks = 0;
  while (ticks < line.size() && line[ticks] == '`') ++ticks;
  if (ticks < 3) return 0;
  *rest = absl::StripAsciiWhitespace(line.substr(ticks));
  return ticks;
}

bool IsPythonBlock(const FencedBlock& block) {
  return block.info.empty() || block.info == "python" || block.info == "py" || block.info == "python3";
}

}  // namespace

std::vector<FencedBlock> FencedBlocks(absl::string_view text) {
  std::vector<FencedBlock> blocks;
  size_t open_ticks = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::EndsWith(line, "\r")) line.remove_suffix(1);
    absl::string_view rest;
    const size_t ticks = FenceLength(line, &rest);
    if (open_ticks == 0) {
      // An info string holds no backticks; a line with some is inline code.
      if (ticks == 0 || absl::StrContains(rest, "`")) continue;
      FencedBlock block;
      block.info = absl::AsciiStrToLower(rest.substr(0, rest.find_first_of(" \t{")));
      block.closed = false;
      blocks.push_back(std::move(block));
      open_ticks = ticks;
    } else if (ticks >= open_ticks && rest.empty()) {
      blocks.back().closed = true;
      open_ticks = 0;
    } else {
      absl::StrAppend(&blocks.back().text, line, "\n");
    }
  }
  return blocks;
}

std::string PlainText(const llm::v1::Message& message) {
  std::string text;
  for (const llm::v1::ContentBlock& block : message.content()) {
    if (!block.has_text() || block.text().empty()) continue;
    absl::StrAppend(&text, text.empty() ? "" : "\n\n", block.text());
  }
  return text;
}

std::optional<std::string> ProposedKernel(const llm::v1::Message& message) {
  std::optional<std::string> named;
  std::optional<std::string> unnamed;
  for (FencedBlock& block : FencedBlocks(PlainText(message))) {
    if (!IsPythonBlock(block)) continue;
    if (DefinesFunction(block.text, kEntryName)) {
      named = std::move(block.text);
    } else if (absl::StrContains(block.text, "nki.jit")) {
      unnamed = std::move(block.text);
    }
  }
  return named ? named : unnamed;
}

}  // namespace nkiagent::orchestrator
