// The engine timeline of a program as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open: the
// JSON object form of the Trace Event Format, timestamps in microseconds from the start of the program.
//
// Tracks, all of one process named after the kernel: one for each engine that works (Tensor, Vector, Scalar,
// GpSimd, Sync), one for each DMA transfer in flight ("DMA queue 0" and on), and counters of live SBUF and
// PSUM bytes and of DMA throughput. A slice is one execution of one instruction: its args hold source line
// and text, loop indices, bytes, FLOPs, cycles, how long it waited and for what. Flow arrows lead from a
// result to the work that waited for it.
//
// Bounded: iterations of a loop that repeat are one slice ("x 4096 iterations of i") with the busy time of
// all of them, and beyond TraceOptions::max_slices the rest of each track is one slice. On each engine's
// track the args "busy_us" add up to what the estimate says the engine works.
#ifndef NKIAGENT_COMMON_NKI_TIMING_TRACE_H_
#define NKIAGENT_COMMON_NKI_TIMING_TRACE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/nki/ir/program.h"
#include "common/nki/timing/timing.h"

namespace nkiagent::nki::timing {

// A slice with its arrows and counters takes about 700 bytes of JSON.
inline constexpr size_t kDefaultTraceSlices = 10'000;
inline constexpr size_t kMaxTraceSlices = 50'000;

struct TraceOptions {
  TimingOptions timing;
  // Most instruction executions shown one by one; at most kMaxTraceSlices.
  size_t max_slices = kDefaultTraceSlices;
};

// `source` is the kernel's text, for the lines that slices name; it may be empty. Errors are those of
// EstimateLatency.
absl::StatusOr<std::string> TraceJson(const ir::Program& program, absl::string_view source,
                                      const TraceOptions& options = {});

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_TRACE_H_
