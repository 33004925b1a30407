// What is kept of a child's stdout and stderr: the first and the last 64 KiB, in a memfd. Not in the parent's
// heap, which the next child would inherit and could read.
#ifndef NKIAGENT_COMMON_SANDBOX_OUTPUT_BUFFER_H_
#define NKIAGENT_COMMON_SANDBOX_OUTPUT_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/sandbox/unique_fd.h"

namespace nkiagent::sandbox {

inline constexpr size_t kOutputHeadBytes = size_t{64} << 10;
inline constexpr size_t kOutputTailBytes = size_t{64} << 10;

class OutputBuffer {
 public:
  // Reads what a non-blocking pipe holds now. Once more than `limit` bytes have come in all, stops reading.
  // False when the pipe has no writer any more.
  bool ReadFrom(int pipe, uint64_t limit);

  uint64_t total_bytes() const { return total_; }
  int fd() const { return file_.get(); }  // -1 while nothing came.

  // Puts together what a buffer of `total_bytes` kept. Reads `fd` from any position.
  static std::string Assemble(int fd, uint64_t total_bytes);

 private:
  void Keep(absl::string_view text);

  UniqueFd file_;  // Head at 0, then the tail as a ring.
  uint64_t total_ = 0;
};

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_OUTPUT_BUFFER_H_
