// Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), read as they come.
#ifndef SERVICES_LLM_GATEWAY_STREAM_SSE_PARSER_H_
#define SERVICES_LLM_GATEWAY_STREAM_SSE_PARSER_H_

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nkiagent::llm_gateway {

// Not thread-safe. Holds at most one event, and so at most `max_event_bytes`, whatever a server sends.
class SseParser {
 public:
  // `name` is "message" where the event names none. An error ends the parse.
  using OnEvent = std::function<absl::Status(absl::string_view name, absl::string_view data)>;

  static constexpr size_t kMaxEventBytes = size_t{4} << 20;

  explicit SseParser(size_t max_event_bytes = kMaxEventBytes) : max_event_bytes_(max_event_bytes) {}

  // Reads on; calls `on_event` for each event that `bytes` complete. INTERNAL when one is too large;
  // otherwise what `on_event` returned. An event that is not ended by an empty line is none, as the standard
  // wants it.
  absl::Status Feed(absl::string_view bytes, const OnEvent& on_event);

 private:
  absl::Status Line(absl::string_view line, const OnEvent& on_event);

  const size_t max_event_bytes_;
  std::string line_;  // begun, not ended
  bool first_line_ = true;
  bool after_return_ = false;  // the last byte was \r: an \n that follows belongs to it
  bool has_data_ = false;
  std::string name_;
  std::string data_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_STREAM_SSE_PARSER_H_
