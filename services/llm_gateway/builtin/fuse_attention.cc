// Finds attention in a Program: a product, elementwise functions of it, a softmax over its columns, another
// product.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "services/llm_gateway/builtin/attention.h"
#include "services/llm_gateway/builtin/fn_table.h"
#include "services/llm_gateway/builtin/program.h"

namespace nkiagent::builtin {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// A score this low has no weight beside any that is not masked.
constexpr double kMasked = -1e4;
// The result of the second product has to fit in a bank of PSUM.
constexpr int64_t kMaxWidth = 512;
constexpr size_t kMaxSteps = 12;

bool IsWhole(const Program& program, const Operand& x) {
  return !x.immediate.has_value() && IsContiguous(x.view) &&
         ElementCount(x.view.dims) == ElementCount(program.values[x.value].dims);
}

// The conditions under which scores stay, if `mask` is `kept` there and puts them far below the others
// elsewhere, by adding or by replacing, and leaves no row empty.
std::optional<std::vector<AffineForm>> Kept(MaskForm mask, double kept, int64_t rows, int64_t columns) {
  if (mask.no == kept && mask.conditions.size() == 1) {
    AffineForm& c = mask.conditions.front();
    c = {-c.row, -c.column, -c.constant - 1};
    std::swap(mask.yes, mask.no);
  }
  if (mask.yes != kept || mask.no > kMasked || !EveryRowSeesSome(mask.conditions, rows, columns))
    return std::nullopt;
  return mask.conditions;
}

// Whether the view has all elements of a row-major tensor once each.
bool IsPermutation(const StridedView& view) {
  std::vector<std::pair<int64_t, int64_t>> axes;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] > 1) axes.emplace_back(view.strides[i], view.dims[i]);
  }
  std::sort(axes.begin(), axes.end());
  int64_t next = 1;
  for (const auto& [stride, size] : axes) {
    if (stride != next) return false;
    next *= size;
  }
  return view.offset == 0;
}

struct Scores {
  int product = -1;  // the operation that makes them
  std::vector<Attention::Step> steps;
  std::vector<Operand> extras;  // what steps read, with the view over the step's own shape
};

// One attempt to see attention around the product that ends it.
class Match {
 public:
  Match(Program* program, const std::vector<std::vector<int>>& users, int last, bool turned)
      : program_(*program), users_(users), last_(last), turned_(turned) {}

  // Replaces the last operation; false, and nothing changed, where there is no attention.
  bool Run() {
    const Op& last = Last();
    const Operand& weights = last.operands[turned_ ? 1 : 0];
    rows_ = last.dims[turned_ ? 2 : 1];
    columns_ = weights.view.dims[turned_ ? 1 : 2];
    batch_ = {last.dims[0]};
    if (columns_ < 2 || weights.immediate.has_value()) return false;
    if (turned_ && weights.view.strides[1] != 1) return false;
    Operand upright = weights;
    if (turned_) {
      std::swap(upright.view.dims[1], upright.view.dims[2]);
      std::swap(upright.view.strides[1], upright.view.strides[2]);
    }
    if (!IsWhole(program_, upright)) return false;
    if (!MatchSoftmax(upright.value)) return false;
    std::optional<Scores> scores = MatchScores(scores_, 0);
    if (!scores.has_value() || !Enclosed()) return false;
    return Build(*std::move(scores));
  }

 private:
  const Op& Last() const { return program_.ops[last_]; }
  int64_t row_count() const { return ElementCount(batch_) * rows_; }

  // The one operation that writes the value, taken into the pattern.
  const Op* Take(int value) {
    const int writer = value < 0 ? -1 : SoleWriter(program_, value);
    if (writer < 0) return nullptr;
    taken_.insert(writer);
    return &program_.ops[writer];
  }

  // Past conversions of a whole value.
  int Stripped(int value) {
    for (;;) {
      const int writer = SoleWriter(program_, value);
      if (writer < 0) return value;
      const Op& op = program_.ops[writer];
      if (op.fn != Fn::kCopy || !IsWhole(program_, op.operands[0])) return value;
      taken_.insert(writer);
      value = op.operands[0].value;
    }
  }

