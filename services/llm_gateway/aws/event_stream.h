// The binary framing of AWS's streamed answers, application/vnd.amazon.eventstream: each message has a
// prelude (lengths, CRC-32 of them), headers, a payload and a CRC-32 of all that.
#ifndef SERVICES_LLM_GATEWAY_AWS_EVENT_STREAM_H_
#define SERVICES_LLM_GATEWAY_AWS_EVENT_STREAM_H_

#include <cstddef>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nkiagent::llm_gateway::aws {

struct EventMessage {
  std::map<std::string, std::string> headers;  // those whose value is a text; others are left out
  absl::string_view payload;                   // valid during the callback
};

// Not thread-safe. Holds at most one message, and so at most `max_message_bytes`, whatever a server sends.
class EventStreamParser {
 public:
  using OnMessage = std::function<absl::Status(const EventMessage& message)>;

  static constexpr size_t kMaxMessageBytes = size_t{16} << 20;  // what AWS's own clients take

  explicit EventStreamParser(size_t max_message_bytes = kMaxMessageBytes)
      : max_message_bytes_(max_message_bytes) {}

  // Reads on; calls `on_message` for each message that `bytes` complete. INTERNAL for lengths that can't be,
  // checksums that don't fit, headers that don't parse; otherwise what `on_message` returned.
  absl::Status Feed(absl::string_view bytes, const OnMessage& on_message);

  // Whether the stream stands between two messages.
  bool between_messages() const { return buffer_.empty(); }

 private:
  const size_t max_message_bytes_;
  std::string buffer_;
};

}  // namespace nkiagent::llm_gateway::aws

#endif  // SERVICES_LLM_GATEWAY_AWS_EVENT_STREAM_H_
