#include "services/llm_gateway/secrets.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace nkiagent::llm_gateway {
namespace {

constexpr char kRedacted[] = "[redacted]";
constexpr size_t kMaxKeyBytes = 16 << 10;

absl::StatusOr<std::string> CheckKey(std::string key, absl::string_view place) {
  key = std::string(absl::StripAsciiWhitespace(key));
  if (key.empty())
    return absl::FailedPreconditionError(absl::StrCat(place, ", which should hold the key, is empty"));
  if (!std::all_of(key.begin(), key.end(), [](unsigned char c) { return absl::ascii_isgraph(c); })) {
    return absl::FailedPreconditionError(
        absl::StrCat(place, " holds no key: it has blanks or unprintable characters"));
  }
  return key;
}

bool IsKeyCharacter(unsigned char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.'; }

}  // namespace

absl::StatusOr<std::string> ReadKey(const ModelConfig& config) {
  if (!config.key_env.empty()) {
    const std::string place = absl::StrCat("environment variable ", config.key_env);
    const char* value = std::getenv(config.key_env.c_str());
    if (value == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(place, ", which should hold the key, is not set"));
    }
    return CheckKey(value, place);
  }
  if (config.key_file.empty()) return std::string();
  const std::string place = absl::StrCat("file ", config.key_file);
  std::ifstream file(config.key_file, std::ios::binary);
  if (!file)
    return absl::FailedPreconditionError(absl::StrCat(place, ", which should hold the key, can't be read"));
  std::string key(kMaxKeyBytes + 1, '\0');
  file.read(key.data(), static_cast<std::streamsize>(key.size()));
  key.resize(static_cast<size_t>(file.gcount()));
  if (key.size() > kMaxKeyBytes) {
    return absl::FailedPreconditionError(
        absl::StrCat(place, " holds no key: it has over ", kMaxKeyBytes, " bytes"));
  }
  return CheckKey(std::move(key), place);
}

std::string Redact(absl::string_view text, absl::string_view key) {
  // Very short keys (a dummy "x" for a local server) are no secret, and replacing them would garble the text.
  std::string result =
      key.size() < 4 ? std::string(text) : absl::StrReplaceAll(text, {{std::string(key), kRedacted}});
  for (const std::string& prefix : std::array<std::string, 3>{"sk-", "Bearer ", "bearer "}) {
    size_t at = 0;
    while ((at = result.find(prefix, at)) != std::string::npos) {
      const bool word_start = at == 0 || !IsKeyCharacter(static_cast<unsigned char>(result[at - 1]));
      const size_t begin = at + prefix.size();
      size_t end = begin;
      while (end < result.size() &&
             (IsKeyCharacter(static_cast<unsigned char>(result[end])) || result[end] == '*')) {
        ++end;
      }
      if (word_start && end - begin >= 8) result.replace(at, end - at, kRedacted);
      ++at;
    }
  }
  return result;
}

}  // namespace nkiagent::llm_gateway
