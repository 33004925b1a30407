#include "services/llm_gateway/builtin/plan.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "services/llm_gateway/builtin/residency.h"

namespace nkiagent::builtin {
namespace {

int64_t Divisor(int64_t size, int64_t limit) {
  for (int64_t d = std::min(size, limit); d > 1; --d) {
    if (size % d == 0) return d;
  }
  return 1;
}

// The row axis that fills the partitions with the fewest tiles; the last of equals, which lies closest in
// memory.
int BestPartitionAxis(const Iteration& it, const std::vector<int>& candidates) {
  int best = -1;
  double best_tiles = std::numeric_limits<double>::infinity();
  for (int axis : candidates) {
    // Loops over all other axes times tiles along this one; the common product cancels.
    const AxisTiling tiling = TileAxis(it, axis, kMaxPartitions);
    const double tiles = static_cast<double>(tiling.count()) / static_cast<double>(tiling.size);
    if (tiles <= best_tiles) {
      best_tiles = tiles;
      best = axis;
    }
  }
  return best;
}

// Squares smaller than this aren't worth turning.
constexpr int64_t kSmallestTurnedBlock = 16;

void TileRows(const Program& program, StagePlan* plan) {
  const Iteration& it = plan->iteration;
  std::vector<int> rows, frees;
  for (int i = 0; i < static_cast<int>(it.dims.size()); ++i) (it.free[i] ? frees : rows).push_back(i);
  std::vector<int> candidates = rows;
  if (plan->stage.matmul >= 0) {
    // The moving matrix is the same for all rows of a tile, so an axis that selects matrices needs a loop.
    for (const Access& access : it.accesses) {
      if (access.op != plan->stage.matmul || access.operand != 1) continue;
      std::erase_if(candidates, [&](int axis) { return access.strides[axis] != 0; });
    }
  }
  const int partition_axis = BestPartitionAxis(it, candidates);
  plan->partition = TileAxis(it, partition_axis, kMaxPartitions);
  for (int axis : rows) {
    if (axis != partition_axis) plan->row_loops.push_back(axis);
  }
  int64_t limit = std::numeric_limits<int64_t>::max();
  if (plan->stage.gathers)
    limit = kGatherFree;
  else if (plan->stage.matmul >= 0)
    limit = kMaxMovingFree;
  // What selects among a row needs all of it.
  const bool selects = std::any_of(plan->stage.ops.begin(), plan->stage.ops.end(),
                                   [&](int op) { return IsSelection(program.ops[op].fn); });
  if (plan->assumptions.max_free > 0 && !selects) limit = std::min(limit, plan->assumptions.max_free);
  if (!frees.empty()) {
    plan->free = TileAxis(it, frees.back(), limit);
    plan->free_loops.assign(frees.begin(), frees.end() - 1);
  }
}

// Blocks of fewer columns aren't worth reading the rows again for each.
constexpr int64_t kSmallestPanel = 128;

// Cuts the columns into blocks whose moving matrices fit on chip, all with the same number of tiles.
void CutPanel(int64_t bytes, StagePlan* plan) {
  MatmulTiling& mm = plan->matmul;
  AxisTiling& columns = plan->free;
  mm.panel_tiles = columns.count();
  const int64_t limit = plan->assumptions.panel_bytes / (mm.k_count() * bytes);  // in columns
  if (!mm.resident_moving || columns.axis < 0 || columns.size <= limit) return;
  for (int64_t panels = (columns.size + limit - 1) / std::max<int64_t>(limit, 1);
       panels * kSmallestPanel <= columns.size; ++panels) {
    const int64_t width = (columns.size + panels - 1) / panels;
    AxisTiling tiling = columns;
    tiling.tile = ChooseTile(width, columns.tile);
    const int64_t tiles = (width + tiling.tile - 1) / tiling.tile;
    if (tiles * panels != tiling.count() || tiles * tiling.tile > limit) continue;
    columns = tiling;
    mm.panel_tiles = tiles;
    mm.panels = panels;
    return;
  }
  mm.resident_moving = false;
}

StagePlan PlanStage(const Program& program, const StagedProgram& staged, const Stage& stage,
                    const StageAssumptions& assumptions) {
  StagePlan plan;
  plan.stage = stage;
  plan.iteration = Coalesce(program, staged, stage);
  plan.assumptions = assumptions;
  if (stage.alone()) return plan;
  if (stage.windowed) {
    TileWindows(program, &plan);
    return plan;
  }
  if (stage.has_free) {
    TileRows(program, &plan);
    SpreadRows(program, &plan);
  } else {
    TileElementwise(program, &plan);
  }
  if (stage.matmul >= 0 && !stage.gathers) {
    plan.matmul.k = program.ops[stage.matmul].operands[0].view.dims[2];
    plan.matmul.k_tile = ChooseTile(plan.matmul.k, kMaxPartitions);
    plan.matmul.resident_moving = assumptions.resident_moving;
    CutPanel(DTypeBytes(program.ops[stage.matmul].operands[1].dtype), &plan);
  }
  return plan;
}

}  // namespace

AxisTiling TileAxis(const Iteration& it, int axis, int64_t limit) {
  AxisTiling tiling;
  tiling.axis = axis;
  if (axis < 0) return tiling;
  tiling.size = it.dims[axis];
  tiling.tile = ChooseTile(tiling.size, limit);
  return tiling;
}

int64_t TurnedBlock(const StagePlan& plan) { return Divisor(plan.free.tile, kMaxPartitions); }

bool IsTurned(const StagePlan& plan, const Access& access, DType dtype) {
  const int p = plan.partition.axis, f = plan.free.axis;
  if (access.on_chip && !access.is_store) return false;
  if (p < 0 || f < 0 || plan.spread.parts > 1 || plan.stage.matmul >= 0 || !plan.assumptions.finite_tiles ||
      !IsFloat(dtype))
    return false;
  if (access.strides[p] != 1 || std::abs(access.strides[f]) <= 1) return false;
  // Rows beyond the last hold whatever the chip held, which must not be multiplied into the others.
  if (access.is_store && plan.partition.ragged()) return false;
  return std::min(plan.partition.tile, TurnedBlock(plan)) >= kSmallestTurnedBlock;
}

int64_t ChooseTile(int64_t size, int64_t limit) {
  if (size <= limit) return size;
  const int64_t tiles = (size + limit - 1) / limit;
  const int64_t even = Divisor(size, limit);
  // A few more tiles are well spent on having no ragged one.
  if (4 * (size / even) <= 5 * tiles) return even;
  return (size + tiles - 1) / tiles;
}

absl::StatusOr<KernelPlan> MakePlan(const Graph& graph, const Assumptions& assumptions) {
  absl::StatusOr<Program> program = LowerGraph(graph, assumptions.lowering);
  if (!program.ok()) return program.status();
  KernelPlan plan;
  plan.assumptions = assumptions;
  plan.program = *std::move(program);
  if (assumptions.lowering.fused_attention) FuseAttention(&plan.program);
  plan.staged = CutIntoStages(plan.program);
  for (size_t i = 0; i < plan.staged.stages.size(); ++i) {
    plan.stages.push_back(
        PlanStage(plan.program, plan.staged, plan.staged.stages[i], assumptions.ForStage(i)));
  }
  ChooseResidences(&plan);
  return plan;
}

}  // namespace nkiagent::builtin
