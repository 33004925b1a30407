#include "common/nki/exec/plan.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/nki/exec/independence.h"
#include "common/nki/exec/instr_plan.h"
#include "common/nki/exec/ranges.h"
#include "common/nki/exec/shapes.h"

namespace nkiagent::nki::exec {
namespace {

using ir::Access;
using ir::Instr;
using ir::SymbolId;
using ir::TensorId;

constexpr SymbolId kKernelLevel = -1;

class PlanBuilder {
 public:
  explicit PlanBuilder(const ir::Program& program)
      : p_(program), ranges_(WideSymbolRanges(program)), independence_(program, ranges_) {}

  absl::StatusOr<Plan> Build(bool coalesce) {
    absl::Status shapes;
    ir::ForEachInstr(p_.body, [&](const Instr& instr, absl::Span<const ir::Loop* const>) {
      if (shapes.ok()) shapes = CheckOperandShapes(instr);
    });
    if (!shapes.ok()) return shapes;
    plan_.coalesced = Coalesce(p_, ranges_, coalesce);
    const size_t n = p_.tensors.size();
    plan_.tensors.resize(n);
    uses_.resize(n);
    for (size_t i = 0; i < n; ++i) {
      const auto id = static_cast<TensorId>(i);
      plan_.tensors[static_cast<size_t>(ir::StorageOf(p_, id))].aliases.push_back(id);
    }
    // The programs of the launch grid share HBM; on-chip tensors at kernel level are each program's own.
    on_chip_level_ = kKernelLevel;
    const std::vector<ir::Node>* body = &p_.body;
    while (body->size() == 1 && std::holds_alternative<std::unique_ptr<ir::Loop>>(body->front().item)) {
      const ir::Loop& loop = *std::get<std::unique_ptr<ir::Loop>>(body->front().item);
      if (loop.kind != ir::LoopKind::kSpmd) break;
      on_chip_level_ = loop.symbol;
      body = &loop.body;
    }
    frames_.push_back({kKernelLevel, nullptr, 0, {}});
    BuildBody(p_.body, &plan_.body);
    for (size_t i = 0; i < n; ++i) {
      const StorageFacts& facts = plan_.coalesced.facts[i];
      plan_.tensors[i].fill = !facts.covered;
      plan_.tensors[i].read = facts.read;
      plan_.tensors[i].proven_written = facts.proven_written;
    }
    return std::move(plan_);
  }

 private:
  // An open body.
  struct Frame {
    SymbolId symbol;
    const ir::Loop* loop;
    size_t step;                    // the step being built
    std::vector<TensorId> tensors;  // storage that lives in this body, in order of first use
  };

  struct Use {
    bool seen = false;
    size_t first_step = 0;  // of its body
    size_t last_step = 0;
  };

  SymbolId ScopeOf(TensorId storage) const {
    const ir::Tensor& t = p_.tensors[static_cast<size_t>(storage)];
    return t.scope == kKernelLevel && !isa::IsHbm(t.buffer) ? on_chip_level_ : t.scope;
  }

  size_t LevelOf(TensorId storage) const {
    const SymbolId scope = ScopeOf(storage);
    for (size_t level = frames_.size(); level-- > 0;) {
      if (frames_[level].symbol == scope) return level;
    }
    return 0;
  }

  bool LivesInPool(TensorId storage) const {
    return p_.tensors[static_cast<size_t>(storage)].role == ir::TensorRole::kLocal;
  }

  void BuildBody(const std::vector<ir::Node>& nodes, BodyPlan* body) {
    const size_t level = frames_.size() - 1;
    body->steps.reserve(nodes.size());
    for (const ir::Node& node : nodes) {
      frames_[level].step = body->steps.size();
      StepPlan& step = body->steps.emplace_back();
      if (const auto* instr = std::get_if<Instr>(&node.item)) {
        const Instr* const taken = plan_.coalesced.Of(*instr);
        if (taken == nullptr) {
          step.instr.instr = instr;
          step.instr.fast = [](Context&, const InstrPlan&, Team*) { return true; };
          continue;
        }
        step.instr = MakeInstrPlan(p_, *taken, ranges_);
        Note(*taken);
        independence_.Add(*taken, [this](TensorId storage) { return LevelOf(storage); });
        work_ += static_cast<double>(step.instr.work) + kWorkPerInstr;
        continue;
      }
      const ir::Loop& loop = *std::get<std::unique_ptr<ir::Loop>>(node.item);
      step.loop = std::make_unique<LoopPlan>();
      BuildLoop(loop, step.loop.get());
    }
    for (const TensorId id : frames_[level].tensors) {
      const Use& use = uses_[static_cast<size_t>(id)];
      if (!LivesInPool(id)) continue;
      body->steps[use.first_step].create.push_back(id);
      body->steps[use.last_step].release.push_back(id);
    }
  }

  void BuildLoop(const ir::Loop& loop, LoopPlan* out) {
    out->symbol = loop.symbol;
    out->start = loop.start;
    out->step = loop.step;
    out->trips = loop.trips;
    out->derived = independence_.DerivedFrom(loop.symbol);
    const double work_before = std::exchange(work_, 0.0);
    frames_.push_back({loop.symbol, &loop, 0, {}});
    independence_.Enter(loop);
    BuildBody(loop.body, &out->body);
    out->parallel = independence_.Leave(&out->shared);
    frames_.pop_back();
    out->work = work_ * static_cast<double>(loop.trips);
    work_ = work_before + out->work;
  }

  void Note(const Instr& instr) {
    for (const auto* operands : {&instr.src, &instr.dst}) {
      for (const ir::Operand& o : *operands) {
        const Access* a = AccessOf(o);
        if (a == nullptr) continue;
        plan_.max_partitions = std::max(plan_.max_partitions, a->shape[0]);
        NoteUse(a->tensor);
        if (a->indirect_axis >= 0) NoteUse(a->indirect_tensor);
      }
    }
  }

  void NoteUse(TensorId tensor) {
    const TensorId storage = ir::StorageOf(p_, tensor);
    const size_t level = LevelOf(storage);
    Use& use = uses_[static_cast<size_t>(storage)];
    if (!use.seen) {
      use.seen = true;
      use.first_step = frames_[level].step;
      frames_[level].tensors.push_back(storage);
    }
    use.last_step = frames_[level].step;
  }

  // The cost of starting an instruction, in elements of simple work.
  static constexpr double kWorkPerInstr = 200;

  const ir::Program& p_;
  const std::vector<WideRange> ranges_;
  Independence independence_;
  Plan plan_;
  std::vector<Use> uses_;  // by storage
  std::vector<Frame> frames_;
  SymbolId on_chip_level_ = kKernelLevel;
  double work_ = 0;
};

}  // namespace

absl::StatusOr<Plan> MakePlan(const ir::Program& program, bool coalesce) {
  return PlanBuilder(program).Build(coalesce);
}

}  // namespace nkiagent::nki::exec
