#include "common/nki/ir/liveness.h"

#include <algorithm>
#include <map>
#include <utility>

namespace nkiagent::nki::ir {
namespace {

constexpr int64_t kQuadrantPartitions = 32;

struct Interval {
  size_t begin = 0;
  size_t end = 0;  // inclusive
};

struct Use {
  size_t instr = 0;
  const Access* access = nullptr;
  bool writes = false;
};

bool WritesWholeTile(const Tensor& t, const Access& a) {
  if (!a.mask.empty() || a.indirect_axis >= 0) return false;
  int64_t n = 1;
  for (int64_t s : a.shape) n *= s;
  int64_t tile = 1;
  for (size_t k = static_cast<size_t>(t.partition_axis); k < t.shape.size(); ++k) tile *= t.shape[k];
  if (n != tile) return false;
  // As many elements as the tile has, along distinct dimensions without strides: all of them.
  for (size_t k = static_cast<size_t>(t.partition_axis); k < t.shape.size(); ++k) {
    if (a.index[k].constant != 0 || a.index[k].DependsOnSymbols()) return false;
  }
  return true;
}

// The innermost loop around all uses; -1 = kernel level.
int CommonLoop(const FlatProgram& flat, const std::vector<Use>& uses) {
  int common = flat.instrs[uses[0].instr].loop;
  for (const Use& u : uses) {
    while (!flat.IsInside(flat.instrs[u.instr].loop, common)) {
      common = flat.ParentOf(common);
    }
  }
  return common;
}

struct Blocks {
  int64_t alive = 1;  // at once
  // The innermost loop whose iterations touch blocks of their own; -1 = none.
  int owner = -1;
};

// Whether each iteration of loop `l` touches its own indices of block axis `axis`; how many, in `span`.
bool Owns(const FlatProgram& flat, int l, size_t axis, TensorId id, const std::vector<Use>& uses,
          int64_t* span) {
  const SymbolId symbol = flat.loops[static_cast<size_t>(l)].loop->symbol;
  int64_t lowest = 0, highest = 0;
  bool first = true;
  for (const Use& u : uses) {
    if (u.access->tensor != id) return false;  // a view, or a run-time index
    const Affine& e = u.access->index[axis];
    if (e.DependsOnDims() || e.terms.size() != 1 || e.terms[0].symbol != symbol ||
        e.terms[0].coefficient != 1) {
      return false;
    }
    lowest = first ? e.constant : std::min(lowest, e.constant);
    highest = first ? e.constant : std::max(highest, e.constant);
    first = false;
  }
  *span = highest - lowest + 1;
  return true;
}

// Along a block axis that a loop owns only the blocks of one iteration are alive; along others, all.
Blocks LiveBlocks(const FlatProgram& flat, const Tensor& t, TensorId id, const std::vector<Use>& uses) {
  Blocks blocks;
  const int common = CommonLoop(flat, uses);
  for (size_t axis = 0; axis < static_cast<size_t>(t.partition_axis); ++axis) {
    int64_t alive = t.shape[axis];
    if (alive == 1) continue;
    for (int l = common; l != -1; l = flat.ParentOf(l)) {
      int64_t span = 0;
      if (!Owns(flat, l, axis, id, uses, &span)) continue;
      alive = std::min(alive, span);
      if (flat.IsInside(l, blocks.owner)) blocks.owner = l;
      break;
    }
    blocks.alive *= alive;
  }
  return blocks;
}

// A tensor made once for many iterations of `l` needs nothing from the last one if this one begins by writing
// all of it.
bool FreshInEachIteration(const FlatProgram& flat, const Tensor& t, int l, const std::vector<Use>& uses) {
  const auto first = std::min_element(uses.begin(), uses.end(), [](const Use& a, const Use& b) {
    return std::make_pair(a.instr, a.writes) < std::make_pair(b.instr, b.writes);
  });
  return first->writes && flat.instrs[first->instr].loop == l && WritesWholeTile(t, *first->access);
}

Interval LifeOf(const FlatProgram& flat, const Tensor& t, TensorId id, const std::vector<Use>& uses,
                int owner) {
  const int scope = flat.ScopeOf(id);
  Interval life{SIZE_MAX, 0};
  // The body in which the tensor's life is a plain interval.
  int body = CommonLoop(flat, uses);
  for (int l = body; l != -1 && l != scope; l = flat.ParentOf(l)) {
    if (l == owner) break;
    if (!FreshInEachIteration(flat, t, l, uses)) body = flat.ParentOf(l);
  }
  for (const Use& u : uses) {
    size_t begin = 2 * u.instr + (u.writes ? 1 : 0);
    size_t end = begin;
    // Inside loops below that body it lives through the whole loop.
    for (int l = flat.instrs[u.instr].loop; l != body; l = flat.ParentOf(l)) {
      begin = std::min(begin, 2 * flat.loops[static_cast<size_t>(l)].begin + 1);
      end = std::max(end, 2 * flat.loops[static_cast<size_t>(l)].end - 1);
    }
    life.begin = std::min(life.begin, begin);
    life.end = std::max(life.end, end);
  }
  return life;
}

}  // namespace

std::vector<LiveTile> LiveTiles(const FlatProgram& flat, isa::Buffer buffer) {
  std::map<TensorId, std::vector<Use>> uses;
  for (size_t n = 0; n < flat.instrs.size(); ++n) {
    if (!flat.instrs[n].runs) continue;
    const auto add = [&](const Access& a, TensorId tensor, bool writes) {
      const TensorId storage = StorageOf(flat.program, tensor);
      if (flat.program.tensors[static_cast<size_t>(storage)].buffer == buffer) {
        uses[storage].push_back({n, &a, writes});
      }
    };
    for (const Access* a : Sources(*flat.instrs[n].instr)) {
      add(*a, a->tensor, false);
      if (a->indirect_tensor != ir::kNoTensor) add(*a, a->indirect_tensor, false);
    }
    // Clearing an accumulator writes nothing: the first matmul of its group overwrites.
    const Instr& instr = *flat.instrs[n].instr;
    if (buffer == isa::Buffer::kPsum && instr.op == isa::Opcode::kMemset && instr.attrs.value == 0) continue;
    for (const Access* a : Destinations(instr)) add(*a, a->tensor, true);
  }
  std::vector<LiveTile> live;
  for (const auto& [id, list] : uses) {
    const Tensor& t = flat.program.tensors[static_cast<size_t>(id)];
    const Blocks blocks = LiveBlocks(flat, t, id, list);
    const Interval life = LifeOf(flat, t, id, list, blocks.owner);
    live.push_back({id, life.begin, life.end, blocks.alive, TileBytes(t) * blocks.alive * QuadrantsOf(t)});
  }
  return live;
}

LivePeak PeakOf(const std::vector<LiveTile>& tiles) {
  std::map<size_t, int64_t> change;
  for (const LiveTile& t : tiles) {
    change[t.begin] += t.cost;
    change[t.end + 1] -= t.cost;
  }
  LivePeak peak;
  int64_t now = 0;
  for (const auto& [position, delta] : change) {
    now += delta;
    if (now > peak.cost) peak = {now, position};
  }
  return peak;
}

std::vector<LiveTile> AliveAt(const std::vector<LiveTile>& tiles, size_t position) {
  std::vector<LiveTile> alive;
  for (const LiveTile& t : tiles) {
    if (t.begin <= position && position <= t.end) alive.push_back(t);
  }
  std::stable_sort(alive.begin(), alive.end(),
                   [](const LiveTile& a, const LiveTile& b) { return a.cost > b.cost; });
  return alive;
}

int64_t TileBytes(const Tensor& t) {
  int64_t bytes = isa::SizeOf(t.dtype);
  for (size_t k = static_cast<size_t>(t.partition_axis) + 1; k < t.shape.size(); ++k) bytes *= t.shape[k];
  return bytes;
}

int64_t QuadrantsOf(const Tensor& t) {
  const int64_t partitions = t.shape[static_cast<size_t>(t.partition_axis)];
  return std::min((partitions + kQuadrantPartitions - 1) / kQuadrantPartitions, kQuadrants);
}

}  // namespace nkiagent::nki::ir
