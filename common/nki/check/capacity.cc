// What is alive on the chip at each point of a program, against what the chip has.
//
// This is a lower bound of what any allocator needs, so that a finding is certain: a tile lives from its
// first write to its last use, through whole loops only where an iteration may need what another one left,
// and a tile that ends where another begins shares its place.
#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/nki/check/rules.h"

namespace nkiagent::nki::check {
namespace {

constexpr int64_t kQuadrant = 32;
constexpr int64_t kQuadrants = 4;
constexpr size_t kLargestNamed = 5;

// Two positions for each instruction: it reads at 2n and writes at 2n + 1.
struct Interval {
  size_t begin = 0;
  size_t end = 0;  // inclusive
};

struct Use {
  size_t instr = 0;
  const ir::Access* access = nullptr;
  bool writes = false;
};

struct Live {
  const ir::Tensor* tensor = nullptr;
  Interval interval;
  int64_t blocks = 1;  // alive at once
  // Bytes per partition times quadrants of 32 partitions: tiles of few partitions may lie side by side.
  int64_t cost = 0;
};

int64_t TileBytes(const ir::Tensor& t) {
  int64_t bytes = isa::SizeOf(t.dtype);
  for (size_t k = static_cast<size_t>(t.partition_axis) + 1; k < t.shape.size(); ++k) bytes *= t.shape[k];
  return bytes;
}

int64_t Quadrants(const ir::Tensor& t) {
  const int64_t partitions = t.shape[static_cast<size_t>(t.partition_axis)];
  return std::min((partitions + kQuadrant - 1) / kQuadrant, kQuadrants);
}

bool WritesWholeTile(const ir::Tensor& t, const ir::Access& a) {
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
int CommonLoop(const Facts& facts, const std::vector<Use>& uses) {
  int common = facts.instrs[uses[0].instr].loop;
  for (const Use& u : uses) {
    while (!facts.IsInside(facts.instrs[u.instr].loop, common)) {
      common = facts.loops[static_cast<size_t>(common)].parent;
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
bool Owns(const Facts& facts, int l, size_t axis, ir::TensorId id, const std::vector<Use>& uses,
          int64_t* span) {
  const ir::SymbolId symbol = facts.loops[static_cast<size_t>(l)].loop->symbol;
  int64_t lowest = 0, highest = 0;
  bool first = true;
  for (const Use& u : uses) {
    if (u.access->tensor != id) return false;  // a view, or a run-time index
    const ir::Affine& e = u.access->index[axis];
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
Blocks LiveBlocks(const Facts& facts, const ir::Tensor& t, ir::TensorId id, const std::vector<Use>& uses) {
  Blocks blocks;
  const int common = CommonLoop(facts, uses);
  for (size_t axis = 0; axis < static_cast<size_t>(t.partition_axis); ++axis) {
    int64_t alive = t.shape[axis];
    if (alive == 1) continue;
    for (int l = common; l != -1; l = facts.loops[static_cast<size_t>(l)].parent) {
      int64_t span = 0;
      if (!Owns(facts, l, axis, id, uses, &span)) continue;
      alive = std::min(alive, span);
      if (facts.IsInside(l, blocks.owner)) blocks.owner = l;
      break;
    }
    blocks.alive *= alive;
  }
  return blocks;
}

// A tensor made once for many iterations of `l` needs nothing from the last one if this one begins by writing
// all of it.
bool FreshInEachIteration(const Facts& facts, const ir::Tensor& t, int l, const std::vector<Use>& uses) {
  const auto first = std::min_element(uses.begin(), uses.end(), [](const Use& a, const Use& b) {
    return std::make_pair(a.instr, a.writes) < std::make_pair(b.instr, b.writes);
  });
  return first->writes && facts.instrs[first->instr].loop == l && WritesWholeTile(t, *first->access);
}

Interval LifeOf(const Facts& facts, const ir::Tensor& t, ir::TensorId id, const std::vector<Use>& uses,
                int owner) {
  const int scope = facts.ScopeOf(id);
  Interval life{SIZE_MAX, 0};
  // The body in which the tensor's life is a plain interval.
  int body = CommonLoop(facts, uses);
  for (int l = body; l != -1 && l != scope; l = facts.loops[static_cast<size_t>(l)].parent) {
    if (l == owner) break;
    if (!FreshInEachIteration(facts, t, l, uses)) body = facts.loops[static_cast<size_t>(l)].parent;
  }
  for (const Use& u : uses) {
    size_t begin = 2 * u.instr + (u.writes ? 1 : 0);
    size_t end = begin;
    // Inside loops below that body it lives through the whole loop.
    for (int l = facts.instrs[u.instr].loop; l != body; l = facts.loops[static_cast<size_t>(l)].parent) {
      begin = std::min(begin, 2 * facts.loops[static_cast<size_t>(l)].begin + 1);
      end = std::max(end, 2 * facts.loops[static_cast<size_t>(l)].end - 1);
    }
    life.begin = std::min(life.begin, begin);
    life.end = std::max(life.end, end);
  }
  return life;
}

std::vector<Live> LiveTensors(const Facts& facts, isa::Buffer buffer) {
  std::map<ir::TensorId, std::vector<Use>> uses;
  for (size_t n = 0; n < facts.instrs.size(); ++n) {
    if (!facts.instrs[n].runs) continue;
    const auto add = [&](const ir::Access& a, ir::TensorId tensor, bool writes) {
      const ir::TensorId storage = ir::StorageOf(facts.program, tensor);
      if (facts.program.tensors[static_cast<size_t>(storage)].buffer == buffer) {
        uses[storage].push_back({n, &a, writes});
      }
    };
    for (const ir::Access* a : Sources(*facts.instrs[n].instr)) {
      add(*a, a->tensor, false);
      if (a->indirect_tensor != ir::kNoTensor) add(*a, a->indirect_tensor, false);
    }
    // Clearing an accumulator writes nothing: the first matmul of its group overwrites.
    const ir::Instr& instr = *facts.instrs[n].instr;
    if (buffer == isa::Buffer::kPsum && instr.op == isa::Opcode::kMemset && instr.attrs.value == 0) continue;
    for (const ir::Access* a : Destinations(instr)) add(*a, a->tensor, true);
  }
  std::vector<Live> live;
  for (const auto& [id, list] : uses) {
    const ir::Tensor& t = facts.program.tensors[static_cast<size_t>(id)];
    const Blocks blocks = LiveBlocks(facts, t, id, list);
    Live l;
    l.tensor = &t;
    l.blocks = blocks.alive;
    l.interval = LifeOf(facts, t, id, list, blocks.owner);
    l.cost = TileBytes(t) * l.blocks * Quadrants(t);
    live.push_back(l);
  }
  return live;
}

struct Memory {
  isa::Buffer buffer;
  int64_t capacity;  // bytes per partition
  absl::string_view error;
  absl::string_view warning;
  absl::string_view spills_to;
  absl::string_view hint;
};

constexpr Memory kMemories[] = {
    {isa::Buffer::kSbuf, isa::kSbufUsableBytesPerPartition, "err_sbuf_capacity_exceeded", "sbuf_spill", "HBM",
     "use smaller tiles, create them inside the loop that needs them, or load pieces when they are used"},
    {isa::Buffer::kPsum, int64_t{isa::kPsumBanks} * isa::kPsumBankBytes, "err_psum_capacity_exceeded",
     "psum_spill", "SBUF",
     "copy results to SBUF sooner, or accumulate fewer tiles at once (8 banks of 2 KiB per partition)"},
};

// The tiles of one instruction must be on the chip together; no spilling helps there.
bool CheckWorkingSets(const Facts& facts, const Memory& memory, Findings& found) {
  bool ok = true;
  for (const InstrFacts& i : facts.instrs) {
    if (!i.runs) continue;
    std::map<ir::TensorId, int64_t> cost;
    std::string names;
    const auto add = [&](const ir::Access& a) {
      const ir::TensorId storage = facts.StorageOf(a);
      const ir::Tensor& t = facts.program.tensors[static_cast<size_t>(storage)];
      if (t.buffer != memory.buffer || !cost.emplace(storage, TileBytes(t) * Quadrants(t)).second) return;
      absl::StrAppend(&names, names.empty() ? "" : ", ", "'", t.name, "' ", ShapeText(t.shape), " (line ",
                      t.loc.line, ", ", TileBytes(t), " bytes)");
    };
    for (const ir::Access* a : Destinations(*i.instr)) add(*a);
    for (const ir::Access* a : Sources(*i.instr)) add(*a);
    int64_t all = 0;
    for (const auto& [id, c] : cost) all += c;
    if (all <= memory.capacity * kQuadrants) continue;
    ok = false;
    const int64_t need = (all + kQuadrants - 1) / kQuadrants;
    found.push_back(Finding(
        Severity::kError, std::string(memory.error), i.instr->loc,
        absl::StrCat("the tiles of one '", isa::RowOf(i.instr->op).name, "' need ", need, " bytes of each ",
                     isa::Name(memory.buffer), " partition; ", memory.capacity,
                     " are available ([GCA046] Some infinite-cost nodes remain): ", names),
        absl::StrCat(memory.capacity, " bytes per partition"), absl::StrCat(need, " bytes per partition"),
        "use a smaller free size and loop over the pieces"));
  }
  return ok;
}

void CheckLiveTiles(const Facts& facts, const Memory& memory, Findings& found) {
  const std::vector<Live> live = LiveTensors(facts, memory.buffer);
  // The cost alive after each change.
  std::map<size_t, int64_t> change;
  for (const Live& l : live) {
    change[l.interval.begin] += l.cost;
    change[l.interval.end + 1] -= l.cost;
  }
  int64_t now = 0, worst = 0;
  size_t at = 0;
  for (const auto& [position, delta] : change) {
    now += delta;
    if (now > worst) {
      worst = now;
      at = position;
    }
  }
  if (worst <= memory.capacity * kQuadrants) return;

  std::vector<const Live*> alive;
  for (const Live& l : live) {
    if (l.interval.begin <= at && at <= l.interval.end) alive.push_back(&l);
  }
  std::stable_sort(alive.begin(), alive.end(),
                   [](const Live* a, const Live* b) { return a->cost > b->cost; });
  std::string names;
  for (size_t k = 0; k < std::min(alive.size(), kLargestNamed); ++k) {
    const ir::Tensor& t = *alive[k]->tensor;
    absl::StrAppend(&names, k == 0 ? "" : ", ", "'", t.name, "' ", ShapeText(t.shape), " ",
                    isa::Name(t.dtype), " (line ", t.loc.line, ", ", alive[k]->cost / kQuadrants, " bytes",
                    alive[k]->blocks > 1 ? absl::StrCat(", ", alive[k]->blocks, " blocks)") : ")");
  }
  const int64_t need = (worst + kQuadrants - 1) / kQuadrants;
  const ir::Instr& instr = *facts.instrs[std::min(at / 2, facts.instrs.size() - 1)].instr;
  found.push_back(Finding(
      Severity::kWarning, std::string(memory.warning), instr.loc,
      absl::StrCat("tiles alive at this point need ", need, " bytes of each ", isa::Name(memory.buffer),
                   " partition; ", memory.capacity, " are available, so the compiler has to spill some to ",
                   memory.spills_to, ", which is slow. Largest of ", alive.size(), ": ", names),
      absl::StrCat(memory.capacity, " bytes per partition"), absl::StrCat(need, " bytes per partition"),
      std::string(memory.hint)));
}

}  // namespace

// Tiles beyond the capacity of a memory are spilled, not refused. The SDK's compiler does so for the second
// mamba kernel at a sequence of 8192 (aws-neuron-sdk v2.24.0, general/nki/tutorials/fused_mamba.rst) and for
// attention kernels that keep a whole score matrix in PSUM (aws-neuron/nki-samples,
// tutorials/attention_fwd_performance).
void CheckCapacity(const Facts& facts, Findings& found) {
  for (const Memory& memory : kMemories) {
    if (CheckWorkingSets(facts, memory, found)) CheckLiveTiles(facts, memory, found);
  }
}

}  // namespace nkiagent::nki::check
