// Reads of memory that nothing has written: whole tensors, and the elements that a tile's stores leave out.
//
// Undefined elements do no harm while they stay in their own place: many correct kernels compute on whole
// tiles of which a part was loaded, and store that part. They are told of where they mix with others (sums
// along the axis that they lie on) or go to an output.
#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/nki/check/rules.h"
#include "common/nki/ir/saturate.h"

namespace nkiagent::nki::check {
namespace {

// Stores to one tensor looked at, and conditions followed from tile to tile.
constexpr size_t kMaxWriters = 128;
constexpr size_t kMaxConditions = 12;
// Intervals into which the stores of one loop nest fall along an axis.
constexpr size_t kMaxIntervals = 512;
// Intervals looked at in one program.
constexpr int64_t kMaxWork = 10'000'000;

using isa::Undefined;

using Intervals = std::vector<ir::Range>;

// "expression >= 0" over the element's indices (as tile dimensions) and loop symbols.
using Condition = ir::Affine;

bool IsOutput(const ir::Program& p, ir::TensorId id) {
  return std::find(p.outputs.begin(), p.outputs.end(), id) != p.outputs.end();
}

// `a` with its tile dimensions replaced by expressions.
ir::Affine Substitute(const ir::Affine& a, const std::vector<ir::Affine>& dims) {
  ir::Affine sum = a;
  sum.dims.clear();
  for (size_t d = 0; d < a.dims.size() && d < dims.size(); ++d) {
    if (a.dims[d] != 0) sum = sum + dims[d] * a.dims[d];
  }
  return sum;
}

// The element that an access takes, with dimensions of one position left out.
std::vector<ir::Affine> ElementOf(const ir::Access& a) {
  std::vector<ir::Affine> element = a.index;
  for (ir::Affine& e : element) {
    for (size_t d = 0; d < e.dims.size(); ++d) {
      if (a.shape[d] == 1) e.dims[d] = 0;
    }
  }
  return element;
}

// The tile dimensions of a source along which the instruction combines elements.
std::vector<size_t> MixingDims(const ir::Instr& instr, const ir::Access& src) {
  std::vector<size_t> dims;
  switch (isa::RowOf(instr.op).undefined) {
    case Undefined::kMixes:
      return {0};
    case Undefined::kRows:
      for (const int32_t d : instr.attrs.axes) dims.push_back(static_cast<size_t>(d));
      if (instr.op == isa::Opcode::kTensorReduce) return dims;
      for (size_t d = 1; d < src.shape.size(); ++d) dims.push_back(d);
      return dims;
    case Undefined::kElements: {
      const bool sums = instr.dst.size() > 1 && std::holds_alternative<ir::Access>(instr.dst[1]);
      for (size_t d = 1; sums && d < src.shape.size(); ++d) dims.push_back(d);
      return dims;
    }
    case Undefined::kStops:
      break;
  }
  return dims;
}

class Checker {
 public:
  Checker(const Facts& facts, Findings& found)
      : facts_(facts), found_(found), writers_(facts.program.tensors.size()), defined_(writers_.size()) {
    for (size_t n = 0; n < facts.instrs.size(); ++n) {
      if (!facts.instrs[n].runs) continue;
      for (const ir::Access* a : Destinations(*facts.instrs[n].instr)) {
        writers_[Id(facts.StorageOf(*a))].push_back({n, a});
      }
    }
  }

  void Run() {
    for (size_t n = 0; n < facts_.instrs.size(); ++n) {
      const InstrFacts& i = facts_.instrs[n];
      if (!i.runs) continue;
      for (const ir::Access* a : Sources(*i.instr)) {
        CheckWritten(n, a->tensor);
        if (a->indirect_tensor != ir::kNoTensor) CheckWritten(n, a->indirect_tensor);
        CheckElements(n, *a);
      }
      for (const ir::Access* a : Destinations(*i.instr)) Define(n, *a);
    }
  }

 private:
  struct Writer {
    size_t instr = 0;
    const ir::Access* access = nullptr;
  };

  static size_t Id(ir::TensorId id) { return static_cast<size_t>(id); }

  bool IsGiven(const ir::Tensor& t) const {
    return t.role == ir::TensorRole::kInput || t.role == ir::TensorRole::kConstant;
  }

  // Where the instructions end that may have written before `n` reads: a write anywhere in a loop in whose
  // iterations the tensor lives on may have happened in an earlier one.
  size_t EndOfWriters(size_t n, ir::TensorId storage) const {
    const int scope = facts_.ScopeOf(storage);
    size_t end = n;
    for (int l = facts_.instrs[n].loop; l != -1 && l != scope; l = facts_.ParentOf(l)) {
      end = facts_.loops[static_cast<size_t>(l)].end;
    }
    return end;
  }

