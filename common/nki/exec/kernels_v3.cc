// Row kernels, compiled for x86-64-v3 (CMakeLists.txt).
#define NKI_KERNELS_NAMESPACE kernels_v3
#define NKI_KERNELS_NAME "avx2"
#define NKI_KERNELS_GETTER KernelsV3
#include "common/nki/exec/kernels.inc"  // NOLINT(build/include)
