// What is alive on the chip at each point of a program (ir/liveness.h), against what the chip has. That is a
// lower bound of what any allocator needs, so that a finding is certain.
#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/nki/check/rules.h"
#include "common/nki/ir/liveness.h"

namespace nkiagent::nki::check {
namespace {

constexpr size_t kLargestNamed = 8;

struct Memory {
  isa::Buffer buffer;
  int64_t capacity;  // bytes per partition
  int64_t usable;    // of these, by a kernel without spilling
  absl::string_view error;
  absl::string_view warning;
  absl::string_view spills_to;
  absl::string_view hint;
};

constexpr int64_t kPsumBytes = int64_t{isa::kPsumBanks} * isa::kPsumBankBytes;

constexpr Memory kMemories[] = {
    {isa::Buffer::kSbuf, isa::kSbufBytesPerPartition, isa::kSbufUsableBytesPerPartition,
     "err_sbuf_capacity_exceeded", "sbuf_spill", "HBM",
     "use smaller tiles, create them inside the loop that needs them, or load pieces when they are used"},
    {isa::Buffer::kPsum, kPsumBytes, kPsumBytes, "err_psum_capacity_exceeded", "psum_spill", "SBUF",
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
      if (t.buffer != memory.buffer || !cost.emplace(storage, ir::TileBytes(t) * ir::QuadrantsOf(t)).second)
        return;
      absl::StrAppend(&names, names.empty() ? "" : ", ", "'", t.name, "' ", ShapeText(t.shape), " (line ",
                      t.loc.line, ", ", ir::TileBytes(t), " bytes)");
    };
    for (const ir::Access* a : Destinations(*i.instr)) add(*a);
    for (const ir::Access* a : Sources(*i.instr)) add(*a);
    int64_t all = 0;
    for (const auto& [id, c] : cost) all += c;
    if (all <= memory.capacity * ir::kQuadrants) continue;
    ok = false;
    const int64_t need = (all + ir::kQuadrants - 1) / ir::kQuadrants;
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
  const std::vector<ir::LiveTile> live = ir::LiveTiles(facts, memory.buffer);
  const ir::LivePeak peak = ir::PeakOf(live);
  if (peak.cost <= memory.usable * ir::kQuadrants) return;
  const std::vector<ir::LiveTile> alive = ir::AliveAt(live, peak.position);
  std::string names;
  for (size_t k = 0; k < std::min(alive.size(), kLargestNamed); ++k) {
    const ir::Tensor& t = facts.program.tensors[static_cast<size_t>(alive[k].storage)];
    absl::StrAppend(&names, k == 0 ? "" : ", ", "'", t.name, "' ", ShapeText(t.shape), " ",
                    isa::Name(t.dtype), " (line ", t.loc.line, ", ", alive[k].cost / ir::kQuadrants, " bytes",
                    alive[k].blocks > 1 ? absl::StrCat(", ", alive[k].blocks, " blocks)") : ")");
  }
  const int64_t need = peak.bytes();
  const ir::Instr& instr = *facts.instrs[std::min(peak.position / 2, facts.instrs.size() - 1)].instr;
  found.push_back(Finding(
      Severity::kWarning, std::string(memory.warning), instr.loc,
      absl::StrCat("tiles alive at this point need ", need, " bytes of each ", isa::Name(memory.buffer),
                   " partition; ", memory.usable, " are available, so the compiler has to spill some to ",
                   memory.spills_to, ", which is slow. ",
                   alive.size() > kLargestNamed ? absl::StrCat("Largest of ", alive.size(), ": ")
                                                : std::string("They are: "),
                   names),
      absl::StrCat(memory.usable, " bytes per partition"), absl::StrCat(need, " bytes per partition"),
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
