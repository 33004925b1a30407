// Iterations that may be reordered neither write the same element nor read what another one writes.
#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/nki/check/rules.h"

namespace nkiagent::nki::check {
namespace {

// Pairs of writes looked at in one program; a program with more is unrolled by the thousand and its later
// pairs go unchecked.
constexpr int kMaxPairs = 20000;

// How far back the producer of a copied tile is looked for.
constexpr size_t kNear = 64;

struct Use {
  const InstrFacts* instr = nullptr;
  const ir::Access* access = nullptr;
  bool accumulates = false;
};

// Two iterations that touch one element.
struct Meeting {
  int64_t first = 0;  // values of the loop index
  int64_t second = 0;
  std::vector<int64_t> element;
};

// Operators whose repeated application gives the same result in any order.
bool Reorders(isa::AluOp op) {
  switch (op) {
    case isa::AluOp::kAdd:
    case isa::AluOp::kSubtract:  // t -= x for every x
    case isa::AluOp::kMultiply:
    case isa::AluOp::kMaximum:
    case isa::AluOp::kMinimum:
    case isa::AluOp::kBitwiseAnd:
    case isa::AluOp::kBitwiseOr:
    case isa::AluOp::kBitwiseXor:
    case isa::AluOp::kLogicalAnd:
    case isa::AluOp::kLogicalOr:
      return true;
    default:
      return false;
  }
}

// nki.language.affine_range does not count associative reductions as dependences (aws-neuron-sdk v2.24.0,
// general/nki/api/nki/language/__init__.py).
bool Accumulates(const ir::Instr& instr, const ir::Access& dst) {
  switch (instr.op) {
    case isa::Opcode::kNcMatmul:
      return instr.attrs.accumulate;
    case isa::Opcode::kDmaCopy:
      return instr.attrs.op0 == isa::AluOp::kAdd;
    case isa::Opcode::kTensorTensor:
    case isa::Opcode::kScalarTensorTensor:
    case isa::Opcode::kTensorScalar: {
      const bool last = instr.attrs.op1 != isa::AluOp::kNone;
      if (!Reorders(last ? instr.attrs.op1 : instr.attrs.op0)) return false;
      const auto sources = Sources(instr);
      return std::any_of(sources.begin(), sources.end(),
                         [&](const ir::Access* s) { return SameElements(*s, dst); });
    }
    default:
      return false;
  }
}

// A copy of `t op x` into t, where the sum went through a tile of the same iteration.
bool CopiesAnAccumulation(const Facts& facts, size_t n, const ir::Access& dst) {
  const ir::Instr& copy = *facts.instrs[n].instr;
  if (copy.op != isa::Opcode::kTensorCopy && copy.op != isa::Opcode::kActivation) return false;
  const auto* via = std::get_if<ir::Access>(&copy.src[0]);
  if (via == nullptr) return false;
  for (size_t m = n; m-- > n - std::min(n, kNear);) {
    const ir::Instr& sum = *facts.instrs[m].instr;
    if (sum.dst.empty()) continue;
    const auto* result = std::get_if<ir::Access>(&sum.dst[0]);
    if (result == nullptr || result->tensor != via->tensor) continue;
    if (sum.op != isa::Opcode::kTensorTensor || !Reorders(sum.attrs.op0)) return false;
    const auto sources = Sources(sum);
    return std::any_of(sources.begin(), sources.end(),
                       [&](const ir::Access* s) { return SameElements(*s, dst); });
  }
  return false;
}

// Finds iterations t and t + d, d >= 1, of loop `l` in which `first` and `second` touch one element. The
// iterations belong to the same iterations of the loops around `l`; loops inside it run on their own on both
// sides.
std::optional<Meeting> Collision(const Facts& facts, int l, const Use& first, const Use& second) {
  const LoopFacts& loop = facts.loops[static_cast<size_t>(l)];
  IntegerProblem problem;
  Instance a(facts, problem);
  Instance b(facts, problem);
  for (int outer = loop.parent; outer != -1; outer = facts.loops[static_cast<size_t>(outer)].parent) {
    const ir::Loop& o = *facts.loops[static_cast<size_t>(outer)].loop;
    b.Bind(o.symbol, a.ValueOf(o.symbol));
  }
  Linear t = a.ValueOf(loop.loop->symbol);
  t.Add(problem.AddVariable(1, loop.loop->trips - 1), loop.loop->step);
  b.Bind(loop.loop->symbol, t);
  // t + d is an iteration too.
  Linear room;
  room.constant = loop.loop->start + loop.loop->step * (loop.loop->trips - 1);
  room.Add(t, -1);
  problem.RequireNonNegative(room);

  a.SetTile(first.access->shape);
  b.SetTile(second.access->shape);
  a.Require(first.access->mask);
  b.Require(second.access->mask);
  const bool same_view = first.access->tensor == second.access->tensor;
  const ir::Tensor& ta = facts.TensorOf(*first.access);
  const ir::Tensor& tb = facts.TensorOf(*second.access);
  std::vector<Linear> element;
  if (same_view) {
    for (size_t k = 0; k < ta.shape.size(); ++k) {
      Linear difference = a.ValueOf(first.access->index[k]);
      element.push_back(difference);
      difference.Add(b.ValueOf(second.access->index[k]), -1);
      problem.RequireZero(difference);
    }
  } else {
    const auto address = [](Instance& i, const ir::Access& access, const ir::Tensor& tensor) {
      Linear sum;
      int64_t weight = 1;
      for (size_t k = tensor.shape.size(); k-- > 0;) {
        sum.Add(i.ValueOf(access.index[k]), weight);
        weight *= tensor.shape[k];
      }
      return sum;
    };
    Linear difference = address(a, *first.access, ta);
    element.push_back(difference);
    difference.Add(address(b, *second.access, tb), -1);
    problem.RequireZero(difference);
  }
  std::vector<int64_t> point;
  if (facts.Solve(problem, &point) != IntegerProblem::Answer::kFound) return std::nullopt;
  Meeting meeting;
  meeting.first = Evaluate(a.ValueOf(loop.loop->symbol), point);
  meeting.second = Evaluate(t, point);
  for (const Linear& e : element) meeting.element.push_back(Evaluate(e, point));
  return meeting;
}

std::string IndexName(const Facts& facts, const LoopFacts& loop) {
  return facts.program.symbols[static_cast<size_t>(loop.loop->symbol)].name;
}

Diagnostic TwoWriters(const Facts& facts, const LoopFacts& loop, const Use& w, const Meeting& m) {
  const ir::Tensor& t = facts.TensorOf(*w.access);
  const bool spmd = loop.loop->kind == ir::LoopKind::kSpmd;
  const std::string name = IndexName(facts, loop);
  const std::string how = absl::StrCat(name, " = ", m.first, " and ", name, " = ", m.second,
                                       " both write element ", ShapeText(m.element));
  return Finding(
      Severity::kError, "err_unexpected_output_dependencies", w.instr->instr->loc,
      absl::StrCat("unexpected output dependencies: different ",
                   spmd ? "programs of the launch grid write" : "iterations of an affine_range loop write",
                   " to the same location of tensor '", t.name, "' ", ShapeText(t.shape), ": ", how),
      "each iteration writes its own location", how,
      spmd ? "make the destination depend on nl.program_id, or launch a smaller grid"
           : "include the loop index in the destination, create the tile inside the loop, or use "
             "nl.sequential_range");
}

Diagnostic CarriedRead(const Facts& facts, const LoopFacts& loop, const Use& w, int64_t writer, const Use& r,
                       int64_t reader, const std::vector<int64_t>& element) {
  const ir::Tensor& t = facts.TensorOf(*r.access);
  const bool spmd = loop.loop->kind == ir::LoopKind::kSpmd;
  const std::string name = IndexName(facts, loop);
  const std::string how = absl::StrCat(name, " = ", reader, " reads element ", ShapeText(element), ", which ",
                                       name, " = ", writer, " writes in line ", w.instr->instr->loc.line);
  return Finding(Severity::kWarning, "loop_carried_dependence", r.instr->instr->loc,
                 absl::StrCat("an iteration of ", spmd ? "the launch grid" : "an affine_range loop",
                              " needs what another one writes to tensor '", t.name, "' ", ShapeText(t.shape),
                              ": ", how, "; their order is not defined"),
                 "iterations that do not depend on each other", how,
                 spmd ? "let each program compute what it needs" : "use nl.sequential_range");
}

// What the iterations of one loop do to a tensor that they share.
struct SharedUses {
  std::vector<Use> writes;
  std::vector<Use> reads;  // those of accumulations apart
};

class Checker {
 public:
  Checker(const Facts& facts, Findings& found) : facts_(facts), found_(found) {}

