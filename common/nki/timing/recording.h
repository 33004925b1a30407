// What the simulation placed when and why not earlier, for the trace export (trace.h). Internal to
// common/nki/timing.
#ifndef NKIAGENT_COMMON_NKI_TIMING_RECORDING_H_
#define NKIAGENT_COMMON_NKI_TIMING_RECORDING_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "common/nki/ir/program.h"
#include "common/nki/timing/cost.h"
#include "common/nki/timing/memory.h"

namespace nkiagent::nki::timing {

// Why a piece of work did not start earlier.
struct Wait {
  enum class Kind : uint8_t {
    kNone = 0,
    kData,    // for a result that it reads
    kBuffer,  // for the last use of memory that it overwrites
    kUnit,    // for an engine or port that was busy
  };
  Kind kind = Kind::kNone;
  ir::TensorId tensor = ir::kNoTensor;  // kData, kBuffer
  int64_t slice = -1;                   // kData, kBuffer: whose end it waited for; -1 = not recorded
  Resource unit = Resource::kSync;      // kUnit
};

// One piece of work on one engine; times in nanoseconds from the start of the program.
struct Slice {
  enum class Kind : uint8_t {
    kInstruction = 0,
    kIssue,    // the Sync engine starts a DMA
    kStaging,  // the Vector engine copies between PSUM and SBUF for a DMA
  };
  Kind kind = Kind::kInstruction;
  size_t instr = 0;  // in program order
  Resource unit = Resource::kSync;
  double asked = 0;  // when the program got to it: never later than `start`
  double start = 0;
  double end = 0;   // of its work; a DMA's transfer
  double busy = 0;  // of the unit; less than end - start only where work shares the pool of DMA engines
  double done = 0;  // when the result may be used
  Wait wait;
  Work work;
  absl::InlinedVector<int64_t, 4> indices;  // of the loops around it, outermost first
};

// Iterations of a loop that were not placed one by one: what a unit does in all of them.
struct Repeat {
  Resource unit = Resource::kSync;
  double begin = 0, end = 0;
  double busy = 0;
  double iterations = 0;
  const ir::Loop* loop = nullptr;
};

// A tensor's place on the chip, from its first use to its last.
struct Alive {
  ir::TensorId storage = ir::kNoTensor;
  double begin = 0, end = 0;
};

struct Recording {
  explicit Recording(size_t limit) : max_slices(limit) {}

  // The index of the slice; -1 if there is no room for it, which is counted.
  int64_t Add(Slice slice) {
    if (slices.size() >= max_slices) {
      ++dropped;
      dropped_busy[static_cast<size_t>(slice.unit)] += slice.busy;
      return -1;
    }
    slices.push_back(std::move(slice));
    return static_cast<int64_t>(slices.size() - 1);
  }
  void Add(const Repeat& repeat) {
    if (repeats.size() < max_slices) {
      repeats.push_back(repeat);
    } else {
      dropped_busy[static_cast<size_t>(repeat.unit)] += repeat.busy;
    }
  }
  // A use of copy `copy` of a tensor.
  void Touch(ir::TensorId storage, size_t copy, double begin, double end) {
    if (alive.size() >= max_slices) return;
    const auto [it, fresh] = open.emplace(std::pair(storage, copy), alive.size());
    if (fresh) alive.push_back({storage, begin, end});
    Alive& a = alive[it->second];
    a.begin = std::min(a.begin, begin);
    a.end = std::max(a.end, end);
  }
  // A new iteration makes the tensor anew, in that copy.
  void Renew(ir::TensorId storage, size_t copy) { open.erase(std::pair(storage, copy)); }

  size_t max_slices;
  std::vector<Slice> slices;
  std::vector<Repeat> repeats;
  std::vector<Alive> alive;
  std::map<std::pair<ir::TensorId, size_t>, size_t> open;  // index into `alive`
  int64_t dropped = 0;
  PerResource dropped_busy{};
};

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_RECORDING_H_
