// Anonymous shared memory (memfd): how payloads and tensors travel between a service and its children.
//
// A SharedMemory owns one descriptor and at most one mapping. It is not thread-safe; a mapping may be read by
// many threads. Its size is fixed at creation (F_SEAL_GROW and F_SEAL_SHRINK), so no holder of the descriptor
// can make another holder's access fault. Pages that nobody wrote cost nothing.
#ifndef NKIAGENT_COMMON_SANDBOX_SHARED_MEMORY_H_
#define NKIAGENT_COMMON_SANDBOX_SHARED_MEMORY_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/sandbox/unique_fd.h"

namespace nkiagent::sandbox {

class SharedMemory {
 public:
  enum class Access { kReadOnly, kReadWrite };

  SharedMemory() = default;
  ~SharedMemory() { Unmap(); }
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // `size_bytes` zeroed bytes of fixed size, not mapped yet. `name` is what /proc shows.
  // InvalidArgument if `size_bytes` is 0; ResourceExhausted if the machine refuses.
  static absl::StatusOr<SharedMemory> Create(const char* name, size_t size_bytes);

  // Takes a descriptor that came from elsewhere. InvalidArgument unless it is a memfd whose size can't
  // change.
  static absl::StatusOr<SharedMemory> FromFd(UniqueFd fd);

  // The same memory through a descriptor of its own, not mapped yet: for a reader that comes and goes while
  // this object is shared. ResourceExhausted or the like if there is no descriptor left.
  absl::StatusOr<SharedMemory> Duplicate() const;

  // Maps the first `size_bytes` (0: all). A second call replaces the mapping. OutOfRange past the end.
  absl::Status Map(Access access, size_t size_bytes = 0);
  void Unmap();

  // Makes the content immutable for every holder. FailedPrecondition while anybody has it mapped for writing,
  // this object included (a read-only mapping made before sealing counts too: map again after).
  absl::Status SealContent();

  int fd() const { return fd_.get(); }
  size_t size() const { return size_; }
  // The mapping; empty when not mapped.
  absl::Span<const uint8_t> bytes() const { return {data_, mapped_}; }
  // The mapping, if it was made kReadWrite; empty otherwise.
  absl::Span<uint8_t> mutable_bytes() { return {writable_ ? data_ : nullptr, writable_ ? mapped_ : 0}; }

 private:
  UniqueFd fd_;
  size_t size_ = 0;
  uint8_t* data_ = nullptr;
  size_t mapped_ = 0;
  bool writable_ = false;
};

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_SHARED_MEMORY_H_
