#include "common/nki/exec/kernels.h"

#include <array>

namespace nkiagent::nki::exec {

// Defined by kernels_*.cc.
const Kernels* KernelsBase();
#ifdef NKI_EXEC_X86_KERNELS
const Kernels* KernelsV3();
const Kernels* KernelsV4();
#endif

namespace {

struct Available {
  std::array<const Kernels*, 3> sets{};
  int count = 0;
};

Available Find() {
  Available a;
  a.sets[static_cast<size_t>(a.count++)] = KernelsBase();
#ifdef NKI_EXEC_X86_KERNELS
  // The features that the compiler may use under -march=x86-64-v3 and -v4.
  __builtin_cpu_init();
#ifdef __clang__
  // Clang 14 has no names for these; processors with AVX2 have them.
  const bool rest = true;
#else
  const bool rest =
      __builtin_cpu_supports("f16c") && __builtin_cpu_supports("movbe") && __builtin_cpu_supports("lzcnt");
#endif
  const bool v3 = rest && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v3) a.sets[static_cast<size_t>(a.count++)] = KernelsV3();
  if (v4) a.sets[static_cast<size_t>(a.count++)] = KernelsV4();
#endif
  return a;
}

const Available& Sets() {
  static const Available available = Find();
  return available;
}

}  // namespace

const Kernels& BestKernels() { return *Sets().sets[static_cast<size_t>(Sets().count - 1)]; }

const Kernels* const* AllKernels(int* count) {
  *count = Sets().count;
  return Sets().sets.data();
}

}  // namespace nkiagent::nki::exec
