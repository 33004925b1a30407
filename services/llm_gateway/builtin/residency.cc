#include "services/llm_gateway/builtin/residency.h"

#include <algorithm>
#include <utility>

namespace nkiagent::builtin {
namespace {

int64_t Elements(const Program& program, int value) { return ElementCount(program.values[value].dims); }

bool IsOperand(const StagePlan& stage, const Access& access) {
  return !access.is_store && access.op == stage.stage.matmul;
}

// An access and the stage it belongs to.
struct Use {
  size_t stage = 0;
  Access* access = nullptr;
};

// A value that could stay in SBUF.
struct Candidate {
  int value = -1;
  Use store;
  std::vector<Use> reads;  // those that find it there
  bool all_read_on_chip = true;
  Lifetime lifetime;
  Residence residence;
  int64_t bytes = 0;  // of each partition
};

class Chooser {
 public:
  explicit Chooser(KernelPlan* plan) : plan_(*plan) {}

  void Run() {
    plan_.residences.assign(plan_.program.values.size(), std::nullopt);
    const std::vector<std::optional<Handover>> handovers = FindHandovers(plan_);
    std::vector<Candidate> candidates;
    for (size_t i = 0; i < handovers.size(); ++i) {
      if (!handovers[i].has_value()) continue;
      std::optional<Candidate> candidate = CandidateOf(static_cast<int>(i), *handovers[i]);
      if (candidate.has_value()) candidates.push_back(*std::move(candidate));
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.bytes < b.bytes; });
    std::vector<int64_t> used(plan_.stages.size(), 0);
    for (const Candidate& candidate : candidates) {
      const auto first = used.begin() + static_cast<ptrdiff_t>(candidate.lifetime.first);
      const auto end = used.begin() + static_cast<ptrdiff_t>(candidate.lifetime.last) + 1;
      if (*std::max_element(first, end) + candidate.bytes > kResidentBytes) continue;
      std::for_each(first, end, [&](int64_t& bytes) { bytes += candidate.bytes; });
      Take(candidate);
    }
  }

 private:
  Access* Find(size_t stage, int op, int operand) {
    std::vector<Access>& accesses = plan_.stages[stage].iteration.accesses;
    const auto found = std::find_if(accesses.begin(), accesses.end(),
                                    [&](const Access& a) { return a.op == op && a.operand == operand; });
    return found == accesses.end() ? nullptr : &*found;
  }

  std::optional<Candidate> CandidateOf(int value, const Handover& handover) {
    const StagePlan& maker = plan_.stages[handover.stage];
    Candidate candidate;
    candidate.value = value;
    candidate.store = {handover.stage, Find(handover.stage, handover.op, -1)};
    candidate.lifetime = {handover.stage, handover.stage};
    if (IsSpread(maker, *candidate.store.access)) return std::nullopt;
    const std::optional<Residence> residence = ResidenceAsStored(
        plan_.program, maker.iteration.dims, maker.partition, maker.free, *candidate.store.access);
    if (!residence.has_value()) return std::nullopt;
    candidate.residence = *residence;
    candidate.bytes = ResidentBytes(plan_.program, value, *residence);
    for (const Handover::Reader& reader : handover.readers) {
      const StagePlan& stage = plan_.stages[reader.stage];
      Access* read = Find(reader.stage, reader.op, reader.operand);
      const std::optional<bool> turned =
          read == nullptr ? std::nullopt : ReadsOnChip(plan_.program, stage, *residence, *read);
      if (!turned.has_value()) {
        candidate.all_read_on_chip = false;
        continue;
      }
      read->turned = *turned;
      candidate.reads.push_back({reader.stage, read});
      candidate.lifetime.last = std::max(candidate.lifetime.last, reader.stage);
    }
    if (candidate.reads.empty()) return std::nullopt;
    return candidate;
  }

