// How long a program would take on one NeuronCore-v2, and why.
//
// The model places every instruction on the timeline of its engine (Tensor, Vector, Scalar, GpSimd, Sync, and
// 16 DMA engines seen as one pool), after the instructions whose results it needs and after the last user of
// the memory that it overwrites. As the SDK's compiler does, it may start an instruction ahead of earlier
// ones of the same engine that still wait, and keeps as many copies of a loop's tiles as fit the chip.
// Instruction costs are the SDK's documented formulas; constants are in machine.h. docs/timing.md compares
// the model with published times.
#ifndef NKIAGENT_COMMON_NKI_TIMING_TIMING_H_
#define NKIAGENT_COMMON_NKI_TIMING_TIMING_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/nki/ir/program.h"
#include "common/nki/isa/types.h"
#include "common/nki/timing/machine.h"

namespace nkiagent::nki::timing {

struct TimingOptions {
  // Instructions placed one by one before loops are extrapolated from the iterations seen so far. Loops whose
  // iterations have become periodic are always extrapolated, which changes nothing. More is slower (about 0.3
  // us each) and matters for loops whose iterations differ, such as causal masks.
  int64_t max_simulated_instructions = 1'000'000;
  // How many of the costliest source lines to name.
  size_t top_lines = 10;
  Calibration calibration;
};

// What keeps the program from being faster.
enum class Bound : uint8_t {
  kTensor = 0,
  kVector,
  kScalar,
  kGpSimd,
  kDma,      // descriptors and payload of the DMA engines
  kMemory,   // HBM bandwidth
  kLatency,  // none of them is busy for most of the time: chains of dependent instructions
};
absl::string_view Name(Bound bound);

struct LineCost {
  int line = 0;                                // 1-based in the kernel source; 0 = unknown
  double busy_us = 0;                          // of the engines its instructions run on
  isa::Engine engine = isa::Engine::kUnknown;  // the one of them that is busy longest
  int64_t instructions = 0;                    // executed
};

struct Estimate {
  double latency_us = 0;  // from the first instruction to the last byte stored
  // Of these, what moving tiles between SBUF and HBM takes because they don't fit (a rough figure).
  double spill_us = 0;

  // Time each engine works, indexed by isa::Engine; kDma is the pool of 16 engines. share = busy / latency.
  std::array<double, isa::kEngineCount> busy_us{};
  std::array<double, isa::kEngineCount> share{};
  // Instructions executed on each engine, saturating.
  std::array<int64_t, isa::kEngineCount> executed{};

  // Bytes moved over the whole program. On-chip bytes count what instructions read and write, HBM bytes what
  // DMAs do.
  double spill_bytes = 0;  // both ways; part of the HBM bytes
  double hbm_read_bytes = 0;
  double hbm_written_bytes = 0;
  double sbuf_read_bytes = 0;
  double sbuf_written_bytes = 0;
  double psum_read_bytes = 0;
  double psum_written_bytes = 0;
  // Most bytes alive at once, summed over partitions.
  double sbuf_peak_bytes = 0;
  double psum_peak_bytes = 0;

  double flops = 0;                 // multiplications and additions, one for each other arithmetic operation
  double tensor_flops = 0;          // those of the Tensor engine
  double arithmetic_intensity = 0;  // flops for each HBM byte; 0 without HBM traffic

  // No schedule of these instructions is faster: the busiest engine's time, or HBM traffic at full bandwidth.
  double roofline_us = 0;
  // The same engine or memory if it accounts for at least half of the latency, else kLatency.
  Bound bound = Bound::kLatency;

  int64_t instructions = 0;     // executed, saturating
  std::vector<LineCost> lines;  // costliest first
};

struct Recording;

// `program` must have been validated (ir/validate.h). INVALID_ARGUMENT if its target is not a machine of this
// model.
// `recording` may be null; trace.h is what fills and reads one.
absl::StatusOr<Estimate> EstimateLatency(const ir::Program& program, const TimingOptions& options = {},
                                         Recording* recording = nullptr);

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_TIMING_H_
