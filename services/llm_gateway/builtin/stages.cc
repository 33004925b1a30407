#include "services/llm_gateway/builtin/stages.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "services/llm_gateway/builtin/fn_table.h"

namespace nkiagent::builtin {
namespace {

Dims RowDims(const Stage& stage) {
  Dims dims;
  for (size_t i = 0; i < stage.dims.size(); ++i) {
    if (!stage.free[i]) dims.push_back(stage.dims[i]);
  }
  return dims;
}

// Strides of a value that covers the stage with `extent` and lies row-major.
Dims CanonicalStrides(const Stage& stage, Extent extent) {
  if (extent == Extent::kFull) return ContiguousStrides(stage.dims);
  Dims strides(stage.dims.size(), 0);
  int64_t stride = 1;
  for (size_t i = stage.dims.size(); i-- > 0;) {
    if (stage.free[i]) continue;
    strides[i] = stride;
    stride *= stage.dims[i];
  }
  return strides;
}

// The stage with its axes cut finely enough for an operation over `dims`; none when boundaries cross.
std::optional<Stage> Refined(const Stage& stage, Extent extent, const Dims& dims) {
  const Dims old_dims = extent == Extent::kFull ? stage.dims : RowDims(stage);
  const std::optional<Refinement> refinement = Refine(old_dims, dims);
  if (!refinement.has_value()) return std::nullopt;
  Stage refined = stage;
  refined.dims.clear();
  refined.free.clear();
  size_t piece = 0;
  for (size_t i = 0; i < stage.dims.size(); ++i) {
    if (extent == Extent::kRow && stage.free[i]) {
      refined.dims.push_back(stage.dims[i]);
      refined.free.push_back(true);
      continue;
    }
    for (int64_t size : refinement->pieces_a[piece]) {
      refined.dims.push_back(size);
      refined.free.push_back(stage.free[i]);
    }
    ++piece;
  }
  return refined;
}

// Which of the stage's axes an operation over `dims` with marks `marked` touches; the stage is fine enough
// already.
std::optional<std::vector<bool>> MarksOverStage(const Stage& stage, const Dims& dims,
                                                const std::vector<bool>& marked) {
  const std::optional<Refinement> refinement = Refine(stage.dims, dims);
  if (!refinement.has_value() || refinement->dims != stage.dims) return std::nullopt;
  std::vector<bool> marks;
  for (size_t i = 0; i < dims.size(); ++i) {
    marks.insert(marks.end(), refinement->pieces_b[i].size(), marked[i]);
  }
  return marks;
}

class Cutter {
 public:
  explicit Cutter(const Program& program)
      : program_(program), writers_(program.values.size()), stage_of_op_(program.ops.size(), -1) {
    for (size_t i = 0; i < program.ops.size(); ++i)
      for (int value : Results(program.ops[i])) writers_[value].push_back(static_cast<int>(i));
  }

  StagedProgram Run() {
    const std::vector<bool> live = LiveOps(program_);
    for (size_t i = 0; i < program_.ops.size(); ++i) {
      if (live[i]) Place(static_cast<int>(i));
    }
    MarkHbm();
    return std::move(staged_);
  }

 private:
  void Place(int index) {
    const Op& op = program_.ops[index];
    int first = 0;
    bool reads_computed = false;
    for (const Operand& operand : op.operands) {
      if (operand.immediate.has_value()) continue;
      for (int writer : writers_[operand.value]) {
        reads_computed = true;
        // A value with several writers is whole only after the last of their stages.
        first = std::max(first, stage_of_op_[writer] + (writers_[operand.value].size() > 1 ? 1 : 0));
      }
    }
    const int count = static_cast<int>(staged_.stages.size());
    if (op.fn != Fn::kMatmul && op.fn != Fn::kWindow && op.fn != Fn::kRecurrence && op.fn != Fn::kGather &&
        op.fn != Fn::kAttention) {
      // What continues a computation stays with it; what starts from HBM goes where the work is now.
      for (int step = 0; step < count - first; ++step) {
        const int candidate = reads_computed ? first + step : count - 1 - step;
        std::optional<Stage> joined = Join(candidate, index);
        if (!joined.has_value()) continue;
        staged_.stages[candidate] = *std::move(joined);
        stage_of_op_[index] = candidate;
        return;
      }
    }
    staged_.stages.push_back(NewStage(index));
    stage_of_op_[index] = count;
  }

