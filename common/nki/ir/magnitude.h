// How large the numbers of a program can become when it runs: what makes address arithmetic in 64 bits safe.
#ifndef NKIAGENT_COMMON_NKI_IR_MAGNITUDE_H_
#define NKIAGENT_COMMON_NKI_IR_MAGNITUDE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::ir {

// No partial sum of an expression, in any order, may leave +-kMaxValue; no partial sum of a row-major place,
// with indices that leave their axis as masked-off positions may, +-kMaxPlace.
inline constexpr int64_t kMaxValue = int64_t{1} << 48;
inline constexpr int64_t kMaxPlace = int64_t{1} << 62;

// OK if every expression of the program (indices, masks, run-time indices, arguments of derived symbols,
// `expr`) keeps within these limits for all iterations and tile positions. `program` must be sound otherwise
// (validate.h, which calls this last). INVALID_ARGUMENT names the line.
absl::Status CheckMagnitudes(const Program& program);

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_MAGNITUDE_H_