  bool IsFull(const Op& op) const {
    return op.reduced.empty() && ElementCount(op.dims) == row_count() * columns_ &&
           op.dims.back() == columns_;
  }

  // The value that has one element for each row, if `x` repeats such a value along the columns.
  int RowValue(const Operand& x) const {
    if (x.immediate.has_value() || x.view.dims.empty() || x.view.strides.back() != 0) return -1;
    StridedView rows = x.view;
    rows.dims.pop_back();
    rows.strides.pop_back();
    const bool whole = IsContiguous(rows) && ElementCount(rows.dims) == row_count() &&
                       ElementCount(program_.values[x.value].dims) == row_count();
    return whole ? x.value : -1;
  }

  // What `value` is the `fn` of over the columns, in one step or two; -1 if it isn't.
  int Reduced(int value, Fn fn) {
    int64_t length = 1;
    for (int step = 0; step < 2; ++step) {
      const Op* op = Take(Stripped(value));
      if (op == nullptr || op->fn != fn || !op->reduced.back() || !IsWhole(program_, op->operands[0]) ||
          std::count(op->reduced.begin(), op->reduced.end(), true) != 1) {
        return -1;
      }
      length *= op->dims.back();
      value = op->operands[0].value;
      if (length == columns_) return Stripped(value);
    }
    return -1;
  }

  bool MatchSoftmax(int weights) {
    const Op* op = Take(Stripped(weights));
    if (op == nullptr || !IsFull(*op)) return false;
    int guarded = -1;  // the scores that the zeros of empty rows depend on
    if (op->fn == Fn::kSelect) {
      if (op->operands[1].immediate != 0.0 || !IsWhole(program_, op->operands[2])) return false;
      guarded = Guarded(op->operands[0]);
      if (guarded < 0) return false;
      safe_ = true;
      op = Take(Stripped(op->operands[2].value));
      if (op == nullptr || !IsFull(*op)) return false;
    }
    if (op->fn != Fn::kMultiply && op->fn != Fn::kDivide) return false;
    const Operand& above = op->operands[0];
    if (!IsWhole(program_, above) || op->operands[1].immediate.has_value()) return false;
    int sum = RowValue(op->operands[1]);
    if (op->fn == Fn::kMultiply) {
      const Op* inverse = Take(Stripped(sum));
      if (inverse == nullptr || inverse->fn != Fn::kReciprocal || !IsWhole(program_, inverse->operands[0]))
        return false;
      sum = inverse->operands[0].value;
    }
    const int exponentials = Stripped(above.value);
    if (sum < 0 || Reduced(sum, Fn::kSum) != exponentials) return false;
    const Op* exp = Take(exponentials);
    if (exp == nullptr || exp->fn != Fn::kExp || !IsWhole(program_, exp->operands[0])) return false;
    const Op* shifted = Take(Stripped(exp->operands[0].value));
    if (shifted == nullptr || shifted->fn != Fn::kSubtract || !IsFull(*shifted) ||
        !IsWhole(program_, shifted->operands[0])) {
      return false;
    }
    scores_ = Stripped(shifted->operands[0].value);
    const int top = RowValue(shifted->operands[1]);
    if (top < 0 || Reduced(top, Fn::kMax) != scores_) return false;
    return guarded < 0 || guarded == scores_;
  }

  // The scores x if the operand says "no x in this row differs from -inf"; else -1.
  int Guarded(const Operand& condition) {
    const int rows = RowValue(condition);
    const Op* none = rows < 0 ? nullptr : Take(Stripped(rows));
    if (none == nullptr || none->fn != Fn::kLogicalNot || !IsWhole(program_, none->operands[0])) return -1;
    const int each = Reduced(none->operands[0].value, Fn::kMax);
    const Op* op = each < 0 ? nullptr : Take(each);
    if (op != nullptr && op->fn == Fn::kLogicalNot && IsWhole(program_, op->operands[0])) {
      op = Take(Stripped(op->operands[0].value));
      if (op != nullptr && op->fn != Fn::kEqual) return -1;
    } else if (op != nullptr && op->fn != Fn::kNotEqual) {
      return -1;
    }
    if (op == nullptr || !IsWhole(program_, op->operands[0]) || op->operands[1].immediate != -kInfinity)
      return -1;
    return Stripped(op->operands[0].value);
  }

