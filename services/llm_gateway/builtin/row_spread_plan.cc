// Chooses what lies on partitions from several axes. Where there are too few rows to fill them, the axes that
// are reduced go there too, as many as fit, so that whole tensors and groups of channels are reduced by all
// lanes. What the partitions of a row have found is put together in row_spread.cc.
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "services/llm_gateway/builtin/fn_table.h"
#include "services/llm_gateway/builtin/plan.h"

namespace nkiagent::builtin {
namespace {

// Figures of the timing model (common/nki/timing/machine.h), in nanoseconds.
constexpr double kStartNs = 150;  // what waiting for the result of another engine costs included
constexpr double kElementNs = 0.9;
constexpr double kRunNs = 25, kBytesPerNs = 8.5, kSmallestRunBytes = 64, kEngines = 16, kIssueNs = 50;
constexpr double kElementwiseRunNs = 7;
// Putting together what the partitions of a row have found, for each reduction.
constexpr double kTogetherNs = 400;
// A spread row is harder to read, so it has to win clearly.
constexpr double kSpreadFactor = 1.15;
// Loads that a tile may be put together from.
constexpr int64_t kMostPieces = 32;
// Chunks of a row that are tried; whole rows always are.
constexpr int64_t kChunks[] = {512, 1024, 2048};

// An axis of the iteration, or a part of one.
struct Piece {
  int axis = -1;
  int64_t size = 1;
  int64_t step = 1;  // in indices of the axis
};

class Spreader {
 public:
  Spreader(const Program& program, const StagePlan& plan) : program_(program), plan_(plan) {}

  // Nanoseconds, after Run.
  double saved() const { return saved_; }

  // The plan itself if nothing is better.
  StagePlan Run() {
    best_ = plan_;
    if (!CanSpread()) return best_;
    const double unspread = Cost(plan_) / kSpreadFactor;
    best_cost_ = unspread;
    const Iteration& it = plan_.iteration;
    const int columns = Columns();
    std::vector<int> others;
    for (int i = 0; i < static_cast<int>(it.dims.size()); ++i) {
      if (i != columns) others.push_back(i);
    }
    SortByStride(it.accesses[main_], &others);
    for (int64_t parts = 1; parts <= std::min(it.dims[columns], kMaxPartitions); ++parts) {
      if (it.dims[columns] % parts != 0) continue;
      const int64_t rest = it.dims[columns] / parts;
      std::vector<Piece> on_partitions;
      if (parts > 1) on_partitions = {{columns, parts, rest}};
      TryPieces(others, on_partitions, {columns, rest, 1});
    }
    saved_ = unspread - best_cost_;
    return best_;
  }

 private:
  bool CanSpread() {
    const Stage& stage = plan_.stage;
    if (stage.matmul >= 0 || !stage.has_free || !plan_.assumptions.finite_tiles) return false;
    bool reduces = false;
    for (int index : stage.ops) {
      const Op& op = program_.ops[index];
      if (op.reduced.empty()) continue;
      if (op.fn != Fn::kSum && op.fn != Fn::kMean && op.fn != Fn::kMax && op.fn != Fn::kMin) return false;
      if (!IsFloat(op.dtype)) return false;
      reduces = true;
    }
    double most = 0;
    const Iteration& it = plan_.iteration;
    // The results of rows are turned.
    if (!std::all_of(it.accesses.begin(), it.accesses.end(), [&](const Access& access) {
          return !access.is_store || IsFloat(program_.values[access.value].dtype);
        })) {
      return false;
    }
    for (size_t i = 0; i < it.accesses.size(); ++i) {
      const Access& access = it.accesses[i];
      if (access.extent != Extent::kFull || access.is_positions) continue;
      double elements = 1;
      for (size_t k = 0; k < it.dims.size(); ++k)
        elements *= access.strides[k] == 0 ? 1 : static_cast<double>(it.dims[k]);
      if (elements <= most) continue;
      most = elements;
      main_ = i;
    }
    return reduces && most > 0;
  }

  // The free axis along which neighbours lie closest.
  int Columns() const {
    const Iteration& it = plan_.iteration;
    int columns = -1;
    int64_t closest = std::numeric_limits<int64_t>::max();
    for (int i = 0; i < static_cast<int>(it.dims.size()); ++i) {
      const int64_t stride = std::abs(it.accesses[main_].strides[i]);
      if (!it.free[i] || stride > closest) continue;
      closest = stride;
      columns = i;
    }
    return columns;
  }

