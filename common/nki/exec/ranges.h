// Interval arithmetic that cannot overflow: which values an affine expression of a hostile program may take.
#ifndef NKIAGENT_COMMON_NKI_EXEC_RANGES_H_
#define NKIAGENT_COMMON_NKI_EXEC_RANGES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

__extension__ typedef __int128 Int128;

struct WideRange {
  Int128 min = 0;
  Int128 max = 0;
};

// Every value that each symbol may take; all of int64 for derived symbols whose argument may overflow.
std::vector<WideRange> WideSymbolRanges(const ir::Program& program);

// Range of `a` over tile positions inside `shape`.
WideRange WideRangeOf(const ir::Affine& a, absl::Span<const int64_t> shape,
                      absl::Span<const WideRange> symbols);

// Whether no partial sum of `a` can leave +-2^62, in any order of evaluation.
bool NeverOverflows(const ir::Affine& a, absl::Span<const int64_t> shape,
                    absl::Span<const WideRange> symbols);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_RANGES_H_