  // From the scores back to the product that they start from.
  std::optional<Scores> MatchScores(int value, size_t depth) {
    const int writer = SoleWriter(program_, value);
    if (writer < 0 || depth > kMaxSteps) return std::nullopt;
    const Op& op = program_.ops[writer];
    if (op.fn == Fn::kMatmul) {
      if (op.dims != Dims{ElementCount(batch_), rows_, columns_}) return std::nullopt;
      taken_.insert(writer);
      return Scores{writer, {}, {}};
    }
    if (!IsFull(op) || op.fn >= Fn::kCumSum || RowOf(op.fn).yields_bool) return std::nullopt;
    for (size_t main = 0; main < op.operands.size(); ++main) {
      if (!IsWhole(program_, op.operands[main])) continue;
      std::optional<Scores> scores = MatchScores(op.operands[main].value, depth + 1);
      if (!scores.has_value() || !AddStep(op, main, &*scores)) continue;
      taken_.insert(writer);
      return scores;
    }
    return std::nullopt;
  }

  bool AddStep(const Op& op, size_t main, Scores* scores) {
    Attention::Step step{op.fn};
    if (op.operands.size() == 1) {
      if (op.fn != Fn::kCopy) scores->steps.push_back(step);
      return true;
    }
    const auto extra = [&](const Operand& operand) {
      scores->extras.push_back(operand);
      return static_cast<int>(2 + scores->extras.size());
    };
    if (op.operands.size() == 2) {
      const Operand& other = op.operands[1 - main];
      step.scores_last = main == 1;
      if (other.immediate.has_value()) {
        step.number = *other.immediate;
      } else if (std::optional<std::vector<AffineForm>> kept = KeptBy(op, other); kept.has_value()) {
        step = {Fn::kSelect, -1, -kInfinity, false, *std::move(kept)};
      } else if (IsFloat(other.dtype)) {
        step.operand = extra(other);
      } else {
        return false;
      }
      scores->steps.push_back(step);
      return true;
    }
    // The scores where a condition says so, a number elsewhere.
    if (op.fn != Fn::kSelect || main == 0) return false;
    const Operand& condition = op.operands[0];
    const Operand& other = op.operands[3 - main];
    if (condition.immediate.has_value() || !other.immediate.has_value()) return false;
    step.number = *other.immediate;
    step.scores_last = main == 2;
    std::optional<MaskForm> mask = MaskOver(condition);
    if (mask.has_value()) {
      // As numbers: 0 where the scores stay.
      const auto put = [&](double truth) { return (truth != 0) == (main == 1) ? 0 : step.number; };
      mask->yes = put(mask->yes);
      mask->no = put(mask->no);
      if (std::optional<std::vector<AffineForm>> kept = Kept(*mask, 0, rows_, columns_); kept.has_value()) {
        scores->steps.push_back({Fn::kSelect, -1, -kInfinity, false, *std::move(kept)});
        return true;
      }
    }
    step.operand = extra(condition);
    scores->steps.push_back(step);
    return true;
  }

  std::optional<std::vector<AffineForm>> KeptBy(const Op& op, const Operand& added) const {
    const std::optional<MaskForm> mask = op.fn == Fn::kAdd ? MaskOver(added) : std::nullopt;
    return mask.has_value() ? Kept(*mask, 0, rows_, columns_) : std::nullopt;
  }

  // The mask that `operand` of a full operation holds.
  std::optional<MaskForm> MaskOver(const Operand& operand) const {
    Operand over = operand;
    // Axes in front may be cut from the rows; none of them may matter.
    if (over.view.dims.size() < 2 || over.view.dims[over.view.dims.size() - 2] != rows_) return std::nullopt;
    return MaskOf(program_, over);
  }

  // Whether nothing else needs what lies inside.
  bool Enclosed() const {
    for (int index : taken_) {
      const int value = program_.ops[index].result;
      if (std::find(program_.results.begin(), program_.results.end(), value) != program_.results.end())
        return false;
      for (int user : users_[value]) {
        if (user != last_ && !taken_.contains(user)) return false;
      }
    }
    return true;
  }

