#include "common/nki/timing/memory.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "common/nki/ir/flat.h"
#include "common/nki/ir/liveness.h"
#include "common/nki/ir/saturate.h"
#include "common/nki/timing/machine.h"

namespace nkiagent::nki::timing {
namespace {

// Regions remembered for one copy of a tensor; beyond that they are merged into one.
constexpr size_t kMaxRegions = 1024;
// Copies of an SBUF tile beyond which more prefetching changes nothing.
constexpr int kMaxSbufCopies = 4;
constexpr int kMaxPsumCopies = isa::kPsumBanks;
constexpr int kMaxVersions = 3;

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

// The footprint of what is alive of a tensor.
int64_t FootprintOf(const ir::Program& p, const ir::LiveTile& tile) {
  const ir::Tensor& t = p.tensors[static_cast<size_t>(tile.storage)];
  int64_t blocks = 1;
  for (size_t k = 0; k < static_cast<size_t>(t.partition_axis); ++k) blocks *= t.shape[k];
  return Footprint(t) / blocks * tile.blocks;
}

// Tiles alive with their footprints (bytes per partition) as costs.
std::vector<ir::LiveTile> TilesOf(const ir::FlatProgram& flat, isa::Buffer buffer) {
  std::vector<ir::LiveTile> tiles = ir::LiveTiles(flat, buffer);
  for (ir::LiveTile& t : tiles) t.cost = FootprintOf(flat.program, t);
  return tiles;
}

std::vector<bool> LoadedByDma(const ir::FlatProgram& flat) {
  std::vector<bool> loaded(flat.program.tensors.size(), false);
  for (const ir::FlatInstr& i : flat.instrs) {
    if (isa::RowOf(i.instr->op).cost != isa::Cost::kDma) continue;
    for (const ir::Access* a : ir::Destinations(*i.instr))
      loaded[static_cast<size_t>(flat.StorageOf(*a))] = true;
  }
  return loaded;
}

// Bytes in use at each position between first and last uses, with the most over a stretch of them.
class Occupancy {
 public:
  explicit Occupancy(const std::vector<ir::LiveTile>& tiles) {
    for (const ir::LiveTile& t : tiles) {
      points_.push_back(t.begin);
      points_.push_back(t.end);
    }
    std::sort(points_.begin(), points_.end());
    points_.erase(std::unique(points_.begin(), points_.end()), points_.end());
    while (leaves_ < points_.size()) leaves_ *= 2;
    most_.assign(2 * leaves_, 0);
    added_.assign(2 * leaves_, 0);
    for (const ir::LiveTile& t : tiles) Add(t, t.cost);
  }

  void Add(const ir::LiveTile& t, int64_t bytes) { Add(1, 0, leaves_, At(t.begin), At(t.end + 1), bytes); }
  int64_t Most(const ir::LiveTile& t) const { return Most(1, 0, leaves_, At(t.begin), At(t.end + 1)); }

 private:
  // The first point from a position on.
  size_t At(size_t position) const {
    return static_cast<size_t>(std::lower_bound(points_.begin(), points_.end(), position) - points_.begin());
  }
  void Add(size_t node, size_t first, size_t last, size_t from, size_t to, int64_t bytes) {
    if (to <= first || last <= from) return;
    if (from <= first && last <= to) {
      added_[node] += bytes;
      most_[node] += bytes;
      return;
    }
    const size_t middle = (first + last) / 2;
    Add(2 * node, first, middle, from, to, bytes);
    Add(2 * node + 1, middle, last, from, to, bytes);
    most_[node] = added_[node] + std::max(most_[2 * node], most_[2 * node + 1]);
  }
  int64_t Most(size_t node, size_t first, size_t last, size_t from, size_t to) const {
    if (to <= first || last <= from) return 0;
    if (from <= first && last <= to) return most_[node];
    const size_t middle = (first + last) / 2;
    return added_[node] +
           std::max(Most(2 * node, first, middle, from, to), Most(2 * node + 1, middle, last, from, to));
  }