  // Ever more of `others`, from the last, joins what is on partitions; of the first of them perhaps only an
  // inner part.
  void TryPieces(std::vector<int> others, std::vector<Piece> on_partitions, const Piece& columns) {
    int64_t partitions = 1;
    for (const Piece& piece : on_partitions) partitions *= piece.size;
    while (true) {
      std::vector<Piece> loops;
      loops.reserve(others.size());
      for (int axis : others) loops.push_back({axis, plan_.iteration.dims[axis], 1});
      Try(loops, on_partitions, columns);
      if (others.empty()) return;
      const int next = others.back();
      const int64_t size = plan_.iteration.dims[next];
      for (int64_t inner = 2; inner < size && inner * partitions <= kMaxPartitions; ++inner) {
        if (size % inner != 0) continue;
        std::vector<Piece> wider = on_partitions, split_loops = loops;
        wider.insert(wider.begin(), {next, inner, 1});
        split_loops.back() = {next, size / inner, inner};
        Try(split_loops, wider, columns);
      }
      if (partitions * size > kMaxPartitions) return;
      partitions *= size;
      on_partitions.insert(on_partitions.begin(), {next, size, 1});
      others.pop_back();
    }
  }

  void Try(const std::vector<Piece>& loops, const std::vector<Piece>& on_partitions, const Piece& columns) {
    const std::vector<bool>& free = plan_.iteration.free;
    RowSpread spread;
    int changes = 0;
    for (size_t i = 0; i < on_partitions.size(); ++i) {
      const bool part = free[on_partitions[i].axis];
      (part ? spread.parts : spread.rows) *= on_partitions[i].size;
      if (i > 0 && part != free[on_partitions[i - 1].axis]) ++changes;
    }
    if (on_partitions.empty() || changes > 1) return;
    spread.parts_first = spread.rows > 1 && free[on_partitions.front().axis];
    for (int64_t chunk : kChunks) {
      if (chunk < columns.size) Consider(loops, on_partitions, columns, spread, chunk);
    }
    Consider(loops, on_partitions, columns, spread, columns.size);
  }

  void Consider(const std::vector<Piece>& loops, const std::vector<Piece>& on_partitions,
                const Piece& columns, const RowSpread& spread, int64_t chunk) {
    if (plan_.assumptions.max_free > 0) chunk = std::min(chunk, plan_.assumptions.max_free);
    const std::vector<bool>& free = plan_.iteration.free;
    StagePlan plan = plan_;
    plan.spread = spread;
    plan.row_loops.clear();
    plan.free_loops.clear();
    plan.iteration.dims.clear();
    plan.iteration.free.clear();
    const auto add_axis = [&](int64_t size, bool is_free) {
      plan.iteration.dims.push_back(size);
      plan.iteration.free.push_back(is_free);
      return static_cast<int>(plan.iteration.dims.size()) - 1;
    };
    std::vector<Piece> order;
    for (const bool chunks : {false, true}) {
      for (const Piece& loop : loops) {
        if (free[loop.axis] != chunks) continue;
        (chunks ? plan.free_loops : plan.row_loops).push_back(add_axis(loop.size, chunks));
        order.push_back(loop);
      }
      if (!chunks) plan.partition.axis = add_axis(spread.rows * spread.parts, false), order.push_back({});
    }
    const int column_axis = add_axis(columns.size, true);
    order.push_back(columns);
    for (Access& access : plan.iteration.accesses) {
      const Dims strides = std::exchange(access.strides, {});
      for (const Piece& piece : order)
        access.strides.push_back(piece.axis < 0 ? 0 : strides[piece.axis] * piece.step);
      if (!MergePieces(on_partitions, strides, &access)) return;
      access.strides[plan.partition.axis] = access.pieces.size() == 1 ? access.pieces.front().stride : 0;
      if (access.pieces.size() == 1) access.pieces.clear();
    }
    plan.partition = TileAxis(plan.iteration, plan.partition.axis, kMaxPartitions);
    plan.free = TileAxis(plan.iteration, column_axis, chunk);
    const double cost = Cost(plan);
    if (cost >= best_cost_) return;
    best_cost_ = cost;
    best_ = std::move(plan);
  }

  // The access along the partition axis, in as few steps as possible; false if it can't be told.
  static bool MergePieces(const std::vector<Piece>& on_partitions, const Dims& strides, Access* access) {
    for (const Piece& piece : on_partitions) {
      const PartitionPiece next{piece.size, strides[piece.axis] * piece.step};
      if (!access->pieces.empty() && access->pieces.back().stride == next.stride * next.size) {
        access->pieces.back() = {access->pieces.back().size * next.size, next.stride};
      } else {
        access->pieces.push_back(next);
      }
    }
    const size_t count = access->pieces.size();
    if (count == 1) return true;
    if (count > 3 || access->is_positions) return false;
    const PartitionPiece &outer = access->pieces.front(), &inner = access->pieces.back();
    if (access->is_store)
      return count == 2 && access->extent == Extent::kRow && (outer.stride == 0 || inner.stride == 0);
    return LoadsOf(*access) <= kMostPieces;
  }