  void CheckWritten(size_t n, ir::TensorId tensor) {
    const ir::TensorId storage = ir::StorageOf(facts_.program, tensor);
    const ir::Tensor& t = facts_.program.tensors[Id(storage)];
    const std::vector<Writer>& w = writers_[Id(storage)];
    if (IsGiven(t) || (!w.empty() && w.front().instr < EndOfWriters(n, storage))) return;
    if (!reported_.insert(storage).second) return;
    const ir::Instr& reader = *facts_.instrs[n].instr;
    found_.push_back(
        Finding(Severity::kError, "err_tensor_read_before_write", reader.loc,
                absl::StrCat("'", isa::RowOf(reader.op).name, "' reads ", isa::Name(t.buffer), " tensor '",
                             t.name, "' ", ShapeText(t.shape), " (created in line ", t.loc.line,
                             "), but nothing has written it before; its contents are undefined"),
                "written before it is read", w.empty() ? "never written" : "written later only",
                "load or compute into it first, or create it with nl.zeros"));
  }

  // ---- Tensors that one instruction writes, in the body that creates them: exactly its elements are defined

  // The innermost loop of the body that creates the tensor, grid loops counted as such.
  bool InCreatingBody(size_t n, ir::TensorId storage) const {
    const int scope = facts_.ScopeOf(storage);
    int l = facts_.instrs[n].loop;
    while (l != scope && l != -1 && facts_.loops[static_cast<size_t>(l)].loop->kind == ir::LoopKind::kSpmd) {
      l = facts_.ParentOf(l);
    }
    return l == scope;
  }

  // Each tile dimension as "element index - base", where every axis takes at most one dimension, by steps
  // of 1.
  std::optional<std::vector<ir::Affine>> Positions(const ir::Access& dst) const {
    std::vector<ir::Affine> positions(dst.shape.size());
    const std::vector<ir::Affine> element = ElementOf(dst);
    std::vector<bool> mapped(dst.shape.size(), false);
    for (size_t k = 0; k < element.size(); ++k) {
      int used = 0;
      for (size_t d = 0; d < element[k].dims.size(); ++d) {
        if (element[k].dims[d] == 0) continue;
        if (element[k].dims[d] != 1 || mapped[d]) return std::nullopt;
        mapped[d] = true;
        ++used;
        ir::Affine base = element[k];
        base.dims.clear();
        positions[d] = ir::Affine::Dim(static_cast<int>(k)) - base;
      }
      if (used > 1) return std::nullopt;
    }
    for (size_t d = 0; d < mapped.size(); ++d) {
      if (!mapped[d] && dst.shape[d] != 1) return std::nullopt;
    }
    return positions;
  }

  void Define(size_t n, const ir::Access& dst) {
    const ir::TensorId storage = facts_.StorageOf(dst);
    const ir::Tensor& t = facts_.program.tensors[Id(storage)];
    std::optional<std::vector<Condition>>& defined = defined_[Id(storage)];
    const bool spmd_shared = isa::IsHbm(t.buffer) && !facts_.program.grid.empty();
    if (IsGiven(t) || writers_[Id(storage)].size() != 1 || dst.tensor != storage || dst.indirect_axis >= 0 ||
        spmd_shared || !InCreatingBody(n, storage)) {
      return;
    }
    const std::optional<std::vector<ir::Affine>> positions = Positions(dst);
    if (!positions.has_value()) return;
    std::vector<Condition> conditions;
    // What the access covers.
    const std::vector<ir::Affine> element = ElementOf(dst);
    for (size_t k = 0; k < element.size(); ++k) {
      ir::Affine base = element[k];
      base.dims.clear();
      int64_t length = 1;
      for (size_t d = 0; d < element[k].dims.size(); ++d) {
        if (element[k].dims[d] != 0) length = dst.shape[d];
      }
      if (base.IsConstant() && base.constant == 0 && length == t.shape[k]) continue;
      const ir::Affine offset = ir::Affine::Dim(static_cast<int>(k)) - base;
      conditions.push_back(offset);
      conditions.push_back(ir::Affine::Constant(length - 1) - offset);
    }
    const ir::Instr& instr = *facts_.instrs[n].instr;
    for (const ir::Affine& m : JoinedMask(instr, dst)) conditions.push_back(Substitute(m, *positions));
    const Undefined flow = isa::RowOf(instr.op).undefined;
    if (flow == Undefined::kElements || flow == Undefined::kRows) {
      for (const ir::Access* src : Sources(instr)) AddConditions(*src, flow, *positions, conditions);
    }
    if (conditions.size() <= kMaxConditions) defined = std::move(conditions);
  }

