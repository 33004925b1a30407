#include "common/sandbox/tensor_arena.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace nkiagent::sandbox {
namespace {

absl::Status CheckSlot(size_t arena_bytes, const ArenaSlot& slot) {
  if (slot.offset % kTensorAlignment != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor offset ", slot.offset, " is not a multiple of ", kTensorAlignment));
  }
  if (slot.offset > arena_bytes || slot.size_bytes > arena_bytes - slot.offset) {
    return absl::OutOfRangeError(absl::StrCat("tensor of ", slot.size_bytes, " bytes at offset ", slot.offset,
                                              " lies outside an arena of ", arena_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ArenaLayout> LayOutArena(absl::Span<const uint64_t> sizes, uint64_t max_bytes) {
  ArenaLayout layout;
  uint64_t end = 0;
  for (uint64_t size : sizes) {
    const uint64_t offset = (end + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
    if (offset > max_bytes || size > max_bytes - offset) {
      return absl::ResourceExhaustedError(
          absl::StrCat("tensors need over ", max_bytes, " bytes of shared memory, which is the limit"));
    }
    layout.slots.push_back({offset, size});
    end = offset + size;
  }
  layout.size_bytes = std::max<uint64_t>(end, kTensorAlignment);
  return layout;
}

absl::StatusOr<absl::Span<const uint8_t>> ViewSlot(absl::Span<const uint8_t> arena, const ArenaSlot& slot) {
  if (absl::Status status = CheckSlot(arena.size(), slot); !status.ok()) {
    return status;
  }
  return arena.subspan(slot.offset, slot.size_bytes);
}

absl::StatusOr<absl::Span<uint8_t>> ViewMutableSlot(absl::Span<uint8_t> arena, const ArenaSlot& slot) {
  if (absl::Status status = CheckSlot(arena.size(), slot); !status.ok()) {
    return status;
  }
  return arena.subspan(slot.offset, slot.size_bytes);
}

}  // namespace nkiagent::sandbox