  // The view over (batch…, r, c) of an operand with axes (batch, r, c).
  static Operand Placed(const Operand& x, bool swap) {
    Operand placed = x;
    if (swap) {
      std::swap(placed.view.dims[1], placed.view.dims[2]);
      std::swap(placed.view.strides[1], placed.view.strides[2]);
    }
    return placed;
  }

  // Cuts batch axis `axis` of everything.
  void CutBatch(size_t axis, int64_t inner) {
    const auto insert = [axis](Dims* dims, int64_t value) {
      dims->insert(dims->begin() + static_cast<ptrdiff_t>(axis) + 1, value);
    };
    batch_[axis] /= inner;
    insert(&batch_, inner);
    const auto cut = [&](StridedView* view) {
      view->dims[axis] = batch_[axis];
      insert(&view->dims, inner);
      insert(&view->strides, view->strides[axis]);
      view->strides[axis] *= inner;
    };
    for (Operand& operand : operands_) cut(&operand.view);
    cut(&destination_);
  }

  // Brings what a step reads, over the step's own shape, to (batch…, rows, columns).
  bool PlaceExtra(Operand extra) {
    for (int attempt = 0; attempt < 8; ++attempt) {
      Dims all = batch_;
      all.push_back(rows_);
      all.push_back(columns_);
      const std::optional<Refinement> refinement = Refine(extra.view.dims, all);
      if (!refinement.has_value()) return false;
      const Dims strides = SplitStrides(extra.view.strides, refinement->pieces_a);
      StridedView view{extra.view.offset, all, Dims(all.size(), 0)};
      size_t next = 0;
      bool done = true;
      for (size_t axis = 0; axis < all.size() && done; ++axis) {
        const Dims& pieces = refinement->pieces_b[axis];
        if (pieces.size() > 1) {
          if (axis >= batch_.size()) return false;
          CutBatch(axis, pieces.back());
          done = false;
        } else if (pieces.size() == 1) {
          view.strides[axis] = strides[next++];
        }
      }
      if (!done) continue;
      extra.view = std::move(view);
      operands_.push_back(std::move(extra));
      return true;
    }
    return false;
  }

  // Reads past operations that only move or scale, and with `widened` past conversions from half precision:
  // the Tensor engine's products of those are exact as well.
  void LookThrough(size_t operand, double* scale, bool widened) {
    for (int attempt = 0; attempt < 16; ++attempt) {
      const int writer = SoleWriter(program_, operands_[operand].value);
      if (writer < 0) return;
      const Op& op = program_.ops[writer];
      const bool scales = scale != nullptr && (op.fn == Fn::kMultiply || op.fn == Fn::kDivide) &&
                          op.operands[1].immediate.has_value() && *op.operands[1].immediate != 0;
      if ((op.fn != Fn::kCopy && !scales) || op.operands[0].immediate.has_value()) return;
      const Operand& source = op.operands[0];
      const bool widens = widened && op.fn == Fn::kCopy && op.dtype == DType::kFloat32 &&
                          IsFloat(source.dtype) && DTypeBytes(source.dtype) == 2;
      if (source.dtype != operands_[operand].dtype && !widens) return;
      if (program_.values[source.value].is_positions) return;
      std::optional<AxisCut> cut;
      std::optional<StridedView> view = Through(operands_[operand].view, op.dims, source.view, &cut);
      if (!view.has_value()) {
        if (!cut.has_value() || cut->axis >= batch_.size()) return;
        CutBatch(cut->axis, cut->inner);
        continue;
      }
      if (scales)
        *scale *= op.fn == Fn::kMultiply ? *op.operands[1].immediate : 1 / *op.operands[1].immediate;
      operands_[operand].value = source.value;
      operands_[operand].dtype = source.dtype;
      operands_[operand].view = *std::move(view);
    }
  }

