// Tensors side by side in one shared memory, each at a multiple of 64 bytes (a cache line; also enough for
// AVX-512). This file knows sizes and offsets only; what the bytes mean (dtype, shape) travels in the control
// message.
#ifndef NKIAGENT_COMMON_SANDBOX_TENSOR_ARENA_H_
#define NKIAGENT_COMMON_SANDBOX_TENSOR_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/sandbox/shared_memory.h"

namespace nkiagent::sandbox {

inline constexpr size_t kTensorAlignment = 64;

struct ArenaSlot {
  uint64_t offset = 0;
  uint64_t size_bytes = 0;
};

struct ArenaLayout {
  std::vector<ArenaSlot> slots;
  uint64_t size_bytes = 0;  // At least kTensorAlignment, so that an arena without tensors can be created.
};

// Lays `sizes` out in order. ResourceExhausted if the sum passes `max_bytes`.
absl::StatusOr<ArenaLayout> LayOutArena(absl::Span<const uint64_t> sizes, uint64_t max_bytes);

// The bytes of `slot` inside a mapping. Slots come from untrusted children: OutOfRange if any byte lies
// outside, InvalidArgument if the offset is not aligned.
absl::StatusOr<absl::Span<const uint8_t>> ViewSlot(absl::Span<const uint8_t> arena, const ArenaSlot& slot);
absl::StatusOr<absl::Span<uint8_t>> ViewMutableSlot(absl::Span<uint8_t> arena, const ArenaSlot& slot);

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_TENSOR_ARENA_H_
