// Which tiles are on the chip at once: what any allocator needs at least.
//
// A tile lives from its first write to its last use, through whole loops only where an iteration may need
// what another one left, and a tile that ends where another begins shares its place. Along a block axis that
// a loop owns (each iteration touches its own blocks) only the blocks of one iteration live.
#ifndef NKIAGENT_COMMON_NKI_IR_LIVENESS_H_
#define NKIAGENT_COMMON_NKI_IR_LIVENESS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/nki/ir/flat.h"

namespace nkiagent::nki::ir {

// Partitions are handed out in quadrants: tiles of few partitions may lie side by side.
inline constexpr int64_t kQuadrants = 4;

// Instruction n reads at position 2n and writes at 2n + 1.
struct LiveTile {
  TensorId storage = kNoTensor;
  size_t begin = 0;
  size_t end = 0;      // inclusive
  int64_t blocks = 1;  // alive at once
  // Bytes per partition times the quadrants that it takes, of all those blocks.
  int64_t cost = 0;
};

// The tensors of one memory (kSbuf or kPsum) that instructions use, by storage id.
std::vector<LiveTile> LiveTiles(const FlatProgram& flat, isa::Buffer buffer);

// The most that is alive at once, and the first position where it is.
struct LivePeak {
  int64_t cost = 0;
  size_t position = 0;
  // Bytes per partition.
  int64_t bytes() const { return (cost + kQuadrants - 1) / kQuadrants; }
};
LivePeak PeakOf(const std::vector<LiveTile>& tiles);

// Those alive at a position, the largest first.
std::vector<LiveTile> AliveAt(const std::vector<LiveTile>& tiles, size_t position);

// Bytes per partition of one block of an on-chip tensor, and the quadrants of 32 partitions that it takes.
int64_t TileBytes(const Tensor& t);
int64_t QuadrantsOf(const Tensor& t);

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_LIVENESS_H_