  static int64_t LoadsOf(const Access& access) {
    int64_t loads = 1;
    for (size_t i = 0; i + 1 < access.pieces.size(); ++i) loads *= access.pieces[i].size;
    return loads;
  }

  // Nanoseconds for the whole stage, about.
  double Cost(const StagePlan& plan) const {
    double loops = static_cast<double>(plan.partition.count()),
           chunks = static_cast<double>(plan.free.count());
    for (int axis : plan.row_loops) loops *= static_cast<double>(plan.iteration.dims[axis]);
    for (int axis : plan.free_loops) chunks *= static_cast<double>(plan.iteration.dims[axis]);
    double computed = 0, per_row = 0;
    int passes = 1;
    std::map<int, int> ready;  // by value: the first pass that can read it
    for (size_t i = 0; i < plan.stage.ops.size(); ++i) {
      const Op& op = program_.ops[plan.stage.ops[i]];
      int pass = 1;
      for (const Operand& operand : op.operands) {
        if (!operand.immediate.has_value() && ready.contains(operand.value))
          pass = std::max(pass, ready[operand.value]);
      }
      ready[op.result] = IsReduction(op.fn) ? pass + 1 : pass;
      if (plan.stage.extents[i] == Extent::kRow) {
        per_row += kStartNs;
        continue;
      }
      passes = std::max(passes, pass);
      computed += kStartNs + kElementNs * static_cast<double>(plan.free.tile);
      if (IsReduction(op.fn) && plan.spread.parts > 1) per_row += kTogetherNs;
    }
    double once = 0, loaded = 0, stored = 0;
    for (const Access& access : plan.iteration.accesses) {
      (IsInvariant(plan, access) ? once : access.is_store ? stored : loaded) += Move(plan, access);
    }
    if (chunks == 1) passes = 1;
    // Tiles overlap but for the first, which has to come, and the last, which has to go.
    const double tiles = loops * chunks * passes;
    return once + loaded + computed + stored + (tiles - 1) * std::max(loaded + stored, computed) +
           loops * per_row;
  }

  // Whether no loop of the plan changes what is loaded.
  static bool IsInvariant(const StagePlan& plan, const Access& access) {
    if (access.is_store || (plan.partition.count() > 1 && access.strides[plan.partition.axis] != 0))
      return false;
    const auto fixed = [&](int axis) { return access.strides[axis] == 0; };
    return std::all_of(plan.row_loops.begin(), plan.row_loops.end(), fixed) &&
           std::all_of(plan.free_loops.begin(), plan.free_loops.end(), fixed) &&
           (plan.free.count() == 1 || fixed(plan.free.axis));
  }

  double Move(const StagePlan& plan, const Access& access) const {
    if (access.is_positions) return 0;
    const double bytes = static_cast<double>(DTypeBytes(program_.values[access.value].dtype));
    const int f = plan.free.axis;
    const int64_t stride = f < 0 || access.extent == Extent::kRow ? 0 : access.strides[f];
    const double columns = stride == 0 ? 1 : static_cast<double>(plan.free.tile);
    double partitions = static_cast<double>(plan.partition.tile);
    const auto run = [&](double elements) {
      return kRunNs + std::max(kSmallestRunBytes, elements * bytes) / kBytesPerNs;
    };
    if (IsTurned(plan, access, program_.values[access.value].dtype))
      return kIssueNs + columns * run(partitions) / kEngines;
    const bool same =
        access.pieces.empty() && plan.partition.axis >= 0 && access.strides[plan.partition.axis] == 0;
    if (same) partitions = 1;
    const double moved = std::abs(stride) <= 1 ? run(columns) : columns * kElementwiseRunNs;
    return static_cast<double>(LoadsOf(access)) * kIssueNs + partitions * moved / kEngines;
  }

  const Program& program_;
  const StagePlan& plan_;
  size_t main_ = 0;  // the access that moves most
  StagePlan best_;
  double best_cost_ = 0, saved_ = 0;
};

}  // namespace

double SpreadRows(const Program& program, StagePlan* plan) {
  Spreader spreader(program, *plan);
  *plan = spreader.Run();
  return spreader.saved();
}

}  // namespace nkiagent::builtin
