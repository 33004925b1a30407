#include "services/orchestrator/utf8.h"

#include <cstdint>

namespace nkiagent::orchestrator {
namespace {

// Bytes of the well-formed character that starts `text`; 0 if none does. `text` is not empty.
size_t CharacterBytes(absl::string_view text) {
  const unsigned char first = text[0];
  if (first < 0x80) return 1;
  const size_t bytes = (first >> 5) == 6 ? 2 : (first >> 4) == 14 ? 3 : (first >> 3) == 30 ? 4 : 0;
  if (bytes == 0 || text.size() < bytes) return 0;
  uint32_t code = first & (0x7F >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    const unsigned char next = text[i];
    if ((next & 0xC0) != 0x80) return 0;
    code = code << 6 | (next & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool well_formed = code >= kSmallest[bytes] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
  return well_formed ? bytes : 0;
}

}  // namespace

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

std::string CleanUtf8(absl::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    if (bytes == 0) {
      clean.append("\xEF\xBF\xBD");
      text.remove_prefix(1);
    } else {
      clean.append(text.data(), bytes);
      text.remove_prefix(bytes);
    }
  }
  return clean;
}

absl::string_view CutUtf8(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace nkiagent::orchestrator
