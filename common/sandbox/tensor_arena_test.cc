#include "common/sandbox/tensor_arena.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace nkiagent::sandbox {
namespace {

TEST(TensorArena, AlignsEachTensorTo64Bytes) {
  auto layout = LayOutArena({1, 64, 65, 0, 4}, 1 << 20);
  ASSERT_TRUE(layout.ok());
  std::vector<uint64_t> offsets;
  for (const ArenaSlot& slot : layout->slots) {
    offsets.push_back(slot.offset);
  }
  EXPECT_EQ(offsets, (std::vector<uint64_t>{0, 64, 128, 256, 256}));
  EXPECT_EQ(layout->size_bytes, 260u);
}

TEST(TensorArena, AnEmptyLayoutStillHasASize) {
  EXPECT_EQ(LayOutArena({}, 100)->size_bytes, kTensorAlignment);
}

TEST(TensorArena, RefusesMoreThanTheLimitWithoutOverflow) {
  EXPECT_EQ(LayOutArena({60, 60}, 100).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(LayOutArena({1, UINT64_MAX - 10}, 1000).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(TensorArena, ViewsStayInsideTheArena) {
  const std::vector<uint8_t> arena(256);
  EXPECT_EQ(ViewSlot(arena, {64, 192})->size(), 192u);
  EXPECT_EQ(ViewSlot(arena, {256, 0})->size(), 0u);
  EXPECT_EQ(ViewSlot(arena, {64, 193}).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ViewSlot(arena, {320, 0}).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ViewSlot(arena, {64, UINT64_MAX}).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ViewSlot(arena, {1, 4}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nkiagent::sandbox
