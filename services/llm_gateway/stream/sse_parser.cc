#include "services/llm_gateway/stream/sse_parser.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace nkiagent::llm_gateway {

absl::Status SseParser::Feed(absl::string_view bytes, const OnEvent& on_event) {
  while (!bytes.empty()) {
    if (after_return_) {
      after_return_ = false;
      if (absl::ConsumePrefix(&bytes, "\n")) continue;
    }
    const size_t end = bytes.find_first_of("\r\n");
    const absl::string_view piece = bytes.substr(0, end);
    if (line_.size() + data_.size() + piece.size() > max_event_bytes_) {
      return absl::InternalError(
          absl::StrCat("an event of the stream is larger than ", max_event_bytes_, " bytes"));
    }
    if (end == absl::string_view::npos) {
      line_.append(piece.data(), piece.size());
      break;
    }
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    absl::Status status;
    if (line_.empty()) {
      status = Line(piece, on_event);
    } else {
      line_.append(piece.data(), piece.size());
      status = Line(line_, on_event);
      line_.clear();
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SseParser::Line(absl::string_view line, const OnEvent& on_event) {
  if (first_line_) absl::ConsumePrefix(&line, "\xEF\xBB\xBF");
  first_line_ = false;
  if (line.empty()) {
    absl::Status status;
    if (has_data_) status = on_event(name_.empty() ? "message" : absl::string_view(name_), data_);
    has_data_ = false;
    name_.clear();
    data_.clear();
    return status;
  }
  const size_t colon = line.find(':');
  const absl::string_view field = line.substr(0, colon);
  absl::string_view value = colon == absl::string_view::npos ? "" : line.substr(colon + 1);
  absl::ConsumePrefix(&value, " ");
  if (field == "data") {
    if (has_data_) data_.push_back('\n');
    has_data_ = true;
    data_.append(value.data(), value.size());
  } else if (field == "event") {
    name_ = std::string(value);
  }
  // Comments (an empty field), ids and retry times mean nothing here.
  return absl::OkStatus();
}

}  // namespace nkiagent::llm_gateway
