#include "services/llm_gateway/builtin/rolled_loops.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "services/llm_gateway/builtin/fn_table.h"

namespace nkiagent::builtin {
namespace {

// Shorter loops are left as they are.
constexpr size_t kFewestSteps = 4;
// From here on even steps that lie apart in memory are brought together.
constexpr size_t kManySteps = 64;
// How many elementwise operations may lie between what is read and a step.
constexpr int kDeepest = 6;

// One step of a loop: op computes coefficient * state + addend.
struct Step {
  int op = -1;
  Operand state, coefficient, addend;
};

bool IsElementwise(const Op& op) {
  return op.reduced.empty() && op.fn != Fn::kMatmul && !op.window.has_value() && !op.recurrence.has_value() &&
         op.fn != Fn::kGather;
}

// Element i, counted row-major, of the operand is element i of its value.
bool IsWhole(const Program& program, const Operand& x) {
  return !x.immediate.has_value() && IsContiguous(x.view) &&
         ElementCount(x.view.dims) == ElementCount(program.values[x.value].dims);
}

class Roller {
 public:
  explicit Roller(Program* program) : program_(*program) { IndexWriters(); }

  // Rolls the first loop that it finds; whether there was one.
  bool RollOne() {
    for (size_t i = program_.ops.size(); i-- > 0;) {
      const std::vector<Step> steps = StepsUpTo(static_cast<int>(i));
      if (steps.size() >= kFewestSteps && Roll(steps)) return true;
    }
    return false;
  }

 private:
  void IndexWriters() {
    writer_.assign(program_.values.size(), -1);
    last_writer_.assign(program_.values.size(), -1);
    for (size_t i = 0; i < program_.ops.size(); ++i) {
      const Op& op = program_.ops[i];
      std::vector<int> results = {op.result};
      if (op.recurrence.has_value() && op.recurrence->cell_result >= 0)
        results.push_back(op.recurrence->cell_result);
      for (int value : results) {
        const bool alone = last_writer_[value] < 0 && results.size() == 1 && IsContiguous(op.destination);
        writer_[value] = alone ? static_cast<int>(i) : -1;
        last_writer_[value] = static_cast<int>(i);
      }
    }
  }

  // The elementwise operation that alone makes all of `x`; null if there is none.
  const Op* MakerOf(const Operand& x) const {
    if (x.immediate.has_value() || writer_[x.value] < 0) return nullptr;
    const Op& op = program_.ops[writer_[x.value]];
    return IsElementwise(op) ? &op : nullptr;
  }

  // Every way to see the operation as a step.
  std::vector<Step> StepsOf(int index) const {
    std::vector<Step> steps;
    const Op& add = program_.ops[index];
    if (add.fn != Fn::kAdd || !IsContiguous(add.destination) || writer_[add.result] != index) return steps;
    for (const size_t k : {0, 1}) {
      const Op* product = MakerOf(add.operands[k]);
      if (product == nullptr || product->fn != Fn::kMultiply || !IsWhole(program_, add.operands[k]) ||
          product->dims != add.dims || product->dtype != add.dtype) {
        continue;
      }
      for (const size_t s : {0, 1})
        steps.push_back({index, product->operands[s], product->operands[1 - s], add.operands[1 - k]});
    }
    return steps;
  }

  // The longest chain of steps that ends with `last`; empty if it is no step.
  std::vector<Step> StepsUpTo(int last) const {
    std::vector<Step> steps;
    if (continued_.contains(last)) return steps;
    int index = last;
    while (index >= 0) {
      const std::vector<Step> ways = StepsOf(index);
      int before = -1;
      for (const Step& step : ways) {
        const Op* state = MakerOf(step.state);
        if (state == nullptr || state->dims != program_.ops[index].dims || !IsWhole(program_, step.state))
          continue;
        const int maker = writer_[step.state.value];
        if (maker >= index || StepsOf(maker).empty()) continue;
        before = maker;
        steps.push_back(step);
        break;
      }
      // The first step starts from what no step has made.
      if (before < 0 && !ways.empty()) steps.push_back(ways.front());
      index = before;
    }
    std::reverse(steps.begin(), steps.end());
    return steps;
  }

