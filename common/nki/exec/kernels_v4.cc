// Row kernels, compiled for x86-64-v4 (CMakeLists.txt).
#define NKI_KERNELS_NAMESPACE kernels_v4
#define NKI_KERNELS_NAME "avx512"
#define NKI_KERNELS_GETTER KernelsV4
#include "common/nki/exec/kernels.inc"  // NOLINT(build/include)
