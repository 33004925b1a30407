// What one instruction may look like on the hardware: operand memories, partition and free sizes, dtypes,
// shapes. The frontend asks when it emits an instruction, so that the error carries the kernel's line; check/
// asks again for programs from elsewhere.
//
// Source of the rules: aws-neuron-sdk v2.24.0 (general/nki/api/nki/isa/__init__.py, nki.errors.rst,
// nki.api.shared.rst).
#ifndef NKIAGENT_COMMON_NKI_IR_LEGALITY_H_
#define NKIAGENT_COMMON_NKI_IR_LEGALITY_H_

#include <vector>

#include "absl/strings/string_view.h"
#include "common/nki/diagnostic.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::ir {

// The rules `instr` breaks, most specific first; empty if it is legal. Tensors are looked up in `program`;
// the instruction need not be part of it yet, but must be structurally sound (validate.h).
std::vector<Diagnostic> CheckInstr(const Program& program, const Instr& instr);

// The rules a tensor declaration breaks (partition size, rank, PSUM bank size, initial values are the
// frontend's).
std::vector<Diagnostic> CheckTensor(const Tensor& tensor);

// One rule, for references.
struct RuleSummary {
  absl::string_view name;  // such as "err_num_partition_mismatch"
  absl::string_view fix;   // the usual one
};

// The rules that speak about this instruction in particular, in the order in which they are checked.
std::vector<RuleSummary> RulesOf(isa::Opcode op);

// A compute engine's tile of this many partitions starts at a multiple of the result: 32, 64 or 128
// (aws-neuron-sdk v2.24.0, general/nki/arch/trainium_inferentia2_arch.rst).
int64_t PartitionStartGranule(int64_t partitions);

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_LEGALITY_H_
