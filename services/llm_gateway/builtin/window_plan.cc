// Tiling of stages over windows: which output positions make a tile, and how much of the input is on chip.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "services/llm_gateway/builtin/dtype.h"
#include "services/llm_gateway/builtin/plan.h"

namespace nkiagent::builtin {
namespace {

// Bytes of a partition (of 192 KiB) for the input of the windows and for weights. The rest is for the tiles
// of what follows, and for the next input while this one is in use.
constexpr int64_t kInputBytes = 48 << 10;
constexpr int64_t kWeightBytes = 64 << 10;
// Positions of a tile on the Vector engine, which writes to SBUF and has no limit of one PSUM bank.
constexpr int64_t kVectorFree = 1024;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t MostPositions(const WindowAxis& axis) {
  int64_t most = 1;
  for (const Phase& phase : axis.phases) most = std::max(most, phase.count);
  return most;
}

class WindowTiler {
 public:
  WindowTiler(const Program& program, StagePlan* plan)
      : plan_(*plan), op_(program.ops[plan->stage.matmul]), window_(*op_.window) {}

  void Run() {
    plan_.matmul.resident_moving = plan_.assumptions.resident_moving;
    FindAxes();
    ChooseChannels();
    ChooseTile();
    ChoosePartitions();
  }

 private:
  int spatial() const { return static_cast<int>(window_.axes.size()); }
  size_t lead() const { return op_.dims.size() - window_.axes.size(); }
  int& AxisOf(int spatial_axis) { return plan_.window.axes[lead() + static_cast<size_t>(spatial_axis)]; }

  void FindAxes() {
    int next = 0;
    for (int64_t size : op_.dims) plan_.window.axes.push_back(size == 1 ? -1 : next++);
  }

  // Joins axes `first` and `first + 1` of Op::dims in the iteration, if every access allows.
  bool Merge(size_t first) {
    std::vector<int>& axes = plan_.window.axes;
    if (axes[first] < 0 || axes[first + 1] < 0) {
      axes[first] = axes[first + 1] = std::max(axes[first], axes[first + 1]);
      return true;
    }
    if (!MergeAxes(&plan_.iteration, static_cast<size_t>(axes[first]))) return false;
    for (size_t i = first + 1; i < axes.size(); ++i) axes[i] -= axes[i] >= 0 ? 1 : 0;
    return true;
  }

  void ChooseChannels() {
    WindowTiling& tiling = plan_.window;
    tiling.channel_tile = CeilDivide(window_.channels, CeilDivide(window_.channels, kMaxPartitions));
    plan_.matmul.k = window_.channels;
    plan_.matmul.k_tile = tiling.channel_tile;
    if (!window_.multiplies()) return;
    const int64_t bytes = channel_tiles() * window_.taps() * op_.dims[2] * Size();
    tiling.all_weights = plan_.assumptions.resident_moving && bytes <= kWeightBytes;
  }

  int64_t Size() const { return DTypeBytes(op_.operands[0].dtype); }
  int64_t channel_tiles() const {
    return window_.multiplies() ? CeilDivide(window_.channels, plan_.window.channel_tile) : 1;
  }

  // Bytes of a partition for the input of `count` positions of the tile axis, or of everything.
  int64_t InputBytes(int tile_axis, int64_t count, bool whole) const {
    double elements = static_cast<double>(channel_tiles());
    for (int a = 0; a < spatial(); ++a) {
      const WindowAxis& axis = window_.axes[a];
      const int64_t positions = a == tile_axis ? count : (a < tile_axis && !whole) ? 1 : MostPositions(axis);
      elements *= static_cast<double>(axis.Highest(0, positions) - axis.Lowest(0) + 1);
    }
    constexpr double kMost = 1e15;
    return static_cast<int64_t>(std::min(elements * static_cast<double>(Size()), kMost));
  }

  void ChooseTile() {
    int64_t limit = window_.multiplies() ? kMaxMovingFree : kVectorFree;
    int64_t budget = kInputBytes;
    if (plan_.assumptions.max_free > 0 && plan_.assumptions.max_free < limit) {
      budget = std::max<int64_t>(budget * plan_.assumptions.max_free / limit, 1);
      limit = plan_.assumptions.max_free;
    }
    const int inner = spatial() - 1;
    // Rows of several lines, if a line and its input fit; otherwise pieces of a line.
    if (inner > 0 && MostPositions(window_.axes[inner]) <= limit &&
        InputBytes(inner - 1, 1, /*whole=*/false) <= budget && Merge(lead() + inner - 1)) {
      Cut(inner - 1, limit / MostPositions(window_.axes[inner]), budget);
    } else {
      Cut(inner, limit, budget);
    }
  }

  void Cut(int tile_axis, int64_t limit, int64_t budget) {
    WindowTiling& tiling = plan_.window;
    const int64_t count = MostPositions(window_.axes[tile_axis]);
    tiling.tile_axis = tile_axis;
    while (limit > 1 && InputBytes(tile_axis, std::min(limit, count), false) > budget) limit /= 2;
    tiling.tiles = CeilDivide(count, std::min(limit, count));
    tiling.positions = CeilDivide(count, tiling.tiles);
    tiling.tiles = CeilDivide(count, tiling.positions);
    tiling.whole_input = InputBytes(tile_axis, tiling.tiles * tiling.positions, true) <= budget;
    tiling.band = tiling.tiles;
    while (!tiling.whole_input && tiling.band > 1 &&
           (tiling.tiles % tiling.band != 0 ||
            InputBytes(tile_axis, tiling.band * tiling.positions, false) > budget)) {
      --tiling.band;
    }
    const int64_t line = tile_axis + 1 < spatial() ? window_.axes[tile_axis + 1].output : 1;
    plan_.free.axis = AxisOf(tile_axis);
    plan_.free.size = window_.axes[tile_axis].output * line;
    plan_.free.tile = tiling.positions * window_.axes[tile_axis].output_step * line;
  }

  void ChoosePartitions() {
    size_t axis = 2;
    if (window_.kind == WindowKind::kDepthwise) axis = 1;
    if (op_.operands.size() == 1) axis = Merge(0) ? 0 : 1;
    plan_.partition = TileAxis(plan_.iteration, plan_.window.axes[axis], kMaxPartitions);
    // A merge may have renumbered the columns.
    plan_.free.axis = AxisOf(plan_.window.tile_axis);
  }

  StagePlan& plan_;
  const Op& op_;
  const Window& window_;
};

}  // namespace

void TileWindows(const Program& program, StagePlan* plan) { WindowTiler(program, plan).Run(); }

}  // namespace nkiagent::builtin
