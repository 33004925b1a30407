// Tiling of stages without reductions, which may choose any axes, or pieces of them, for a tile. Every choice
// is costed with the figures of the timing model (common/nki/timing/machine.h).
#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "services/llm_gateway/builtin/neighbours.h"
#include "services/llm_gateway/builtin/plan.h"

namespace nkiagent::builtin {
namespace {

constexpr double kDmaEngines = 16;
constexpr double kDescriptorNs = 25;
constexpr double kDmaBytesPerNs = 8.5;
constexpr double kSmallestRunBytes = 64;
constexpr double kDmaIssueNs = 50;
// An instruction on a tile: some 64 cycles to start, then an element in each cycle of about 1 GHz.
constexpr double kStartNs = 64;
// A square turned by the Tensor engine, about, beside what is moved.
constexpr double kTurnNs = 250;
// A tile of several axes is harder to read, so it has to win clearly.
constexpr double kManyAxesFactor = 1.1;
// Axes of a tile beside the partition axis (isa-constraints of SDK 2.24: access patterns have up to 4).
constexpr size_t kMaxTileAxes = 4;

// One way to tile an iteration.
struct Choice {
  const Iteration& it;
  int free = -1, partition = -1;
  std::vector<int> tile_axes;
  int64_t limit = 1;
  int64_t partition_limit = kMaxPartitions;
};

class Coster {
 public:
  Coster(const Program& program, const Neighbours* neighbours, const StagePlan& plan, const Choice& choice)
      : program_(program), neighbours_(neighbours), plan_(plan), choice_(choice) {}

  // Nanoseconds for the whole stage, about.
  double Run() {
    const AxisTiling partition = TileAxis(choice_.it, choice_.partition, choice_.partition_limit);
    const AxisTiling free = TileAxis(choice_.it, choice_.free, choice_.limit);
    partitions_ = partition.tile;
    columns_ = free.tile;
    double tiles = static_cast<double>(partition.count()) * static_cast<double>(free.count());
    for (int i = 0; i < static_cast<int>(choice_.it.dims.size()); ++i) {
      if (i != choice_.free && i != choice_.partition && !IsTileAxis(i))
        tiles *= static_cast<double>(choice_.it.dims[i]);
    }
    double elements = static_cast<double>(columns_), moved = 0, handed_over = 0;
    for (int axis : choice_.tile_axes) elements *= static_cast<double>(choice_.it.dims[axis]);
    double computed = static_cast<double>(plan_.stage.ops.size()) * (kStartNs + elements);
    for (const Access& access : choice_.it.accesses) {
      if (access.is_positions) continue;
      if (neighbours_ != nullptr) {
        const Dims& dims = choice_.it.dims;
        handed_over += kHandoverNs * neighbours_->Disagreeing(dims, partition, free, access);
        if (neighbours_->Stays(dims, partition, free, access)) continue;
      }
      moved += Move(access, partition, free, &computed);
    }
    // Tiles overlap; the first is only moved, the last only computed and stored.
    return tiles * std::max(moved, computed) + moved + computed + handed_over;
  }

 private:
  bool IsTileAxis(int axis) const {
    return std::find(choice_.tile_axes.begin(), choice_.tile_axes.end(), axis) != choice_.tile_axes.end();
  }

  int64_t SizeOf(int axis) const { return axis == choice_.free ? columns_ : choice_.it.dims[axis]; }

  double Move(const Access& access, const AxisTiling& partition, const AxisTiling& free,
              double* computed) const {
    const double bytes = static_cast<double>(DTypeBytes(program_.values[access.value].dtype));
    const bool along_rows = choice_.partition >= 0 && access.strides[choice_.partition] != 0;
    StagePlan as_planned;
    as_planned.stage = plan_.stage;
    as_planned.assumptions = plan_.assumptions;
    as_planned.partition = partition;
    as_planned.free = free;
    if (choice_.tile_axes.empty() && IsTurned(as_planned, access, program_.values[access.value].dtype)) {
      *computed += kTurnNs + static_cast<double>(columns_);
      return kDmaIssueNs + Transfer(static_cast<double>(columns_), static_cast<double>(partitions_) * bytes);
    }
    const bool apart = !access.is_store && choice_.free >= 0 && access.strides[choice_.free] > 1;
    if (apart) as_planned.iteration = choice_.it;
    if (apart && choice_.tile_axes.empty() &&
        IsSpaced(as_planned, access, program_.values[access.value].dims)) {
      return kDmaIssueNs + Transfer(static_cast<double>(partitions_),
                                    static_cast<double>(SpacedRun(as_planned, access)) * bytes);
    }
    // Loads come in the order in which they lie, whatever the tile's; stores go in the tile's.
    std::vector<int> axes = choice_.tile_axes;
    if (choice_.free >= 0) axes.push_back(choice_.free);
    if (!access.is_store) SortByStride(access, &axes);
    double run = 1, all = along_rows ? static_cast<double>(partitions_) : 1;
    bool contiguous = true;
    for (size_t i = axes.size(); i-- > 0;) {
      if (access.strides[axes[i]] == 0) continue;
      const double size = static_cast<double>(SizeOf(axes[i]));
      // What lies in reverse order is reversed on chip.
      const bool reversed = choice_.tile_axes.empty() && access.strides[axes[i]] == -1;
      contiguous = contiguous && (reversed || access.strides[axes[i]] == static_cast<int64_t>(run));
      if (reversed && access.is_store) *computed += size;
      if (contiguous) run *= size;
      all *= size;
    }
    return kDmaIssueNs + Transfer(all / run, run * bytes);
  }

