// Row kernels, compiled for any processor (CMakeLists.txt).
#define NKI_KERNELS_NAMESPACE kernels_base
#define NKI_KERNELS_NAME "baseline"
#define NKI_KERNELS_GETTER KernelsBase
#include "common/nki/exec/kernels.inc"  // NOLINT(build/include)