  Stage NewStage(int index) const {
    const Op& op = program_.ops[index];
    Stage stage;
    if (op.fn == Fn::kRecurrence || op.fn == Fn::kAttention) {
      stage.recurrent = op.fn == Fn::kRecurrence;
      stage.attends = op.fn == Fn::kAttention;
      stage.ops = {index};
      stage.extents = {Extent::kFull};
      return stage;
    }
    if (op.fn == Fn::kWindow) return NewWindowStage(index);
    if (op.fn == Fn::kGather) {
      for (size_t i = 0; i < op.dims.size(); ++i) {
        if (op.dims[i] == 1) continue;
        stage.dims.push_back(op.dims[i]);
        stage.free.push_back(i + 1 == op.dims.size());
      }
      stage.matmul = index;
      stage.gathers = true;
      // Rows of one element have no columns: tiling may choose, as for elementwise operations.
      stage.has_free = op.dims.back() != 1;
      stage.ops = {index};
      stage.extents = {Extent::kFull};
      return stage;
    }
    for (size_t i = 0; i < op.dims.size(); ++i) {
      if (op.dims[i] == 1 && op.fn != Fn::kMatmul) continue;
      if (op.dims[i] == 1 && i == 0) continue;  // a batch of one matrix
      stage.dims.push_back(op.dims[i]);
      const bool column = op.fn == Fn::kMatmul && i + 1 == op.dims.size();
      stage.free.push_back(column || (!op.reduced.empty() && op.reduced[i]));
    }
    if (op.fn == Fn::kMatmul) {
      stage.matmul = index;
      // Axes of size 1 carry no index; the tiling treats missing rows or columns as one.
      for (size_t i = stage.dims.size(); i-- > 0;) {
        if (stage.dims[i] != 1) continue;
        stage.dims.erase(stage.dims.begin() + static_cast<ptrdiff_t>(i));
        stage.free.erase(stage.free.begin() + static_cast<ptrdiff_t>(i));
      }
    }
    stage.has_free = op.fn == Fn::kMatmul || !op.reduced.empty();
    stage.ops = {index};
    stage.extents = {Extent::kFull};
    return stage;
  }

  // The spatial axes are the columns of tiles.
  Stage NewWindowStage(int index) const {
    const Op& op = program_.ops[index];
    Stage stage;
    const size_t columns = op.window->axes.size();
    for (size_t i = 0; i < op.dims.size(); ++i) {
      if (op.dims[i] == 1) continue;
      stage.dims.push_back(op.dims[i]);
      stage.free.push_back(i + columns >= op.dims.size());
    }
    stage.matmul = index;
    stage.windowed = stage.has_free = true;
    stage.ops = {index};
    stage.extents = {Extent::kFull};
    return stage;
  }

  // The stage with `index` added, if it can run there on what is on chip.
  std::optional<Stage> Join(int candidate, int index) const {
    const Stage& stage = staged_.stages[candidate];
    if (stage.alone()) return std::nullopt;
    const Op& op = program_.ops[index];
    const int64_t count = ElementCount(op.dims);
    Extent extent = Extent::kFull;
    if (count != ElementCount(stage.dims)) {
      if (!stage.has_free || stage.matmul >= 0 || !op.reduced.empty()) return std::nullopt;
      if (count != ElementCount(RowDims(stage))) return std::nullopt;
      extent = Extent::kRow;
    }
    if (!op.reduced.empty() && stage.matmul >= 0) return std::nullopt;
    std::optional<Stage> joined = Refined(stage, extent, op.dims);
    if (!joined.has_value() || (stage.windowed && joined->dims != stage.dims)) return std::nullopt;
    if (!op.reduced.empty()) {
      const std::optional<std::vector<bool>> marks = MarksOverStage(*joined, op.dims, op.reduced);
      if (!marks.has_value() || (joined->has_free && *marks != joined->free)) return std::nullopt;
      joined->free = *marks;
      joined->has_free = true;
    }
    if (!ReadsFit(*joined, candidate, op, extent)) return std::nullopt;
    joined->ops.push_back(index);
    joined->extents.push_back(extent);
    if (joined->matmul >= 0 && !ColumnsAreOneAxis(*joined)) return std::nullopt;
    return joined;
  }