  // Both factors of the first product, which must have one type.
  void LookThroughFactors(double* scale) {
    const double scale_before = *scale;
    const std::vector<Operand> operands = operands_;
    const StridedView destination = destination_;
    const Dims batch = batch_;
    for (const bool widened : {true, false}) {
      LookThrough(0, scale, widened);
      LookThrough(1, scale, widened);
      if (operands_[0].dtype == operands_[1].dtype) return;
      *scale = scale_before;
      operands_ = operands;
      destination_ = destination;
      batch_ = batch;
    }
  }

  // Two factors of a root each leave the last bit wrong.
  static void SnapToPowerOfTwo(double* scale) {
    int exponent = 0;
    const double fraction = std::fabs(std::frexp(*scale, &exponent));
    const double nearest = fraction < 0.75 ? 0.5 : 1;
    if (std::fabs(fraction - nearest) < 1e-9) *scale = std::copysign(std::ldexp(nearest, exponent), *scale);
  }

  // Leading multiplications by numbers belong to the product.
  static void TakeScale(Attention* attention) {
    auto step = attention->steps.begin();
    for (; step != attention->steps.end() && step->operand < 0 && step->kept.empty(); ++step) {
      if (step->fn == Fn::kMultiply) {
        attention->scale *= step->number;
      } else if (step->fn == Fn::kDivide && !step->scores_last && step->number != 0) {
        attention->scale /= step->number;
      } else {
        break;
      }
    }
    attention->steps.erase(attention->steps.begin(), step);
  }

  // A result that is only moved or converted goes where it is moved to; whether it did.
  bool ForwardResult() {
    const int value = result_;
    const bool returned =
        std::find(program_.results.begin(), program_.results.end(), value) != program_.results.end();
    if (returned || users_[value].size() != 1) return false;
    const int user = users_[value].front();
    const Op& copy = program_.ops[user];
    if (copy.fn != Fn::kCopy || SoleWriter(program_, copy.result) != user || !IsFloat(copy.dtype))
      return false;
    const StridedView& view = copy.operands[0].view;
    const Dims target = ContiguousStrides(copy.dims);
    if (destination_.offset != 0 || !IsPermutation(view) ||
        ElementCount(view.dims) != ElementCount(program_.values[value].dims)) {
      return false;
    }
    for (int attempt = 0; attempt < 8; ++attempt) {
      // Every axis of the result lies within one axis of the copy, or the batch has to be cut.
      StridedView moved = destination_;
      bool again = false;
      for (size_t axis = 0; axis < moved.dims.size() && !again; ++axis) {
        if (moved.dims[axis] == 1) continue;
        const int64_t stride = destination_.strides[axis];
        size_t from = 0;
        while (from < view.dims.size() &&
               (view.strides[from] > stride || view.strides[from] * view.dims[from] <= stride)) {
          ++from;
        }
        if (from == view.dims.size() || stride % view.strides[from] != 0) return false;
        const int64_t step = stride / view.strides[from];
        if (step * moved.dims[axis] <= view.dims[from]) {
          moved.strides[axis] = target[from] * step;
          continue;
        }
        const int64_t within = view.dims[from] / step;
        if (axis >= batch_.size() || view.dims[from] % step != 0 || moved.dims[axis] % within != 0)
          return false;
        CutBatch(axis, within);
        again = true;
      }
      if (again) continue;
      destination_ = std::move(moved);
      result_ = copy.result;
      forwarded_.push_back(user);
      return true;
    }
    return false;
  }

  // Neighbouring batch axes that everything steps through as through one become one.
  void MergeBatch() {
    const auto mergeable = [&](const StridedView& view, size_t axis) {
      return view.strides[axis] == view.strides[axis + 1] * view.dims[axis + 1];
    };
    const auto drop = [](StridedView* view, size_t axis) {
      view->dims.erase(view->dims.begin() + static_cast<ptrdiff_t>(axis));
      view->strides.erase(view->strides.begin() + static_cast<ptrdiff_t>(axis));
    };
    for (size_t axis = batch_.size(); axis-- > 0;) {
      const bool single = batch_[axis] == 1;
      const bool merged = !single && axis + 1 < batch_.size() && mergeable(destination_, axis) &&
                          std::all_of(operands_.begin(), operands_.end(),
                                      [&](const Operand& o) { return mergeable(o.view, axis); });
      if (!single && !merged) continue;
      const auto apply = [&](StridedView* view) {
        if (merged) view->dims[axis + 1] *= view->dims[axis];
        drop(view, axis);
      };
      for (Operand& operand : operands_) apply(&operand.view);
      apply(&destination_);
      if (merged) batch_[axis + 1] *= batch_[axis];
      batch_.erase(batch_.begin() + static_cast<ptrdiff_t>(axis));
    }
  }