  void Take(const Candidate& candidate) {
    Residence residence = candidate.residence;
    std::vector<Use> uses = candidate.reads;
    uses.push_back(candidate.store);
    const int64_t all = Elements(plan_.program, candidate.value);
    std::vector<TileSteps> steps;
    std::vector<Placement> placements;
    for (const Use& use : uses) {
      const StagePlan& stage = plan_.stages[use.stage];
      use.access->on_chip = true;
      steps.push_back(IsOperand(stage, *use.access)
                          ? MatmulSteps(plan_.program, stage, *use.access, use.access->turned).steps
                          : StageSteps(stage, *use.access));
      placements.push_back(*Place(residence, all, steps.back()));
    }
    residence.free = ShapeFor(ElementsPerPartition(residence, all), steps, placements);
    plan_.residences[candidate.value] = std::move(residence);
    plan_.staged.in_hbm[candidate.value] =
        plan_.staged.is_result[candidate.value] || !candidate.all_read_on_chip;
  }

  KernelPlan& plan_;
};

}  // namespace

std::vector<std::optional<Handover>> FindHandovers(const KernelPlan& plan) {
  const std::vector<Value>& values = plan.program.values;
  std::vector<std::optional<Handover>> handovers(values.size());
  std::vector<int> writers(values.size(), 0);
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    for (const Access& access : plan.stages[i].iteration.accesses) {
      const int value = access.value;
      if (!access.is_store) continue;
      // Selections write an axis that is none of the stage's.
      const bool can_stay = ++writers[value] == 1 && !IsSelection(plan.program.ops[access.op].fn) &&
                            plan.stages[i].assumptions.results_on_chip;
      if (can_stay)
        handovers[value] = Handover{i, access.op, {}, plan.staged.is_result[value]};
      else
        handovers[value].reset();
    }
  }
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    for (int op : plan.stages[i].stage.ops) {
      const std::vector<Operand>& operands = plan.program.ops[op].operands;
      for (size_t k = 0; k < operands.size(); ++k) {
        if (operands[k].immediate.has_value() || !handovers[operands[k].value].has_value()) continue;
        Handover& handover = *handovers[operands[k].value];
        if (handover.stage != i) handover.readers.push_back({i, op, static_cast<int>(k)});
      }
    }
  }
  for (std::optional<Handover>& handover : handovers) {
    if (handover.has_value() && handover->readers.empty()) handover.reset();
  }
  return handovers;
}

void ChooseResidences(KernelPlan* plan) { Chooser(plan).Run(); }

std::optional<Residence> ResidenceAsStored(const Program& program, const Dims& dims,
                                           const AxisTiling& partition, const AxisTiling& free,
                                           const Access& store) {
  const int64_t elements = Elements(program, store.value);
  Residence residence;
  residence.step = elements;
  if (partition.axis >= 0 && store.strides[partition.axis] > 0) {
    residence.step = store.strides[partition.axis];
    residence.rows = partition.size;
    residence.tile = partition.tile;
  }
  if (!Place(residence, elements, StageSteps(dims, partition, free, store))) return std::nullopt;
  return residence;
}

bool IsSpread(const StagePlan& stage, const Access& access) {
  // Of what a row yields only one partition is stored.
  return !access.pieces.empty() ||
         (access.is_store && access.extent == Extent::kRow && stage.spread.parts > 1);
}

std::optional<bool> ReadsOnChip(const Program& program, const StagePlan& stage, const Residence& residence,
                                const Access& read) {
  if (IsSpread(stage, read)) return std::nullopt;
  const int64_t elements = Elements(program, read.value);
  if (!IsOperand(stage, read)) {
    if (!Place(residence, elements, StageSteps(stage, read))) return std::nullopt;
    return false;
  }
  if (stage.stage.windowed || stage.stage.gathers) return std::nullopt;
  for (const bool turned : {false, true}) {
    const OperandSteps operand = MatmulSteps(program, stage, read, turned);
    const Step& partition = operand.steps.partition;
    // Blocks have to start where tiles do, and what is turned has no gaps.
    const bool even = !turned || (!stage.matmul.k_ragged() && operand.even_blocks);
    if (even && (partition.stride != 0 || partition.extent == 1) && Place(residence, elements, operand.steps))
      return turned;
  }
  return std::nullopt;
}

