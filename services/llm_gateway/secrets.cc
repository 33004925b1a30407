#include "services/llm_gateway/secrets.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace nkiagent::llm_gateway {
namespace {

constexpr char kRedacted[] = "[redacted]";
constexpr size_t kMaxKeyBytes = 16 << 10;
constexpr size_t kMaxAwsFileBytes = 1 << 20;
// What keys begin with; AKIA and ASIA are AWS's access key ids.
constexpr std::array<absl::string_view, 5> kKeyPrefixes = {"sk-", "Bearer ", "bearer ", "AKIA", "ASIA"};

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

absl::StatusOr<std::string> ReadWhole(const std::string& path, size_t max_bytes, absl::string_view place) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return absl::FailedPreconditionError(absl::StrCat(place, ", which should hold the key, can't be read"));
  std::string text(max_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > max_bytes) {
    return absl::FailedPreconditionError(
        absl::StrCat(place, " holds no key: it has over ", max_bytes, " bytes"));
  }
  return text;
}

// The key that key_env or key_file names; empty if there is neither.
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
  absl::StatusOr<std::string> key = ReadWhole(config.key_file, kMaxKeyBytes, place);
  return key.ok() ? CheckKey(*std::move(key), place) : key;
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The entries of one [profile] of AWS's credentials file, an INI file.
std::map<std::string, std::string> Profile(absl::string_view text, absl::string_view profile) {
  std::map<std::string, std::string> entries;
  bool inside = false;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      inside = absl::ConsumePrefix(&line, "[") && absl::ConsumeSuffix(&line, "]") &&
               absl::StripAsciiWhitespace(line) == profile;
      continue;
    }
    const size_t equals = line.find('=');
    if (!inside || equals == absl::string_view::npos) continue;
    entries[std::string(absl::StripAsciiWhitespace(line.substr(0, equals)))] =
        std::string(absl::StripAsciiWhitespace(line.substr(equals + 1)));
  }
  return entries;
}

absl::StatusOr<Credentials> ReadAwsCredentials(const ModelConfig& config) {
  std::string id = Environment("AWS_ACCESS_KEY_ID");
  std::string secret = Environment("AWS_SECRET_ACCESS_KEY");
  std::string token = Environment("AWS_SESSION_TOKEN");
  std::string place = "environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
  if (id.empty() || secret.empty() || !config.aws_profile.empty() || !config.aws_credentials_file.empty()) {
    std::string path = config.aws_credentials_file;
    if (path.empty()) path = Environment("AWS_SHARED_CREDENTIALS_FILE");
    if (path.empty()) path = Environment("HOME") + "/.aws/credentials";
    std::string profile = config.aws_profile;
    if (profile.empty()) profile = Environment("AWS_PROFILE");
    if (profile.empty()) profile = "default";
    place = absl::StrCat("profile ", profile, " of file ", path);
    absl::StatusOr<std::string> text = ReadWhole(path, kMaxAwsFileBytes, place);
    if (!text.ok()) {
      return absl::FailedPreconditionError(absl::StrCat(
          text.status().message(), ", and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set"));
    }
    std::map<std::string, std::string> entries = Profile(*text, profile);
    id = entries["aws_access_key_id"];
    secret = entries["aws_secret_access_key"];
    token = entries["aws_session_token"];
  }
  absl::StatusOr<std::string> checked_id = CheckKey(std::move(id), place);
  if (!checked_id.ok()) return checked_id.status();
  absl::StatusOr<std::string> checked_secret = CheckKey(std::move(secret), place);
  if (!checked_secret.ok()) return checked_secret.status();
  Credentials credentials;
  credentials.access_key_id = *std::move(checked_id);
  credentials.secret_access_key = *std::move(checked_secret);
  if (!token.empty()) {
    absl::StatusOr<std::string> checked_token = CheckKey(std::move(token), place);
    if (!checked_token.ok()) return checked_token.status();
    credentials.session_token = *std::move(checked_token);
  }
  return credentials;
}

}  // namespace

absl::StatusOr<Credentials> ReadCredentials(const ModelConfig& config) {
  if (config.provider == "bedrock" && config.key_env.empty() && config.key_file.empty())
    return ReadAwsCredentials(config);
  absl::StatusOr<std::string> key = ReadKey(config);
  if (!key.ok()) return key.status();
  Credentials credentials;
  credentials.key = *std::move(key);
  return credentials;
}

std::string Redact(absl::string_view text, const std::vector<std::string>& secrets) {
  std::string result(text);
  for (const std::string& secret : secrets) {
    // Very short keys (a dummy "x" for a local server) are no secret, and replacing them would garble the
    // text.
    if (secret.size() >= 4) result = absl::StrReplaceAll(result, {{secret, kRedacted}});
  }
  for (const absl::string_view prefix : kKeyPrefixes) {
    size_t at = 0;
    while ((at = result.find(prefix.data(), at, prefix.size())) != std::string::npos) {
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