  // The operands of all steps as one with a last axis of steps. What has to be computed for it goes to
  // `made`; nothing of it may come later than operation `before`.
  std::optional<Operand> Together(const std::vector<Operand>& xs, int before, int depth,
                                  std::vector<Op>* made) {
    const Operand& first = xs.front();
    Operand all = first;
    const auto steps = static_cast<int64_t>(xs.size());
    all.view.dims.push_back(steps);
    all.view.strides.push_back(0);
    const auto alike = [&](const auto& same) { return std::all_of(xs.begin(), xs.end(), same); };
    if (first.immediate.has_value()) {
      if (!alike([&](const Operand& x) { return x.immediate == first.immediate; })) return std::nullopt;
      return all;
    }
    if (!alike([&](const Operand& x) {
          return !x.immediate.has_value() && x.view.dims == first.view.dims &&
                 x.view.strides == first.view.strides && x.dtype == first.dtype;
        })) {
      return std::nullopt;
    }
    if (alike([&](const Operand& x) { return x.value == first.value; })) {
      const int64_t step = xs[1].view.offset - first.view.offset;
      for (size_t t = 1; t < xs.size(); ++t) {
        if (xs[t].view.offset - xs[t - 1].view.offset != step) return std::nullopt;
      }
      if (last_writer_[first.value] >= before) return std::nullopt;
      // Steps that lie far apart in memory are better taken as they come, while they are few.
      if (std::abs(step) > 1 && xs.size() < kManySteps) return std::nullopt;
      all.view.strides.back() = step;
      return all;
    }
    // Each step's own value, made alike.
    const Op* maker = MakerOf(first);
    if (maker == nullptr || depth == 0) return std::nullopt;
    std::vector<const Op*> makers;
    for (const Operand& x : xs) {
      makers.push_back(MakerOf(x));
      if (makers.back() == nullptr || x.view.offset != first.view.offset || makers.back()->fn != maker->fn ||
          makers.back()->dims != maker->dims || makers.back()->dtype != maker->dtype ||
          program_.values[x.value].dims != program_.values[first.value].dims) {
        return std::nullopt;
      }
    }
    Op op = *maker;
    for (size_t k = 0; k < op.operands.size(); ++k) {
      std::vector<Operand> of_makers;
      of_makers.reserve(makers.size());
      for (const Op* m : makers) of_makers.push_back(m->operands[k]);
      std::optional<Operand> operand = Together(of_makers, before, depth - 1, made);
      if (!operand.has_value()) return std::nullopt;
      op.operands[k] = *std::move(operand);
    }
    all = OfStep(first, AddValue(&op, steps), steps, 0);
    all.view.dims.push_back(steps);
    all.view.strides.push_back(1);
    made->push_back(std::move(op));
    return all;
  }

  // Gives `op` a last axis of steps and a new value; the value.
  int AddValue(Op* op, int64_t steps) {
    Value value = program_.values[op->result];
    value.dims = op->dims;
    value.dims.push_back(steps);
    op->dims.push_back(steps);
    op->destination = ContiguousView(op->dims);
    op->result = static_cast<int>(program_.values.size());
    program_.values.push_back(std::move(value));
    return op->result;
  }

  // The view `x` of one step's value, as one of `value`, which has all steps.
  static Operand OfStep(Operand x, int value, int64_t steps, int64_t step) {
    x.value = value;
    x.view.offset = x.view.offset * steps + step;
    for (int64_t& stride : x.view.strides) stride *= steps;
    return x;
  }

  bool Roll(std::vector<Step> steps) {
    for (const Step& step : steps) continued_.insert(step.op);
    if (!OnlyCollected(steps)) return false;
    // Which factor of the first step is the state shows in what fits to the other steps.
    for (const Step& first : StepsOf(steps.front().op)) {
      steps.front() = first;
      if (TryToRoll(steps)) return true;
    }
    // A first step of another kind may only give the state from which the others start.
    steps.erase(steps.begin());
    return steps.size() >= kFewestSteps && TryToRoll(steps);
  }

  // Whether states but the last go to the next step and into copies only; otherwise they had better stay
  // where they are.
  bool OnlyCollected(const std::vector<Step>& steps) const {
    std::set<int> states, products;
    for (const Step& step : steps) {
      if (&step != &steps.back()) states.insert(program_.ops[step.op].result);
      for (const Operand& x : program_.ops[step.op].operands) {
        if (!x.immediate.has_value()) products.insert(x.value);
      }
    }
    return std::none_of(program_.ops.begin(), program_.ops.end(), [&](const Op& op) {
      if (op.fn == Fn::kCopy || products.contains(op.result)) return false;
      return std::any_of(op.operands.begin(), op.operands.end(), [&](const Operand& x) {
        return !x.immediate.has_value() && states.contains(x.value);
      });
    });
  }