  bool Build(Scores scores) {
    const Op& first = program_.ops[scores.product];
    const Op& last = Last();
    const Operand& values = last.operands[turned_ ? 0 : 1];
    Attention attention;
    attention.rows = rows_;
    attention.columns = columns_;
    attention.depth = first.operands[0].view.dims[2];
    attention.width = values.view.dims[turned_ ? 1 : 2];
    attention.steps = std::move(scores.steps);
    // Rows can only be empty where a mask is read.
    attention.safe = safe_;
    if (attention.width > kMaxWidth) return false;
    if (first.operands[0].dtype != first.operands[1].dtype || !IsFloat(values.dtype)) return false;
    operands_ = {Placed(first.operands[0], false), Placed(first.operands[1], true), Placed(values, turned_)};
    destination_ = {0, {batch_[0], rows_, attention.width}, {rows_ * attention.width, attention.width, 1}};
    if (turned_) destination_.strides = {rows_ * attention.width, 1, rows_};
    for (Operand& extra : scores.extras) {
      if (!PlaceExtra(extra)) return false;
    }
    TakeScale(&attention);
    for (size_t i = 3; i < operands_.size(); ++i) LookThrough(i, nullptr, false);
    LookThroughFactors(&attention.scale);
    SnapToPowerOfTwo(&attention.scale);
    if (!(std::fabs(attention.scale) > 0) || std::isinf(attention.scale)) return false;
    result_ = last.result;
    DType dtype = last.dtype;
    while (ForwardResult()) dtype = program_.ops[forwarded_.back()].dtype;
    // Weights in half precision are good enough for a result in it.
    LookThrough(2, nullptr, DTypeBytes(dtype) == 2);
    MergeBatch();
    attention.batch_axes = static_cast<int64_t>(batch_.size());

    Op op;
    op.fn = Fn::kAttention;
    op.operands = std::move(operands_);
    op.dims = destination_.dims;
    op.destination = std::move(destination_);
    op.result = result_;
    op.dtype = dtype;
    op.origin = last.origin;
    op.attention = std::move(attention);
    for (int copy : forwarded_) {
      // Nobody reads it any more.
      program_.ops[copy].result = static_cast<int>(program_.values.size());
      Value unread = program_.values[result_];
      program_.values.push_back(std::move(unread));
    }
    program_.ops[last_] = std::move(op);
    return true;
  }

  Program& program_;
  const std::vector<std::vector<int>>& users_;  // per value, operations that reach a result
  const int last_;
  const bool turned_;  // the result is that of attention with rows and columns exchanged
  int64_t rows_ = 1, columns_ = 1;
  int scores_ = -1;  // the value under the softmax
  bool safe_ = false;
  std::set<int> taken_;  // operations inside, without the last
  Dims batch_;
  std::vector<Operand> operands_;
  StridedView destination_;
  int result_ = -1;
  std::vector<int> forwarded_;  // copies that the result took the place of
};

}  // namespace

void FuseAttention(Program* program) {
  const std::vector<bool> live = LiveOps(*program);
  std::vector<std::vector<int>> users(program->values.size());
  for (size_t i = 0; i < program->ops.size(); ++i) {
    if (!live[i]) continue;
    for (const Operand& operand : program->ops[i].operands) {
      if (operand.immediate.has_value()) continue;
      std::vector<int>& of = users[operand.value];
      if (of.empty() || of.back() != static_cast<int>(i)) of.push_back(static_cast<int>(i));
    }
  }
  for (size_t i = 0; i < program->ops.size(); ++i) {
    if (!live[i] || program->ops[i].fn != Fn::kMatmul) continue;
    for (const bool turned : {false, true}) {
      if (Match(program, users, static_cast<int>(i), turned).Run()) break;
    }
  }
}

}  // namespace nkiagent::builtin
