#include "services/orchestrator/context.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/orchestrator/utf8.h"

namespace nkiagent::orchestrator {
namespace {

using Json = nlohmann::json;
using llm::v1::ContentBlock;
using llm::v1::Message;

constexpr int64_t kBytesPerToken = 3;
// What roles, separators and names of fields add to each block.
constexpr int64_t kBlockBytes = 24;
// Once cut, the conversation has room to grow, so that the next turns repeat the same prefix.
constexpr double kCutTo = 0.7;
constexpr size_t kMaxLineBytes = 200;
// Turns at the end that are never cut.
constexpr int kRecentTurns = 2;
constexpr char kShortened[] = " (older result, shortened)";

int64_t Bytes(const ContentBlock& block) {
  switch (block.content_case()) {
    case ContentBlock::kText:
      return kBlockBytes + static_cast<int64_t>(block.text().size());
    case ContentBlock::kToolCall:
      return kBlockBytes +
             static_cast<int64_t>(block.tool_call().name().size() + block.tool_call().id().size() +
                                  block.tool_call().arguments_json().size());
    case ContentBlock::kToolResult:
      return kBlockBytes + static_cast<int64_t>(block.tool_result().text().size());
    case ContentBlock::kThinking:
      return kBlockBytes +
             static_cast<int64_t>(block.thinking().text().size() + block.thinking().signature().size() +
                                  block.thinking().redacted_data().size());
    case ContentBlock::CONTENT_NOT_SET:
      break;
  }
  return kBlockBytes;
}

std::string FirstLine(absl::string_view text) {
  const absl::string_view line = text.substr(0, text.find('\n'));
  return absl::StrCat(CutUtf8(line, kMaxLineBytes), line.size() > kMaxLineBytes ? "..." : "");
}

void ShortenResults(Message& message) {
  for (ContentBlock& block : *message.mutable_content()) {
    if (block.has_tool_result()) {
      std::string& text = *block.mutable_tool_result()->mutable_text();
      if (text.find('\n') + 1 < text.size()) text = absl::StrCat(FirstLine(text), kShortened, "\n");
    } else if (block.has_text()) {
      std::string& text = *block.mutable_text();
      if (text.size() > kMaxLineBytes) text = absl::StrCat(FirstLine(text), kShortened, "\n");
    }
  }
}

// The arguments of an old call: still the JSON that the tool takes, the kernel replaced by a comment that
// counts it.
std::string ShortArguments(const std::string& arguments) {
  Json parsed = Json::parse(arguments, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return "{}";
  const auto source = parsed.find("source");
  if (source != parsed.end() && source->is_string()) {
    const auto& text = source->get_ref<const std::string&>();
    *source = absl::StrCat("# an older kernel of ", 1 + std::count(text.begin(), text.end(), '\n'),
                           " lines, left out");
  }
  return parsed.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void ShortenAnswer(Message& message) {
  Message shorter;
  shorter.set_role(message.role());
  for (const ContentBlock& block : message.content()) {
    // Providers want thinking back unchanged, or not at all once its turn is over.
    if (block.has_thinking()) continue;
    ContentBlock& kept = *shorter.add_content();
    kept = block;
    if (kept.has_tool_call()) {
      kept.mutable_tool_call()->set_arguments_json(ShortArguments(block.tool_call().arguments_json()));
    } else if (kept.has_text() && kept.text().size() > kMaxLineBytes) {
      kept.set_text(absl::StrCat(FirstLine(block.text()), " (older answer, shortened)"));
    }
  }
  if (shorter.content().empty()) shorter.add_content()->set_text("(older answer, left out)");
  message = std::move(shorter);
}

class Fitter {
 public:
  explicit Fitter(const ContextRequest& request) : request_(request), messages_(request.conversation) {
    fixed_bytes_ = static_cast<int64_t>(request.system.size());
    for (const llm::v1::Tool& tool : request.tools) {
      fixed_bytes_ += kBlockBytes + static_cast<int64_t>(tool.name().size() + tool.description().size() +
                                                         tool.parameters_json_schema().size());
    }
  }

  FittedContext Fit() {
    const int64_t room = request_.window_tokens - request_.output_tokens;
    if (request_.window_tokens <= 0 || Tokens() <= room) return Take(true);
    const auto goal = static_cast<int64_t>(kCutTo * static_cast<double>(room));
    for (const auto& shorten : {&ShortenResults, &ShortenAnswer}) {
      const bool results = shorten == &ShortenResults;
      for (int turn = 1; turn <= Turns() - kRecentTurns; ++turn) {
        if (Tokens() <= goal) return Take(true);
        if (request_.keep_turns.contains(turn)) continue;
        // A turn is the model's message and the answer to it.
        const auto index = static_cast<size_t>(2 * turn - (results ? 0 : 1));
        if (index < messages_.size()) shorten(messages_[index]);
      }
    }
    DropTurns(goal);
    return Take(Tokens() <= room);
  }

 private:
  int Turns() const { return static_cast<int>(request_.conversation.size()) / 2; }

  int64_t Tokens() const {
    int64_t bytes = fixed_bytes_;
    for (const Message& message : messages_) {
      for (const ContentBlock& block : message.content()) bytes += Bytes(block);
    }
    return EstimateTokens(bytes);
  }

  // Both messages of a turn go, so roles still alternate and no call is without its result.
  void DropTurns(int64_t goal) {
    int dropped = 0;
    for (int turn = 1; turn <= Turns() - kRecentTurns && Tokens() > goal; ++turn) {
      if (request_.keep_turns.contains(turn)) continue;
      const auto begin = messages_.begin() + (2 * (turn - dropped) - 1);
      messages_.erase(begin, begin + 2);
      ++dropped;
    }
    if (dropped > 0 && !messages_.empty()) {
      messages_.front().add_content()->set_text(absl::StrCat(
          "(", dropped, dropped == 1 ? " older turn is" : " older turns are", " left out here.)"));
    }
  }

  FittedContext Take(bool fits) {
    const int64_t tokens = Tokens();
    return {.messages = std::move(messages_), .estimated_tokens = tokens, .fits = fits};
  }

  const ContextRequest& request_;
  std::vector<Message> messages_;
  int64_t fixed_bytes_ = 0;
};

}  // namespace

int64_t EstimateTokens(int64_t bytes) { return (bytes + kBytesPerToken - 1) / kBytesPerToken; }

FittedContext FitContext(const ContextRequest& request) { return Fitter(request).Fit(); }

}  // namespace nkiagent::orchestrator