  bool TryToRoll(const std::vector<Step>& steps) {
    const int at = steps.front().op;
    const auto count = static_cast<int64_t>(steps.size());
    const size_t values = program_.values.size();
    std::vector<Op> made;
    std::vector<Operand> coefficients, addends;
    for (const Step& step : steps) {
      coefficients.push_back(step.coefficient);
      addends.push_back(step.addend);
    }
    std::optional<Operand> coefficient = Together(coefficients, at, kDeepest, &made);
    std::optional<Operand> addend =
        coefficient.has_value() ? Together(addends, at, kDeepest, &made) : std::nullopt;
    if (!addend.has_value()) {
      program_.values.resize(values);
      return false;
    }
    Op scan = program_.ops[at];
    scan.fn = Fn::kLinearScan;
    Operand start = steps.front().state;
    start.view.dims.push_back(count);
    start.view.strides.push_back(0);
    scan.operands = {*std::move(coefficient), *std::move(addend), std::move(start)};
    scan.reduced.assign(scan.dims.size(), false);
    scan.reduced.push_back(true);
    const int states = AddValue(&scan, count);
    made.push_back(std::move(scan));
    Redirect(steps, states);
    program_.ops.insert(program_.ops.begin() + at, made.begin(), made.end());
    return true;
  }

  // Whoever reads a step's state reads it from `states` from now on.
  void Redirect(const std::vector<Step>& steps, int states) {
    const auto count = static_cast<int64_t>(steps.size());
    for (size_t t = 0; t < steps.size(); ++t) {
      Op& step = program_.ops[steps[t].op];
      for (size_t i = static_cast<size_t>(steps[t].op) + 1; i < program_.ops.size(); ++i) {
        for (Operand& x : program_.ops[i].operands) {
          if (!x.immediate.has_value() && x.value == step.result)
            x = OfStep(x, states, count, static_cast<int64_t>(t));
        }
      }
      // The value itself remains for a caller who wants it.
      Operand whole;
      whole.value = step.result;
      whole.view = ContiguousView(step.dims);
      whole.dtype = step.dtype;
      step.operands = {OfStep(whole, states, count, static_cast<int64_t>(t))};
      step.fn = Fn::kCopy;
    }
  }

  Program& program_;
  std::vector<int> writer_;       // per value: the one operation that makes all of it, or -1
  std::vector<int> last_writer_;  // per value; -1 for arguments
  std::set<int> continued_;       // operations of loops that were looked at
};

bool Steps(const StridedView& a, const StridedView& b) { return a.dims == b.dims && a.strides == b.strides; }

// Copies that write one tensor piece by piece, each reading and writing the same distance further.
void MergeCopies(Program* program) {
  std::vector<Op> merged;
  for (size_t i = 0; i < program->ops.size();) {
    const Op& first = program->ops[i];
    size_t end = i + 1;
    const auto piece = [&](size_t k) {
      const Op& op = program->ops[k];
      return op.fn == Fn::kCopy && !op.operands[0].immediate.has_value() && op.result == first.result &&
             op.operands[0].value == first.operands[0].value && op.dtype == first.dtype &&
             Steps(op.operands[0].view, first.operands[0].view) && Steps(op.destination, first.destination);
    };
    const auto distance = [&](size_t k) {
      const Op &op = program->ops[k], &previous = program->ops[k - 1];
      return std::make_pair(op.operands[0].view.offset - previous.operands[0].view.offset,
                            op.destination.offset - previous.destination.offset);
    };
    if (piece(i)) {
      while (end < program->ops.size() && piece(end) && distance(end) == distance(i + 1)) ++end;
    }
    merged.push_back(first);
    if (end - i >= kFewestSteps) {
      Op& op = merged.back();
      const auto [from, to] = distance(i + 1);
      const auto count = static_cast<int64_t>(end - i);
      op.dims.push_back(count);
      op.operands[0].view.dims.push_back(count);
      op.operands[0].view.strides.push_back(from);
      op.destination.dims.push_back(count);
      op.destination.strides.push_back(to);
      i = end;
    } else {
      ++i;
    }
  }
  program->ops = std::move(merged);
}

}  // namespace

void RollLoops(Program* program) {
  bool rolled = false;
  while (Roller(program).RollOne()) rolled = true;
  if (rolled) MergeCopies(program);
}

}  // namespace nkiagent::builtin
