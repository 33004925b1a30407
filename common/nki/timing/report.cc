#include "common/nki/timing/report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <utility>

#include "common/nki/timing/machine.h"
#include "common/nki/timing/memory.h"

namespace nkiagent::nki::timing {
namespace {

using isa::Engine;

constexpr double kNsPerUs = 1000;
// An engine or memory busy for at least this part of the latency is what binds.
constexpr double kBindingShare = 0.5;

}  // namespace

absl::string_view Name(Bound bound) {
  constexpr absl::string_view kNames[] = {"tensor", "vector", "scalar", "gpsimd", "dma", "memory", "latency"};
  return kNames[static_cast<size_t>(bound)];
}

Estimate Report(const ir::Program& program, const TimingOptions& options, const Totals& totals,
                const std::vector<ExecutedInstr>& instrs, double finish_ns) {
  Estimate e;
  e.latency_us = finish_ns / kNsPerUs;
  e.hbm_read_bytes = totals.hbm_read;
  e.hbm_written_bytes = totals.hbm_written;
  if (const Spill spill = SpillOf(program); spill.bytes > 0) {
    // The tiles come and go between dependent instructions, so nothing hides it.
    double times = 0;
    for (size_t n = spill.begin; n < spill.end; ++n) times = std::max(times, instrs[n].totals.executed);
    const double bytes = spill.bytes * times;
    e.spill_bytes = 2 * bytes;
    e.spill_us = e.spill_bytes / (kDmaEngines * options.calibration.dma_bytes_per_ns) / kNsPerUs;
    e.latency_us += e.spill_us;
    e.hbm_read_bytes += bytes;
    e.hbm_written_bytes += bytes;
  }
  for (size_t k = 0; k < totals.busy_ns.size(); ++k) {
    e.busy_us[k] = totals.busy_ns[k] / kNsPerUs;
    if (k == static_cast<size_t>(Engine::kDma)) e.busy_us[k] += e.spill_us;
    e.share[k] = e.latency_us > 0 ? e.busy_us[k] / e.latency_us : 0;
  }
  e.sbuf_read_bytes = totals.sbuf_read;
  e.sbuf_written_bytes = totals.sbuf_written;
  e.psum_read_bytes = totals.psum_read;
  e.psum_written_bytes = totals.psum_written;
  e.sbuf_peak_bytes = PeakBytes(program, isa::Buffer::kSbuf);
  e.psum_peak_bytes = PeakBytes(program, isa::Buffer::kPsum);
  e.flops = totals.flops;
  e.tensor_flops = totals.tensor_flops;
  const double hbm = e.hbm_read_bytes + e.hbm_written_bytes;
  e.arithmetic_intensity = hbm > 0 ? e.flops / hbm : 0;
  const auto count = [](double v) {
    return v >= 9.2e18 ? std::numeric_limits<int64_t>::max() : static_cast<int64_t>(std::llround(v));
  };
  double executed_in_all = 0;
  for (size_t k = 0; k < totals.executed.size(); ++k) {
    e.executed[k] = count(totals.executed[k]);
    executed_in_all += totals.executed[k];
  }
  e.instructions = count(executed_in_all);

  const std::pair<Bound, double> limits[] = {
      {Bound::kTensor, e.busy_us[static_cast<size_t>(Engine::kTensor)]},
      {Bound::kVector, e.busy_us[static_cast<size_t>(Engine::kVector)]},
      {Bound::kScalar, e.busy_us[static_cast<size_t>(Engine::kScalar)]},
      {Bound::kGpSimd, e.busy_us[static_cast<size_t>(Engine::kGpSimd)]},
      {Bound::kDma, e.busy_us[static_cast<size_t>(Engine::kDma)]},
      {Bound::kMemory, hbm / kHbmBytesPerNs / kNsPerUs},
  };
  for (const auto& [bound, us] : limits) {
    if (us <= e.roofline_us) continue;
    e.roofline_us = us;
    e.bound = bound;
  }
  if (e.roofline_us < kBindingShare * e.latency_us) e.bound = Bound::kLatency;

  std::map<int, LineCost> lines;
  std::map<int, double> executed;
  std::map<int, std::array<double, isa::kEngineCount>> by_engine;
  for (size_t n = 0; n < instrs.size(); ++n) {
    if (instrs[n].totals.executed == 0) continue;
    LineCost& line = lines[instrs[n].line];
    line.line = instrs[n].line;
    line.busy_us += instrs[n].totals.busy_ns / kNsPerUs;
    executed[line.line] += instrs[n].totals.executed;
    by_engine[line.line][static_cast<size_t>(instrs[n].engine)] += instrs[n].totals.busy_ns;
  }
  for (auto& [number, line] : lines) {
    line.instructions = count(executed[number]);
    const auto& busy = by_engine[number];
    line.engine = static_cast<Engine>(std::max_element(busy.begin(), busy.end()) - busy.begin());
    e.lines.push_back(line);
  }
  std::stable_sort(e.lines.begin(), e.lines.end(),
                   [](const LineCost& a, const LineCost& b) { return a.busy_us > b.busy_us; });
  if (e.lines.size() > options.top_lines) e.lines.resize(options.top_lines);
  return e;
}

}  // namespace nkiagent::nki::timing
