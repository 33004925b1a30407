#include "services/llm_gateway/aws/event_stream.h"

#include <zlib.h>

#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"

namespace nkiagent::llm_gateway::aws {
namespace {

constexpr size_t kPreludeBytes = 12;  // total length, headers' length, checksum of both
constexpr size_t kChecksumBytes = 4;

// Types of header values, by their number in the framing.
constexpr uint8_t kBytes = 6;
constexpr uint8_t kText = 7;
constexpr uint8_t kUuid = 9;
// Sizes of the values of types 0 to 9; texts and bytes have their own.
constexpr size_t kValueBytes[kUuid + 1] = {0, 0, 1, 2, 4, 8, 0, 0, 8, 16};

uint32_t Number(absl::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

uint32_t Checksum(absl::string_view bytes) {
  return static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

// Cuts so many bytes off the front; nothing if there are not so many.
std::optional<absl::string_view> Cut(absl::string_view* bytes, size_t count) {
  if (bytes->size() < count) return std::nullopt;
  const absl::string_view piece = bytes->substr(0, count);
  bytes->remove_prefix(count);
  return piece;
}

// Whether they parse.
bool ReadHeaders(absl::string_view bytes, std::map<std::string, std::string>* headers) {
  while (!bytes.empty()) {
    const auto name_size = Cut(&bytes, 1);
    const auto name = Cut(&bytes, Number(*name_size));
    const auto type_byte = name.has_value() ? Cut(&bytes, 1) : std::nullopt;
    if (!type_byte.has_value() || Number(*type_byte) > kUuid) return false;
    const auto type = static_cast<uint8_t>(Number(*type_byte));
    size_t size = kValueBytes[type];
    if (type == kBytes || type == kText) {
      const auto value_size = Cut(&bytes, 2);
      if (!value_size.has_value()) return false;
      size = Number(*value_size);
    }
    const auto value = Cut(&bytes, size);
    if (!value.has_value()) return false;
    if (type == kText) (*headers)[std::string(*name)] = std::string(*value);
  }
  return true;
}

}  // namespace

absl::Status EventStreamParser::Feed(absl::string_view bytes, const OnMessage& on_message) {
  buffer_.append(bytes.data(), bytes.size());
  absl::string_view rest = buffer_;
  while (rest.size() >= kPreludeBytes) {
    const size_t total = Number(rest.substr(0, 4));
    const size_t header_bytes = Number(rest.substr(4, 4));
    if (Checksum(rest.substr(0, 8)) != Number(rest.substr(8, 4))) {
      return absl::InternalError("the prelude of a message of the stream differs from its checksum");
    }
    if (total < kPreludeBytes + header_bytes + kChecksumBytes || total > max_message_bytes_) {
      return absl::InternalError(absl::StrCat("a message of the stream claims ", total, " bytes, ",
                                              header_bytes, " of them headers; at most ", max_message_bytes_,
                                              " are taken"));
    }
    if (rest.size() < total) break;
    const absl::string_view message = rest.substr(0, total);
    if (Checksum(message.substr(0, total - kChecksumBytes)) !=
        Number(message.substr(total - kChecksumBytes))) {
      return absl::InternalError("a message of the stream differs from its checksum");
    }
    EventMessage event;
    if (!ReadHeaders(message.substr(kPreludeBytes, header_bytes), &event.headers)) {
      return absl::InternalError("the headers of a message of the stream don't parse");
    }
    event.payload =
        message.substr(kPreludeBytes + header_bytes, total - kPreludeBytes - header_bytes - kChecksumBytes);
    if (absl::Status status = on_message(event); !status.ok()) return status;
    rest.remove_prefix(total);
  }
  buffer_.erase(0, buffer_.size() - rest.size());
  return absl::OkStatus();
}

}  // namespace nkiagent::llm_gateway::aws
