// Products of matrices of the Tensor engine's size, compiled for several instruction sets. At 128 x 512 x 128
// a BLAS spends a third of its time packing operands that both come with the contraction outermost; this
// packs each once, row by row, and keeps a block of the result in registers.
#ifndef NKIAGENT_COMMON_NKI_EXEC_TILE_MATMUL_H_
#define NKIAGENT_COMMON_NKI_EXEC_TILE_MATMUL_H_

#include <cstdint>

namespace nkiagent::nki::exec {

// c[m, n] = sum over k of a[k, m] * b[k, n], or += if `add`; rows are contiguous, ld* floats apart. `work`
// holds TileMatmulWork(m, k) floats, 64-byte aligned.
struct TileMatmulCall {
  const float* a;
  int64_t lda;
  const float* b;
  int64_t ldb;
  float* c;
  int64_t ldc;
  int64_t m, n, k;
  bool add;
  float* work;
};
using TileMatmulFn = void (*)(const TileMatmulCall& call);

// The largest m, n and k worth packing whole.
inline constexpr int64_t kTileMatmulMax = 512;

inline constexpr int64_t TileMatmulWork(int64_t m, int64_t k) {
  // The rows of a in panels, up to a block more, a vector after each panel of six rows or more; one panel of
  // b.
  constexpr int64_t kBlock = 32;
  return (m + 2 * kBlock) * k + 3 * m + 4 * kBlock;
}

// The one for this processor, or null: use a BLAS.
TileMatmulFn BestTileMatmul();
// The one that belongs to AllKernels()[set] (kernels.h), or null.
TileMatmulFn TileMatmulOf(int set);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_TILE_MATMUL_H_
