#include "common/nki/exec/coalesce.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <optional>
#include <utility>

#include "common/nki/exec/coverage.h"
#include "common/nki/exec/instr_plan.h"
#include "common/nki/exec/shapes.h"

namespace nkiagent::nki::exec {
namespace {

using ir::Access;
using ir::Affine;
using ir::Instr;
using ir::SymbolId;
using ir::TensorId;
using isa::Opcode;

constexpr SymbolId kKernelLevel = -1;
// Tensors used in more places than this keep their copies: looking through the uses stays cheap.
constexpr size_t kMaxUses = 256;

using LoopPath = std::vector<const ir::Loop*>;

// An instruction in its place.
struct Site {
  const Instr* original;
  Instr* edited;  // null: as the program has it
  const LoopPath* loops;
  int64_t position;
  bool elided = false;

  const Instr& instr() const { return edited != nullptr ? *edited : *original; }
};

struct Use {
  Site* site;
  bool dst;
  size_t operand;

  const Access& access() const { return *AccessOf((dst ? site->instr().dst : site->instr().src)[operand]); }
};

// The read or written box of a tensor, relative to the symbols of its indices.
struct Box {
  struct Axis {
    Affine base;  // symbols only
    Int128 low, high;
  };
  std::vector<Axis> axes;
  bool dense = true;  // every element of the box is one of the tile's
};

Box BoxOf(const Access& a) {
  Box box;
  std::vector<bool> taken(a.shape.size(), false);
  for (const Affine& e : a.index) {
    Box::Axis axis{{}, e.constant, e.constant};
    axis.base.terms = e.terms;
    bool moves = false;
    for (size_t d = 0; d < a.shape.size(); ++d) {
      const int64_t c = e.DimCoefficient(d);
      if (c == 0 || a.shape[d] == 1) continue;
      if (moves || taken[d] || (c != 1 && c != -1)) box.dense = false;
      moves = true;
      taken[d] = true;
      const Int128 reach = Int128{c} * (a.shape[d] - 1);
      (reach < 0 ? axis.low : axis.high) += reach;
    }
    box.axes.push_back(std::move(axis));
  }
  return box;
}

// Whether every element that `read` may touch is written by `write`, both in the same iteration of all loops
// whose symbols `write` uses.
bool Contains(const Access& write, const Access& read) {
  if (write.tensor != read.tensor || read.indirect_axis >= 0) return false;
  const Box outer = BoxOf(write), inner = BoxOf(read);
  if (!outer.dense) return false;
  for (size_t k = 0; k < outer.axes.size(); ++k) {
    if (!(outer.axes[k].base == inner.axes[k].base) || inner.axes[k].low < outer.axes[k].low ||
        inner.axes[k].high > outer.axes[k].high) {
      return false;
    }
  }
  return true;
}

// Whether e * k can be computed in 64 bits, whatever coefficient is looked at.
bool FitsTimes(const Affine& e, int64_t k) {
  const auto fits = [k](int64_t v) {
    const Int128 product = Int128{v} * k;
    return product < (Int128{1} << 60) && product > -(Int128{1} << 60);
  };
  return fits(e.constant) && std::all_of(e.dims.begin(), e.dims.end(), fits) &&
         std::all_of(e.terms.begin(), e.terms.end(),
                     [&](const Affine::Term& t) { return fits(t.coefficient); });
}

// A copy as a map from places of one tensor to places of another: `to` axis s is rest[s] + sum(factor[s][a] *
// place[a]) over the axes a of `from`.
struct PlaceMap {
  std::vector<Affine> rest;
  std::vector<std::vector<int64_t>> factor;

  // Whether Through can compute with the access's numbers.
  bool Takes(const Access& a) const {
    for (const std::vector<int64_t>& row : factor) {
      for (size_t k = 0; k < a.index.size(); ++k) {
        if (!FitsTimes(a.index[k], row[k])) return false;
      }
    }
    return true;
  }

