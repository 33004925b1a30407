#include "common/sandbox/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace nkiagent::sandbox {

SharedMemory::SharedMemory(SharedMemory&& other) noexcept { *this = std::move(other); }

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  if (this != &other) {
    Unmap();
    fd_ = std::move(other.fd_);
    size_ = std::exchange(other.size_, 0);
    data_ = std::exchange(other.data_, nullptr);
    mapped_ = std::exchange(other.mapped_, 0);
    writable_ = std::exchange(other.writable_, false);
  }
  return *this;
}

absl::StatusOr<SharedMemory> SharedMemory::Create(const char* name, size_t size_bytes) {
  if (size_bytes == 0) {
    return absl::InvalidArgumentError("shared memory of 0 bytes");
  }
  SharedMemory memory;
  memory.fd_.reset(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.fd_.valid()) {
    return absl::ErrnoToStatus(errno, "memfd_create");
  }
  if (ftruncate(memory.fd_.get(), static_cast<off_t>(size_bytes)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("ftruncate of shared memory to ", size_bytes, " bytes"));
  }
  if (fcntl(memory.fd_.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
    return absl::ErrnoToStatus(errno, "sealing the size of shared memory");
  }
  memory.size_ = size_bytes;
  return memory;
}

absl::StatusOr<SharedMemory> SharedMemory::FromFd(UniqueFd fd) {
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & (F_SEAL_GROW | F_SEAL_SHRINK)) != (F_SEAL_GROW | F_SEAL_SHRINK)) {
    return absl::InvalidArgumentError("descriptor is not a memfd of fixed size");
  }
  // Not fstat: the C library makes it a call with a path, which the filter of native children refuses.
  const off_t size = lseek(fd.get(), 0, SEEK_END);
  if (size < 0) {
    return absl::ErrnoToStatus(errno, "asking for the size of shared memory");
  }
  SharedMemory memory;
  memory.fd_ = std::move(fd);
  memory.size_ = static_cast<size_t>(size);
  return memory;
}

absl::StatusOr<SharedMemory> SharedMemory::Duplicate() const {
  SharedMemory memory;
  memory.fd_.reset(fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!memory.fd_.valid()) {
    return absl::ErrnoToStatus(errno, "duplicating the descriptor of shared memory");
  }
  memory.size_ = size_;
  return memory;
}

absl::Status SharedMemory::Map(Access access, size_t size_bytes) {
  if (size_bytes == 0) {
    size_bytes = size_;
  }
  if (size_bytes > size_) {
    return absl::OutOfRangeError(absl::StrCat("mapping ", size_bytes, " bytes of shared memory of ", size_));
  }
  Unmap();
  const bool write = access == Access::kReadWrite;
  void* data =
      mmap(nullptr, size_bytes, write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd_.get(), 0);
  if (data == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrCat("mapping ", size_bytes, " bytes of shared memory"));
  }
  data_ = static_cast<uint8_t*>(data);
  mapped_ = size_bytes;
  writable_ = write;
  return absl::OkStatus();
}

void SharedMemory::Unmap() {
  if (data_ != nullptr) {
    munmap(data_, mapped_);
  }
  data_ = nullptr;
  mapped_ = 0;
  writable_ = false;
}

absl::Status SharedMemory::SealContent() {
  if (fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_WRITE) != 0) {
    return absl::FailedPreconditionError(
        "shared memory is still mapped for writing, its content can't be sealed");
  }
  return absl::OkStatus();
}

}  // namespace nkiagent::sandbox
