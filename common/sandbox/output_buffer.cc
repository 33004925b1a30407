#include "common/sandbox/output_buffer.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

namespace nkiagent::sandbox {
namespace {

std::string ReadAt(int fd, size_t offset, size_t size) {
  std::string text(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, text.data() + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      break;
    }
    done += static_cast<size_t>(n);
  }
  text.resize(done);
  return text;
}

}  // namespace

bool OutputBuffer::ReadFrom(int pipe, uint64_t limit) {
  std::array<char, 65536> chunk;
  size_t used = 0;
  bool open = true;
  while (total_ <= limit) {
    const ssize_t n = read(pipe, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      open = n < 0;
      break;
    }
    used = std::max(used, static_cast<size_t>(n));
    Keep({chunk.data(), static_cast<size_t>(n)});
  }
  explicit_bzero(chunk.data(), used);
  return open;
}

void OutputBuffer::Keep(absl::string_view text) {
  if (!file_.valid()) {
    file_.reset(memfd_create("output", MFD_CLOEXEC));
  }
  while (!text.empty()) {
    size_t offset;
    size_t room;
    if (total_ < kOutputHeadBytes) {
      offset = total_;
      room = kOutputHeadBytes - total_;
    } else {
      const size_t in_ring = (total_ - kOutputHeadBytes) % kOutputTailBytes;
      offset = kOutputHeadBytes + in_ring;
      room = kOutputTailBytes - in_ring;
    }
    const size_t size = std::min(room, text.size());
    // A full machine loses the text, not the count.
    (void)!pwrite(file_.get(), text.data(), size, static_cast<off_t>(offset));
    total_ += size;
    text.remove_prefix(size);
  }
}

std::string OutputBuffer::Assemble(int fd, uint64_t total_bytes) {
  if (total_bytes <= kOutputHeadBytes) {
    return ReadAt(fd, 0, total_bytes);
  }
  std::string head = ReadAt(fd, 0, kOutputHeadBytes);
  const uint64_t behind = total_bytes - kOutputHeadBytes;
  if (behind <= kOutputTailBytes) {
    return head + ReadAt(fd, kOutputHeadBytes, behind);
  }
  const size_t start = behind % kOutputTailBytes;
  return absl::StrCat(head, "\n... ", behind - kOutputTailBytes, " bytes left out ...\n",
                      ReadAt(fd, kOutputHeadBytes + start, kOutputTailBytes - start),
                      ReadAt(fd, kOutputHeadBytes, start));
}

}  // namespace nkiagent::sandbox
