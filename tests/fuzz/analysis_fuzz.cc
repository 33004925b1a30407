// A valid program, however hostile, can be checked, and its latency estimated or refused.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "common/nki/check/check.h"
#include "common/nki/ir/legality.h"
#include "common/nki/ir/serialize.h"
#include "common/nki/timing/timing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace nki = nkiagent::nki;
  const auto program = nki::ir::Parse({reinterpret_cast<const char*>(data), size});
  if (!program.ok()) return 0;
  nki::ir::ForEachInstr(program->body,
                        [&](const nki::ir::Instr& instr, auto) { nki::ir::CheckInstr(*program, instr); });
  if (nki::check::Check(*program).size() > nki::check::kMaxFindings) std::abort();
  const auto estimate = nki::timing::EstimateLatency(*program);
  if (estimate.ok() && !(estimate->latency_us >= 0)) std::abort();
  return 0;
}
