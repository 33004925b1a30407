// nkictl verify: is this kernel right for this module? No orchestrator and no model; a compile-service and a
// verify-service of its own.
#ifndef SERVICES_NKICTL_VERIFY_KERNEL_H_
#define SERVICES_NKICTL_VERIFY_KERNEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "services/nkictl/commands.h"

namespace nkiagent::nkictl {

struct VerifyKernelFlags {
  std::string task;    // KernelBench-style file
  std::string kernel;  // file with the kernel
  // Instead of both: a file with one JSON object a line, of the keys id, task, kernel (paths) or
  // kernel_source, atol, rtol, trials, seeds, rigor; "-" is standard input. Answers are JSON lines too.
  std::string batch;
  double atol = -1;  // below zero: verify-service's own
  double rtol = -1;
  int trials = 0;
  std::vector<uint64_t> seeds;
  uint64_t weight_seed = 0;
  std::string rigor = "standard";
};

// 0: the kernel passes (in a batch: every line got an answer). 1: it does not.
int VerifyKernel(const Environment& environment, const VerifyKernelFlags& flags);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_VERIFY_KERNEL_H_
