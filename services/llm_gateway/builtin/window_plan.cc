// Tiling of stages over windows: which output positions make a tile, and how much of the input is on chip.
#include <algorithm>
#include <cstdint>
#include <initializer_list>
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

// The same for a resampling, which fills a tile piece by piece.
constexpr int64_t kResampledFree = 4096;

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
    ChooseStacks();
    ChooseWeights();
    if (window_.kind == WindowKind::kResample) {
      ChooseResampled();
    } else {
      FoldFirstAxis();
      ChoosePositions();
    }
    ChoosePartitions();
    ChooseImages();
  }

 private:
  int spatial() const { return static_cast<int>(window_.axes.size()); }
  size_t lead() const { return op_.dims.size() - window_.axes.size(); }
  int& AxisOf(int spatial_axis) { return plan_.window.axes[lead() + static_cast<size_t>(spatial_axis)]; }
  const WindowAxis& reads(int spatial_axis) const { return plan_.window.stacked[spatial_axis].reads; }

  void FindAxes() {
    int next = 0;
    for (int64_t size : op_.dims) plan_.window.axes.push_back(size == 1 ? -1 : next++);
  }

  // Joins axes `first` and `first + 1` of Op::dims in the iteration, if every access allows.
  bool Merge(size_t first) {
    std::vector<int>& axes = plan_.window.axes;
    if (axes[first] < 0 || axes[first + 1] < 0) {
      const int axis = std::max(axes[first], axes[first + 1]);
      // Spatial axes that were joined to the second one before go along.
      for (size_t i = first + 2; first >= lead() && i < axes.size(); ++i) {
        if (axes[i] == axes[first + 1]) axes[i] = axis;
      }
      axes[first] = axes[first + 1] = axis;
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
    const bool depthwise = window_.kind == WindowKind::kDepthwise;
    tiling.contracts = !window_.pools() && !(depthwise && !plan_.assumptions.finite_tiles);
    tiling.grouped_rows = tiling.contracts && op_.dims[1] > 1 && window_.channels <= kMaxPartitions &&
                          op_.dims[2] <= kMaxPartitions && MergeGroups();
    // With products of single channels nothing is gained.
    tiling.contracts = tiling.contracts && !(depthwise && !tiling.grouped_rows);
  }

  // Makes one axis of the groups and their output channels. Input and weights step along it in their own way,
  // which the emitter tells itself.
  bool MergeGroups() {
    const std::vector<int> axes = plan_.window.axes;
    const Iteration iteration = plan_.iteration;
    LeaveOperandsToEmitter({1, 2});
    if (Merge(1)) return true;
    plan_.window.axes = axes;
    plan_.iteration = iteration;
    return false;
  }

  void LeaveOperandsToEmitter(std::initializer_list<size_t> axes) {
    for (Access& access : plan_.iteration.accesses) {
      if (access.op != plan_.stage.matmul || access.is_store) continue;
      for (size_t axis : axes) {
        if (plan_.window.axes[axis] >= 0) access.strides[plan_.window.axes[axis]] = 0;
      }
    }
  }

  // How many groups and taps share the partitions: whatever takes the Tensor engine and the DMA engines the
  // least time together.
  void ChooseStacks() {
    WindowTiling& tiling = plan_.window;
    for (const WindowAxis& axis : window_.axes) tiling.stacked.push_back(StackTaps(axis, 1));
    if (!plan_.window.contracts || channel_tiles() > 1) return;
    const bool packs = plan_.assumptions.finite_tiles;
    const int64_t most = tiling.grouped_rows && packs
                             ? std::min(kMaxPartitions / window_.channels, kMaxPartitions / op_.dims[2])
                             : 1;
    double best = std::numeric_limits<double>::infinity();
    int64_t last = 0;
    WindowTiling trial = tiling;
    for (int64_t limit = most; limit >= 1 && 4 * limit >= most; --limit) {
      trial.groups = tiling.grouped_rows ? ChooseGroups(limit) : 1;
      if (trial.groups != last) TryStacks(0, packs, &trial, &best);
      last = trial.groups;
    }
    tiling.multiplies_with_zeros = tiling.groups > 1 || tiling.taps() != window_.taps();
  }

  int64_t ChooseGroups(int64_t limit) const {
    if (window_.kind != WindowKind::kTransposed) return ChooseTile(op_.dims[1], limit);
    // Their weights lie in such an order that groups are loaded one by one, all of them.
    int64_t groups = std::min(limit, op_.dims[1]);
    while (op_.dims[1] % groups != 0) --groups;
    return groups;
  }

  void TryStacks(int axis, bool packs, WindowTiling* trial, double* best) {
    // Shifted lines of the last axis would be many short runs.
    const int stackable = std::max(1, spatial() - 1);
    if (axis == stackable) {
      const double cost = Cost(*trial);
      if (cost >= *best) return;
      *best = cost;
      plan_.window = *trial;
      return;
    }
    const WindowAxis& windows = window_.axes[axis];
    const int64_t full = FullStack(windows);
    const bool sliding = windows.phases.size() == 1 && windows.phases[0].origin_step > 0;
    for (int64_t count = 1; count <= std::max<int64_t>(full, 1); ++count) {
      if (count > 1 && count < full && !sliding) continue;
      trial->stacked[axis] = StackTaps(windows, count);
      const int64_t lines = trial->groups * window_.channels * trial->copies();
      if (lines > kMaxPartitions) break;
      // Zeros among the weights would spread what is not finite.
      if (!packs && trial->stacked[axis].taps != windows.kernel) continue;
      TryStacks(axis + 1, packs, trial, best);
    }
    trial->stacked[axis] = StackTaps(windows, 1);
  }

  // Nanoseconds, about, for all images.
  double Cost(const WindowTiling& trial) const {
    constexpr double kDmaBytesPerNs = 136, kRunNs = 25.0 / 16, kTensorGhz = 2.8, kAccessCycles = 64;
    const double passes = DTypeBytes(op_.operands[0].dtype) == 4 ? 4 : 1;
    double products = 1, positions = 1, input = static_cast<double>(Size()), runs = 1;
    for (int a = 0; a < spatial(); ++a) {
      const WindowAxis& axis = trial.stacked[a].reads;
      double taps = 0;
      for (const Phase& phase : axis.phases) taps += static_cast<double>(phase.taps);
      products *= taps;
      positions *= static_cast<double>(MostPositions(axis));
      input *= static_cast<double>(axis.input);
      if (a + 2 < spatial()) runs *= static_cast<double>(axis.input);
    }
    const double images = static_cast<double>(op_.dims[0]);
    const double tiles = trial.grouped_rows
                             ? static_cast<double>(CeilDivide(op_.dims[1], trial.groups))
                             : static_cast<double>(op_.dims[1] * CeilDivide(op_.dims[2], kMaxPartitions));
    const double moved = static_cast<double>(CeilDivide(static_cast<int64_t>(positions), kMaxMovingFree));
    double tensor = images * tiles * products * (passes * positions + moved * kAccessCycles) / kTensorGhz;
    const double lines = static_cast<double>(op_.dims[1] * window_.channels * trial.copies());
    double dma = images * lines * (input / kDmaBytesPerNs + runs * kRunNs);
    if (window_.kind == WindowKind::kTransposed && (trial.copies() > 1 || trial.groups > 1)) {
      // Weights come turned, tap by tap.
      dma += static_cast<double>(op_.dims[1] * op_.dims[2] * window_.channels) * 2 * kRunNs;
    }
    return std::max(tensor, dma) + 0.5 * std::min(tensor, dma);
  }

  void ChooseWeights() {
    WindowTiling& tiling = plan_.window;
    if (!plan_.window.contracts || tiling.grouped_rows) {
      tiling.all_weights = !tiling.grouped_rows;
      return;
    }
    const int64_t bytes = channel_tiles() * tiling.taps() * op_.dims[2] * Size();
    tiling.all_weights = plan_.assumptions.resident_moving && bytes <= kWeightBytes;
  }

  int64_t Size() const { return DTypeBytes(op_.operands[0].dtype); }
  int64_t channel_tiles() const {
    return plan_.window.contracts ? CeilDivide(window_.channels, plan_.window.channel_tile) : 1;
  }

  // Bytes of a partition for the input of `count` positions of the tile axis, or of everything.
  int64_t InputBytes(int tile_axis, int64_t count, bool whole) const {
    double elements = static_cast<double>(channel_tiles());
    for (int a = 0; a < spatial(); ++a) {
      const WindowAxis& axis = reads(a);
      const int64_t positions = a == tile_axis ? count : (a < tile_axis && !whole) ? 1 : MostPositions(axis);
      elements *= static_cast<double>(
          std::max(axis.Highest(0, positions) - axis.Lowest(0) + 1, a > tile_axis ? axis.input : 1));
    }
    constexpr double kMost = 1e15;
    return static_cast<int64_t>(std::min(elements * static_cast<double>(Size()), kMost));
  }

  // As many of the inner axes in a tile as fit, whole: their outputs repeat in different ways at the edges.
  void ChooseResampled() {
    WindowTiling& tiling = plan_.window;
    const int64_t limit = plan_.assumptions.max_free > 0 ? plan_.assumptions.max_free : kResampledFree;
    int axis = spatial() - 1;
    int64_t outputs = window_.axes[axis].output, inputs = window_.axes[axis].input;
    while (axis > 0 && outputs * window_.axes[axis - 1].output <= limit &&
           inputs * window_.axes[axis - 1].input <= limit && Merge(lead() + static_cast<size_t>(axis) - 1)) {
      --axis;
      outputs *= window_.axes[axis].output;
      inputs *= window_.axes[axis].input;
    }
    int64_t all = 1;
    for (const WindowAxis& windows : window_.axes) all *= windows.input;
    tiling.tile_axis = axis;
    tiling.whole_input = all * Size() <= kInputBytes;
    plan_.free = {AxisOf(axis), outputs, outputs};
  }

  // Few images and channels leave partitions idle: outputs along the first axis go there too, each with the
  // input of its windows, if that is worth loading what windows share several times.
  void FoldFirstAxis() {
    WindowTiling& tiling = plan_.window;
    const WindowAxis& first = reads(0);
    if (!window_.pools() || spatial() < 2 || first.phases.size() > 1 || tiling.axes[2] < 0) return;
    if (first.output > kMaxPartitions) return;
    const StridedView& x = op_.operands[0].view;
    if (op_.dims[0] > 1 && x.strides[0] != x.strides[1] * op_.dims[1]) return;
    double line = 1;
    for (int a = 1; a < spatial(); ++a) line *= static_cast<double>(reads(a).input);
    const int64_t planes = op_.dims[0] * op_.dims[1], reach = first.Highest(0, 1) - first.Lowest(0) + 1;
    // Nanoseconds, about: some four cycles of the Vector engine for each element of a partition, and loads.
    const auto cost = [&](int64_t tiles, int64_t lines_of_tile, int64_t lines) {
      return line * (4 / 1.12 * static_cast<double>(tiles * lines_of_tile) +
                     static_cast<double>(lines * Size()) / 136);
    };
    const double apart = cost(CeilDivide(planes, kMaxPartitions), first.input, planes * first.input);
    const double folded =
        cost(CeilDivide(planes, kMaxPartitions / first.output), reach, planes * first.output * reach);
    if (folded > 0.8 * apart) return;
    const std::vector<int> axes = tiling.axes;
    const Iteration iteration = plan_.iteration;
    LeaveOperandsToEmitter({0, 1});
    if (!Merge(0) || !Merge(1)) {
      tiling.axes = axes;
      plan_.iteration = iteration;
      return;
    }
    tiling.axes[0] = tiling.axes[1];
    tiling.axes[2] = -1;
    tiling.folded = true;
    WindowAxis& reads_first = tiling.stacked[0].reads;
    reads_first.output = reads_first.phases[0].count = 1;
  }

  void ChoosePositions() {
    int64_t limit = plan_.window.contracts ? kMaxMovingFree : kVectorFree;
    int64_t budget = kInputBytes;
    if (plan_.assumptions.max_free > 0 && plan_.assumptions.max_free < limit) {
      budget = std::max<int64_t>(budget * plan_.assumptions.max_free / limit, 1);
      limit = plan_.assumptions.max_free;
    }
    // Several lines, or several planes of them, if these and their input fit; otherwise pieces of a line.
    int axis = spatial() - 1;
    int64_t whole = 1;
    while (axis > (plan_.window.folded ? 1 : 0) && whole * MostPositions(reads(axis)) <= limit &&
           InputBytes(axis - 1, 1, /*whole=*/false) <= budget &&
           Merge(lead() + static_cast<size_t>(axis) - 1)) {
      whole *= MostPositions(reads(axis--));
    }
    const WindowAxis& lines = reads(spatial() - 1);
    const bool skips_padding = plan_.window.contracts || window_.pools();
    plan_.window.whole_lines = axis + 1 < spatial() && (skips_padding || !lines.padded());
    Cut(axis, limit / whole, budget);
  }

  void Cut(int tile_axis, int64_t limit, int64_t budget) {
    WindowTiling& tiling = plan_.window;
    const int64_t count = MostPositions(reads(tile_axis));
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
    int64_t line = 1;
    for (int a = tile_axis + 1; a < spatial(); ++a) line *= window_.axes[a].output;
    plan_.free.axis = AxisOf(tile_axis);
    plan_.free.size = window_.axes[tile_axis].output * line;
    plan_.free.tile = tiling.positions * window_.axes[tile_axis].output_step * line;
  }

  void ChoosePartitions() {
    WindowTiling& tiling = plan_.window;
    size_t axis = 2;
    if (window_.kind == WindowKind::kDepthwise) axis = 1;
    if (op_.operands.size() == 1) axis = tiling.folded || Merge(0) ? 0 : 1;
    if (tiling.folded) {
      const int64_t outputs = window_.axes[0].output;
      plan_.partition = {tiling.axes[0], op_.dims[0] * op_.dims[1] * outputs,
                         std::min(kMaxPartitions / outputs, op_.dims[0] * op_.dims[1]) * outputs};
    } else if (tiling.grouped_rows) {
      plan_.partition = {tiling.axes[axis], op_.dims[1] * op_.dims[2], tiling.groups * op_.dims[2]};
    } else {
      plan_.partition = TileAxis(plan_.iteration, tiling.axes[axis], kMaxPartitions);
    }
    // A merge may have renumbered the columns.
    plan_.free.axis = AxisOf(tiling.tile_axis);
  }

  // Several small images in a tile.
  void ChooseImages() {
    WindowTiling& tiling = plan_.window;
    const int axis = tiling.axes[0];
    if (!tiling.contracts || axis < 0 || plan_.partition.axis < 0 || plan_.free.axis < 0) return;
    if (tiling.tiles > 1 || tiling.tile_axis > 0 || !tiling.whole_input) return;
    for (const Access& access : plan_.iteration.accesses) {
      if (access.op == plan_.stage.matmul && !access.is_store) continue;
      // Only what moves along the rows, and along all axes of the tile or none, needs no broadcast.
      if (access.strides[plan_.partition.axis] == 0) return;
      if ((access.strides[axis] != 0) != (access.strides[plan_.free.axis] != 0)) return;
    }
    const int64_t bytes = InputBytes(0, tiling.positions, true);
    int64_t images = op_.dims[0];
    while (images > 1 && (op_.dims[0] % images != 0 || images * plan_.free.tile > kMaxMovingFree ||
                          images * bytes > kInputBytes)) {
      --images;
    }
    if (images == 1) return;
    tiling.images = images;
    if (images == op_.dims[0]) {
      plan_.tile_axes = {axis};
      tiling.axes[0] = -1;
      return;
    }
    // The images of a tile become an axis of their own, after that of the tiles of images.
    SplitAxis(&plan_.iteration, static_cast<size_t>(axis), images);
    plan_.tile_axes = {axis + 1};
    for (int& a : tiling.axes) a += a > axis ? 1 : 0;
    for (AxisTiling* tiles : {&plan_.partition, &plan_.free}) tiles->axis += tiles->axis > axis ? 1 : 0;
  }

  StagePlan& plan_;
  const Op& op_;
  const Window& window_;
};

}  // namespace

void TileWindows(const Program& program, StagePlan* plan) { WindowTiler(program, plan).Run(); }

}  // namespace nkiagent::builtin
