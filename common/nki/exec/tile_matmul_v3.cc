// Tile products, compiled for x86-64-v3 (CMakeLists.txt).
#define NKI_TILE_MATMUL_NAMESPACE tile_matmul_v3
#define NKI_TILE_MATMUL_GETTER TileMatmulV3
#define NKI_TILE_MATMUL_LANES 8
#define NKI_TILE_MATMUL_ROWS 6
#include "common/nki/exec/tile_matmul.inc"  // NOLINT(build/include)