  // The access to `to`'s tensor that goes where `a`, an access to `from`'s, would lead.
  Access Through(const Access& a, TensorId tensor) const {
    Access out = a;
    out.tensor = tensor;
    out.index = rest;
    for (size_t s = 0; s < rest.size(); ++s) {
      for (size_t k = 0; k < a.index.size(); ++k) out.index[s] = out.index[s] + a.index[k] * factor[s][k];
    }
    return out;
  }
};

class Coalescer {
 public:
  Coalescer(const ir::Program& program, absl::Span<const WideRange> symbols, bool edit)
      : p_(program), symbols_(symbols), edit_(edit), uses_(p_.tensors.size()), stages_(p_.tensors.size()) {
    out_.facts.resize(p_.tensors.size());
    for (const ir::Tensor& t : p_.tensors) {
      if (t.view_of != ir::kNoTensor) has_views_.push_back(t.view_of);
    }
    std::sort(has_views_.begin(), has_views_.end());
  }

  Coalesced Run() {
    LoopPath path;
    paths_.push_back(path);
    Collect(p_.body, path, &paths_.back());
    for (size_t i = 0; i < stages_.size(); ++i) out_.facts[i].covered = stages_[i].covered;
    std::sort(pinned_.begin(), pinned_.end());
    for (Site& site : sites_) {
      if (edit_ && IsPlainCopy(site.instr()) && (MakeInPlace(site) || ReadInPlace(site))) site.elided = true;
    }
    for (Site& site : sites_) {
      if (site.elided) {
        out_.instead[site.original] = nullptr;
      } else if (site.edited != nullptr) {
        out_.instead[site.original] = std::move(edited_[static_cast<size_t>(site.position)]);
      }
    }
    return std::move(out_);
  }

 private:
  // How far the proof that a storage is covered has come.
  struct Stage {
    bool seen = false;
    bool covered = false;
    size_t level = 0;               // open loops around the body that the storage lives in
    const void* first = nullptr;    // the loop or site in that body where it is first used
    const Access* write = nullptr;  // the first write
    const LoopPath* loops = nullptr;
  };

  const ir::Tensor& TensorOf(TensorId id) const { return p_.tensors[static_cast<size_t>(id)]; }

  // ---- Facts

  // Loops around the body in which a storage lives: on-chip tensors at kernel level are each launched
  // program's own.
  size_t LevelOf(TensorId storage, const LoopPath& loops) const {
    const ir::Tensor& t = TensorOf(storage);
    size_t level = 0;
    if (t.scope == kKernelLevel) {
      if (isa::IsHbm(t.buffer)) return 0;
      while (level < loops.size() && loops[level]->kind == ir::LoopKind::kSpmd) ++level;
      return level;
    }
    while (level < loops.size() && loops[level]->symbol != t.scope) ++level;
    return level + 1;
  }

  Instr& Edit(Site& site) {
    if (site.edited == nullptr) {
      const auto at = static_cast<size_t>(site.position);
      if (edited_.size() < sites_.size()) edited_.resize(sites_.size());
      edited_[at] = std::make_unique<Instr>(*site.original);
      site.edited = edited_[at].get();
    }
    return *site.edited;
  }

  // Masks that hold everywhere mean nothing.
  void DropMasks(Site& site) {
    const auto holds = [&](const Access& a, const Affine& m) {
      return NeverOverflows(m, a.shape, symbols_) && WideRangeOf(m, a.shape, symbols_).min >= 0;
    };
    for (const bool dst : {true, false}) {
      const size_t n = (dst ? site.original->dst : site.original->src).size();
      for (size_t i = 0; i < n; ++i) {
        const Access* a = AccessOf((dst ? site.instr().dst : site.instr().src)[i]);
        if (a == nullptr ||
            std::none_of(a->mask.begin(), a->mask.end(), [&](const Affine& m) { return holds(*a, m); })) {
          continue;
        }
        auto& edited = std::get<Access>((dst ? Edit(site).dst : Edit(site).src)[i]);
        std::erase_if(edited.mask, [&](const Affine& m) { return holds(edited, m); });
      }
    }
  }

  void Collect(const std::vector<ir::Node>& body, LoopPath& path, const LoopPath* loops) {
    for (const ir::Node& node : body) {
      if (const auto* instr = std::get_if<Instr>(&node.item)) {
        sites_.push_back({instr, nullptr, loops, static_cast<int64_t>(sites_.size())});
        Site& site = sites_.back();
        if (edit_) DropMasks(site);
        Note(site);
        continue;
      }
      const ir::Loop& loop = *std::get<std::unique_ptr<ir::Loop>>(node.item);
      path.push_back(&loop);
      paths_.push_back(path);
      const auto begin = static_cast<int64_t>(sites_.size());
      Collect(loop.body, path, &paths_.back());
      spans_[&loop] = {begin, static_cast<int64_t>(sites_.size()) - 1};
      path.pop_back();
    }
  }

