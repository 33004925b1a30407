// From what a simulation adds up to what the estimate says. Internal to common/nki/timing.
#ifndef NKIAGENT_COMMON_NKI_TIMING_REPORT_H_
#define NKIAGENT_COMMON_NKI_TIMING_REPORT_H_

#include <array>
#include <vector>

#include "common/nki/ir/program.h"
#include "common/nki/timing/timing.h"

namespace nkiagent::nki::timing {

// Everything that adds up over the program.
struct Totals {
  std::array<double, isa::kEngineCount> busy_ns{};
  std::array<double, isa::kEngineCount> executed{};
  double hbm_read = 0, hbm_written = 0, sbuf_read = 0, sbuf_written = 0, psum_read = 0, psum_written = 0;
  double flops = 0, tensor_flops = 0;

  // this += factor * (a - b)
  void AddDifference(const Totals& a, const Totals& b, double factor) {
    for (size_t e = 0; e < busy_ns.size(); ++e) {
      busy_ns[e] += factor * (a.busy_ns[e] - b.busy_ns[e]);
      executed[e] += factor * (a.executed[e] - b.executed[e]);
    }
    hbm_read += factor * (a.hbm_read - b.hbm_read);
    hbm_written += factor * (a.hbm_written - b.hbm_written);
    sbuf_read += factor * (a.sbuf_read - b.sbuf_read);
    sbuf_written += factor * (a.sbuf_written - b.sbuf_written);
    psum_read += factor * (a.psum_read - b.psum_read);
    psum_written += factor * (a.psum_written - b.psum_written);
    flops += factor * (a.flops - b.flops);
    tensor_flops += factor * (a.tensor_flops - b.tensor_flops);
  }
};

struct InstrTotals {
  double busy_ns = 0;
  double executed = 0;
};

// One instruction of the program, in its order.
struct ExecutedInstr {
  int line = 0;
  isa::Engine engine = isa::Engine::kUnknown;
  InstrTotals totals;
};

// `finish_ns`: when the last result is there.
Estimate Report(const ir::Program& program, const TimingOptions& options, const Totals& totals,
                const std::vector<ExecutedInstr>& instrs, double finish_ns);

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_REPORT_H_
