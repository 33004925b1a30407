// What one child may use. Applied with setrlimit(2) in the child before it sees its request.
#ifndef NKIAGENT_COMMON_SANDBOX_LIMITS_H_
#define NKIAGENT_COMMON_SANDBOX_LIMITS_H_

#include <cstdint>

namespace nkiagent::sandbox {

struct Limits {
  // RLIMIT_AS. Counts everything mapped, the parent's libraries included (about 1 GiB with torch).
  uint64_t address_space_bytes = uint64_t{4} << 30;
  // RLIMIT_CPU over all threads of the child. Whole seconds is what the kernel offers.
  uint64_t cpu_seconds = 60;
  // RLIMIT_NOFILE. Descriptors passed with the request count.
  uint64_t open_files = 128;
  // RLIMIT_NPROC: threads of the child. New processes are refused by the system call filter whatever this
  // says.
  uint64_t processes = 32;
  // RLIMIT_FSIZE: the longest file the child can make, shared memory included.
  uint64_t file_size_bytes = uint64_t{64} << 20;
  // More bytes than this on stdout and stderr together end the child.
  uint64_t output_bytes = uint64_t{16} << 20;
};

}  // namespace nkiagent::sandbox

#endif  // NKIAGENT_COMMON_SANDBOX_LIMITS_H_