  void Note(Site& site) {
    const Instr& instr = site.instr();
    for (const Access* a : ReadsOf(instr)) NoteFact(site, *a, false);
    for (const auto* operands : {&instr.src, &instr.dst}) {
      for (size_t i = 0; i < operands->size(); ++i) {
        const Access* a = AccessOf((*operands)[i]);
        if (a == nullptr) continue;
        if (a->indirect_axis >= 0) {
          Access index;
          index.tensor = a->indirect_tensor;
          NoteFact(site, index, false);
          pinned_.push_back(ir::StorageOf(p_, a->indirect_tensor));
          pinned_.push_back(ir::StorageOf(p_, a->tensor));
        }
        uses_[static_cast<size_t>(a->tensor)].push_back({&site, operands == &instr.dst, i});
      }
    }
    for (const ir::Operand& o : instr.dst) {
      if (const Access* a = AccessOf(o); a != nullptr) NoteFact(site, *a, true);
    }
  }

  void NoteFact(const Site& site, const Access& a, bool write) {
    const TensorId storage = ir::StorageOf(p_, a.tensor);
    Stage& stage = stages_[static_cast<size_t>(storage)];
    StorageFacts& facts = out_.facts[static_cast<size_t>(storage)];
    const LoopPath& loops = *site.loops;
    const size_t level = LevelOf(storage, loops);
    const void* const step = level < loops.size() ? static_cast<const void*>(loops[level]) : site.original;
    const bool covers = write && Covers(storage, a, site, level);
    if (!stage.seen) {
      stage = {true, covers, level, step, &a, site.loops};
    } else if (!write && stage.covered && step == stage.first && level < loops.size()) {
      // Inside the nest whose writes cover the tensor only when the nest has ended: a read sees what its own
      // iteration has written, if it follows the write there.
      const LoopPath& at = *stage.loops;
      const bool same = at.size() <= loops.size() && std::equal(at.begin(), at.end(), loops.begin());
      if (!same || !Contains(*stage.write, a)) stage.covered = false;
    }
    if (!write) facts.read = true;
    if (covers && level == 0) facts.proven_written = true;
  }

  // Whether this write, over the loops between the tensor's body and here, writes every element.
  bool Covers(TensorId storage, const Access& a, const Site& site, size_t level) const {
    const LoopPath& loops = *site.loops;
    return WritesWholeTile(site.instr(), a) && ProvenInBounds(p_, a, symbols_) &&
           CoversTensor(p_, a, absl::MakeConstSpan(loops).subspan(std::min(level, loops.size())),
                        TensorOf(storage).ElementCount(), symbols_);
  }

  // ---- Copies

  bool IsPlainCopy(const Instr& instr) const {
    const bool dma = instr.op == Opcode::kDmaCopy || instr.op == Opcode::kDmaTranspose;
    if (!dma && instr.op != Opcode::kTensorCopy) return false;
    if (dma && instr.attrs.op0 != isa::AluOp::kNone) return false;
    const Access* dst = AccessOf(instr.dst[0]);
    const Access* src = AccessOf(instr.src[0]);
    return src != nullptr && WritesWholeTile(instr, *dst) && dst->tensor != src->tensor &&
           TensorOf(dst->tensor).dtype == TensorOf(src->tensor).dtype && ProvenInBounds(p_, *dst, symbols_) &&
           ProvenInBounds(p_, *src, symbols_);
  }

  // A tensor whose places may be moved: on chip, the kernel's own, always used directly.
  bool IsMovable(TensorId id) const {
    const ir::Tensor& t = TensorOf(id);
    return t.role == ir::TensorRole::kLocal && !isa::IsHbm(t.buffer) && IsPlain(id) &&
           out_.facts[static_cast<size_t>(id)].covered;
  }
  bool IsPlain(TensorId id) const {
    return TensorOf(id).view_of == ir::kNoTensor &&
           !std::binary_search(has_views_.begin(), has_views_.end(), id) &&
           !std::binary_search(pinned_.begin(), pinned_.end(), id) &&
           uses_[static_cast<size_t>(id)].size() <= kMaxUses;
  }

