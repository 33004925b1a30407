#include "services/llm_gateway/builtin/conversation.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/emitter.h"
#include "services/llm_gateway/builtin/graph_parser.h"
#include "services/llm_gateway/builtin/plan.h"
#include "services/llm_gateway/builtin/repair.h"
#include "services/llm_gateway/builtin/tool_text.h"

namespace nkiagent::builtin {
namespace {

using Json = nlohmann::json;

constexpr char kCompileTool[] = "compile_kernel";
constexpr char kVerifyTool[] = "verify_kernel";

// A tool that gives no usable answer is asked again this many times in a row.
constexpr int kMaxUnclearResults = 2;

size_t Backticks(absl::string_view line) {
  size_t n = 0;
  while (n < line.size() && line[n] == '`') ++n;
  return n;
}

// The first block fenced with the info string "graph".
std::optional<std::string> GraphBlock(absl::string_view text) {
  std::optional<std::string> block;
  size_t fence = 0;
  bool is_graph = false;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const size_t ticks = Backticks(line);
    if (fence == 0) {
      if (ticks < 3) continue;
      fence = ticks;
      is_graph = absl::StripAsciiWhitespace(line.substr(ticks)) == "graph";
      if (is_graph) block.emplace();
    } else if (ticks >= fence && absl::StripAsciiWhitespace(line.substr(ticks)).empty()) {
      if (is_graph) return block;
      fence = 0;
    } else if (is_graph) {
      absl::StrAppend(&*block, line, "\n");
    }
  }
  return block;  // an unclosed block counts
}

std::optional<std::string> FindGraph(const Conversation& conversation) {
  for (const Message& message : conversation.messages) {
    if (message.from_assistant) continue;
    if (std::optional<std::string> block = GraphBlock(message.text)) return block;
  }
  return std::nullopt;
}

// One kernel that was tried, and what the tool said of it.
struct Attempt {
  std::string source;  // empty for a call without one
  Observation observation;
};

std::vector<Attempt> FindAttempts(const Conversation& conversation) {
  std::map<std::string, std::string> source_of_call;
  std::vector<Attempt> attempts;
  for (const Message& message : conversation.messages) {
    for (const ToolCall& call : message.calls) {
      const Json arguments = Json::parse(call.arguments_json, nullptr, /*allow_exceptions=*/false);
      const bool has_source =
          arguments.is_object() && arguments.contains("source") && arguments["source"].is_string();
      source_of_call[call.id] = has_source ? arguments["source"].get<std::string>() : "";
    }
    for (const ToolResult& result : message.results) {
      const auto call = source_of_call.find(result.call_id);
      if (call == source_of_call.end()) continue;
      attempts.push_back({call->second, ReadToolText(result.text)});
    }
  }
  return attempts;
}

// Where the conversation has led the writer.
struct Progress {
  enum class State { kNothingTried, kCompiled, kVerified, kRevised, kStuck, kUnclear };

