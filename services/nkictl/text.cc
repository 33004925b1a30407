#include "services/nkictl/text.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "services/orchestrator/enum_name.h"

namespace nkiagent::nkictl {
namespace {

// Characters, not bytes, of a UTF-8 text.
size_t Width(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

std::string Table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::string& cell : header) widths.push_back(Width(cell));
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i)
      widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string text;
  auto append = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, row[i]);
      if (i + 1 < row.size()) line.append(widths[i] - Width(row[i]) + 2, ' ');
    }
    absl::StripTrailingAsciiWhitespace(&line);
    absl::StrAppend(&text, line, "\n");
  };
  append(header);
  std::vector<std::string> rule;
  for (const size_t width : widths) rule.push_back(std::string(width, '-'));
  append(rule);
  for (const auto& row : rows) append(row);
  return text;
}

std::string Facts(const std::vector<std::pair<std::string, std::string>>& facts) {
  size_t width = 0;
  for (const auto& [name, value] : facts) width = std::max(width, Width(name));
  std::string text;
  for (const auto& [name, value] : facts) {
    absl::StrAppend(&text, name, std::string(width - Width(name) + 2, ' '), value, "\n");
  }
  return text;
}

std::string Seconds(double seconds) { return absl::StrFormat(seconds < 10 ? "%.2f s" : "%.1f s", seconds); }
std::string Seconds(const google::protobuf::Duration& duration) { return Seconds(ToSeconds(duration)); }

std::string Microseconds(double us) {
  if (us <= 0) return "-";
  if (us < 1000) return absl::StrFormat("%.4g us", us);
  return absl::StrFormat("%.4g ms", us / 1000);
}

std::string Dollars(int64_t micro_usd) {
  return absl::StrFormat("$%.4f", 1e-6 * static_cast<double>(micro_usd));
}

std::string Time(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixSeconds(time.seconds()), absl::UTCTimeZone());
}

double ToSeconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

double ToSeconds(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + 1e-9 * time.nanos();
}

std::string EnumText(const std::string& name, const std::string& prefix) {
  std::string text = orchestrator::EnumName(name, prefix);
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

std::string Json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  // Our own messages always print: they hold valid UTF-8 and no Any.
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) return "{}";
  return json;
}

nlohmann::json JsonValue(const google::protobuf::Message& message) {
  return nlohmann::json::parse(Json(message), nullptr, false);
}

void Print(const std::string& text) {
  fputs(text.c_str(), stdout);
  fflush(stdout);
}

}  // namespace nkiagent::nkictl