  // The conditions under which a source's elements are defined, for the destination's.
  void AddConditions(const ir::Access& src, Undefined flow, const std::vector<ir::Affine>& positions,
                     std::vector<Condition>& conditions) const {
    const std::optional<std::vector<Condition>>& from = defined_[Id(facts_.StorageOf(src))];
    if (!from.has_value() || src.tensor != facts_.StorageOf(src) || src.indirect_axis >= 0) return;
    for (const Condition& c : *from) {
      const ir::Affine at = Substitute(c, ElementOf(src));
      bool other_dims = false;
      for (size_t d = 1; d < at.dims.size(); ++d) other_dims = other_dims || at.dims[d] != 0;
      if (flow == Undefined::kRows && other_dims) continue;
      const Condition condition = Substitute(at, positions);
      if (std::find(conditions.begin(), conditions.end(), condition) == conditions.end()) {
        conditions.push_back(condition);
      }
    }
  }

  // ---- Tensors that several instructions or iterations write: what none of them can reach along one axis

  // The indices that executions of the access take along an axis, at least.
  void Project(const ir::Access& a, size_t axis, Intervals& out) const {
    const int64_t size = facts_.program.tensors[Id(a.tensor)].shape[axis];
    const ir::Affine& e = a.index[axis];
    if (a.indirect_axis == static_cast<int32_t>(axis)) {
      out.push_back({0, size - 1});
      return;
    }
    ir::Affine tile = e;
    tile.terms.clear();
    Intervals pieces = {facts_.RangeOf(tile, a.shape)};
    for (const ir::Affine::Term& term : e.terms) {
      const int l = facts_.loop_of_symbol[static_cast<size_t>(term.symbol)];
      const ir::Range all = facts_.ranges[static_cast<size_t>(term.symbol)];
      const ir::Range moves = facts_.RangeOf(ir::Affine::Symbol(term.symbol, term.coefficient), {});
      const int64_t trips = l == -1 ? 0 : facts_.loops[static_cast<size_t>(l)].loop->trips;
      const int64_t step = l == -1 ? 1 : facts_.loops[static_cast<size_t>(l)].loop->step;
      const int64_t stride = std::abs(ir::SaturatingMul(term.coefficient, step));
      const bool gapless = pieces.size() == 1 && stride <= pieces[0].max - pieces[0].min + 1;
      if (l == -1 || gapless || static_cast<size_t>(trips) * pieces.size() > kMaxIntervals) {
        ir::Range hull = pieces[0];
        for (const ir::Range& p : pieces) hull = {std::min(hull.min, p.min), std::max(hull.max, p.max)};
        pieces = {{ir::SaturatingAdd(hull.min, moves.min), ir::SaturatingAdd(hull.max, moves.max)}};
        continue;
      }
      Intervals moved;
      for (int64_t trip = 0; trip < trips; ++trip) {
        const int64_t by = ir::SaturatingMul(term.coefficient, ir::SaturatingAdd(all.min, trip * step));
        for (const ir::Range& p : pieces) {
          moved.push_back({ir::SaturatingAdd(p.min, by), ir::SaturatingAdd(p.max, by)});
        }
      }
      pieces = std::move(moved);
    }
    out.insert(out.end(), pieces.begin(), pieces.end());
  }

  // The parts of an axis that no write before `end` reaches.
  Intervals GapsOf(ir::TensorId storage, size_t axis, size_t end) const {
    Intervals covered;
    for (const Writer& w : writers_[Id(storage)]) {
      if (w.instr < end) Project(*w.access, axis, covered);
    }
    work_ += static_cast<int64_t>(covered.size() + writers_[Id(storage)].size());
    std::sort(covered.begin(), covered.end(),
              [](const ir::Range& a, const ir::Range& b) { return a.min < b.min; });
    Intervals gaps;
    int64_t next = 0;
    const int64_t size = facts_.program.tensors[Id(storage)].shape[axis];
    for (const ir::Range& c : covered) {
      if (c.min > next) gaps.push_back({next, std::min(c.min, size) - 1});
      next = std::max(next, c.max + 1);
      if (next >= size) return gaps;
    }
    gaps.push_back({next, size - 1});
    return gaps;
  }

  bool CanProject(ir::TensorId storage) const {
    const std::vector<Writer>& w = writers_[Id(storage)];
    return w.size() <= kMaxWriters &&
           std::all_of(w.begin(), w.end(), [&](const Writer& x) { return x.access->tensor == storage; });
  }

