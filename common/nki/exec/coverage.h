// Proofs about what an instruction reads and writes, whatever the data.
#ifndef NKIAGENT_COMMON_NKI_EXEC_COVERAGE_H_
#define NKIAGENT_COMMON_NKI_EXEC_COVERAGE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/nki/exec/ranges.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

// The accesses that `instr` reads, destinations that it reads before writing included; not the run-time
// indices.
std::vector<const ir::Access*> ReadsOf(const ir::Instr& instr);

// Whether `instr` writes every element of its destination `dst` (no mask, run-time index or kept element).
bool WritesWholeTile(const ir::Instr& instr, const ir::Access& dst);

// Whether the tile positions and the iterations of `loops` together reach each of the tensor's `elements`
// elements.
bool CoversTensor(const ir::Program& program, const ir::Access& access,
                  absl::Span<const ir::Loop* const> loops, int64_t elements,
                  absl::Span<const WideRange> symbols);

// Whether different positions of a tile with these strides are different elements.
bool StridesAreInjective(absl::Span<const int64_t> shape, absl::Span<const int64_t> strides);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_COVERAGE_H_
