// Who used which part of a tensor until when: the dependences between instructions, and the copies of a
// loop's tiles that let iterations overlap. Internal to common/nki/timing.
#ifndef NKIAGENT_COMMON_NKI_TIMING_MEMORY_H_
#define NKIAGENT_COMMON_NKI_TIMING_MEMORY_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::timing {

// Engines and the ports they share; each has a timeline.
enum class Resource : uint8_t { kTensor = 0, kVector, kScalar, kGpSimd, kSync, kDma, kSbufPort, kPsumPort };
inline constexpr int kResourceCount = 8;
using PerResource = std::array<double, kResourceCount>;

// The elements an access touches in one execution, as a box over the tensor's axes.
struct Region {
  ir::TensorId view = ir::kNoTensor;
  absl::InlinedVector<std::pair<int64_t, int64_t>, 4> axes;
};
Region RegionOf(const ir::Program& program, const ir::Access& access, absl::Span<const int64_t> symbols);

// The loop in whose iterations each tensor is made anew, by tensor id: its scope, or the innermost dimension
// of the launch grid for on-chip tensors of the kernel, which every program of the grid has for itself; -1 =
// once.
std::vector<ir::SymbolId> RenewingLoops(const ir::Program& program);

// How many copies of each tensor fit the chip at once, by storage id: at least 1; more for tensors made anew
// in each iteration, those loaded by DMA first; then versions of tiles that are filled again and again.
struct BufferCount {
  int copies = 1;
  int versions = 0;  // of a part that is written anew while the old contents are still read
};
std::vector<BufferCount> BufferCounts(const ir::Program& program);

// Bytes per partition that all blocks of an on-chip tensor take; whole banks in PSUM. SBUF tiles of few
// partitions lie side by side in quadrants of 32.
int64_t Footprint(const ir::Tensor& t);

// Most bytes of a memory alive at once, over all partitions; tiles of few partitions count in quadrants
// of 32.
double PeakBytes(const ir::Program& program, isa::Buffer buffer);

// What the compiler has to move to HBM and back because the tiles alive at once exceed SBUF: the fewest tiles
// that make room at the worst instruction, in every iteration of the loop around it.
struct Spill {
  double bytes = 0;           // one way, over all partitions; 0 = nothing is spilled
  size_t begin = 0, end = 0;  // that loop's instructions, in program order
};
Spill SpillOf(const ir::Program& program);

class Memory {
 public:
  explicit Memory(const ir::Program& program);

  // A new iteration of the loop with this symbol: its tensors move to their next copy.
  void NextIteration(ir::SymbolId loop);

  // When the region may be read or written by `user`, as far as its earlier users are concerned. With
  // `accumulate`, a write need not wait for earlier writes of the same resource. `slice` is the one that was
  // given with the use that decides (recording.h).
  struct Ready {
    double time = 0;
    int64_t slice = -1;
  };
  Ready ReadyToRead(const ir::Access& access, const Region& region, Resource user) const;
  // `replaces`: the write sets every element of the region and reads none of them, so the old contents may
  // stay where they are for those who still read them, as long as there is place for another version.
  Ready ReadyToWrite(const ir::Access& access, const Region& region, Resource user, bool accumulate,
                     bool replaces) const;
  void Read(const ir::Access& access, const Region& region, Resource user, double until, int64_t slice);
  void Write(const ir::Access& access, const Region& region, Resource user, double until, int64_t slice,
             bool replaces);

  // The tensors that an iteration of the loop makes anew, and the copy of a tensor that is in use.
  const std::vector<ir::TensorId>& RenewedBy(ir::SymbolId loop) const {
    return scoped_[static_cast<size_t>(loop)];
  }
  size_t CopyInUse(ir::TensorId storage) const { return stores_[static_cast<size_t>(storage)].current; }

  // A mark for Extrapolate: what has been used from now on.
  uint64_t Now() const { return clock_; }
  // Moves all uses since `since` by `by` of the resource that made them.
  void Extrapolate(uint64_t since, const PerResource& by);

  // Whether uses of the access need tracking at all: arguments are only read, and results only written.
  bool Tracks(const ir::Access& access) const {
    return !stores_[static_cast<size_t>(ir::StorageOf(program_, access.tensor))].copies.empty();
  }

 private:
  // Versions of a region beside the current one that may still be read.
  static constexpr int kMaxVersions = 3;
  struct Version {
    double done = 0;  // its last read or write
    Resource user = Resource::kSync;
    int64_t slice = -1;
  };
  struct Use {
    Region region;
    std::array<Version, kMaxVersions> versions;  // the latest first
    double written = 0;
    double read = 0;
    Resource writer = Resource::kSync;
    Resource reader = Resource::kSync;
    int64_t write_slice = -1;
    int64_t read_slice = -1;
    uint64_t changed = 0;
  };
  struct Copy {
    std::vector<Use> uses;
    // The end of the last use by the iteration that had this copy before: it is handed on as a whole.
    double free = 0;
    Resource last_user = Resource::kSync;
    int64_t last_slice = -1;
    uint64_t changed = 0;
  };
  struct Store {
    std::vector<Copy> copies;
    size_t current = 0;
    int versions = 0;  // that there is place for, beside the current one of a region
    // The latest use that was moved by Extrapolate: what skipped iterations touched elsewhere in the tensor.
    double skipped_written = 0;
    double skipped_read = 0;
  };
  Store& StoreOf(const ir::Access& a) {
    return stores_[static_cast<size_t>(ir::StorageOf(program_, a.tensor))];
  }
  const Store& StoreOf(const ir::Access& a) const {
    return stores_[static_cast<size_t>(ir::StorageOf(program_, a.tensor))];
  }
  Use& UseOf(const ir::Access& access, const Region& region);

  const ir::Program& program_;
  std::vector<Store> stores_;                      // by storage id
  std::vector<std::vector<ir::TensorId>> scoped_;  // by loop symbol
  uint64_t clock_ = 0;
};

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_MEMORY_H_
