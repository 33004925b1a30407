// What one execution of an instruction costs, apart from everything around it. Internal to common/nki/timing.
#ifndef NKIAGENT_COMMON_NKI_TIMING_COST_H_
#define NKIAGENT_COMMON_NKI_TIMING_COST_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/nki/ir/program.h"
#include "common/nki/timing/machine.h"

namespace nkiagent::nki::timing {

struct Work {
  isa::Engine engine = isa::Engine::kUnknown;
  bool skipped = false;     // masked off altogether: the hardware never sees it
  double occupancy_ns = 0;  // until the engine may start the next instruction
  double latency_ns = 0;    // from then until the result may be used
  bool uses_psum = false;   // reads or writes PSUM
  // DMA only: the transfer's own duration, with the engines that it can use; occupancy_ns is its part of the
  // pool.
  double transfer_ns = 0;
  double descriptors = 0, descriptor_bytes = 0;  // contiguous runs, and the bytes in each
  // DMA out of or into PSUM: the compiler copies through SBUF on the Vector engine first.
  double staging_ns = 0;

  double hbm_read = 0, hbm_written = 0;  // bytes
  double sbuf_read = 0, sbuf_written = 0, psum_read = 0, psum_written = 0;
  double flops = 0;
  double tensor_flops = 0;
};

// Tensors that only the Tensor engine's broadcast writes: their values are read where it leaves them, in
// PSUM.
std::vector<bool> BroadcastTensors(const ir::Program& program);

// `symbols` are the values of all symbols, for masks. `in_psum` is BroadcastTensors().
Work WorkOf(const ir::Program& program, const ir::Instr& instr, absl::Span<const int64_t> symbols,
            const std::vector<bool>& in_psum, const Calibration& calibration = {});

// The part of an access that its mask leaves, dimension by dimension; conditions over several dimensions at
// once are taken as true. False if nothing is left.
bool UnmaskedShape(const ir::Access& access, absl::Span<const int64_t> symbols, std::vector<int64_t>* shape);

// Runs of bytes that are contiguous on both sides of a copy, and the bytes in each.
struct Descriptors {
  int64_t count = 0;
  int64_t bytes = 0;
};
Descriptors DescriptorsOf(const ir::Program& program, const ir::Access* dst, const ir::Access* src,
                          absl::Span<const int64_t> shape);

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_COST_H_