  static double Transfer(double runs, double bytes) {
    return runs * (kDescriptorNs + std::max(kSmallestRunBytes, bytes) / kDmaBytesPerNs) / kDmaEngines;
  }

  const Program& program_;
  const Neighbours* neighbours_;
  const StagePlan& plan_;
  const Choice& choice_;
  int64_t partitions_ = 1, columns_ = 1;
};

// Whether everything moves along the rows, and along all axes of the tile or none: only then a tile of
// several axes needs no broadcast.
bool FitsManyAxes(const Choice& choice) {
  for (const Access& access : choice.it.accesses) {
    if (access.is_positions || choice.partition < 0 || access.strides[choice.partition] == 0) return false;
    const bool along = access.strides[choice.free] != 0;
    for (int axis : choice.tile_axes) {
      if ((access.strides[axis] != 0) != along) return false;
    }
  }
  return true;
}

class Chooser {
 public:
  Chooser(const Program& program, const Neighbours* neighbours, StagePlan* plan)
      : program_(program),
        neighbours_(neighbours),
        plan_(plan),
        limit_(plan->assumptions.max_free > 0 ? plan->assumptions.max_free : kElementwiseFree) {}

  void Run() {
    const Iteration base = plan_->iteration;
    for (int axis = 0; axis < static_cast<int>(base.dims.size()); ++axis) {
      for (int64_t d = 2; d <= std::min(limit_, base.dims[axis] - 1); ++d) {
        if (base.dims[axis] % d != 0) continue;
        Iteration split = base;
        SplitAxis(&split, static_cast<size_t>(axis), d);
        Consider(split, axis + 1);
      }
      Consider(base, axis);
    }
    for (int i = 0; i < static_cast<int>(plan_->iteration.dims.size()); ++i) {
      const bool in_tile = std::count(plan_->tile_axes.begin(), plan_->tile_axes.end(), i) > 0;
      if (i != plan_->free.axis && i != plan_->partition.axis && !in_tile) plan_->row_loops.push_back(i);
    }
  }

 private:
  void Consider(const Iteration& it, int free) {
    const int rank = static_cast<int>(it.dims.size());
    if (rank == 1) Cost({it, free, -1, {}, limit_}, 1);
    static const std::vector<int64_t> kOnlyDefault = {kMaxPartitions};
    const std::vector<int64_t>& tiles = neighbours_ == nullptr ? kOnlyDefault : neighbours_->tiles();
    for (int partition = 0; partition < rank; ++partition) {
      if (partition == free) continue;
      for (int64_t tile : tiles) {
        if (tile != kMaxPartitions && tile >= it.dims[partition]) continue;
        const Choice choice = {it, free, partition, {}, limit_, tile};
        Cost(choice, 1);
        Extend(choice, 0, it.dims[free]);
      }
    }
  }

  // Every set of further axes before the free one that fits in a tile.
  void Extend(const Choice& choice, int from, int64_t elements) {
    if (choice.tile_axes.size() + 1 >= kMaxTileAxes) return;
    for (int axis = from; axis < choice.free; ++axis) {
      if (axis == choice.partition || elements * choice.it.dims[axis] > limit_) continue;
      Choice wider = choice;
      wider.tile_axes.push_back(axis);
      if (!FitsManyAxes(wider)) continue;
      Cost(wider, kManyAxesFactor);
      Extend(wider, axis + 1, elements * choice.it.dims[axis]);
    }
  }

  void Cost(const Choice& choice, double factor) {
    const double cost = factor * Coster(program_, neighbours_, *plan_, choice).Run();
    if (cost > best_) return;
    best_ = cost;
    plan_->iteration = choice.it;
    plan_->free = TileAxis(choice.it, choice.free, choice.limit);
    plan_->partition = TileAxis(choice.it, choice.partition, choice.partition_limit);
    plan_->tile_axes = choice.tile_axes;
  }

  const Program& program_;
  const Neighbours* neighbours_;
  StagePlan* plan_;
  int64_t limit_;
  double best_ = std::numeric_limits<double>::infinity();
};

}  // namespace

void SortByStride(const Access& access, std::vector<int>* axes) {
  std::stable_sort(axes->begin(), axes->end(),
                   [&](int a, int b) { return access.strides[a] > access.strides[b]; });
}

void TileElementwise(const Program& program, const Neighbours* neighbours, StagePlan* plan) {
  Chooser(program, neighbours, plan).Run();
}

}  // namespace nkiagent::builtin
