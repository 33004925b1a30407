#include "common/nki/timing/invariant.h"

#include <algorithm>
#include <cstddef>

#include "common/nki/ir/flat.h"

namespace nkiagent::nki::timing {
namespace {

class Finder {
 public:
  explicit Finder(const ir::Program& p) : flat_(p), writers_(p.tensors.size()), depends_(p.symbols.size()) {
    for (size_t n = 0; n < flat_.instrs.size(); ++n) {
      for (const ir::Access* a : ir::Destinations(*flat_.instrs[n].instr)) writers_[Storage(*a)].push_back(n);
    }
    for (size_t s = 0; s < p.symbols.size(); ++s) {
      if (p.symbols[s].kind == ir::SymbolKind::kLoop) {
        depends_[s] = {static_cast<ir::SymbolId>(s)};
        continue;
      }
      for (const ir::Affine::Term& t : p.symbols[s].argument.terms) {
        const auto& more = depends_[static_cast<size_t>(t.symbol)];
        depends_[s].insert(depends_[s].end(), more.begin(), more.end());
      }
      std::sort(depends_[s].begin(), depends_[s].end());
      depends_[s].erase(std::unique(depends_[s].begin(), depends_[s].end()), depends_[s].end());
    }
  }

  std::vector<int> Run() {
    std::vector<int> depths(flat_.instrs.size(), 0);
    // In program order, so that a source that has moved out already no longer counts as written in the loop.
    for (size_t n = 0; n < flat_.instrs.size(); ++n) {
      for (int l = flat_.instrs[n].loop; l != -1; l = flat_.ParentOf(l)) {
        if (!IsInvariant(n, flat_.loops[static_cast<size_t>(l)], depths)) break;
        ++depths[n];
      }
    }
    return depths;
  }

 private:
  size_t Storage(const ir::Access& a) const { return static_cast<size_t>(flat_.StorageOf(a)); }

  bool DependsOn(const ir::Affine& a, ir::SymbolId symbol) const {
    return std::any_of(a.terms.begin(), a.terms.end(), [&](const ir::Affine::Term& t) {
      const auto& d = depends_[static_cast<size_t>(t.symbol)];
      return std::binary_search(d.begin(), d.end(), symbol);
    });
  }

  bool DependsOn(const ir::Access& a, ir::SymbolId symbol) const {
    const auto on = [&](const ir::Affine& e) { return DependsOn(e, symbol); };
    return std::any_of(a.index.begin(), a.index.end(), on) || std::any_of(a.mask.begin(), a.mask.end(), on) ||
           std::any_of(a.indirect_index.begin(), a.indirect_index.end(), on);
  }

  // How many loops from the instruction's own outwards until `l`, both counted.
  int LevelOf(size_t n, const ir::FlatLoop& l) const {
    int level = 1;
    for (int k = flat_.instrs[n].loop; flat_.loops[static_cast<size_t>(k)].loop != l.loop;
         k = flat_.ParentOf(k)) {
      ++level;
    }
    return level;
  }

  bool IsInvariant(size_t n, const ir::FlatLoop& l, const std::vector<int>& depths) const {
    const ir::Instr& instr = *flat_.instrs[n].instr;
    const isa::Row& row = isa::RowOf(instr.op);
    if (row.cost == isa::Cost::kDma || instr.op == isa::Opcode::kRng || instr.op == isa::Opcode::kDropout ||
        instr.op == isa::Opcode::kTensorCopyPredicated || instr.attrs.accumulate ||
        instr.attrs.reduce_cmd != isa::ReduceCmd::kIdle || DependsOn(instr.attrs.expr, l.loop->symbol)) {
      return false;
    }
    for (const ir::Operand& o : instr.dst) {
      const auto* a = std::get_if<ir::Access>(&o);
      if (a == nullptr) continue;
      // Nothing else may write the result.
      if (DependsOn(*a, l.loop->symbol) || writers_[Storage(*a)].size() != 1) return false;
    }
    for (const ir::Operand& o : instr.src) {
      const auto* a = std::get_if<ir::Access>(&o);
      if (a == nullptr) continue;
      if (DependsOn(*a, l.loop->symbol) || a->indirect_axis >= 0) return false;
      for (const size_t w : writers_[Storage(*a)]) {
        if (w < l.begin || w >= l.end) continue;
        if (w >= n || depths[w] < LevelOf(w, l)) return false;
      }
    }
    return true;
  }

  const ir::FlatProgram flat_;
  std::vector<std::vector<size_t>> writers_;        // of each storage
  std::vector<std::vector<ir::SymbolId>> depends_;  // loop symbols behind each symbol, sorted
};

}  // namespace

std::vector<int> HoistDepths(const ir::Program& program) { return Finder(program).Run(); }

}  // namespace nkiagent::nki::timing
