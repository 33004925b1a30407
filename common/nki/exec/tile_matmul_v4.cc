// Tile products, compiled for x86-64-v4 (CMakeLists.txt).
#define NKI_TILE_MATMUL_NAMESPACE tile_matmul_v4
#define NKI_TILE_MATMUL_GETTER TileMatmulV4
#define NKI_TILE_MATMUL_LANES 16
#define NKI_TILE_MATMUL_ROWS 12
#include "common/nki/exec/tile_matmul.inc"  // NOLINT(build/include)