  // The map of `copy` from the places of `from` (one of its operands) to those of the other, if it is one map
  // for all iterations of the loops inside the body where `from` lives.
  std::optional<PlaceMap> MapOf(const Site& copy, const Access& from, const Access& to) const {
    const LoopPath& loops = *copy.loops;
    const size_t level = LevelOf(from.tensor, loops);
    std::vector<SymbolId> inner;
    for (size_t i = level; i < loops.size(); ++i) inner.push_back(loops[i]->symbol);
    const auto is_inner = [&](SymbolId s) { return std::find(inner.begin(), inner.end(), s) != inner.end(); };
    PlaceMap map;
    map.rest = to.index;
    map.factor.assign(to.index.size(), std::vector<int64_t>(from.index.size(), 0));
    for (size_t a = 0; a < from.index.size(); ++a) {
      const Affine& place = from.index[a];
      // The variable with the smallest step decides how the places of `to` follow those of this axis.
      SymbolId symbol = -1;
      size_t dim = 0;
      int64_t smallest = 0;
      for (const Affine::Term& t : place.terms) {
        if (is_inner(t.symbol) && (smallest == 0 || std::abs(t.coefficient) < std::abs(smallest)))
          symbol = t.symbol, smallest = t.coefficient;
      }
      for (size_t d = 0; d < from.shape.size(); ++d) {
        const int64_t c = place.DimCoefficient(d);
        if (c != 0 && from.shape[d] > 1 && (smallest == 0 || std::abs(c) < std::abs(smallest)))
          symbol = -1, dim = d, smallest = c;
      }
      if (smallest == 0) continue;
      for (size_t s = 0; s < to.index.size(); ++s) {
        int64_t c = symbol < 0 ? to.index[s].DimCoefficient(dim) : 0;
        for (const Affine::Term& t : to.index[s].terms) {
          if (symbol >= 0 && t.symbol == symbol) c = t.coefficient;
        }
        if (c % smallest != 0) return std::nullopt;
        if (!FitsTimes(place, c / smallest)) return std::nullopt;
        map.factor[s][a] = c / smallest;
        map.rest[s] = map.rest[s] - place * (c / smallest);
      }
    }
    for (Affine& rest : map.rest) {
      for (size_t d = 0; d < rest.dims.size(); ++d) {
        if (rest.dims[d] != 0 && from.shape[d] > 1) return std::nullopt;
      }
      rest.dims.clear();
      for (const Affine::Term& t : rest.terms) {
        // What is left must stay the same while `from` lives.
        const bool loop = p_.symbols[static_cast<size_t>(t.symbol)].kind == ir::SymbolKind::kLoop;
        if (is_inner(t.symbol) || (!loop && !inner.empty())) return std::nullopt;
      }
    }
    return map;
  }

  // Sends every use of `from` but those at `copy` to the other side of the copy. False, and nothing done, if
  // an access could not be proven to stay inside its tensor.
  bool Redirect(TensorId from, TensorId to, const PlaceMap& map, const Site& copy) {
    std::vector<Access> moved;
    std::vector<Use> uses;
    for (const Use& use : uses_[static_cast<size_t>(from)]) {
      if (use.site == &copy) continue;
      if (!ProvenInBounds(p_, use.access(), symbols_) || !map.Takes(use.access())) return false;
      moved.push_back(map.Through(use.access(), to));
      uses.push_back(use);
      if (!ProvenInBounds(p_, moved.back(), symbols_)) return false;
      for (const Affine& e : moved.back().index) {
        if (!NeverOverflows(e, moved.back().shape, symbols_)) return false;
      }
    }
    for (size_t i = 0; i < uses.size(); ++i) {
      Instr& instr = Edit(*uses[i].site);
      (uses[i].dst ? instr.dst : instr.src)[uses[i].operand] = std::move(moved[i]);
    }
    std::vector<Use>& target = uses_[static_cast<size_t>(to)];
    std::erase_if(target, [&](const Use& use) { return use.site == &copy; });
    target.insert(target.end(), uses.begin(), uses.end());
    std::sort(target.begin(), target.end(),
              [](const Use& a, const Use& b) { return a.site->position < b.site->position; });
    uses_[static_cast<size_t>(from)].clear();
    return true;
  }