const Access* FindAccess(const Iteration& iteration, int op, int operand) {
  for (const Access& access : iteration.accesses) {
    if (access.op == op && access.operand == operand) return &access;
  }
  return nullptr;
}

TileSteps StageSteps(const Dims& dims, const AxisTiling& partition, const AxisTiling& free,
                     const Access& access) {
  TileSteps steps;
  steps.offset = access.offset;
  for (int axis = 0; axis < static_cast<int>(dims.size()); ++axis) {
    if (axis == partition.axis) continue;
    // A store is masked where the last tile is ragged; what is read there must be something.
    const bool whole_tiles = axis == free.axis && !access.is_store;
    steps.others.push_back({access.strides[axis], whole_tiles ? free.count() * free.tile : dims[axis]});
  }
  if (partition.axis >= 0) {
    const int64_t stride = access.strides[partition.axis];
    steps.partition = {stride, partition.tile};
    steps.others.push_back({stride * partition.tile, partition.count()});
  } else {
    steps.others.push_back({});
  }
  return steps;
}

OperandSteps MatmulSteps(const Program& program, const StagePlan& plan, const Access& access, bool turned) {
  const Operand& operand = program.ops[access.op].operands[access.operand];
  const bool is_lhs = access.operand == 0;
  const AxisTiling& lines = is_lhs ? plan.partition : plan.free;
  const int64_t k_stride = operand.view.strides[is_lhs ? 2 : 1];
  const MatmulTiling& mm = plan.matmul;
  OperandSteps result;
  result.line_axis = lines.axis;
  const int64_t together = is_lhs || !mm.resident_moving ? lines.tile : mm.panel_tiles * lines.tile;
  result.block = ChooseTile(together, kMaxPartitions);
  result.even_blocks = together == lines.count() * lines.tile || together % result.block == 0;
  TileSteps& steps = result.steps;
  steps.offset = access.offset;
  for (int axis = 0; axis < static_cast<int>(plan.iteration.dims.size()); ++axis) {
    if (axis != lines.axis) steps.others.push_back({access.strides[axis], plan.iteration.dims[axis]});
  }
  const int64_t line_stride = lines.axis >= 0 ? access.strides[lines.axis] : 0;
  const int64_t all_lines = lines.count() * lines.tile, all_k = mm.k_count() * mm.k_tile;
  if (turned) {
    steps.partition = {line_stride, result.block};
    steps.others.push_back({line_stride * result.block, (all_lines + result.block - 1) / result.block});
    steps.others.push_back({k_stride, all_k});
  } else {
    steps.partition = {k_stride, mm.k_tile};
    steps.others.push_back({k_stride * mm.k_tile, mm.k_count()});
    steps.others.push_back({line_stride, all_lines});
  }
  return result;
}

Lifetime LifetimeOf(const KernelPlan& plan, int value) {
  Lifetime lifetime;
  bool found = false;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    for (const Access& access : plan.stages[i].iteration.accesses) {
      if (!access.on_chip || access.value != value) continue;
      if (!found) lifetime.first = i;
      lifetime.last = i;
      found = true;
    }
  }
  return lifetime;
}

int64_t ResidentBytes(const Program& program, int value, const Residence& residence) {
  return ElementsPerPartition(residence, Elements(program, value)) * DTypeBytes(program.values[value].dtype);
}

int64_t ResidentBytes(const KernelPlan& plan, int value) {
  const std::optional<Residence>& residence = plan.residences[value];
  return residence.has_value() ? ResidentBytes(plan.program, value, *residence) : 0;
}

}  // namespace nkiagent::builtin