  // Whatever the operation reads of this very stage it must read in place.
  bool ReadsFit(const Stage& stage, int candidate, const Op& op, Extent extent) const {
    for (const Operand& operand : op.operands) {
      if (operand.immediate.has_value()) continue;
      const std::vector<int>& writers = writers_[operand.value];
      if (writers.empty() || stage_of_op_[writers.front()] != candidate) continue;
      if (writers.size() > 1 || operand.view.offset != 0) return false;
      const Op& writer = program_.ops[writers.front()];
      if (IsSelection(writer.fn) || !IsContiguous(writer.destination)) return false;
      const size_t position = static_cast<size_t>(
          std::find(stage.ops.begin(), stage.ops.end(), writers.front()) - stage.ops.begin());
      const Extent written = IsReduction(writer.fn) ? Extent::kRow : stage.extents[position];
      if (StridesOverStage(stage, extent, operand.view.dims, operand.view.strides) !=
          CanonicalStrides(stage, written)) {
        return false;
      }
    }
    return true;
  }

  bool ColumnsAreOneAxis(const Stage& stage) const {
    // Which values will be stored isn't known yet; counting all of them is the safe side.
    StagedProgram everything_stored;
    everything_stored.in_hbm.assign(program_.values.size(), true);
    Iteration iteration = Coalesce(program_, everything_stored, stage);
    // Loops take the outer axes of windows; the last two make tiles.
    const size_t rank = iteration.free.size();
    if (stage.windowed) {
      return rank < 2 || !iteration.free[rank - 2] || MergeAxes(&iteration, rank - 2);
    }
    return std::count(iteration.free.begin(), iteration.free.end(), true) <= 1;
  }

  void MarkHbm() {
    staged_.in_hbm.assign(program_.values.size(), false);
    staged_.is_result.assign(program_.values.size(), false);
    for (size_t i = 0; i < program_.values.size(); ++i) staged_.in_hbm[i] = program_.values[i].is_argument;
    for (int value : program_.results) staged_.in_hbm[value] = staged_.is_result[value] = true;
    for (size_t i = 0; i < program_.ops.size(); ++i) {
      if (stage_of_op_[i] < 0) continue;
      for (const Operand& operand : program_.ops[i].operands) {
        if (operand.immediate.has_value()) continue;
        for (int writer : writers_[operand.value]) {
          if (stage_of_op_[writer] != stage_of_op_[i]) staged_.in_hbm[operand.value] = true;
        }
      }
      // What several operations write is never whole on chip.
      for (int value : Results(program_.ops[i])) {
        if (writers_[value].size() > 1) staged_.in_hbm[value] = true;
      }
    }
  }

