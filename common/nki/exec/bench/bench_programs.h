// The programs whose speed is measured, by hand, as the frontend would trace them.
#ifndef NKIAGENT_COMMON_NKI_EXEC_BENCH_BENCH_PROGRAMS_H_
#define NKIAGENT_COMMON_NKI_EXEC_BENCH_BENCH_PROGRAMS_H_

#include <cstdint>

#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

// y[m, n] = lhsT[k, m].T @ rhs[k, n] in fp32: 128 x 128 stationary and 128 x 512 moving tiles, each loaded
// where it is used ("tiled" in the vendor's tutorial). Sizes are multiples of 512.
ir::Program MatmulProgram(int64_t m, int64_t k, int64_t n);

// Softmax over the last axis, 128 rows at a time: max, exp with a running sum, reciprocal, scale.
ir::Program SoftmaxProgram(int64_t rows, int64_t columns);

// y = a + b, 128 rows at a time.
ir::Program AddProgram(int64_t rows, int64_t columns);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_BENCH_BENCH_PROGRAMS_H_