  // ---- Reading

  // Undefined elements that the reader mixes with others or stores to an output.
  void CheckElements(size_t n, const ir::Access& src) {
    const ir::Instr& instr = *facts_.instrs[n].instr;
    const ir::TensorId storage = facts_.StorageOf(src);
    const ir::Tensor& t = facts_.program.tensors[Id(storage)];
    if (IsGiven(t) || src.tensor != storage || src.indirect_axis >= 0 || writers_[Id(storage)].empty() ||
        reported_.count(storage) > 0) {
      return;
    }
    const auto* to = std::get_if<ir::Access>(&instr.dst[0]);
    const bool to_output = instr.op == isa::Opcode::kDmaCopy && to != nullptr &&
                           IsOutput(facts_.program, facts_.StorageOf(*to)) &&
                           instr.attrs.op0 == isa::AluOp::kNone;
    const std::vector<size_t> mixing = MixingDims(instr, src);
    if (!to_output && mixing.empty()) return;
    const auto matters = [&](const ir::Affine& e) {
      return to_output ||
             std::any_of(mixing.begin(), mixing.end(), [&](size_t d) { return e.DimCoefficient(d) != 0; });
    };
    const std::vector<ir::Affine> element = ElementOf(src);
    if (const auto& defined = defined_[Id(storage)]; defined.has_value()) {
      if (writers_[Id(storage)][0].instr >= n) return;
      for (const Condition& c : *defined) {
        const ir::Affine at = Substitute(c, element);
        if (matters(at) && Report(n, src, {ir::Affine::Constant(-1) - at}, to_output)) return;
      }
      return;
    }
    if (work_ > kMaxWork || !CanProject(storage)) return;
    const size_t end = EndOfWriters(n, storage);
    for (size_t k = 0; k < element.size(); ++k) {
      if (!matters(element[k])) continue;
      const ir::Range reads = facts_.RangeOf(element[k], src.shape);
      for (const ir::Range& gap : GapsOf(storage, k, end)) {
        if (reads.max < gap.min || gap.max < reads.min) continue;
        const ir::Affine low = element[k] - ir::Affine::Constant(gap.min);
        const ir::Affine high = ir::Affine::Constant(gap.max) - element[k];
        if (Report(n, src, {low, high}, to_output)) return;
      }
    }
  }

  // Whether some element that the reader takes satisfies the conditions; says so.
  bool Report(size_t n, const ir::Access& src, const std::vector<ir::Affine>& undefined, bool to_output) {
    const ir::Instr& instr = *facts_.instrs[n].instr;
    IntegerProblem problem;
    Instance instance(facts_, problem);
    instance.SetTile(src.shape);
    instance.Require(JoinedMask(instr, src));
    instance.Require(undefined);
    std::vector<Linear> element;
    for (const ir::Affine& e : src.index) element.push_back(instance.ValueOf(e));
    std::vector<int64_t> point;
    if (facts_.Solve(problem, &point) != IntegerProblem::Answer::kFound) return false;
    std::vector<int64_t> at;
    for (const Linear& e : element) at.push_back(Evaluate(e, point));
    const ir::TensorId storage = facts_.StorageOf(src);
    reported_.insert(storage);
    const ir::Tensor& t = facts_.program.tensors[Id(storage)];
    const std::string where = instance.Describe(point);
    found_.push_back(Finding(
        Severity::kWarning, "undefined_elements_used", instr.loc,
        absl::StrCat(
            "'", isa::RowOf(instr.op).name, "' ",
            to_output ? "stores undefined elements of " : "mixes undefined elements into its result: ",
            isa::Name(t.buffer), " tensor '", t.name, "' ", ShapeText(t.shape), " (created in line ",
            t.loc.line, ") is written in part only, and element ", ShapeText(at),
            where.empty() ? "" : absl::StrCat(" at ", where), " is not"),
        "elements that were written", absl::StrCat("element ", ShapeText(at), " is undefined"),
        "give this call the mask or slice of the load, or fill the tile first (nl.zeros, nisa.memset)"));
    return true;
  }

  const Facts& facts_;
  Findings& found_;
  std::vector<std::vector<Writer>> writers_;                    // by storage, in program order
  std::vector<std::optional<std::vector<Condition>>> defined_;  // of tensors with one writer, by storage
  std::set<ir::TensorId> reported_;
  mutable int64_t work_ = 0;
};

}  // namespace

void CheckUndefinedReads(const Facts& facts, Findings& found) { Checker(facts, found).Run(); }

}  // namespace nkiagent::nki::check
