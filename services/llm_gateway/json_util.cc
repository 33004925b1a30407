#include "services/llm_gateway/json_util.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace nkiagent::llm_gateway {
namespace {

// Finds the first error of a parse without building a value.
class ErrorFinder : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Count(); }
  bool start_object(std::size_t) override { return Enter(); }
  bool key(string_t&) override { return true; }
  bool end_object() override { return Leave(); }
  bool start_array(std::size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    error = absl::StrCat("not JSON at byte ", position);
    return false;
  }

  std::string error;

 private:
  bool Count() {
    if (++values_ <= kMaxJsonValues) return true;
    error = absl::StrCat("JSON has more than ", kMaxJsonValues, " values");
    return false;
  }
  bool Enter() {
    if (++depth_ <= kMaxJsonDepth) return Count();
    error = absl::StrCat("JSON nests deeper than ", kMaxJsonDepth);
    return false;
  }
  bool Leave() {
    --depth_;
    return true;
  }
  int depth_ = 0;
  int64_t values_ = 0;
};

}  // namespace

absl::StatusOr<Json> ParseJson(absl::string_view text) {
  ErrorFinder finder;
  if (!Json::sax_parse(text.begin(), text.end(), &finder)) return absl::InvalidArgumentError(finder.error);
  return Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

const Json& Member(const Json& json, const char* name) {
  static const Json& null = *new Json();
  if (!json.is_object()) return null;
  const auto found = json.find(name);
  return found == json.end() ? null : *found;
}

std::string StringOr(const Json& json, const char* name, absl::string_view fallback) {
  const Json& member = Member(json, name);
  return member.is_string() ? member.get<std::string>() : std::string(fallback);
}

int64_t IntOr(const Json& json, const char* name, int64_t fallback) {
  const Json& member = Member(json, name);
  if (member.is_number_unsigned()) {
    return static_cast<int64_t>(std::min<uint64_t>(member.get<uint64_t>(), INT64_MAX));
  }
  return member.is_number_integer() ? member.get<int64_t>() : fallback;
}

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string Excerpt(absl::string_view text, size_t max_bytes) {
  const absl::string_view head = text.substr(0, max_bytes);
  // A round trip through the library repairs UTF-8, also where the cut went through a character.
  std::string clean = Json(head).dump(-1, ' ', false, Json::error_handler_t::ignore);
  clean = Json::parse(clean, nullptr, false).get<std::string>();
  std::replace_if(
      clean.begin(), clean.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  if (text.size() > head.size()) absl::StrAppend(&clean, "... (", text.size(), " bytes)");
  return clean;
}

}  // namespace nkiagent::llm_gateway