  State state = State::kNothingTried;
  Assumptions assumptions;
  KernelPlan plan;
  KernelText text;
  std::string reason;
};

absl::Status Write(const Graph& graph, Progress* progress) {
  absl::StatusOr<KernelPlan> plan = MakePlan(graph, progress->assumptions);
  if (!plan.ok()) return plan.status();
  absl::StatusOr<KernelText> text = EmitKernel(*plan);
  if (!text.ok()) return text.status();
  progress->plan = *std::move(plan);
  progress->text = *std::move(text);
  return absl::OkStatus();
}

std::string Describe(const Observation& seen) {
  if (!seen.errors.empty()) {
    return absl::StrCat("the compiler answers ", seen.errors.front().rule, ": ", seen.errors.front().message);
  }
  if (seen.verified.has_value()) return absl::StrCat("verification fails (", seen.failure, ")");
  return "the kernel does not compile";
}

// Revisions in a row that leave a kernel as it was, or bring back one that was tried.
constexpr int kMaxIdleRevisions = 32;

// Revises until the kernel is one that was not tried yet; stuck when no revision gives one.
absl::Status Repair(const Graph& graph, const Observation& seen, std::set<std::string>* tried,
                    Progress* progress) {
  for (int i = 0; i < kMaxIdleRevisions; ++i) {
    std::optional<Revision> revision = Revise(progress->plan, progress->text, seen);
    if (!revision.has_value()) break;
    progress->assumptions = std::move(revision->assumptions);
    progress->reason = std::move(revision->reason);
    absl::Status status = Write(graph, progress);
    if (!status.ok()) return status;
    if (tried->insert(progress->text.source).second) {
      progress->state = Progress::State::kRevised;
      return absl::OkStatus();
    }
  }
  progress->state = Progress::State::kStuck;
  progress->reason = Describe(seen);
  return absl::OkStatus();
}

// Repeats what was learnt from each attempt, in order. Attempts with another source than the writer's own are
// not its own and teach it nothing.
absl::Status Replay(const Graph& graph, const std::vector<Attempt>& attempts, Progress* progress) {
  absl::Status status = Write(graph, progress);
  if (!status.ok()) return status;
  std::set<std::string> tried = {progress->text.source};
  int unclear = 0;
  for (const Attempt& attempt : attempts) {
    if (!attempt.source.empty() && attempt.source != progress->text.source) continue;
    const Observation& seen = attempt.observation;
    if (seen.empty()) {
      progress->state = ++unclear > kMaxUnclearResults ? Progress::State::kStuck : Progress::State::kUnclear;
      progress->reason = "the tool gives no answer that can be read";
      continue;
    }
    unclear = 0;
    const bool compiled = seen.compiled.value_or(seen.errors.empty()) && seen.errors.empty();
    if (compiled && seen.verified.value_or(false)) {
      progress->state = Progress::State::kVerified;
    } else if (compiled && !seen.verified.has_value()) {
      progress->state = Progress::State::kCompiled;
    } else {
      status = Repair(graph, seen, &tried, progress);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

std::string Summary(const KernelPlan& plan) {
  const size_t stages = plan.stages.size();
  const auto matmuls = std::count_if(plan.stages.begin(), plan.stages.end(),
                                     [](const StagePlan& s) { return s.stage.matmul >= 0; });
  std::string text = absl::StrCat("The graph becomes ", stages, stages == 1 ? " stage" : " stages");
  if (matmuls > 0) absl::StrAppend(&text, ", ", matmuls, " of them around a matmul");
  return absl::StrCat(text, ".");
}

std::string NextCallId(const Conversation& conversation) {
  size_t calls = 0;
  for (const Message& message : conversation.messages) calls += message.calls.size();
  return absl::StrCat("builtin_", calls + 1);
}

}  // namespace

Reply NextMessage(const Conversation& conversation) {
  const auto offered = [&](const char* tool) {
    return std::find(conversation.tools.begin(), conversation.tools.end(), tool) != conversation.tools.end();
  };
  const std::optional<std::string> block = FindGraph(conversation);
  if (!block.has_value()) {
    return {
        "The prompt has no reference graph (a fenced block named `graph`), and the rule-based writer works "
        "from "
        "that alone.",
        std::nullopt};
  }
  const absl::StatusOr<Graph> graph = ParseGraph(*block);
  if (!graph.ok()) {
    return {absl::StrCat("The reference graph can't be read: ", std::string(graph.status().message()), "."),
            std::nullopt};
  }
  Progress progress;
  const absl::Status status = Replay(*graph, FindAttempts(conversation), &progress);
  if (!status.ok()) {
    return {absl::StrCat("I can't write this kernel: ", std::string(status.message()), "."), std::nullopt};
  }
  if (progress.state == Progress::State::kVerified) return {"The kernel is verified.", std::nullopt};
  if (progress.state == Progress::State::kStuck) {
    return {absl::StrCat("I have no further repair: ", progress.reason, "."), std::nullopt};
  }
  const std::string source = progress.text.source;
  if (progress.state == Progress::State::kCompiled && offered(kVerifyTool)) {
    return {"The kernel compiles; now it has to be verified.",
            ToolCall{NextCallId(conversation), kVerifyTool, Json{{"source", source}}.dump()}};
  }
  std::string text = progress.state == Progress::State::kRevised ? progress.reason : Summary(progress.plan);
  if (offered(kCompileTool)) {
    return {std::move(text),
            ToolCall{NextCallId(conversation), kCompileTool, Json{{"source", source}}.dump()}};
  }
  return {absl::StrCat(text, "\n\n```python\n", source, "```\n"), std::nullopt};
}

}  // namespace nkiagent::builtin
