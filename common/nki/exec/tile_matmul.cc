#include "common/nki/exec/tile_matmul.h"

#include "common/nki/exec/kernels.h"

namespace nkiagent::nki::exec {

#ifdef NKI_EXEC_X86_KERNELS
// Defined by tile_matmul_*.cc.
TileMatmulFn TileMatmulV3();
TileMatmulFn TileMatmulV4();

TileMatmulFn TileMatmulOf(int set) {
  // The sets of row kernels come in this order: base, x86-64-v3, x86-64-v4.
  return set <= 0 ? nullptr : (set == 1 ? TileMatmulV3() : TileMatmulV4());
}
#else
TileMatmulFn TileMatmulOf(int) { return nullptr; }
#endif

TileMatmulFn BestTileMatmul() {
  static const TileMatmulFn best = [] {
    int sets = 0;
    AllKernels(&sets);
    return TileMatmulOf(sets - 1);
  }();
  return best;
}

}  // namespace nkiagent::nki::exec