  // `copy` loads a tile of an argument or constant that nothing writes: its readers go to the source.
  bool ReadInPlace(const Site& copy) {
    const Access& dst = *AccessOf(copy.instr().dst[0]);
    const Access& src = *AccessOf(copy.instr().src[0]);
    const ir::Tensor& source = TensorOf(src.tensor);
    const bool fixed = source.role == ir::TensorRole::kConstant ||
                       (source.role == ir::TensorRole::kInput &&
                        std::find(p_.outputs.begin(), p_.outputs.end(), src.tensor) == p_.outputs.end());
    if (!fixed || !IsMovable(dst.tensor)) return false;
    for (const Use& use : uses_[static_cast<size_t>(dst.tensor)]) {
      if (use.dst && use.site != &copy) return false;
    }
    const std::optional<PlaceMap> map = MapOf(copy, dst, src);
    // Rows that were contiguous stay so.
    if (!map.has_value() || map->factor.back().back() != 1) return false;
    for (size_t s = 0; s + 1 < map->factor.size(); ++s) {
      if (map->factor[s].back() != 0) return false;
    }
    const TensorId from = dst.tensor, to = src.tensor;
    return Redirect(from, to, *map, copy);
  }

  // `copy` is where a tile ends that was made for it: whoever makes it writes to the copy's destination.
  bool MakeInPlace(const Site& copy) {
    const Access& dst = *AccessOf(copy.instr().dst[0]);
    const Access& src = *AccessOf(copy.instr().src[0]);
    const TensorId from = src.tensor, to = dst.tensor;
    const ir::Tensor& target = TensorOf(to);
    const LoopPath& loops = *copy.loops;
    // The copy ends each life of the tile exactly once, all of it, and no two places of it go to one.
    if (!IsMovable(from) || !IsPlain(to) || LevelOf(from, loops) != loops.size() ||
        Count(src.shape) != TensorOf(from).ElementCount() ||
        !CoversTensor(p_, src, {}, TensorOf(from).ElementCount(), symbols_)) {
      return false;
    }
    Affine flat;
    if (!FlatOffset(p_, dst, symbols_, &flat)) return false;
    Dims strides;
    for (size_t d = 0; d < dst.shape.size(); ++d) strides.push_back(flat.DimCoefficient(d));
    if (!StridesAreInjective(dst.shape, strides)) return false;
    if (target.role == ir::TensorRole::kConstant) return false;
    int64_t first = copy.position, last = copy.position;
    for (const Use& use : uses_[static_cast<size_t>(from)]) {
      // In a loop beside the copy a later iteration's start follows an earlier one's end, so all of it
      // counts.
      const LoopPath& at = *use.site->loops;
      const bool nested = at.size() > loops.size();
      const std::pair<int64_t, int64_t> span =
          nested ? spans_.at(at[loops.size()]) : std::pair{use.site->position, use.site->position};
      first = std::min(first, span.first);
      last = std::max(last, span.second);
      // Sums stay on chip: their rows lie close together.
      const bool other_read = use.site != &copy && (!use.dst || use.site->instr().attrs.accumulate);
      if (isa::IsHbm(target.buffer) && other_read) return false;
    }
    // Nobody may see the destination change before the copy, nor the tile's place change after it.
    for (const Use& use : uses_[static_cast<size_t>(to)]) {
      if (use.site == &copy) continue;
      const int64_t at = use.site->position;
      if (at >= first && at <= copy.position) return false;
      if (use.dst && at > copy.position && at <= last) return false;
    }
    for (const Use& use : uses_[static_cast<size_t>(from)]) {
      if (use.dst && use.site->position > copy.position) return false;
    }
    // A destination row by row where the tile had rows.
    const std::optional<PlaceMap> map = MapOf(copy, src, dst);
    if (!map.has_value() || map->factor.back().back() != 1) return false;
    return Redirect(from, to, *map, copy);
  }

  const ir::Program& p_;
  const absl::Span<const WideRange> symbols_;
  const bool edit_;
  Coalesced out_;
  std::deque<LoopPath> paths_;
  std::deque<Site> sites_;  // in program order
  std::unordered_map<const ir::Loop*, std::pair<int64_t, int64_t>>
      spans_;                                   // positions of first and last site
  std::vector<std::unique_ptr<Instr>> edited_;  // by position
  std::vector<std::vector<Use>> uses_;          // by tensor
  std::vector<Stage> stages_;                   // by storage
  std::vector<TensorId> has_views_;             // sorted
  std::vector<TensorId> pinned_;                // used with or as run-time indices; sorted after Collect
};

}  // namespace

Coalesced Coalesce(const ir::Program& program, absl::Span<const WideRange> symbols, bool edit) {
  return Coalescer(program, symbols, edit).Run();
}

}  // namespace nkiagent::nki::exec