  void Run() {
    for (size_t l = 0; l < facts_.loops.size() && pairs_ <= kMaxPairs; ++l) {
      const LoopFacts& loop = facts_.loops[l];
      if (!loop.runs || loop.loop->trips < 2 || loop.loop->kind == ir::LoopKind::kSequential) continue;
      for (const auto& [storage, uses] : UsesIn(static_cast<int>(l))) {
        if (reported_.count(storage) > 0) continue;
        if (TwoWrite(static_cast<int>(l), uses.writes) || OneReads(static_cast<int>(l), uses)) {
          reported_.insert(storage);
        }
      }
    }
  }

 private:
  bool IsShared(const ir::Access& a, int l) const {
    if (a.indirect_axis >= 0) return false;
    if (facts_.loops[static_cast<size_t>(l)].loop->kind == ir::LoopKind::kSpmd) {
      const isa::Buffer buffer = facts_.TensorOf(a).buffer;
      return isa::IsHbm(buffer) && buffer != isa::Buffer::kPrivateHbm;
    }
    return !facts_.IsInside(facts_.ScopeOf(facts_.StorageOf(a)), l);
  }

  std::map<ir::TensorId, SharedUses> UsesIn(int l) const {
    const LoopFacts& loop = facts_.loops[static_cast<size_t>(l)];
    std::map<ir::TensorId, SharedUses> uses;
    for (size_t n = loop.begin; n < loop.end; ++n) {
      const InstrFacts& i = facts_.instrs[n];
      if (!i.runs) continue;
      const auto destinations = Destinations(*i.instr);
      for (const ir::Access* a : destinations) {
        if (!IsShared(*a, l)) continue;
        const bool accumulates = Accumulates(*i.instr, *a) || CopiesAnAccumulation(facts_, n, *a);
        uses[facts_.StorageOf(*a)].writes.push_back({&i, a, accumulates});
      }
      for (const ir::Access* a : Sources(*i.instr)) {
        if (!IsShared(*a, l)) continue;
        const bool accumulates = std::any_of(
            destinations.begin(), destinations.end(),
            [&](const ir::Access* d) { return SameElements(*a, *d) && Accumulates(*i.instr, *d); });
        if (!accumulates) uses[facts_.StorageOf(*a)].reads.push_back({&i, a, false});
      }
    }
    return uses;
  }

