#include "services/orchestrator/prompts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/storage/content_hash.h"
#include "orchestrator_prompt_files.h"
#include "services/orchestrator/tool_results.h"
#include "services/orchestrator/tools.h"

namespace nkiagent::orchestrator {
namespace {

using common::v1::TensorSpec;

// The defaults of common.v1.Task.tolerance.
constexpr double kDefaultTolerance = 1e-3;

// Defaults of SessionOptions.max_turns.
constexpr int kAgentTurns = 10;
constexpr int kMultiTurns = 5;

struct NamedFile {
  const char* name;
  const char* file;
};
constexpr NamedFile kPrompts[] = {{"rank-aware", "rank_aware.md"}, {"plain", "plain.md"}};

absl::string_view PromptFile(absl::string_view file) {
  for (const prompt_files::EmbeddedFile& embedded : prompt_files::EmbeddedFiles()) {
    // Debian builds Abseil with its own string_view.
    if (absl::string_view(embedded.name.data(), embedded.name.size()) == file) {
      return absl::string_view(embedded.text.data(), embedded.text.size());
    }
  }
  return "";  // unreachable: names are literals of this file, and a test asks for each of them
}

absl::string_view ModeFile(v1::Mode mode) {
  switch (mode) {
    case v1::MODE_SINGLE_SHOT:
      return PromptFile("mode_single_shot.md");
    case v1::MODE_MULTI_TURN:
      return PromptFile("mode_multi_turn.md");
    default:
      return PromptFile("mode_agent.md");
  }
}

// A fence longer than any run of backticks in `text`, so that foreign text can't close its block or open
// another.
std::string FenceFor(absl::string_view text) {
  size_t longest = 0;
  size_t run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return std::string(std::max<size_t>(3, longest + 1), '`');
}

std::string Fenced(absl::string_view info, absl::string_view text) {
  const std::string fence = FenceFor(text);
  return absl::StrCat(fence, info, "\n", text, absl::EndsWith(text, "\n") || text.empty() ? "" : "\n", fence,
                      "\n");
}

std::string Origin(const TensorSpec& spec) {
  std::string origin;
  switch (spec.role()) {
    case common::v1::TENSOR_ROLE_INPUT:
      origin = "input of forward";
      break;
    case common::v1::TENSOR_ROLE_PARAMETER:
      origin = absl::StrCat("parameter ", spec.reference_name());
      break;
    case common::v1::TENSOR_ROLE_BUFFER:
      origin = absl::StrCat("buffer ", spec.reference_name());
      break;
    case common::v1::TENSOR_ROLE_OUTPUT:
      origin = "returned by forward";
      break;
    default:
      break;
  }
  if (spec.reference_dtype() != common::v1::DATA_TYPE_UNSPECIFIED && spec.reference_dtype() != spec.dtype()) {
    absl::StrAppend(&origin, ", ", DtypeName(spec.reference_dtype()), " in the module");
  }
  if (spec.reference_rank_zero()) absl::StrAppend(&origin, ", a scalar in the module");
  return origin;
}

void AppendShape(const char* kind, const TensorSpec& spec, std::string* block) {
  const std::string head = absl::StrCat(kind, " ", spec.name(), ": ", TypeAndShape(spec));
  absl::StrAppend(block, absl::StrFormat("%-48s # %d-D, %s\n", head, spec.dims_size(), Origin(spec)));
}

}  // namespace

std::vector<std::string> PromptNames() {
  std::vector<std::string> names;
  for (const NamedFile& prompt : kPrompts) names.push_back(prompt.name);
  return names;
}

absl::StatusOr<SystemPrompt> MakeSystemPrompt(const std::string& name, v1::Mode mode, int max_turns) {
  const std::string wanted = name.empty() ? kDefaultPrompt : name;
  for (const NamedFile& prompt : kPrompts) {
    if (prompt.name != wanted) continue;
    const std::string templates = absl::StrCat(PromptFile(prompt.file), "\n", ModeFile(mode));
    SystemPrompt made;
    made.name = wanted;
    // With the messages that may follow: a session is told apart by all that it can be told.
    made.hash = storage::Sha256Hex(absl::StrCat(templates, "\n", PromptFile("recheck.md"), "\n",
                                                PromptFile("repair.md"), "\n", PromptFile("no_kernel.md"),
                                                "\n", PromptFile("cut_answer.md")));
    made.text = absl::StrReplaceAll(templates, {{"{{max_turns}}", absl::StrCat(max_turns)}});
    return made;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no prompt is named \"", wanted.substr(0, 64),
                   "\"; the prompts are: ", absl::StrJoin(PromptNames(), ", ")));
}

