#include "common/nki/timing/memory.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <tuple>
#include <utility>

#include "common/nki/ir/saturate.h"
#include "common/nki/timing/machine.h"

namespace nkiagent::nki::timing {
namespace {

// Regions remembered for one copy of a tensor; beyond that they are merged into one.
constexpr size_t kMaxRegions = 96;
// Copies of an SBUF tile beyond which more prefetching changes nothing.
constexpr int kMaxSbufCopies = 4;
constexpr int kMaxPsumCopies = isa::kPsumBanks;

bool Overlap(const Region& a, const Region& b) {
  if (a.view != b.view || a.axes.size() != b.axes.size()) return true;
  for (size_t k = 0; k < a.axes.size(); ++k) {
    if (a.axes[k].second < b.axes[k].first || b.axes[k].second < a.axes[k].first) return false;
  }
  return true;
}

void Later(Memory::Ready& ready, double time, int64_t slice) {
  if (time > ready.time) ready = {time, slice};
}

bool Same(const Region& a, const Region& b) { return a.view == b.view && a.axes == b.axes; }

struct FlatLoop {
  ir::SymbolId symbol = -1;
  int parent = -1;
  size_t begin = 0, end = 0;  // instructions [begin, end)
};

// Instruction n reads at position 2n and writes at 2n + 1, so that a result may take the place of an operand
// that ends.
struct Life {
  size_t begin = SIZE_MAX;
  size_t end = 0;       // inclusive
  bool loaded = false;  // by DMA
};

class LifeFinder {
 public:
  explicit LifeFinder(const ir::Program& p) : p_(p), renewing_(RenewingLoops(p)), lives_(p.tensors.size()) {
    Flatten(p.body, -1);
    for (size_t n = 0; n < instrs_.size(); ++n) Use(n);
  }
  const std::vector<Life>& lives() const { return lives_; }
  size_t instr_count() const { return instrs_.size(); }
  // The instructions [first, second) of the innermost loop around one of them.
  std::pair<size_t, size_t> LoopAround(size_t n) const {
    const int l = instrs_[n].second;
    if (l == -1) return {0, instrs_.size()};
    return {loops_[static_cast<size_t>(l)].begin, loops_[static_cast<size_t>(l)].end};
  }

 private:
  void Flatten(const std::vector<ir::Node>& body, int parent) {
    for (const ir::Node& node : body) {
      if (const auto* instr = std::get_if<ir::Instr>(&node.item)) {
        instrs_.emplace_back(instr, parent);
        continue;
      }
      const ir::Loop& loop = *std::get<std::unique_ptr<ir::Loop>>(node.item);
      const auto index = static_cast<int>(loops_.size());
      loops_.push_back({loop.symbol, parent, instrs_.size(), 0});
      Flatten(loop.body, index);
      loops_[static_cast<size_t>(index)].end = instrs_.size();
    }
  }

  // A tensor is in use from its first to its last instruction, and through loops that lie inside its scope.
  void Use(size_t n) {
    const auto& [instr, parent] = instrs_[n];
    const auto use = [&, instr = instr, loop = parent](const ir::Operand& o, bool written) {
      const auto* a = std::get_if<ir::Access>(&o);
      if (a == nullptr) return;
      const auto id = static_cast<size_t>(ir::StorageOf(p_, a->tensor));
      // Clearing an accumulator writes nothing.
      const bool clears = instr->op == isa::Opcode::kMemset && instr->attrs.value == 0;
      if (clears && p_.tensors[id].buffer == isa::Buffer::kPsum) return;
      size_t begin = 2 * n + (written ? 1 : 0), end = begin;
      for (int l = loop; l != -1 && loops_[static_cast<size_t>(l)].symbol != renewing_[id];
           l = loops_[static_cast<size_t>(l)].parent) {
        begin = std::min(begin, 2 * loops_[static_cast<size_t>(l)].begin + 1);
        end = std::max(end, 2 * loops_[static_cast<size_t>(l)].end - 1);
      }
      Life& life = lives_[id];
      life.begin = std::min(life.begin, begin);
      life.end = std::max(life.end, end);
      life.loaded = life.loaded || (written && isa::RowOf(instr->op).cost == isa::Cost::kDma);
    };
    for (const ir::Operand& o : instr->dst) use(o, true);
    for (const ir::Operand& o : instr->src) use(o, false);
  }