  bool TwoWrite(int l, const std::vector<Use>& writes) {
    for (const Use& x : writes) {
      for (const Use& y : writes) {
        if (x.accumulates && y.accumulates) continue;
        if (++pairs_ > kMaxPairs) return false;
        if (const std::optional<Meeting> m = Collision(facts_, l, x, y); m.has_value()) {
          found_.push_back(TwoWriters(facts_, facts_.loops[static_cast<size_t>(l)], x, *m));
          return true;
        }
      }
    }
    return false;
  }

  bool OneReads(int l, const SharedUses& uses) {
    const LoopFacts& loop = facts_.loops[static_cast<size_t>(l)];
    for (const Use& r : uses.reads) {
      for (const Use& w : uses.writes) {
        pairs_ += 2;
        if (pairs_ > kMaxPairs) return false;
        if (const std::optional<Meeting> m = Collision(facts_, l, w, r); m.has_value()) {
          found_.push_back(CarriedRead(facts_, loop, w, m->first, r, m->second, m->element));
          return true;
        }
        if (const std::optional<Meeting> m = Collision(facts_, l, r, w); m.has_value()) {
          found_.push_back(CarriedRead(facts_, loop, w, m->second, r, m->first, m->element));
          return true;
        }
      }
    }
    return false;
  }

  const Facts& facts_;
  Findings& found_;
  std::set<ir::TensorId> reported_;
  int pairs_ = 0;
};

}  // namespace

void CheckDependences(const Facts& facts, Findings& found) { Checker(facts, found).Run(); }

}  // namespace nkiagent::nki::check
