// A program's loops and instructions in order, for analyses that ask what lies inside what.
#ifndef NKIAGENT_COMMON_NKI_IR_FLAT_H_
#define NKIAGENT_COMMON_NKI_IR_FLAT_H_

#include <cstddef>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::ir {

struct FlatLoop {
  const Loop* loop = nullptr;
  int parent = -1;  // index into FlatProgram::loops; -1 = kernel level
  // Its instructions are FlatProgram::instrs[begin, end).
  size_t begin = 0;
  size_t end = 0;
  bool runs = false;  // it and all loops around it have trips
};

struct FlatInstr {
  const Instr* instr = nullptr;
  int loop = -1;  // innermost enclosing loop; -1 = kernel level
  bool runs = false;
};

// Refers to the program, which must outlive it and stay as it is.
struct FlatProgram {
  explicit FlatProgram(const Program& p);

  const Program& program;
  std::vector<FlatLoop> loops;  // outer before inner
  std::vector<FlatInstr> instrs;
  std::vector<int> loop_of_symbol;  // index into loops; -1 for derived symbols

  const Tensor& TensorOf(const Access& a) const { return program.tensors[static_cast<size_t>(a.tensor)]; }
  TensorId StorageOf(const Access& a) const { return ir::StorageOf(program, a.tensor); }
  int ParentOf(int loop) const { return loops[static_cast<size_t>(loop)].parent; }
  // Whether loop `inner` is `outer` or lies inside it; -1 is the kernel.
  bool IsInside(int inner, int outer) const;
  // The loop whose iterations create the tensor; -1 = kernel level.
  int ScopeOf(TensorId tensor) const;
};

// The destinations and sources of an instruction that are tiles.
absl::InlinedVector<const Access*, 2> Destinations(const Instr& instr);
absl::InlinedVector<const Access*, 4> Sources(const Instr& instr);

// One and the same elements in every execution.
bool SameElements(const Access& a, const Access& b);

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_FLAT_H_
