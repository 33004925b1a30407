#include "services/llm_gateway/builtin/neighbours.h"

#include <algorithm>

namespace nkiagent::builtin {

Neighbours::Neighbours(const KernelPlan& plan, const std::vector<std::optional<Handover>>& handovers,
                       size_t stage)
    : plan_(plan), handovers_(handovers), stage_(stage), tiles_({kMaxPartitions}) {
  const auto meet = [&](size_t other) {
    const StagePlan& neighbour = plan_.stages[other];
    any_ = true;
    AddTile(neighbour.partition.tile);
    if (neighbour.stage.matmul < 0) return;
    AddTile(neighbour.matmul.k_tile);
    AddTile(ChooseTile(neighbour.free.size, kMaxPartitions));
  };
  for (const std::optional<Handover>& handover : handovers) {
    if (!handover.has_value()) continue;
    for (const Handover::Reader& reader : handover->readers) {
      if (handover->stage == stage) meet(reader.stage);
      if (reader.stage == stage) meet(handover->stage);
    }
  }
}

void Neighbours::AddTile(int64_t tile) {
  // Smaller ones would cost more instructions than they save.
  constexpr int64_t kSmallest = 4;
  if (tile < kSmallest || tile > kMaxPartitions) return;
  if (std::find(tiles_.begin(), tiles_.end(), tile) == tiles_.end()) tiles_.push_back(tile);
}

std::optional<Residence> Neighbours::Made(const Handover& handover) const {
  const StagePlan& maker = plan_.stages[handover.stage];
  const Access& store = *FindAccess(maker.iteration, handover.op, -1);
  if (IsSpread(maker, store)) return std::nullopt;
  return ResidenceAsStored(plan_.program, maker.iteration.dims, maker.partition, maker.free, store);
}

bool Neighbours::Fits(const Access& access, const std::optional<Residence>& residence) const {
  return residence.has_value() && ResidentBytes(plan_.program, access.value, *residence) <= kResidentBytes;
}

int Neighbours::Disagreeing(const Dims& dims, const AxisTiling& partition, const AxisTiling& free,
                            const Access& access) const {
  const std::optional<Handover>& handover = handovers_[access.value];
  if (!handover.has_value()) return 0;
  if (!access.is_store) {
    if (handover->stage == stage_) return 0;
    const std::optional<Residence> residence = Made(*handover);
    const int64_t elements = ElementCount(plan_.program.values[access.value].dims);
    const bool found = Fits(access, residence) &&
                       Place(*residence, elements, StageSteps(dims, partition, free, access)).has_value();
    return found ? 0 : 1;
  }
  const std::optional<Residence> residence = ResidenceAsStored(plan_.program, dims, partition, free, access);
  if (!Fits(access, residence)) return static_cast<int>(handover->readers.size());
  return static_cast<int>(
      std::count_if(handover->readers.begin(), handover->readers.end(), [&](const Handover::Reader& reader) {
        const StagePlan& stage = plan_.stages[reader.stage];
        const Access* read = FindAccess(stage.iteration, reader.op, reader.operand);
        return read == nullptr || !ReadsOnChip(plan_.program, stage, *residence, *read).has_value();
      }));
}

int Neighbours::Disagreeing(const StagePlan& candidate) const {
  int disagreeing = 0;
  for (const Access& access : candidate.iteration.accesses) {
    if (handovers_[access.value].has_value() && IsSpread(candidate, access)) {
      disagreeing += access.is_store ? static_cast<int>(handovers_[access.value]->readers.size()) : 1;
      continue;
    }
    if (access.is_store || access.op != candidate.stage.matmul) {
      disagreeing += Disagreeing(candidate.iteration.dims, candidate.partition, candidate.free, access);
      continue;
    }
    const std::optional<Handover>& handover = handovers_[access.value];
    if (!handover.has_value()) continue;
    const std::optional<Residence> residence = Made(*handover);
    const bool found =
        Fits(access, residence) && ReadsOnChip(plan_.program, candidate, *residence, access).has_value();
    disagreeing += found ? 0 : 1;
  }
  return disagreeing;
}

bool Neighbours::Stays(const Dims& dims, const AxisTiling& partition, const AxisTiling& free,
                       const Access& access) const {
  const std::optional<Handover>& handover = handovers_[access.value];
  if (!handover.has_value() || (access.is_store && handover->is_result)) return false;
  return Disagreeing(dims, partition, free, access) == 0;
}

}  // namespace nkiagent::builtin
