#include "services/llm_gateway/builtin/residency.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace nkiagent::builtin {
namespace {

int64_t Elements(const KernelPlan& plan, int value) { return ElementCount(plan.program.values[value].dims); }

// An access and the stage it belongs to.
struct Use {
  size_t stage = 0;
  Access* access = nullptr;
};

// A value that one stage hands to others, and how it would lie in SBUF.
struct Candidate {
  int value = -1;
  Use store;
  std::vector<Use> reads;  // those that find it in SBUF
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
    std::vector<Candidate> candidates;
    for (size_t i = 0; i < plan_.program.values.size(); ++i) {
      std::optional<Candidate> candidate = CandidateOf(static_cast<int>(i));
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
  std::optional<Candidate> CandidateOf(int value) {
    const Value& v = plan_.program.values[value];
    if (v.is_argument || v.is_positions || !plan_.staged.in_hbm[value]) return std::nullopt;
    Candidate candidate;
    candidate.value = value;
    int writers = 0;
    for (size_t i = 0; i < plan_.stages.size(); ++i) {
      for (Access& access : plan_.stages[i].iteration.accesses) {
        if (!access.is_store || access.value != value) continue;
        // Selections write an axis that is none of the stage's; of spread rows only one partition is stored.
        const bool of_row = access.extent == Extent::kRow && plan_.stages[i].spread.parts > 1;
        writers += of_row || IsSelection(plan_.program.ops[access.op].fn) ? 2 : 1;
        candidate.store = {i, &access};
      }
    }
    if (writers != 1 || !plan_.stages[candidate.store.stage].assumptions.results_on_chip) return std::nullopt;
    const std::optional<Residence> residence = ResidenceAsStored(candidate);
    if (!residence.has_value()) return std::nullopt;
    candidate.residence = *residence;
    candidate.lifetime.first = candidate.lifetime.last = candidate.store.stage;
    FindReads(&candidate);
    if (candidate.reads.empty()) return std::nullopt;
    const int64_t elements = ElementsPerPartition(candidate.residence, Elements(plan_, value));
    candidate.bytes = elements * DTypeBytes(v.dtype);
    return candidate;
  }

  // The tiles of the stage that makes the value.
  std::optional<Residence> ResidenceAsStored(const Candidate& candidate) const {
    const StagePlan& stage = plan_.stages[candidate.store.stage];
    const Access& store = *candidate.store.access;
    const int axis = stage.partition.axis;
    Residence residence;
    residence.step = Elements(plan_, candidate.value);
    if (axis >= 0 && store.strides[axis] > 0) {
      residence.step = store.strides[axis];
      residence.rows = stage.partition.size;
      residence.tile = stage.partition.tile;
    }
    if (!PlaceIn(residence, candidate.value, StepsOf(candidate.store))) return std::nullopt;
    return residence;
  }

  std::optional<Placement> PlaceIn(const Residence& residence, int value, const TileSteps& steps) const {
    return Place(residence, Elements(plan_, value), steps);
  }

  void FindReads(Candidate* candidate) {
    for (size_t i = 0; i < plan_.stages.size(); ++i) {
      StagePlan& stage = plan_.stages[i];
      if (i == candidate->store.stage) continue;
      for (int op : stage.stage.ops) {
        const std::vector<Operand>& operands = plan_.program.ops[op].operands;
        for (size_t k = 0; k < operands.size(); ++k) {
          if (operands[k].immediate.has_value() || operands[k].value != candidate->value) continue;
          Access* read = FindRead(&stage, op, static_cast<int>(k));
          if (read == nullptr || !CanRead(stage, *candidate, read)) {
            candidate->all_read_on_chip = false;
            continue;
          }
          candidate->reads.push_back({i, read});
          candidate->lifetime.last = std::max(candidate->lifetime.last, i);
        }
      }
    }
  }

  static Access* FindRead(StagePlan* stage, int op, int operand) {
    for (Access& access : stage->iteration.accesses) {
      if (access.op == op && access.operand == operand) return &access;
    }
    return nullptr;
  }

  // Whether the stage's tiles find the value where it lies; settles Access::turned.
  bool CanRead(const StagePlan& stage, const Candidate& candidate, Access* read) const {
    if (!read->pieces.empty()) return false;
    if (read->op != stage.stage.matmul)
      return PlaceIn(candidate.residence, candidate.value, StageSteps(stage, *read)).has_value();
    if (stage.stage.windowed || stage.stage.gathers) return false;
    for (const bool turned : {false, true}) {
      read->turned = turned;
      const OperandSteps operand = MatmulSteps(plan_.program, stage, *read, turned);
      const Step& partition = operand.steps.partition;
      // Blocks have to start where tiles do, and what is turned has no gaps.
      const bool even = !turned || (!stage.matmul.k_ragged() && operand.even_blocks);
      if (even && (partition.stride != 0 || partition.extent == 1) &&
          PlaceIn(candidate.residence, candidate.value, operand.steps)) {
        return true;
      }
    }
    return false;
  }

  TileSteps StepsOf(const Use& use) const {
    const StagePlan& stage = plan_.stages[use.stage];
    const bool operand = use.access->op == stage.stage.matmul && !use.access->is_store;
    return operand ? MatmulSteps(plan_.program, stage, *use.access, use.access->turned).steps
                   : StageSteps(stage, *use.access);
  }

  void Take(const Candidate& candidate) {
    Residence residence = candidate.residence;
    std::vector<Use> uses = candidate.reads;
    uses.push_back(candidate.store);
    std::vector<TileSteps> steps;
    std::vector<Placement> placements;
    for (const Use& use : uses) {
      use.access->on_chip = true;
      steps.push_back(StepsOf(use));
      placements.push_back(*PlaceIn(residence, candidate.value, steps.back()));
    }
    const int64_t elements = ElementsPerPartition(residence, Elements(plan_, candidate.value));
    residence.free = ShapeFor(elements, steps, placements);
    plan_.residences[candidate.value] = std::move(residence);
    plan_.staged.in_hbm[candidate.value] =
        plan_.staged.is_result[candidate.value] || !candidate.all_read_on_chip;
  }

  KernelPlan& plan_;
};

}  // namespace

void ChooseResidences(KernelPlan* plan) { Chooser(plan).Run(); }

TileSteps StageSteps(const StagePlan& plan, const Access& access) {
  const Iteration& it = plan.iteration;
  TileSteps steps;
  steps.offset = access.offset;
  for (int axis = 0; axis < static_cast<int>(it.dims.size()); ++axis) {
    if (axis == plan.partition.axis) continue;
    // A store is masked where the last tile is ragged; what is read there must be something.
    const bool whole_tiles = axis == plan.free.axis && !access.is_store;
    steps.others.push_back(
        {access.strides[axis], whole_tiles ? plan.free.count() * plan.free.tile : it.dims[axis]});
  }
  if (plan.partition.axis >= 0) {
    const int64_t stride = access.strides[plan.partition.axis];
    steps.partition = {stride, plan.partition.tile};
    steps.others.push_back({stride * plan.partition.tile, plan.partition.count()});
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
  const int64_t together = is_lhs || !mm.resident_moving ? lines.tile : lines.count() * lines.tile;
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

int64_t ResidentBytes(const KernelPlan& plan, int value) {
  if (!plan.residences[value].has_value()) return 0;
  return ElementsPerPartition(*plan.residences[value], Elements(plan, value)) *
         DTypeBytes(plan.program.values[value].dtype);
}

}  // namespace nkiagent::builtin
