// Cuts a Program into stages: loops over tiles that run one after another and pass values through HBM.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_STAGES_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_STAGES_H_

#include <cstdint>
#include <vector>

#include "services/llm_gateway/builtin/program.h"

namespace nkiagent::builtin {

// How much of its stage's iteration space an operation covers.
enum class Extent {
  kFull,  // every element: dims() of the stage, row-major
  kRow,   // one element per row: the axes that are not free, row-major
};

// Operations that are evaluated together, tile by tile, each value staying on chip between them.
//
// The space is a shape (axes of size 1 dropped) in the order of the values' elements. Its free axes are those
// that reductions run over, or the columns of the matmul; the others are rows and go to partitions and loops.
// A stage with neither reductions nor a matmul has no free axes yet: tiling may choose.
struct Stage {
  Dims dims;
  std::vector<bool> free;
  bool has_free = false;
  std::vector<int> ops;         // indices into Program::ops, in execution order
  std::vector<Extent> extents;  // of each of them
  // Index into Program::ops of the one matmul, or operation over windows, that feeds the stage; or -1.
  int matmul = -1;
  bool recurrent = false;  // it is one operation that loops over steps, with no axes that others could share
  bool attends = false;    // it is one attention, likewise
  bool gathers = false;    // it is a gather of rows
  bool windowed = false;   // it is one over windows: its axes stay apart, tiling merges them

  bool alone() const { return recurrent || attends; }
};

struct StagedProgram {
  std::vector<Stage> stages;
  // Per value: whether it lies in HBM (arguments, results, and what one stage hands to a later one), and
  // whether it is a result.
  std::vector<bool> in_hbm;
  std::vector<bool> is_result;
};

// Operations that no result needs are left out.
StagedProgram CutIntoStages(const Program& program);

// Strides over the stage's axes for something that has `strides` over `dims` and extent `extent` in the
// stage. Rows don't move along the free axes.
Dims StridesOverStage(const Stage& stage, Extent extent, const Dims& dims, const Dims& strides);

// A part of the partition axis: `size` indices, `stride` elements apart.
struct PartitionPiece {
  int64_t size = 1, stride = 0;
};

// One read or write of HBM, or of what stays in SBUF between stages, by a stage.
struct Access {
  int value = -1;
  int64_t offset = 0;
  Dims strides;  // over the axes of the iteration (see below), in elements
  bool is_store = false;
  int op = -1;       // index into Program::ops
  int operand = -1;  // which operand of it; -1 for its result
  Extent extent = Extent::kFull;
  bool is_positions = false;  // nothing is moved: the elements' positions themselves
  // It goes to the value's residence in SBUF (KernelPlan::residences); a store does so beside HBM, if the
  // value lies there too. An operand of a matmul is turned on its way if `turned`.
  bool on_chip = false;
  bool turned = false;
  // Of a stage with spread rows whose partition axis is more than one step for this access: outer, inner.
  std::vector<PartitionPiece> pieces;
};

// The stage's axes as loops see them: rows first, then free axes, neighbours merged wherever every access
// allows.
struct Iteration {
  Dims dims;
  std::vector<bool> free;
  std::vector<Access> accesses;
};
Iteration Coalesce(const Program& program, const StagedProgram& staged, const Stage& stage);

// Merges `axis` and the one after it if every access steps through both as through one; whether it did.
bool MergeAxes(Iteration* iteration, size_t axis);

// Cuts `axis` into (size / inner, inner); `inner` divides it.
void SplitAxis(Iteration* iteration, size_t axis, int64_t inner);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_STAGES_H_