  const ir::Program& p_;
  const std::vector<ir::SymbolId> renewing_;
  std::vector<std::pair<const ir::Instr*, int>> instrs_;
  std::vector<FlatLoop> loops_;
  std::vector<Life> lives_;
};

struct Peak {
  int64_t bytes = 0;
  size_t position = 0;
};

Peak PeakOf(const ir::Program& p, const LifeFinder& finder, isa::Buffer buffer) {
  const std::vector<Life>& lives = finder.lives();
  std::vector<int64_t> change(2 * finder.instr_count() + 2, 0);
  for (size_t id = 0; id < p.tensors.size(); ++id) {
    if (p.tensors[id].buffer != buffer || lives[id].begin == SIZE_MAX) continue;
    change[lives[id].begin] += Footprint(p.tensors[id]);
    change[lives[id].end + 1] -= Footprint(p.tensors[id]);
  }
  Peak peak;
  int64_t now = 0;
  for (size_t at = 0; at < change.size(); ++at) {
    now += change[at];
    if (now > peak.bytes) peak = {now, at};
  }
  return peak;
}

// Hands out what a memory has left over its peak use, tile by tile.
void Grant(const ir::Program& p, const LifeFinder& finder, isa::Buffer buffer, int64_t capacity, int most,
           std::vector<int>& counts) {
  const std::vector<Life>& lives = finder.lives();
  const std::vector<ir::SymbolId> renewing = RenewingLoops(p);
  std::vector<size_t> renewed;
  for (size_t id = 0; id < p.tensors.size(); ++id) {
    const bool used = p.tensors[id].buffer == buffer && lives[id].begin != SIZE_MAX;
    if (used && renewing[id] != -1) renewed.push_back(id);
  }
  int64_t left = capacity - PeakOf(p, finder, buffer).bytes;
  std::stable_sort(renewed.begin(), renewed.end(),
                   [&](size_t a, size_t b) { return lives[a].loaded > lives[b].loaded; });
  for (int round = 1; round < most; ++round) {
    for (const size_t id : renewed) {
      const int64_t bytes = Footprint(p.tensors[id]);
      if (bytes > left) continue;
      left -= bytes;
      ++counts[id];
    }
  }
}

}  // namespace

int64_t Footprint(const ir::Tensor& t) {
  int64_t bytes = isa::SizeOf(t.dtype);
  int64_t blocks = 1;
  for (size_t k = 0; k < t.shape.size(); ++k) {
    if (k < static_cast<size_t>(t.partition_axis)) blocks *= t.shape[k];
    if (k > static_cast<size_t>(t.partition_axis)) bytes *= t.shape[k];
  }
  if (t.buffer == isa::Buffer::kPsum) {
    bytes = (bytes + isa::kPsumBankBytes - 1) / isa::kPsumBankBytes * isa::kPsumBankBytes;
  }
  const int64_t quadrants = (t.shape[static_cast<size_t>(t.partition_axis)] + 31) / 32;
  if (t.buffer == isa::Buffer::kSbuf && quadrants < 4) bytes = (bytes * quadrants + 3) / 4;
  return bytes * blocks;
}

Region RegionOf(const ir::Program& program, const ir::Access& access, absl::Span<const int64_t> symbols) {
  Region r;
  r.view = access.tensor;
  for (size_t k = 0; k < access.index.size(); ++k) {
    const ir::Affine& e = access.index[k];
    int64_t lo = e.Base(symbols), hi = lo;
    for (size_t d = 0; d < e.dims.size(); ++d) {
      int64_t& bound = e.dims[d] > 0 ? hi : lo;
      bound = ir::SaturatingAdd(bound, ir::SaturatingMul(e.dims[d], access.shape[d] - 1));
    }
    if (access.indirect_axis == static_cast<int32_t>(k)) {
      lo = 0;
      hi = program.tensors[static_cast<size_t>(access.tensor)].shape[k] - 1;
    }
    r.axes.emplace_back(lo, hi);
  }
  return r;
}

std::vector<ir::SymbolId> RenewingLoops(const ir::Program& program) {
  ir::SymbolId grid = -1;
  const std::vector<ir::Node>* body = &program.body;
  while (body->size() == 1) {
    const auto* loop = std::get_if<std::unique_ptr<ir::Loop>>(&body->front().item);
    if (loop == nullptr || (*loop)->kind != ir::LoopKind::kSpmd) break;
    grid = (*loop)->symbol;
    body = &(*loop)->body;
  }
  std::vector<ir::SymbolId> renewing;
  for (const ir::Tensor& t : program.tensors) {
    renewing.push_back(t.scope == -1 && !isa::IsHbm(t.buffer) ? grid : t.scope);
  }
  return renewing;
}

std::vector<int> BufferCounts(const ir::Program& program) {
  std::vector<int> counts(program.tensors.size(), 1);
  const LifeFinder finder(program);
  Grant(program, finder, isa::Buffer::kSbuf, isa::kSbufUsableBytesPerPartition, kMaxSbufCopies, counts);
  Grant(program, finder, isa::Buffer::kPsum, int64_t{isa::kPsumBanks} * isa::kPsumBankBytes, kMaxPsumCopies,
        counts);
  return counts;
}

double PeakBytes(const ir::Program& program, isa::Buffer buffer) {
  return isa::kMaxPartitions * static_cast<double>(PeakOf(program, LifeFinder(program), buffer).bytes);
}

Spill SpillOf(const ir::Program& program) {
  const LifeFinder finder(program);
  const Peak peak = PeakOf(program, finder, isa::Buffer::kSbuf);
  int64_t excess = peak.bytes - isa::kSbufUsableBytesPerPartition;
  Spill spill;
  if (excess <= 0) return spill;
  std::tie(spill.begin, spill.end) = finder.LoopAround(peak.position / 2);
  // The fewest tiles that make room.
  std::vector<const ir::Tensor*> alive;
  for (size_t id = 0; id < program.tensors.size(); ++id) {
    const Life& life = finder.lives()[id];
    const bool there = life.begin <= peak.position && peak.position <= life.end;
    if (there && program.tensors[id].buffer == isa::Buffer::kSbuf) alive.push_back(&program.tensors[id]);
  }
  std::stable_sort(alive.begin(), alive.end(),
                   [](const ir::Tensor* a, const ir::Tensor* b) { return Footprint(*a) > Footprint(*b); });
  for (const ir::Tensor* t : alive) {
    if (excess <= 0) break;
    excess -= Footprint(*t);
    spill.bytes += isa::kMaxPartitions * static_cast<double>(Footprint(*t));
  }
  return spill;
}

Memory::Memory(const ir::Program& program)
    : program_(program), stores_(program.tensors.size()), scoped_(program.symbols.size()) {
  // HBM that nothing reads back orders nothing.
  std::vector<bool> read(program.tensors.size(), false);
  std::vector<bool> written(program.tensors.size(), false);
  ir::ForEachInstr(program.body, [&](const ir::Instr& i, absl::Span<const ir::Loop* const>) {
    const auto mark = [&](const ir::Operand& o, std::vector<bool>& set) {
      const auto* a = std::get_if<ir::Access>(&o);
      if (a == nullptr) return;
      set[static_cast<size_t>(ir::StorageOf(program, a->tensor))] = true;
      if (a->indirect_tensor != ir::kNoTensor) {
        read[static_cast<size_t>(ir::StorageOf(program, a->indirect_tensor))] = true;
      }
    };
    for (const ir::Operand& o : i.src) mark(o, read);
    for (const ir::Operand& o : i.dst) mark(o, written);
  });
  const std::vector<int> counts = BufferCounts(program);
  const std::vector<ir::SymbolId> renewing = RenewingLoops(program);
  for (size_t id = 0; id < stores_.size(); ++id) {
    const ir::Tensor& t = program.tensors[id];
    if (t.view_of != ir::kNoTensor || !written[id] || (isa::IsHbm(t.buffer) && !read[id])) continue;
    stores_[id].copies.resize(static_cast<size_t>(counts[id]));
    if (renewing[id] != -1)
      scoped_[static_cast<size_t>(renewing[id])].push_back(static_cast<ir::TensorId>(id));
  }
}

void Memory::NextIteration(ir::SymbolId loop) {
  for (const ir::TensorId id : scoped_[static_cast<size_t>(loop)]) {
    Store& s = stores_[static_cast<size_t>(id)];
    s.current = (s.current + 1) % s.copies.size();
    Copy& copy = s.copies[s.current];
    for (const Use& u : copy.uses) {
      const bool read_last = u.read > u.written;
      const double last = std::max(u.read, u.written);
      if (last > copy.free) {
        copy.free = last;
        copy.last_user = read_last ? u.reader : u.writer;
        copy.last_slice = read_last ? u.read_slice : u.write_slice;
      }
      copy.changed = ++clock_;
    }
    copy.uses.clear();
  }
}

Memory::Ready Memory::ReadyToRead(const ir::Access& access, const Region& region, Resource user) const {
  const Store& s = StoreOf(access);
  Ready ready;
  bool known = false;
  for (const Use& u : s.copies[s.current].uses) {
    if (u.written == 0 || !Overlap(u.region, region)) continue;
    known = true;
    Later(ready, u.written + (u.writer == user ? 0 : kSemaphoreNs), u.write_slice);
  }
  return known ? ready : Ready{s.skipped_written, -1};
}

Memory::Ready Memory::ReadyToWrite(const ir::Access& access, const Region& region, Resource user,
                                   bool accumulate) const {
  const Store& s = StoreOf(access);
  Ready ready{s.copies[s.current].free, s.copies[s.current].last_slice};
  bool known = ready.time > 0;
  for (const Use& u : s.copies[s.current].uses) {
    if (!Overlap(u.region, region)) continue;
    known = true;
    // One engine keeps its own order; the DMA pool has none.
    const bool ordered = u.reader == user && user != Resource::kDma;
    if (!ordered) Later(ready, u.read + (u.read > 0 && u.reader != user ? kSemaphoreNs : 0), u.read_slice);
    if (u.writer != user || !accumulate) Later(ready, u.written, u.write_slice);
  }
  return known ? ready : Ready{std::max(s.skipped_written, s.skipped_read), -1};
}

Memory::Use& Memory::UseOf(const ir::Access& access, const Region& region) {
  Store& s = StoreOf(access);
  std::vector<Use>& uses = s.copies[s.current].uses;
  for (Use& u : uses) {
    if (Same(u.region, region)) return u;
  }
  if (uses.size() == kMaxRegions) {
    Use all = uses[0];
    for (const Use& u : uses) {
      for (size_t k = 0; k < all.region.axes.size() && k < u.region.axes.size(); ++k) {
        all.region.axes[k].first = std::min(all.region.axes[k].first, u.region.axes[k].first);
        all.region.axes[k].second = std::max(all.region.axes[k].second, u.region.axes[k].second);
      }
      if (u.written > all.written) {
        all.written = u.written;
        all.writer = u.writer;
        all.write_slice = u.write_slice;
      }
      if (u.read > all.read) {
        all.read = u.read;
        all.reader = u.reader;
        all.read_slice = u.read_slice;
      }
      all.changed = std::max(all.changed, u.changed);
    }
    uses.assign(1, all);
  }
  uses.emplace_back();
  uses.back().region = region;
  return uses.back();
}

void Memory::Read(const ir::Access& access, const Region& region, Resource user, double until,
                  int64_t slice) {
  const auto read = [&](Use& u) {
    u.changed = ++clock_;
    if (until <= u.read) return;
    u.read = until;
    u.reader = user;
    u.read_slice = slice;
  };
  // What was written as one piece is remembered as one piece.
  Store& s = StoreOf(access);
  bool known = false;
  for (Use& u : s.copies[s.current].uses) {
    if (!Overlap(u.region, region)) continue;
    known = true;
    read(u);
  }
  if (!known) read(UseOf(access, region));
}

void Memory::Write(const ir::Access& access, const Region& region, Resource user, double until,
                   int64_t slice) {
  Use& u = UseOf(access, region);
  if (until > u.written) {
    u.written = until;
    u.writer = user;
    u.write_slice = slice;
  }
  u.changed = ++clock_;
}

void Memory::Extrapolate(uint64_t since, const PerResource& by) {
  for (Store& s : stores_) {
    for (Copy& copy : s.copies) {
      if (copy.changed > since) copy.free += by[static_cast<size_t>(copy.last_user)];
      for (Use& u : copy.uses) {
        if (u.changed <= since) continue;
        if (u.written > 0) u.written += by[static_cast<size_t>(u.writer)];
        if (u.read > 0) u.read += by[static_cast<size_t>(u.reader)];
        s.skipped_written = std::max(s.skipped_written, u.written);
        s.skipped_read = std::max(s.skipped_read, u.read);
      }
    }
  }
}

}  // namespace nkiagent::nki::timing
