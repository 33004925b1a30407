#include "common/nki/ir/flat.h"

#include <memory>
#include <variant>

namespace nkiagent::nki::ir {
namespace {

void Walk(FlatProgram& flat, const std::vector<Node>& body, int loop, bool runs) {
  for (const Node& node : body) {
    if (const auto* instr = std::get_if<Instr>(&node.item)) {
      flat.instrs.push_back({instr, loop, runs});
      continue;
    }
    const Loop& inner = *std::get<std::unique_ptr<Loop>>(node.item);
    const bool inner_runs = runs && inner.trips > 0;
    const auto index = flat.loops.size();
    flat.loops.push_back({&inner, loop, flat.instrs.size(), 0, inner_runs});
    flat.loop_of_symbol[static_cast<size_t>(inner.symbol)] = static_cast<int>(index);
    Walk(flat, inner.body, static_cast<int>(index), inner_runs);
    flat.loops[index].end = flat.instrs.size();
  }
}

}  // namespace

FlatProgram::FlatProgram(const Program& p) : program(p), loop_of_symbol(p.symbols.size(), -1) {
  Walk(*this, p.body, -1, true);
}

bool FlatProgram::IsInside(int inner, int outer) const {
  while (inner != outer && inner != -1) inner = ParentOf(inner);
  return inner == outer;
}

int FlatProgram::ScopeOf(TensorId tensor) const {
  const SymbolId scope = program.tensors[static_cast<size_t>(tensor)].scope;
  return scope == -1 ? -1 : loop_of_symbol[static_cast<size_t>(scope)];
}

absl::InlinedVector<const Access*, 2> Destinations(const Instr& instr) {
  absl::InlinedVector<const Access*, 2> all;
  for (const Operand& o : instr.dst) {
    if (const auto* a = std::get_if<Access>(&o)) all.push_back(a);
  }
  return all;
}

absl::InlinedVector<const Access*, 4> Sources(const Instr& instr) {
  absl::InlinedVector<const Access*, 4> all;
  for (const Operand& o : instr.src) {
    if (const auto* a = std::get_if<Access>(&o)) all.push_back(a);
  }
  return all;
}

bool SameElements(const Access& a, const Access& b) {
  return a.tensor == b.tensor && a.shape == b.shape && a.index == b.index && a.indirect_axis < 0 &&
         b.indirect_axis < 0;
}

}  // namespace nkiagent::nki::ir