  std::vector<size_t> points_;
  size_t leaves_ = 1;
  std::vector<int64_t> most_;   // of the node's stretch, what is added to its parents apart
  std::vector<int64_t> added_;  // to all of the node's stretch
};

// Hands out what a memory has left where a tile is alive, tile by tile.
void Grant(const ir::FlatProgram& flat, isa::Buffer buffer, int64_t capacity, int most,
           std::vector<BufferCount>& counts) {
  const std::vector<ir::SymbolId> renewing = RenewingLoops(flat.program);
  const std::vector<bool> loaded = LoadedByDma(flat);
  const std::vector<ir::LiveTile> tiles = TilesOf(flat, buffer);
  Occupancy occupancy(tiles);
  std::vector<ir::LiveTile> renewed;
  for (const ir::LiveTile& t : tiles) {
    if (renewing[static_cast<size_t>(t.storage)] != -1) renewed.push_back(t);
  }
  std::stable_sort(renewed.begin(), renewed.end(), [&](const ir::LiveTile& a, const ir::LiveTile& b) {
    return loaded[static_cast<size_t>(a.storage)] > loaded[static_cast<size_t>(b.storage)];
  });
  for (int round = 1; round < most; ++round) {
    for (const ir::LiveTile& t : renewed) {
      // A tile's copies stay in place for the whole loop that renews it.
      ir::LiveTile span = t;
      const int loop = flat.loop_of_symbol[static_cast<size_t>(renewing[static_cast<size_t>(t.storage)])];
      span.begin = 2 * flat.loops[static_cast<size_t>(loop)].begin + 1;
      span.end = 2 * flat.loops[static_cast<size_t>(loop)].end - 1;
      if (occupancy.Most(span) + t.cost > capacity) continue;
      occupancy.Add(span, t.cost);
      ++counts[static_cast<size_t>(t.storage)].copies;
    }
  }
  for (int round = 0; round < kMaxVersions; ++round) {
    for (const ir::LiveTile& t : tiles) {
      const int64_t block = t.cost / t.blocks;
      if (occupancy.Most(t) + block > capacity) continue;
      occupancy.Add(t, block);
      ++counts[static_cast<size_t>(t.storage)].versions;
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

std::vector<BufferCount> BufferCounts(const ir::Program& program) {
  std::vector<BufferCount> counts(program.tensors.size());
  const ir::FlatProgram flat(program);
  Grant(flat, isa::Buffer::kSbuf, isa::kSbufUsableBytesPerPartition, kMaxSbufCopies, counts);
  Grant(flat, isa::Buffer::kPsum, int64_t{isa::kPsumBanks} * isa::kPsumBankBytes, kMaxPsumCopies, counts);
  return counts;
}

double PeakBytes(const ir::Program& program, isa::Buffer buffer) {
  const ir::FlatProgram flat(program);
  return isa::kMaxPartitions * static_cast<double>(ir::PeakOf(TilesOf(flat, buffer)).cost);
}

Spill SpillOf(const ir::Program& program) {
  const ir::FlatProgram flat(program);
  const std::vector<ir::LiveTile> tiles = TilesOf(flat, isa::Buffer::kSbuf);
  const ir::LivePeak peak = ir::PeakOf(tiles);
  int64_t excess = peak.cost - isa::kSbufUsableBytesPerPartition;
  Spill spill;
  if (excess <= 0) return spill;
  const int loop = flat.instrs[std::min(peak.position / 2, flat.instrs.size() - 1)].loop;
  spill.begin = loop == -1 ? 0 : flat.loops[static_cast<size_t>(loop)].begin;
  spill.end = loop == -1 ? flat.instrs.size() : flat.loops[static_cast<size_t>(loop)].end;
  // The fewest tiles that make room.
  for (const ir::LiveTile& t : ir::AliveAt(tiles, peak.position)) {
    if (excess <= 0) break;
    excess -= t.cost;
    spill.bytes += isa::kMaxPartitions * static_cast<double>(t.cost);
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
  const std::vector<BufferCount> counts = BufferCounts(program);
  const std::vector<ir::SymbolId> renewing = RenewingLoops(program);
  for (size_t id = 0; id < stores_.size(); ++id) {
    const ir::Tensor& t = program.tensors[id];
    if (t.view_of != ir::kNoTensor || !written[id] || (isa::IsHbm(t.buffer) && !read[id])) continue;
    stores_[id].copies.resize(static_cast<size_t>(counts[id].copies));
    stores_[id].versions = counts[id].versions;
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
      for (const Version& v : u.versions) {
        if (v.done <= copy.free) continue;
        copy.free = v.done;
        copy.last_user = v.user;
        copy.last_slice = v.slice;
      }
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
                                   bool accumulate, bool replaces) const {
  const Store& s = StoreOf(access);
  Ready ready{s.copies[s.current].free, s.copies[s.current].last_slice};
  bool known = ready.time > 0;
  for (const Use& u : s.copies[s.current].uses) {
    if (!Overlap(u.region, region)) continue;
    known = true;
    if (replaces && s.versions > 0 && Same(u.region, region)) {
      // The oldest version that has no place any more.
      const Version& v = u.versions[static_cast<size_t>(s.versions - 1)];
      Later(ready, v.done + (v.done > 0 && v.user != user ? kSemaphoreNs : 0), v.slice);
      continue;
    }
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

void Memory::Write(const ir::Access& access, const Region& region, Resource user, double until, int64_t slice,
                   bool replaces) {
  Use& u = UseOf(access, region);
  if (replaces && StoreOf(access).versions > 0 && u.written > 0) {
    std::copy_backward(u.versions.begin(), u.versions.end() - 1, u.versions.end());
    u.versions[0] = u.read > u.written ? Version{u.read, u.reader, u.read_slice}
                                       : Version{u.written, u.writer, u.write_slice};
    u.read = 0;
    u.written = 0;
  }
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
        for (Version& v : u.versions) {
          if (v.done > 0) v.done += by[static_cast<size_t>(v.user)];
        }
        s.skipped_written = std::max(s.skipped_written, u.written);
        s.skipped_read = std::max(s.skipped_read, u.read);
      }
    }
  }
}

}  // namespace nkiagent::nki::timing
