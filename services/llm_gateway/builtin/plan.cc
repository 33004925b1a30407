#include "services/llm_gateway/builtin/plan.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/neighbours.h"
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

// Nanoseconds of computing: instructions start after some 64 cycles and then take an element in each, of
// about 1 GHz; a matmul of float32 takes four passes of twice that rate.
double ComputeNs(const Program& program, const StagePlan& plan) {
  constexpr double kStart = 64, kPasses = 4;
  double tiles = static_cast<double>(plan.free.count());
  for (size_t i = 0; i < plan.iteration.dims.size(); ++i) {
    const int axis = static_cast<int>(i);
    if (axis == plan.partition.axis) {
      tiles *= static_cast<double>(plan.partition.count());
    } else if (axis != plan.free.axis) {
      tiles *= static_cast<double>(plan.iteration.dims[i]);
    }
  }
  const double columns = kStart + static_cast<double>(plan.free.tile);
  double ns = static_cast<double>(plan.stage.ops.size()) * columns;
  if (plan.stage.matmul >= 0) {
    const bool wide = program.ops[plan.stage.matmul].dtype == DType::kFloat32;
    ns += static_cast<double>(plan.matmul.k_count()) * columns * (wide ? kPasses : 1) / 2;
  }
  return tiles * ns;
}

// The rows on partitions that cost least, with what passes through HBM since a neighbour cuts it otherwise.
AxisTiling AgreeOnRows(const Program& program, const Neighbours& neighbours,
                       const std::vector<int>& candidates, const StagePlan& planned) {
  StagePlan plan = planned;
  const auto cost = [&] { return kHandoverNs * neighbours.Disagreeing(plan) + ComputeNs(program, plan); };
  AxisTiling best = plan.partition;
  double least = cost();
  for (int axis : candidates) {
    for (int64_t tile : neighbours.tiles()) {
      plan.partition = TileAxis(plan.iteration, axis, tile);
      const double ns = cost();
      if (ns >= least) continue;
      least = ns;
      best = plan.partition;
    }
  }
  return best;
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

void TileRows(const Program& program, const Neighbours* neighbours, StagePlan* plan) {
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
  plan->partition = TileAxis(it, BestPartitionAxis(it, candidates), kMaxPartitions);
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
  if (plan->stage.matmul >= 0 && !plan->stage.gathers) {
    plan->matmul.k = program.ops[plan->stage.matmul].operands[0].view.dims[2];
    plan->matmul.k_tile = ChooseTile(plan->matmul.k, kMaxPartitions);
    plan->matmul.resident_moving = plan->assumptions.resident_moving;
    CutPanel(DTypeBytes(program.ops[plan->stage.matmul].operands[1].dtype), plan);
  }
  if (neighbours != nullptr) plan->partition = AgreeOnRows(program, *neighbours, candidates, *plan);
  for (int axis : rows) {
    if (axis != plan->partition.axis) plan->row_loops.push_back(axis);
  }
}

StagePlan PlanStage(const Program& program, const StagedProgram& staged, const Stage& stage,
                    const StageAssumptions& assumptions, const Neighbours* neighbours) {
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
    TileRows(program, neighbours, &plan);
    StagePlan spread = plan;
    double saved = SpreadRows(program, &spread);
    if (neighbours != nullptr)
      saved -= kHandoverNs * (neighbours->Disagreeing(spread) - neighbours->Disagreeing(plan));
    if (saved > 0) plan = std::move(spread);
  } else {
    TileElementwise(program, neighbours, &plan);
  }
  return plan;
}

// Tiles each stage again with regard to those around it, forth and back, until nothing changes.
void AgreeOnTiles(KernelPlan* plan) {
  constexpr int kSweeps = 3;
  const std::vector<std::optional<Handover>> handovers = FindHandovers(*plan);
  const size_t count = plan->stages.size();
  bool changed = true;
  for (int sweep = 0; sweep < kSweeps && changed; ++sweep) {
    changed = false;
    for (size_t step = 0; step < count; ++step) {
      const size_t i = sweep % 2 == 0 ? step : count - 1 - step;
      StagePlan& stage = plan->stages[i];
      if (stage.stage.windowed || stage.stage.gathers || stage.stage.recurrent) continue;
      const Neighbours neighbours(*plan, handovers, i);
      if (!neighbours.any() || neighbours.Disagreeing(stage) == 0) continue;
      StagePlan agreed = PlanStage(plan->program, plan->staged, stage.stage, stage.assumptions, &neighbours);
      if (neighbours.Disagreeing(agreed) >= neighbours.Disagreeing(stage)) continue;
      stage = std::move(agreed);
      changed = true;
    }
  }
}

}  // namespace

std::string Tiles::Index(const std::string& number, const std::string& vector) const {
  return count() == 1 ? vector : absl::StrCat(number, " * ", tile, " + ", vector);
}

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
        PlanStage(plan.program, plan.staged, plan.staged.stages[i], assumptions.ForStage(i), nullptr));
  }
  AgreeOnTiles(&plan);
  ChooseResidences(&plan);
  return plan;
}

}  // namespace nkiagent::builtin
