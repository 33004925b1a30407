// Random programs of one instruction each, for comparing ways of executing them.
#ifndef NKIAGENT_COMMON_NKI_EXEC_TESTING_RANDOM_PROGRAM_H_
#define NKIAGENT_COMMON_NKI_EXEC_TESTING_RANDOM_PROGRAM_H_

#include <cstdint>
#include <vector>

#include "common/nki/exec/testing/run_program.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec::testing {

struct RandomProgram {
  ir::Program program;
  std::vector<HostTensor> inputs;
};

// A valid program whose one instruction of kind `op` has random shapes, strides, offsets, dtypes, masks,
// operators and aliases, perhaps inside a loop; its operands share a few tensors, so that sources and
// destinations overlap. Some programs reach outside a tensor. All tensors are returned as outputs. Equal
// seeds give equal programs.
RandomProgram MakeRandomProgram(isa::Opcode op, uint64_t seed);

}  // namespace nkiagent::nki::exec::testing

#endif  // NKIAGENT_COMMON_NKI_EXEC_TESTING_RANDOM_PROGRAM_H_
