#include "services/llm_gateway/cassette.h"

#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/storage/content_hash.h"
#include "services/llm_gateway/json_util.h"
#include "services/llm_gateway/secrets.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;

constexpr int kVersion = 1;
constexpr off_t kMaxCassetteBytes = off_t{256} << 20;
constexpr size_t kExcerptBytes = 120;

Json ToJson(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  // A message that came over the wire or from a model is valid UTF-8 and has no Any, so this can't fail.
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  return Json::parse(text, nullptr, false);
}

absl::Status FromJson(const Json& json, google::protobuf::Message* message) {
  const auto status = google::protobuf::util::JsonStringToMessage(Dump(json), message);
  if (!status.ok()) return absl::InvalidArgumentError(std::string(status.message()));
  return absl::OkStatus();
}

// The message as JSON. Keys have no characters that JSON writes in another way, and what replaces them has
// none.
Json Redacted(const google::protobuf::Message& message, const std::vector<std::string>& secrets = {}) {
  return Json::parse(Redact(Dump(ToJson(message)), secrets), nullptr, false);
}

absl::StatusOr<Exchange> ParseExchange(absl::string_view line) {
  absl::StatusOr<Json> json = ParseJson(line);
  if (!json.ok()) return json.status();
  if (IntOr(*json, "version") != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat("is no exchange of version ", kVersion));
  }
  Exchange exchange;
  exchange.request_hash = StringOr(*json, "request_hash");
  if (absl::Status status = FromJson(Member(*json, "request"), &exchange.request); !status.ok())
    return status;
  if (absl::Status status = FromJson(Member(*json, "response"), &exchange.response); !status.ok())
    return status;
  if (exchange.request_hash != RequestHash(exchange.request)) {
    return absl::InvalidArgumentError("has a request that differs from its request_hash");
  }
  return exchange;
}

// Begins a little before the first differing byte, so that the reader finds the place.
std::string FromDifference(const std::string& text, size_t at) {
  const size_t begin = at > 20 ? at - 20 : 0;
  return Excerpt(absl::string_view(text).substr(begin), kExcerptBytes);
}

std::string Difference(const Json& expected, const Json& actual, const std::string& path) {
  if (expected == actual) return "";
  if (expected.is_object() && actual.is_object()) {
    for (const auto& [name, value] : expected.items()) {
      const std::string below = path.empty() ? name : absl::StrCat(path, ".", name);
      if (!actual.contains(name)) return absl::StrCat(below, ": recorded, but missing now");
      if (std::string found = Difference(value, actual[name], below); !found.empty()) return found;
    }
    for (const auto& [name, value] : actual.items()) {
      if (!expected.contains(name)) {
        return absl::StrCat(path.empty() ? name : absl::StrCat(path, ".", name), ": not recorded, now ",
                            Excerpt(Dump(value), kExcerptBytes));
      }
    }
  }
  if (expected.is_array() && actual.is_array()) {
    for (size_t i = 0; i < std::min(expected.size(), actual.size()); ++i) {
      if (std::string found = Difference(expected[i], actual[i], absl::StrCat(path, "[", i, "]"));
          !found.empty()) {
        return found;
      }
    }
    return absl::StrCat(path, ": recorded with ", expected.size(), " entries, now ", actual.size());
  }
  const std::string left = expected.is_string() ? expected.get<std::string>() : Dump(expected);
  const std::string right = actual.is_string() ? actual.get<std::string>() : Dump(actual);
  const size_t at = static_cast<size_t>(
      std::mismatch(left.begin(), left.begin() + static_cast<ptrdiff_t>(std::min(left.size(), right.size())),
                    right.begin())
          .first -
      left.begin());
  return absl::StrCat(path, " at byte ", at, ": recorded \"", FromDifference(left, at), "\", now \"",
                      FromDifference(right, at), "\"");
}

}  // namespace

llm::GenerateRequest VisiblePart(const llm::GenerateRequest& request) {
  llm::GenerateRequest visible = request;
  visible.clear_request_id();
  visible.clear_session_id();
  visible.clear_model();
  visible.clear_cache_prompt();
  visible.clear_response_cache();
  visible.clear_budgets();
  for (llm::Message& message : *visible.mutable_messages()) {
    for (llm::ContentBlock& block : *message.mutable_content()) block.clear_cache_mark();
  }
  return visible;
}

std::string RequestHash(const llm::GenerateRequest& request) {
  // JSON rather than wire bytes: fields in order of their names, the same in every version of the library.
  return storage::Sha256Hex(Redact(Dump(ToJson(VisiblePart(request)))));
}

std::string FormatExchange(const llm::GenerateRequest& request, const llm::GenerateResponse& response,
                           const std::vector<std::string>& secrets) {
  const Json redacted = Redacted(request, secrets);
  llm::GenerateRequest recorded;
  // It came from such JSON, so it can't fail.
  (void)FromJson(redacted, &recorded);
  nlohmann::ordered_json line;
  line["version"] = kVersion;
  line["request_hash"] = RequestHash(recorded);
  line["request"] = nlohmann::ordered_json(redacted);
  line["response"] = nlohmann::ordered_json(Redacted(response, secrets));
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

absl::StatusOr<std::vector<Exchange>> ReadCassette(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::NotFoundError(absl::StrCat("there is no cassette ", path));
  }
  if (info.st_size > kMaxCassetteBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("cassette ", path, " has ", info.st_size, " bytes, more than ", kMaxCassetteBytes));
  }
  std::ifstream file(path, std::ios::binary);
  std::vector<Exchange> exchanges;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    absl::StatusOr<Exchange> exchange = ParseExchange(line);
    if (!exchange.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("cassette ", path, " line ", number, ": ", Excerpt(exchange.status().message())));
    }
    exchanges.push_back(*std::move(exchange));
  }
  if (file.bad()) return absl::UnavailableError(absl::StrCat("cassette ", path, " can't be read"));
  return exchanges;
}

std::string FirstDifference(const llm::GenerateRequest& expected, const llm::GenerateRequest& actual) {
  return Difference(Redacted(VisiblePart(expected)), Redacted(VisiblePart(actual)), "");
}

absl::Status Recorder::Record(const llm::GenerateRequest& request, const llm::GenerateResponse& response) {
  std::string name = request.session_id().empty() ? "no-session" : request.session_id();
  for (char& c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != '.') c = '_';
  }
  if (name.front() == '.') name.front() = '_';
  const std::string path = absl::StrCat(folder_, "/", name, ".jsonl");
  const std::string line =
      FormatExchange(request, response, secrets_ ? secrets_() : std::vector<std::string>());
  const std::lock_guard lock(mutex_);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0)
    return absl::UnavailableError(absl::StrCat(path, ": ", absl::ErrnoToStatus(errno, "open").message()));
  struct stat before {};
  fstat(fd, &before);
  const ssize_t written = write(fd, line.data(), line.size());
  absl::Status status;
  if (written != static_cast<ssize_t>(line.size())) {
    status = absl::UnavailableError(absl::StrCat("cassette ", path, " can't be written in full"));
    [[maybe_unused]] const int cut = ftruncate(fd, before.st_size);
  }
  close(fd);
  return status;
}

}  // namespace nkiagent::llm_gateway
