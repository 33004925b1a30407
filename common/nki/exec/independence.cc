#include "common/nki/exec/independence.h"

#include <algorithm>
#include <optional>

#include "common/nki/exec/coverage.h"
#include "common/nki/exec/instr_plan.h"
#include "common/nki/exec/shapes.h"

namespace nkiagent::nki::exec {

using ir::Access;
using ir::Affine;
using ir::SymbolId;
using ir::TensorId;

Independence::Independence(const ir::Program& program, absl::Span<const WideRange> symbols)
    : p_(program),
      symbols_(symbols),
      loops_of_(program.symbols.size()),
      derived_from_(program.symbols.size()) {
  for (size_t i = 0; i < program.symbols.size(); ++i) {
    const ir::Symbol& s = program.symbols[i];
    if (s.kind == ir::SymbolKind::kLoop) {
      loops_of_[i] = {static_cast<SymbolId>(i)};
      continue;
    }
    std::set<SymbolId> loops;
    for (const Affine::Term& t : s.argument.terms) {
      const std::vector<SymbolId>& more = loops_of_[static_cast<size_t>(t.symbol)];
      loops.insert(more.begin(), more.end());
    }
    loops_of_[i].assign(loops.begin(), loops.end());
    for (const SymbolId loop : loops)
      derived_from_[static_cast<size_t>(loop)].push_back(static_cast<SymbolId>(i));
  }
}

void Independence::Enter(const ir::Loop& loop) {
  for (Frame& frame : frames_) frame.inner.insert(loop.symbol);
  Frame frame;
  frame.loop = &loop;
  frames_.push_back(std::move(frame));
}

void Independence::Add(const ir::Instr& instr, const std::function<size_t(TensorId)>& level_of) {
  if (frames_.empty()) return;
  for (const Access* a : ReadsOf(instr)) AddRef(*a, false, level_of);
  for (const ir::Operand& o : instr.dst) {
    if (const Access* a = AccessOf(o); a != nullptr) AddRef(*a, true, level_of);
  }
  for (const auto* operands : {&instr.dst, &instr.src}) {
    for (const ir::Operand& o : *operands) {
      const Access* a = AccessOf(o);
      if (a == nullptr || a->indirect_axis < 0) continue;
      Access& index = index_accesses_.emplace_back();
      index.tensor = a->indirect_tensor;
      index.shape = a->shape;
      index.index = a->indirect_index;
      AddRef(index, false, level_of);
    }
  }
  NoteRegisters(instr);
}

void Independence::AddRef(const Access& access, bool write, const std::function<size_t(TensorId)>& level_of) {
  const TensorId storage = ir::StorageOf(p_, access.tensor);
  const size_t level = level_of(storage);
  // Level n is the body of frames_[n - 1]: the storage outlives iterations of every deeper loop.
  for (size_t i = level; i < frames_.size(); ++i) {
    frames_[i].refs[storage].push_back({&access, write});
    frames_[i].shared.insert(access.tensor);
  }
}

void Independence::NoteRegisters(const ir::Instr& instr) {
  const bool scalar = instr.op == isa::Opcode::kActivation;
  const bool vector = instr.op == isa::Opcode::kRangeSelect;
  if (!scalar && !vector) return;
  const isa::ReduceCmd cmd = instr.attrs.reduce_cmd;
  const bool sets = cmd == isa::ReduceCmd::kReset || cmd == isa::ReduceCmd::kResetReduce;
  const bool uses = cmd != isa::ReduceCmd::kIdle || AccessOf(instr.dst[1]) != nullptr;
  if (!uses) return;
  const int64_t partitions = AccessOf(instr.dst[0])->shape[0];
  bool certain = true;  // the instruction runs in every iteration of the frame's loop
  for (size_t i = frames_.size(); i-- > 0;) {
    Frame& frame = frames_[i];
    int64_t& set = scalar ? frame.scalar_set : frame.vector_set;
    if (!sets && partitions > set) frame.registers_fresh = false;
    if (sets && certain) set = std::max(set, partitions);
    if (frame.loop->trips == 0) certain = false;
  }
}

bool Independence::Leave(std::vector<TensorId>* shared) {
  const Frame frame = std::move(frames_.back());
  frames_.pop_back();
  shared->assign(frame.shared.begin(), frame.shared.end());
  if (!frame.registers_fresh || frame.loop->trips < 2) return false;
  return std::all_of(frame.refs.begin(), frame.refs.end(), [&](const auto& entry) {
    const std::vector<Ref>& refs = entry.second;
    const bool written = std::any_of(refs.begin(), refs.end(), [](const Ref& r) { return r.write; });
    return !written || Disjoint(frame, refs);
  });
}

bool Independence::Disjoint(const Frame& frame, const std::vector<Ref>& refs) const {
  const bool one_shape = std::all_of(refs.begin(), refs.end(), [&](const Ref& r) {
    return r.access->tensor == refs.front().access->tensor;
  });
  std::vector<Affine> expressions;
  if (one_shape) {
    const size_t rank = refs.front().access->index.size();
    for (size_t axis = 0; axis < rank; ++axis) {
      expressions.clear();
      for (const Ref& r : refs) {
        if (r.access->indirect_axis == static_cast<int32_t>(axis)) break;
        expressions.push_back(r.access->index[axis]);
      }
      if (expressions.size() == refs.size() && Apart(frame, expressions, refs)) return true;
    }
  }
  expressions.clear();
  for (const Ref& r : refs) {
    Affine flat;
    if (r.access->indirect_axis >= 0 || !FlatOffset(p_, *r.access, symbols_, &flat)) return false;
    expressions.push_back(std::move(flat));
  }
  return Apart(frame, expressions, refs);
}

bool Independence::Apart(const Frame& frame, absl::Span<const Affine> expressions,
                         const std::vector<Ref>& refs) const {
  const SymbolId self = frame.loop->symbol;
  int64_t coefficient = 0;
  std::vector<Affine::Term> outer;
  std::optional<WideRange> all;
  for (size_t i = 0; i < expressions.size(); ++i) {
    const Affine& e = expressions[i];
    if (!NeverOverflows(e, refs[i].access->shape, symbols_)) return false;
    Affine rest;
    rest.constant = e.constant;
    rest.dims = e.dims;
    int64_t own = 0;
    std::vector<Affine::Term> fixed;
    for (const Affine::Term& t : e.terms) {
      const std::vector<SymbolId>& loops = loops_of_[static_cast<size_t>(t.symbol)];
      if (t.symbol == self) {
        own = t.coefficient;
      } else if (std::find(loops.begin(), loops.end(), self) != loops.end()) {
        return false;  // a quotient or remainder of this loop's index
      } else if (std::any_of(loops.begin(), loops.end(),
                             [&](SymbolId l) { return frame.inner.count(l) > 0; })) {
        rest.terms.push_back(t);
      } else {
        fixed.push_back(t);
      }
    }
    if (own == 0 || (i > 0 && (own != coefficient || fixed != outer))) return false;
    coefficient = own;
    outer = std::move(fixed);
    const WideRange r = WideRangeOf(rest, refs[i].access->shape, symbols_);
    if (!all.has_value()) all = r;
    all->min = std::min(all->min, r.min);
    all->max = std::max(all->max, r.max);
  }
  // Two iterations are at least one step apart; inside one, the expressions span less than that.
  const Int128 apart = Int128{coefficient < 0 ? -coefficient : coefficient} * frame.loop->step;
  return all.has_value() && all->max - all->min < apart;
}

}  // namespace nkiagent::nki::exec