  const Program& program_;
  std::vector<std::vector<int>> writers_;  // per value: the operations that write it
  std::vector<int> stage_of_op_;
  StagedProgram staged_;
};

// Merges neighbours of equal kind wherever possible.
void MergeNeighbours(Iteration* it) {
  for (size_t i = it->dims.size(); i-- > 1;) {
    if (it->free[i - 1] == it->free[i]) MergeAxes(it, i - 1);
  }
}

// Strides over the stage of an operand of windows, along the axes that select images, groups and channels of
// the result; what the windows themselves step along isn't an axis of the stage.
Dims WindowStrides(const Stage& stage, const Op& op, int operand) {
  const Dims& s = op.operands[operand].view.strides;
  Dims strides(op.dims.size(), 0);
  const Window& window = *op.window;
  const bool pooling = op.operands.size() == 1;
  if (pooling) {
    strides[0] = s[0];
    strides[1] = s[1];
  } else if (operand == 0) {
    strides[0] = s[0];
    strides[1] = s[1] * window.channels;
  } else if (window.kind == WindowKind::kTransposed) {
    strides[1] = s[0] * window.channels;
    strides[2] = s[1];
  } else {
    strides[1] = s[0] * op.dims[2];
    strides[2] = s[0];
  }
  return StridesOverStage(stage, Extent::kFull, op.dims, strides);
}

// Strides over (B, M) and N of the stage for a matmul operand that has `batch`, `rows` and `columns` of them.
Dims MatmulStrides(const Stage& stage, const Op& op, int64_t batch, int64_t rows, int64_t columns) {
  return StridesOverStage(stage, Extent::kFull, op.dims, {batch, rows, columns});
}

}  // namespace

bool MergeAxes(Iteration* it, size_t axis) {
  const size_t next = axis + 1;
  const bool mergeable = std::all_of(it->accesses.begin(), it->accesses.end(), [&](const Access& a) {
    return a.strides[axis] == a.strides[next] * it->dims[next];
  });
  if (!mergeable) return false;
  const auto at = [next](auto& v) { return v.begin() + static_cast<ptrdiff_t>(next); };
  it->dims[axis] *= it->dims[next];
  it->dims.erase(at(it->dims));
  it->free.erase(at(it->free));
  for (Access& a : it->accesses) {
    a.strides[axis] = a.strides[next];
    a.strides.erase(at(a.strides));
  }
  return true;
}

void SplitAxis(Iteration* it, size_t axis, int64_t inner) {
  const auto at = [axis](auto& v) { return v.begin() + static_cast<ptrdiff_t>(axis); };
  it->dims[axis] /= inner;
  it->dims.insert(at(it->dims) + 1, inner);
  const bool free = it->free[axis];
  it->free.insert(at(it->free) + 1, free);
  for (Access& access : it->accesses) {
    const int64_t stride = access.strides[axis];
    access.strides[axis] = stride * inner;
    access.strides.insert(at(access.strides) + 1, stride);
  }
}

Dims StridesOverStage(const Stage& stage, Extent extent, const Dims& dims, const Dims& strides) {
  const Dims space = extent == Extent::kFull ? stage.dims : RowDims(stage);
  const std::optional<Refinement> refinement = Refine(space, dims);
  Dims over(stage.dims.size(), 0);
  if (!refinement.has_value() || refinement->dims != space) return over;
  const Dims split = SplitStrides(strides, refinement->pieces_b);
  size_t next = 0;
  for (size_t i = 0; i < stage.dims.size(); ++i) {
    if (extent == Extent::kRow && stage.free[i]) continue;
    over[i] = split[next++];
  }
  return over;
}

StagedProgram CutIntoStages(const Program& program) { return Cutter(program).Run(); }

Iteration Coalesce(const Program& program, const StagedProgram& staged, const Stage& stage) {
  if (stage.alone()) return {};
  std::vector<bool> written_here(program.values.size(), false);
  for (int index : stage.ops) written_here[program.ops[index].result] = true;
  std::vector<Access> accesses;
  for (size_t position = 0; position < stage.ops.size(); ++position) {
    const int index = stage.ops[position];
    const Op& op = program.ops[index];
    const Extent extent = stage.extents[position];
    for (size_t k = 0; k < op.operands.size(); ++k) {
      const Operand& operand = op.operands[k];
      if (operand.immediate.has_value() || written_here[operand.value]) continue;
      Access access{operand.value, operand.view.offset, {}, false, index, static_cast<int>(k), extent};
      access.is_positions = program.values[operand.value].is_positions;
      const Dims& s = operand.view.strides;
      if (op.fn == Fn::kWindow) {
        access.strides = WindowStrides(stage, op, static_cast<int>(k));
      } else if (op.fn == Fn::kGather) {
        Dims along = s;  // of the numbers
        if (k == 1) along.assign(op.dims.size() - 1, 0);
        along.push_back(k == 1 ? s[1] : 0);
        access.strides = StridesOverStage(stage, extent, op.dims, along);
      } else if (op.fn == Fn::kMatmul) {
        access.strides =
            k == 0 ? MatmulStrides(stage, op, s[0], s[1], 0) : MatmulStrides(stage, op, s[0], 0, s[2]);
      } else {
        access.strides = StridesOverStage(stage, extent, operand.view.dims, s);
      }
      accesses.push_back(std::move(access));
    }
    Access store{op.result, op.destination.offset, {}, true, index, -1, extent};
    if (IsReduction(op.fn) || IsSelection(op.fn)) {
      store.extent = Extent::kRow;
      store.strides = CanonicalStrides(stage, Extent::kRow);
      for (int64_t& stride : store.strides) stride *= op.selection.has_value() ? op.selection->count : 1;
    } else {
      store.strides = StridesOverStage(stage, extent, op.destination.dims, op.destination.strides);
    }
    if (staged.in_hbm[op.result]) accesses.push_back(std::move(store));
  }
  Iteration it;
  std::vector<size_t> order;
  for (const bool free : {false, true}) {
    for (size_t i = 0; i < stage.dims.size(); ++i) {
      if (stage.free[i] == free) order.push_back(i);
    }
  }
  for (size_t i : order) {
    it.dims.push_back(stage.dims[i]);
    it.free.push_back(stage.free[i]);
  }
  for (Access& access : accesses) {
    Dims strides;
    for (size_t i : order) strides.push_back(access.strides[i]);
    access.strides = std::move(strides);
    it.accesses.push_back(std::move(access));
  }
  if (!stage.windowed) MergeNeighbours(&it);
  return it;
}

}  // namespace nkiagent::builtin
