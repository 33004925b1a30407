// Iterations that may be reordered do not write the same element.
#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nki/check/rules.h"

namespace nkiagent::nki::check {
namespace {

// Pairs of writes looked at in one program; a program with more is unrolled by the thousand and its later
// pairs go unchecked.
constexpr int kMaxPairs = 20000;

struct Write {
  const InstrFacts* instr = nullptr;
  const ir::Access* access = nullptr;
  bool accumulates = false;
};

bool SameElements(const ir::Access& a, const ir::Access& b) {
  return a.tensor == b.tensor && a.shape == b.shape && a.index == b.index && a.indirect_axis < 0 &&
         b.indirect_axis < 0;
}

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
  for (size_t m = n; m-- > 0;) {
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

// Finds iterations t and t + d, d >= 1, of loop `l` in which `first` and `second` write one element. The
// iterations belong to the same iterations of the loops around `l`; loops inside it run on their own on both
// sides.
std::optional<std::string> Collision(const Facts& facts, int l, const Write& first, const Write& second) {
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
  if (problem.Solve(kSolverBudget, &point) != IntegerProblem::Answer::kFound) return std::nullopt;
  std::vector<int64_t> where;
  for (const Linear& e : element) where.push_back(Evaluate(e, point));
  const std::string& name = facts.program.symbols[static_cast<size_t>(loop.loop->symbol)].name;
  return absl::StrCat(name, " = ", Evaluate(a.ValueOf(loop.loop->symbol), point), " and ", name, " = ",
                      Evaluate(t, point), " both write element [", absl::StrJoin(where, ", "), "]");
}

void Report(const Facts& facts, const LoopFacts& loop, const Write& w, const std::string& how,
            Findings& found) {
  const ir::Tensor& t = facts.TensorOf(*w.access);
  const bool spmd = loop.loop->kind == ir::LoopKind::kSpmd;
  found.push_back(Finding(
      Severity::kError, "err_unexpected_output_dependencies", w.instr->instr->loc,
      absl::StrCat("unexpected output dependencies: different ",
                   spmd ? "programs of the launch grid write" : "iterations of an affine_range loop write",
                   " to the same location of tensor '", t.name, "' ", ShapeText(t.shape), ": ", how),
      "each iteration writes its own location", how,
      spmd ? "make the destination depend on nl.program_id, or launch a smaller grid"
           : "include the loop index in the destination, create the tile inside the loop, or use "
             "nl.sequential_range"));
}

}  // namespace

void CheckDependences(const Facts& facts, Findings& found) {
  int pairs = 0;
  std::set<ir::TensorId> reported;
  for (size_t l = 0; l < facts.loops.size(); ++l) {
    const LoopFacts& loop = facts.loops[l];
    if (!loop.runs || loop.loop->trips < 2 || loop.loop->kind == ir::LoopKind::kSequential) continue;
    const bool spmd = loop.loop->kind == ir::LoopKind::kSpmd;
    std::map<ir::TensorId, std::vector<Write>> writes;
    for (size_t n = loop.begin; n < loop.end; ++n) {
      const InstrFacts& i = facts.instrs[n];
      if (!i.runs) continue;
      for (const ir::Access* a : Destinations(*i.instr)) {
        const ir::TensorId storage = facts.StorageOf(*a);
        const isa::Buffer buffer = facts.TensorOf(*a).buffer;
        const bool shared = spmd ? isa::IsHbm(buffer) && buffer != isa::Buffer::kPrivateHbm
                                 : !facts.IsInside(facts.ScopeOf(storage), static_cast<int>(l));
        if (!shared || a->indirect_axis >= 0 || reported.count(storage) > 0) continue;
        const bool accumulates = Accumulates(*i.instr, *a) || CopiesAnAccumulation(facts, n, *a);
        writes[storage].push_back({&i, a, accumulates});
      }
    }
    for (const auto& [storage, list] : writes) {
      for (size_t x = 0; x < list.size() && reported.count(storage) == 0; ++x) {
        for (size_t y = 0; y < list.size(); ++y) {
          if (list[x].accumulates && list[y].accumulates) continue;
          if (++pairs > kMaxPairs) return;
          const std::optional<std::string> how = Collision(facts, static_cast<int>(l), list[x], list[y]);
          if (!how.has_value()) continue;
          reported.insert(storage);
          Report(facts, loop, list[x], *how, found);
          break;
        }
      }
    }
  }
}

}  // namespace nkiagent::nki::check