std::string ShapesBlock(const verify::v1::TaskFacts& facts) {
  std::string block;
  for (const TensorSpec& spec : facts.arguments()) AppendShape("arg", spec, &block);
  for (const TensorSpec& spec : facts.outputs()) AppendShape("out", spec, &block);
  return block;
}

llm::v1::Message FirstMessage(const common::v1::Task& task, const verify::v1::TaskFacts& facts) {
  const std::string& title = !task.name().empty() ? task.name() : task.id();
  std::string text = absl::StrCat("# Task: ", title.empty() ? "kernel" : title, "\n\n");
  absl::StrAppend(&text, "Write an NKI kernel for `",
                  task.entry().model_class().empty() ? "Model" : task.entry().model_class(),
                  ".forward` of this PyTorch file.\n\n", Fenced("python", task.reference_source()), "\n");
  absl::StrAppend(&text, "## Shapes\n\nArguments of the kernel in order, then what it returns.\n\n",
                  Fenced("shapes", ShapesBlock(facts)), "\n");
  if (!facts.folded_scalars().empty()) {
    absl::StrAppend(&text, "Scalars among the inputs are constants, not arguments of the kernel:\n");
    for (const verify::v1::FoldedScalar& scalar : facts.folded_scalars()) {
      absl::StrAppend(&text, "- ", scalar.name(), " = ", scalar.literal(), "\n");
    }
    absl::StrAppend(&text, "\n");
  }
  const bool own = task.has_tolerance();
  const double atol = own                     ? task.tolerance().atol()
                      : facts.has_tolerance() ? facts.tolerance().atol()
                                              : kDefaultTolerance;
  const double rtol = own                     ? task.tolerance().rtol()
                      : facts.has_tolerance() ? facts.tolerance().rtol()
                                              : kDefaultTolerance;
  absl::StrAppend(
      &text,
      "## Tolerance\n\nEvery output element must satisfy |kernel - module| <= atol + rtol * |module|, ",
      absl::StrFormat("with atol = %g and rtol = %g, on several random inputs.\n\n", atol, rtol));
  if (!facts.reference_graph().empty()) {
    absl::StrAppend(&text,
                    "## Reference graph\n\nThe module as traced by torch.export, in core ATen operators.\n\n",
                    Fenced("graph", facts.reference_graph()), "\n");
  }
  for (const std::string& note : facts.notes()) absl::StrAppend(&text, "Note: ", note, "\n");
  if (!facts.notes().empty()) absl::StrAppend(&text, "\n");
  absl::StrAppend(&text, "## Signature\n\n", Fenced("python", absl::StrCat("@nki.jit\n", facts.signature())));
  return UserText(std::move(text));
}

int MaxTurns(v1::Mode mode, const v1::SessionOptions& options) {
  if (mode == v1::MODE_SINGLE_SHOT) return 1;
  if (options.max_turns() > 0) return options.max_turns();
  return mode == v1::MODE_MULTI_TURN ? kMultiTurns : kAgentTurns;
}

absl::StatusOr<v1::PromptBuilt> MakePrompt(const v1::Session& session) {
  const v1::Mode mode = session.mode() == v1::MODE_UNSPECIFIED ? v1::MODE_AGENT : session.mode();
  absl::StatusOr<SystemPrompt> system =
      MakeSystemPrompt(session.options().prompt_name(), mode, MaxTurns(mode, session.options()));
  if (!system.ok()) return system.status();
  v1::PromptBuilt prompt;
  prompt.set_name(system->name);
  prompt.set_hash(system->hash);
  prompt.set_system(system->text);
  *prompt.mutable_user() = FirstMessage(session.task(), session.facts());
  if (mode == v1::MODE_AGENT) {
    const auto& names = session.options().tools();
    for (const llm::v1::Tool& tool : Tools({names.begin(), names.end()})) *prompt.add_tools() = tool;
  }
  return prompt;
}

std::string RepairText() { return std::string(PromptFile("repair.md")); }

llm::v1::Message NoKernelMessage(bool cut) {
  return UserText(std::string(PromptFile(cut ? "cut_answer.md" : "no_kernel.md")));
}

llm::v1::Message RecheckMessage() { return UserText(std::string(PromptFile("recheck.md"))); }

llm::v1::Message UserText(std::string text) {
  llm::v1::Message message;
  message.set_role(llm::v1::ROLE_USER);
  message.add_content()->set_text(std::move(text));
  return message;
}

}  // namespace nkiagent::orchestrator
