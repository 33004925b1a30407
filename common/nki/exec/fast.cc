#include "common/nki/exec/fast.h"

#include <algorithm>

#include "common/nki/exec/coverage.h"
#include "common/nki/exec/fast_ops.h"
#include "common/nki/exec/shapes.h"
#include "common/nki/exec/tile_loop.h"

namespace nkiagent::nki::exec {
namespace {

using isa::AluOp;
using isa::DType;
using isa::Opcode;

bool Foldable(AluOp op) {
  return op == AluOp::kAdd || op == AluOp::kMultiply || op == AluOp::kMaximum || op == AluOp::kMinimum;
}

// fp32 does not hold all of its values.
bool IsWideInteger(DType dtype) { return dtype == DType::kInt32 || dtype == DType::kUInt32; }

// A copy that goes through fp32 in the fast form gives what the reference gives.
bool CopiesThroughFp32(const InstrPlan& plan, const AccessPlan& src) {
  if (!src.IsMemory()) return !IsWideInteger(plan.dst[0].dtype);
  return src.dtype != plan.dst[0].dtype || !IsWideInteger(src.dtype);
}

bool HasIndirect(const InstrPlan& plan) { return plan.dst[0].indirect.active || plan.src[0].indirect.active; }

// By opcode: the function and the conditions beyond those of every instruction.
FastFn Select(const InstrPlan& plan) {
  const ir::Attrs& at = plan.instr->attrs;
  // Attributes that an instruction does not read may hold anything.
  const bool bitvec0 = isa::Info(at.op0).bitvec;
  const bool bitvec = bitvec0 || isa::Info(at.op1).bitvec;
  switch (plan.instr->op) {
    case Opcode::kDmaCopy:
    case Opcode::kDmaTranspose:
      if (HasIndirect(plan) && plan.src[0].IsMemory() && plan.src[0].dtype == plan.dst[0].dtype)
        return FastGather;
      if (HasIndirect(plan)) return nullptr;
      // Integers of different types are copied exactly; the fast form would round them to fp32.
      if (plan.src[0].IsMemory() && plan.src[0].dtype != plan.dst[0].dtype &&
          isa::IsInteger(plan.src[0].dtype) && isa::IsInteger(plan.dst[0].dtype) && at.op0 == AluOp::kNone &&
          IsWideInteger(plan.src[0].dtype)) {
        return FastCopyIntegers;
      }
      return FastCopy;
    case Opcode::kTensorCopy:
      if (HasIndirect(plan)) return plan.src[0].dtype == plan.dst[0].dtype ? FastGather : nullptr;
      return FastCopy;
    case Opcode::kNcTranspose:
    case Opcode::kPartitionBroadcast:
      return FastCopy;
    case Opcode::kMemset:
      return FastMemset;
    case Opcode::kTensorCopyPredicated:
      return CopiesThroughFp32(plan, plan.src[0]) || plan.src[0].dtype == plan.dst[0].dtype
                 ? FastCopyPredicated
                 : nullptr;
    case Opcode::kReciprocal:
      return FastAlu;
    case Opcode::kTensorTensor:
      return bitvec0 ? FastBitvec : FastAlu;
    case Opcode::kScalarTensorTensor:
      return bitvec ? FastBitvec : FastAlu;
    case Opcode::kTensorScalar:
      if (bitvec) return FastBitvec;
      return (plan.dst[1].IsMemory() && !Foldable(at.reduce_op)) ? nullptr : FastAlu;
    case Opcode::kActivation:
      return at.reduce_op == AluOp::kNone || Foldable(at.reduce_op) ? FastActivation : nullptr;
    case Opcode::kIota:
      return FastSelect;
    case Opcode::kAffineSelect:
      return CopiesThroughFp32(plan, plan.src[0]) ? FastSelect : nullptr;
    case Opcode::kTensorReduce:
    case Opcode::kTensorPartitionReduce:
      return Foldable(at.op0) ? FastReduce : nullptr;
    case Opcode::kNcMatmul:
      return FastMatmul;
    case Opcode::kTensorTensorScan:
      return FastScan;
    case Opcode::kBnStats:
      return FastBnStats;
    case Opcode::kNcStreamShuffle:
      return FastShuffle;
    case Opcode::kDropout:
      return CopiesThroughFp32(plan, plan.src[0]) ? FastRandom : nullptr;
    case Opcode::kRng:
      return FastRandom;
    case Opcode::kRangeSelect:
      return FastRangeSelect;
    case Opcode::kBnAggr:
      return FastBnAggr;
    case Opcode::kLocalGather:
      return FastLocalGather;
    case Opcode::kMax8:
    case Opcode::kNcFindIndex8:
      return FastEight;
    case Opcode::kNcMatchReplace8:
      return FastReplaceEight;
  }
  return nullptr;
}

}  // namespace

FastFn FastFor(const InstrPlan& plan) {
  size_t masks = plan.masks.size();
  for (const auto* list : {&plan.dst, &plan.src}) {
    for (const AccessPlan& a : *list) masks = std::max(masks, a.masks.size());
  }
  if (masks > kMaxFastMasks) return nullptr;
  for (const AccessPlan& dst : plan.dst) {
    if (!dst.IsMemory()) continue;
    // A destination that is written twice needs the order of the definition.
    const Dims& shape =
        &dst == &plan.dst[0] && plan.instr->op == Opcode::kNcTranspose ? plan.space : dst.shape;
    Dims moving = shape;
    // Rows at run-time places are written in order.
    if (dst.indirect.active) moving[0] = 1;
    if (!StridesAreInjective(moving, dst.offset.dims)) return nullptr;
  }
  return Select(plan);
}

}  // namespace nkiagent::nki::exec
