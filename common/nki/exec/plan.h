// The form in which a program is executed: addresses as strides, tensors with their life spans, loops with
// what may run in parallel. Made once for each execution; everything that an iteration would find again is
// found here.
#ifndef NKIAGENT_COMMON_NKI_EXEC_PLAN_H_
#define NKIAGENT_COMMON_NKI_EXEC_PLAN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/nki/exec/coalesce.h"
#include "common/nki/exec/context.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

using Dims = std::vector<int64_t>;

// constant + sum(coefficient * symbol) + sum(dims[d] * position along dimension d of the instruction's
// iteration space). Has no overflow for any iteration of the program (else the instruction has no fast form).
struct LinearForm {
  int64_t constant = 0;
  absl::InlinedVector<ir::Affine::Term, 3> terms;
  Dims dims;

  // Without the dims part.
  int64_t Base(const std::vector<int64_t>& symbols) const {
    int64_t v = constant;
    for (const ir::Affine::Term& t : terms) v += t.coefficient * symbols[static_cast<size_t>(t.symbol)];
    return v;
  }
};

// The index along one axis, where it is not proven to stay inside for every iteration and position.
struct AxisCheck {
  int axis = 0;
  int64_t size = 0;
  LinearForm index;
};

// A run-time index that is one number for each position along dimension 0 of the iteration space.
struct IndirectPlan {
  bool active = false;
  int axis = 0;                         // of the accessed tensor
  int64_t size = 0;                     // of that axis
  int64_t stride = 0;                   // elements of the accessed tensor between its neighbours
  LinearForm index;                     // what the run-time number is added to; moves with dimension 0 alone
  ir::TensorId tensor = ir::kNoTensor;  // holds the numbers
  isa::DType dtype = isa::DType::kInt32;
  LinearForm offset;  // of a number in `tensor`; proven inside it
};

// An access as strides over the iteration space of its instruction.
struct AccessPlan {
  ir::TensorId tensor = ir::kNoTensor;  // kNoTensor: absent, or a constant
  isa::DType dtype = isa::DType::kFloat32;
  int64_t element_bytes = 4;
  LinearForm offset;  // in elements; dims are the strides
  std::vector<AxisCheck> checks;
  IndirectPlan indirect;  // its part is not in `offset` and `checks`
  bool constant = false;  // `value` instead of memory
  double value = 0;
  // The tile's own shape and masks, for instructions that take their operands one by one.
  Dims shape;
  std::vector<LinearForm> masks;

  bool IsMemory() const { return tensor != ir::kNoTensor; }
};

struct InstrPlan;
// Executes an instruction. False after setting context.fault or context.status.
using FastFn = bool (*)(Context& context, const InstrPlan& plan, class Team* team);

struct InstrPlan {
  const ir::Instr* instr = nullptr;
  FastFn fast = nullptr;  // null: the reference executes it
  // The iteration space; what it is depends on the instruction (plan.cc).
  Dims space;
  std::vector<AccessPlan> dst;
  std::vector<AccessPlan> src;
  std::vector<LinearForm> masks;  // over the iteration space, all >= 0
  int64_t work = 1;               // elements of simple work, roughly
};

struct LoopPlan;

// One instruction or loop of a body, with the tensors that live from it or until it.
struct StepPlan {
  std::unique_ptr<LoopPlan> loop;  // null: `instr`
  InstrPlan instr;
  std::vector<ir::TensorId> create;   // before the step
  std::vector<ir::TensorId> release;  // after it
};

struct BodyPlan {
  std::vector<StepPlan> steps;
};

struct LoopPlan {
  ir::SymbolId symbol = 0;
  int64_t start = 0;
  int64_t step = 1;
  int64_t trips = 0;
  std::vector<ir::SymbolId> derived;  // symbols to evaluate again when this loop's index changes, ascending
  BodyPlan body;
  double work = 0;                   // of all iterations
  bool parallel = false;             // iterations touch disjoint memory: proven, not believed
  std::vector<ir::TensorId> shared;  // tensors from outside that the body uses, views included
};

struct TensorPlan {
  // Its first writes are not proven to cover it: filled with the undefined pattern when created.
  bool fill = true;
  // Tensors that see the same storage, itself included; empty for views.
  std::vector<ir::TensorId> aliases;
  bool read = false;            // by any instruction
  bool proven_written = false;  // outputs: every element is written, whatever the data
};

struct Plan {
  Coalesced coalesced;  // owns instructions that the steps name
  BodyPlan body;
  std::vector<TensorPlan> tensors;
  int64_t max_partitions = 1;  // of any tile; sizes the registers
};

// `program` must be validated and outlive the plan. INVALID_ARGUMENT as CheckOperandShapes. Copies are left
// out (coalesce.h) if `coalesce`.
absl::StatusOr<Plan> MakePlan(const ir::Program& program, bool coalesce = true);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_PLAN_H_
