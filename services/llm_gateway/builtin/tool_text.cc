#include "services/llm_gateway/builtin/tool_text.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace nkiagent::builtin {
namespace {

// The first run of digits in `text`.
double FirstNumber(absl::string_view text) {
  size_t begin = 0;
  while (begin < text.size() && !absl::ascii_isdigit(static_cast<unsigned char>(text[begin]))) ++begin;
  size_t end = begin;
  while (end < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[end]))) ++end;
  double value = 0;
  return absl::SimpleAtod(text.substr(begin, end - begin), &value) ? value : 0;
}

std::optional<ToldError> ReadError(absl::string_view line) {
  if (!absl::ConsumePrefix(&line, "error[")) return std::nullopt;
  const size_t close = line.find(']');
  if (close == absl::string_view::npos) return std::nullopt;
  ToldError error;
  error.rule = std::string(line.substr(0, close));
  line.remove_prefix(close + 1);
  const size_t colon = line.find(": ");
  const absl::string_view place = line.substr(0, colon);
  if (const size_t at = place.find("line "); at != absl::string_view::npos) {
    error.line = static_cast<int>(std::min(FirstNumber(place.substr(at)), 1e9));
  }
  if (colon != absl::string_view::npos) error.message = std::string(line.substr(colon + 2));
  return error;
}

void ReadLimit(absl::string_view line, ToldError* error) {
  const size_t limit = line.find("limit: "), actual = line.find("actual: ");
  if (limit != absl::string_view::npos) {
    error->limit =
        FirstNumber(line.substr(limit, actual == absl::string_view::npos ? actual : actual - limit));
  }
  if (actual != absl::string_view::npos) error->actual = FirstNumber(line.substr(actual));
}

}  // namespace

Observation ReadToolText(absl::string_view text) {
  Observation seen;
  for (absl::string_view raw : absl::StrSplit(text, '\n')) {
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (absl::StartsWith(line, "compiled: ")) {
      seen.compiled = absl::StartsWith(line, "compiled: yes");
    } else if (absl::StartsWith(line, "verified: ")) {
      seen.verified = absl::StartsWith(line, "verified: PASS");
      const size_t open = line.find('('), close = line.find(')');
      if (!*seen.verified && open != absl::string_view::npos && close != absl::string_view::npos &&
          open < close) {
        seen.failure = std::string(line.substr(open + 1, close - open - 1));
        seen.has_nan |= seen.failure == "nan";
      }
    } else if (absl::StartsWith(line, "NaN: ")) {
      seen.has_nan = true;
    } else if (std::optional<ToldError> error = ReadError(line)) {
      seen.errors.push_back(*std::move(error));
    } else if (!seen.errors.empty() &&
               (absl::StartsWith(line, "limit: ") || absl::StartsWith(line, "actual: "))) {
      ReadLimit(line, &seen.errors.back());
    }
  }
  return seen;
}

}  // namespace nkiagent::builtin
