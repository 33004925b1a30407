#include "common/nki/exec/machine.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/nki/exec/reference.h"

namespace nkiagent::nki::exec {
namespace {

// Loops with less work than this (elements of simple work) are not worth waking the team.
constexpr double kMinParallelWork = 100'000;
// Each member gets about this many pieces of a loop, so that none waits long for the other.
constexpr int64_t kPiecesPerMember = 8;

}  // namespace

Machine::Machine(Shared* shared, const Plan* plan, Team* team, Mode mode)
    : shared_(shared), plan_(plan), team_(team), mode_(mode) {
  const int members = team == nullptr ? 1 : team->size();
  for (int i = 0; i < members; ++i) {
    auto context = std::make_unique<Context>(shared);
    context->tensors.resize(shared->program.tensors.size());
    context->symbols.assign(shared->program.symbols.size(), 0);
    context->registers.scalar.assign(static_cast<size_t>(plan->max_partitions), 0.0f);
    context->registers.vector.assign(static_cast<size_t>(plan->max_partitions), 0.0f);
    contexts_.push_back(std::move(context));
  }
}

int64_t Machine::instructions() const {
  int64_t n = 0;
  for (const auto& context : contexts_) n += context->instructions;
  return n;
}

bool Machine::Create(Context& context, ir::TensorId storage) {
  const ir::Tensor& t = shared_->program.tensors[static_cast<size_t>(storage)];
  const TensorPlan& plan = plan_->tensors[static_cast<size_t>(storage)];
  Storage s;
  s.elements = t.ElementCount();
  s.data = context.pool.Acquire(s.elements * isa::SizeOf(t.dtype));
  if (s.data == nullptr) {
    context.status = absl::ResourceExhaustedError(
        absl::StrCat("no memory for tensor '", t.name, "' of ", s.elements * isa::SizeOf(t.dtype),
                     " bytes: the limit is ", shared_->budget.limit(), " bytes for all tensors alive"));
    return false;
  }
  if (plan.fill || mode_ == Mode::kReference) {
    FillUndefined(t.dtype, s.data, s.elements);
    s.maybe_undefined = true;
    if (!context.Poll(s.elements / 4)) return false;
  }
  for (const ir::TensorId alias : plan.aliases) context.tensors[static_cast<size_t>(alias)] = s;
  return true;
}

void Machine::Release(Context& context, ir::TensorId storage) {
  context.pool.Release(context.tensors[static_cast<size_t>(storage)].data);
  for (const ir::TensorId alias : plan_->tensors[static_cast<size_t>(storage)].aliases) {
    context.tensors[static_cast<size_t>(alias)] = {};
  }
}

bool Machine::RunBody(Context& context, const BodyPlan& body) {
  return std::all_of(body.steps.begin(), body.steps.end(),
                     [&](const StepPlan& step) { return RunStep(context, step); });
}

bool Machine::RunStep(Context& context, const StepPlan& step) {
  for (const ir::TensorId id : step.create) {
    if (!Create(context, id)) return false;
  }
  if (!(step.loop != nullptr ? RunLoop(context, *step.loop) : RunInstr(context, step.instr))) return false;
  for (const ir::TensorId id : step.release) Release(context, id);
  return true;
}

bool Machine::RunInstr(Context& context, const InstrPlan& plan) {
  ++context.instructions;
  if (plan.fast == nullptr || mode_ == Mode::kReference) return ReferenceInstr(context, *plan.instr);
  Team* const team = in_parallel_ ? nullptr : team_;
  return plan.fast(context, plan, team) && context.Poll(plan.work / 8 + 64);
}

bool Machine::RunLoop(Context& context, const LoopPlan& loop) {
  if (loop.parallel && !in_parallel_ && team_ != nullptr && mode_ == Mode::kFast &&
      loop.work >= kMinParallelWork) {
    return RunInParallel(context, loop);
  }
  context.loops.push_back(loop.symbol);
  for (int64_t i = 0; i < loop.trips; ++i) {
    if (!RunIteration(context, loop, i)) return false;
  }
  context.loops.pop_back();
  return true;
}

bool Machine::RunIteration(Context& context, const LoopPlan& loop, int64_t i) {
  context.symbols[static_cast<size_t>(loop.symbol)] = loop.start + i * loop.step;
  for (const ir::SymbolId id : loop.derived) {
    const ir::Symbol& s = shared_->program.symbols[static_cast<size_t>(id)];
    const int64_t arg = s.argument.Base(context.symbols);
    int64_t quotient = arg / s.divisor;
    if (arg % s.divisor != 0 && arg < 0) --quotient;
    context.symbols[static_cast<size_t>(id)] =
        s.kind == ir::SymbolKind::kFloorDiv ? quotient : arg - quotient * s.divisor;
  }
  return RunBody(context, loop.body) && context.Poll(16);
}

bool Machine::RunIterationSafely(Context& context, const LoopPlan& loop, int64_t i) {
  try {
    return RunIteration(context, loop, i);
  } catch (const std::bad_alloc&) {
    context.status = absl::ResourceExhaustedError("the machine has no more memory");
    return false;
  }
}

bool Machine::RunInParallel(Context& context, const LoopPlan& loop) {
  std::atomic<int64_t> next{0};
  // The first iteration that failed. Earlier ones still run, so that it does not depend on timing which fault
  // is reported.
  std::atomic<int64_t> failed{loop.trips};
  std::mutex mu;
  Context* failed_context = nullptr;
  Registers last_registers;
  const int64_t grain = std::max<int64_t>(1, loop.trips / (team_->size() * kPiecesPerMember));
  context.loops.push_back(loop.symbol);
  // The other members start from what this one has, copied before it moves on.
  for (const auto& other : contexts_) {
    if (other.get() == &context) continue;
    other->symbols = context.symbols;
    other->loops = context.loops;
    other->registers = context.registers;
    for (const ir::TensorId id : loop.shared) {
      other->tensors[static_cast<size_t>(id)] = context.tensors[static_cast<size_t>(id)];
    }
  }
  in_parallel_ = true;
  team_->Run([&](int member) {
    Context& mine = *contexts_[static_cast<size_t>(member)];
    while (true) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      const int64_t end = std::min(begin + grain, loop.trips);
      for (int64_t i = begin; i < end; ++i) {
        if (i >= failed.load(std::memory_order_relaxed)) return;
        const bool ok = RunIterationSafely(mine, loop, i);
        if (ok && i + 1 < loop.trips) continue;
        const std::lock_guard lock(mu);
        if (ok) {
          last_registers = mine.registers;
        } else if (i < failed.load(std::memory_order_relaxed)) {
          // A status (deadline, memory) ends everything at once.
          failed.store(mine.status.ok() ? i : -1, std::memory_order_relaxed);
          failed_context = &mine;
        }
        if (!ok) return;
      }
      if (end >= loop.trips || begin >= loop.trips) return;
    }
  });
  in_parallel_ = false;
  context.loops.pop_back();
  if (failed_context == nullptr) {
    context.registers = std::move(last_registers);
    return true;
  }
  if (failed_context != &context) {
    context.fault = failed_context->fault;
    context.fault_element = failed_context->fault_element;
    context.fault_elements = failed_context->fault_elements;
    context.status = failed_context->status;
  }
  return false;
}

}  // namespace nkiagent::nki::exec
