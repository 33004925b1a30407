#include "common/nki/timing/timing.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/nki/ir/flat.h"
#include "common/nki/timing/cost.h"
#include "common/nki/timing/invariant.h"
#include "common/nki/timing/machine.h"
#include "common/nki/timing/memory.h"
#include "common/nki/timing/recording.h"
#include "common/nki/timing/report.h"
#include "common/nki/timing/timeline.h"

namespace nkiagent::nki::timing {
namespace {

using isa::Engine;

// Loops of no more trips, and inner loops that execute no more instructions, are always placed iteration by
// iteration.
constexpr int64_t kExactTrips = 4;
constexpr int64_t kExactInstructions = 64;
// Iterations after which a loop is extrapolated by its average even if it has not become periodic.
constexpr int64_t kPatience = 64;
constexpr int kPeriods[] = {1, 2, 4, 8};
// Two periods are the same if every engine advances by as much, within this many nanoseconds or this part.
constexpr double kSameNs = 0.5;
constexpr double kSamePart = 1e-4;

Resource ResourceOf(Engine e) {
  switch (e) {
    case Engine::kTensor:
      return Resource::kTensor;
    case Engine::kScalar:
      return Resource::kScalar;
    case Engine::kGpSimd:
      return Resource::kGpSimd;
    case Engine::kSync:
      return Resource::kSync;
    case Engine::kDma:
      return Resource::kDma;
    case Engine::kVector:
    case Engine::kUnknown:
      break;
  }
  return Resource::kVector;
}

// The tracked operands of one execution.
struct Operands {
  absl::InlinedVector<std::pair<const ir::Access*, Region>, 4> reads, writes;
  bool accumulates = false;  // matmuls into one place need not wait for each other
  bool replaces = false;     // sets all elements of its destination and reads none of them
};

struct SliceTimes {
  double asked = 0, start = 0, end = 0, busy = 0, done = 0;
};

// The state of the simulation after an iteration.
struct Snapshot {
  PerResource tail{};
  PerResource front{};
  PerResource taken{};
  PerResource finish{};
  Totals totals;
  std::vector<InstrTotals> instrs;  // of the loop
  uint64_t memory = 0;
};

class Simulator {
 public:
  Simulator(const ir::Program& p, const TimingOptions& options, Recording* recording)
      : p_(p),
        options_(options),
        recording_(recording),
        memory_(p),
        in_psum_(BroadcastTensors(p)),
        symbols_(p.symbols.size(), 0) {
    has_derived_ = std::any_of(p.symbols.begin(), p.symbols.end(),
                               [](const ir::Symbol& s) { return s.kind != ir::SymbolKind::kLoop; });
    FindClearedByMatmul();
    Number(p.body);
    const std::vector<int> depths = HoistDepths(p);
    std::vector<const ir::Loop*> loops;
    NumberLoops(p.body, loops, depths);
    instr_totals_.resize(instrs_.size());
  }

  void Run() {
    size_t n = 0;
    Body(p_.body, n);
  }

  Estimate Result() const {
    const double finish = *std::max_element(finish_.begin(), finish_.end());
    std::vector<ExecutedInstr> executed;
    for (size_t n = 0; n < instrs_.size(); ++n) {
      executed.push_back({instrs_[n]->loc.line, fixed_[n].engine, instr_totals_[n]});
    }
    return Report(p_, options_, totals_, executed, finish);
  }

 private:
  void Number(const std::vector<ir::Node>& body) {
    for (const ir::Node& node : body) {
      if (const auto* instr = std::get_if<ir::Instr>(&node.item)) {
        instrs_.push_back(instr);
        masked_.push_back(IsMasked(*instr));
        fixed_.push_back(WorkOf(p_, *instr, symbols_, in_psum_, options_.calibration));
      } else {
        Number(std::get<std::unique_ptr<ir::Loop>>(node.item)->body);
      }
    }
  }

  // For each instruction, the symbols of the loops that it is moved out of.
  void NumberLoops(const std::vector<ir::Node>& body, std::vector<const ir::Loop*>& loops,
                   const std::vector<int>& depths) {
    for (const ir::Node& node : body) {
      if (std::holds_alternative<ir::Instr>(node.item)) {
        const auto depth = static_cast<size_t>(depths[hoisted_from_.size()]);
        hoisted_from_.emplace_back(loops.end() - static_cast<std::ptrdiff_t>(depth), loops.end());
        loops_of_.push_back(loops);
        continue;
      }
      loops.push_back(std::get<std::unique_ptr<ir::Loop>>(node.item).get());
      NumberLoops(loops.back()->body, loops, depths);
      loops.pop_back();
    }
  }

  bool IsHoisted(size_t n) const {
    return std::any_of(hoisted_from_[n].begin(), hoisted_from_[n].end(), [this](const ir::Loop* l) {
      return symbols_[static_cast<size_t>(l->symbol)] != l->start;
    });
  }

  static bool IsMasked(const ir::Instr& i) {
    const auto masked = [](const ir::Operand& o) {
      const auto* a = std::get_if<ir::Access>(&o);
      return a != nullptr && !a->mask.empty();
    };
    return std::any_of(i.dst.begin(), i.dst.end(), masked) || std::any_of(i.src.begin(), i.src.end(), masked);
  }

  // A PSUM tile that is zeroed and then only accumulated into by matmuls needs no clearing: the first matmul
  // of a group overwrites.
  void FindClearedByMatmul() {
    cleared_by_matmul_.assign(p_.tensors.size(), true);
    ir::ForEachInstr(p_.body, [&](const ir::Instr& i, absl::Span<const ir::Loop* const>) {
      for (const ir::Operand& o : i.dst) {
        const auto* a = std::get_if<ir::Access>(&o);
        if (a == nullptr) continue;
        const auto id = static_cast<size_t>(ir::StorageOf(p_, a->tensor));
        const bool zero = i.op == isa::Opcode::kMemset && i.attrs.value == 0;
        if (p_.tensors[id].buffer != isa::Buffer::kPsum || (!zero && i.op != isa::Opcode::kNcMatmul)) {
          cleared_by_matmul_[id] = false;
        }
      }
    });
  }

  void Body(const std::vector<ir::Node>& body, size_t& n) {
    for (const ir::Node& node : body) {
      if (std::holds_alternative<ir::Instr>(node.item)) {
        Execute(n);
        ++n;
      } else {
        RunLoop(*std::get<std::unique_ptr<ir::Loop>>(node.item), n);
      }
    }
  }

  static size_t CountInstrs(const std::vector<ir::Node>& body) {
    size_t count = 0;
    for (const ir::Node& node : body) {
      const auto* loop = std::get_if<std::unique_ptr<ir::Loop>>(&node.item);
      count += loop == nullptr ? 1 : CountInstrs((*loop)->body);
    }
    return count;
  }

  void Iterate(const ir::Loop& loop, int64_t trip, size_t begin) {
    symbols_[static_cast<size_t>(loop.symbol)] = loop.start + loop.step * trip;
    if (has_derived_) ir::EvaluateDerivedSymbols(p_, absl::MakeSpan(symbols_));
    memory_.NextIteration(loop.symbol);
    if (recording_ != nullptr) {
      for (const ir::TensorId id : memory_.RenewedBy(loop.symbol)) {
        recording_->Renew(id, memory_.CopyInUse(id));
      }
    }
    ++steps_;
    size_t n = begin;
    Body(loop.body, n);
  }

  Snapshot Take(size_t begin, size_t end) const {
    Snapshot s;
    for (size_t r = 0; r < timelines_.size(); ++r) {
      s.tail[r] = timelines_[r].tail();
      s.front[r] = timelines_[r].front();
      s.taken[r] = timelines_[r].taken();
    }
    s.finish = finish_;
    s.totals = totals_;
    s.instrs.assign(instr_totals_.begin() + static_cast<std::ptrdiff_t>(begin),
                    instr_totals_.begin() + static_cast<std::ptrdiff_t>(end));
    s.memory = memory_.Now();
    return s;
  }

  // Whether resource `r` advances alike in the last three stretches of `step` snapshots, and can go on so.
  static bool IsSteady(const std::deque<Snapshot>& history, size_t step, size_t r) {
    const size_t last = history.size() - 1;
    const auto alike = [&](const PerResource Snapshot::*field) {
      const auto at = [&](size_t back) { return (history[last - back * step].*field)[r]; };
      const double a = at(0) - at(1), b = at(1) - at(2), c = at(2) - at(3);
      const double slack = kSameNs + kSamePart * std::abs(a);
      return std::abs(a - b) <= slack && std::abs(b - c) <= slack;
    };
    if (!alike(&Snapshot::tail) || !alike(&Snapshot::front) || !alike(&Snapshot::taken)) return false;
    const double tail = history[last].tail[r] - history[last - step].tail[r];
    const double taken = history[last].taken[r] - history[last - step].taken[r];
    // Work that goes into an old gap as well as to the tail will use that gap up.
    return tail == 0 || taken <= tail + kSameNs + kSamePart * tail;
  }

  // The shortest period, in iterations, of the loop with this history; 0 if none.
  static int PeriodOf(const std::deque<Snapshot>& history) {
    for (const int period : kPeriods) {
      const auto step = static_cast<size_t>(period);
      if (history.size() < 3 * step + 1) return 0;
      bool steady = true;
      for (size_t r = 0; r < kResourceCount && steady; ++r) steady = IsSteady(history, step, r);
      if (steady) return period;
    }
    return 0;
  }

  void RunLoop(const ir::Loop& loop, size_t& n) {
    const size_t begin = n;
    n += CountInstrs(loop.body);
    const bool inner = std::all_of(loop.body.begin(), loop.body.end(), [](const ir::Node& node) {
      return std::holds_alternative<ir::Instr>(node.item);
    });
    const bool small =
        inner && loop.trips <= kExactInstructions / static_cast<int64_t>(std::max<size_t>(n - begin, 1));
    if ((loop.trips <= kExactTrips || small) && !Exhausted()) {
      for (int64_t trip = 0; trip < loop.trips; ++trip) Iterate(loop, trip, begin);
      return;
    }
    std::deque<Snapshot> history = {Take(begin, n)};
    constexpr size_t kHistory = 3 * kPeriods[std::size(kPeriods) - 1] + 1;
    for (int64_t trip = 0; trip < loop.trips; ++trip) {
      Iterate(loop, trip, begin);
      const int64_t left = loop.trips - trip - 1;
      if (left < 2 && !Exhausted()) continue;
      history.push_back(Take(begin, n));
      if (history.size() > kHistory) history.pop_front();
      int period = PeriodOf(history);
      const bool forced = period == 0 && (Exhausted() || trip >= kPatience);
      if (forced) {
        period = static_cast<int>(history.size() - 1) / (Exhausted() ? 1 : 2);
        period = std::max(period, 1);
      }
      if (period == 0) continue;
      // One iteration is kept for the end: its masks may differ. Not so when time has run out.
      int64_t times = (left - (Exhausted() ? 0 : 1)) / period;
      if (!forced) times = std::min(times, RoomFor(history, period));
      if (times < 1) continue;
      Extrapolate(loop, history, period, static_cast<double>(times), begin);
      trip += times * period;
      history.clear();
      history.push_back(Take(begin, n));
    }
  }

  // How often the last period fits into the gaps that it fills.
  int64_t RoomFor(const std::deque<Snapshot>& history, int period) const {
    const Snapshot& last = history.back();
    const Snapshot& from = history[history.size() - 1 - static_cast<size_t>(period)];
    double times = static_cast<double>(std::numeric_limits<int32_t>::max());
    times *= times;
    for (size_t r = 0; r < kResourceCount; ++r) {
      const double step = last.front[r] - from.front[r];
      if (step > 0 && last.tail[r] == from.tail[r]) times = std::min(times, timelines_[r].Room() / step);
    }
    return static_cast<int64_t>(times);
  }

  void Extrapolate(const ir::Loop& loop, const std::deque<Snapshot>& history, int period, double times,
                   size_t begin) {
    const Snapshot& last = history.back();
    const Snapshot& from = history[history.size() - 1 - static_cast<size_t>(period)];
    PerResource by{};
    for (size_t r = 0; r < kResourceCount; ++r) {
      const double taken = last.taken[r] - from.taken[r];
      // Never faster than its work, should the loop not be periodic.
      by[r] = times * std::max({last.tail[r] - from.tail[r], last.front[r] - from.front[r], taken});
      if (last.tail[r] == from.tail[r]) by[r] = times * (last.front[r] - from.front[r]);
      timelines_[r].Repeat(from.front[r], by[r], times * taken);
      if (recording_ != nullptr && taken > 0) {
        const double begin_ns = last.tail[r] == from.tail[r] ? last.front[r] : last.tail[r];
        recording_->Add(Repeat{static_cast<Resource>(r), begin_ns, begin_ns + by[r], times * taken,
                               times * period, &loop});
      }
      // What it did in this period ends later; what it did before keeps its time.
      if (last.finish[r] > from.finish[r]) finish_[r] += by[r];
    }
    memory_.Extrapolate(from.memory, by);
    totals_.AddDifference(last.totals, from.totals, times);
    for (size_t k = 0; k < last.instrs.size(); ++k) {
      instr_totals_[begin + k].busy_ns += times * (last.instrs[k].busy_ns - from.instrs[k].busy_ns);
      instr_totals_[begin + k].executed += times * (last.instrs[k].executed - from.instrs[k].executed);
    }
  }

  bool Exhausted() const { return steps_ >= options_.max_simulated_instructions; }

  void Execute(size_t n);
  // Places work on an engine and the ports it needs; returns its start, and the unit that decided it, if any.
  double Place(const Work& work, double ready, Wait* wait);
  // When the operands of an instruction may be read and written, and what decides it.
  double ReadyTime(const Operands& operands, Resource user, Wait* wait) const;
  // Whether the instruction sets all of its destination without a look at what was there.
  bool Replaces(const ir::Instr& instr) const;
  // Adds a slice to the recording, if there is one; its index, or -1.
  int64_t Record(Slice::Kind kind, size_t n, Resource unit, const Work& work, const Wait& wait,
                 const SliceTimes& times);

  const ir::Program& p_;
  const TimingOptions& options_;
  Recording* const recording_;
  Memory memory_;
  std::vector<bool> in_psum_;
  std::vector<bool> cleared_by_matmul_;
  std::vector<int64_t> symbols_;
  bool has_derived_ = false;

  std::vector<const ir::Instr*> instrs_;
  std::vector<bool> masked_;
  std::vector<std::vector<const ir::Loop*>> hoisted_from_;
  std::vector<std::vector<const ir::Loop*>> loops_of_;
  std::vector<Work> fixed_;  // of instructions without masks

  std::array<Timeline, kResourceCount> timelines_;
  PerResource finish_{};  // when the last result of each resource is there
  Totals totals_;
  std::vector<InstrTotals> instr_totals_;
  int64_t steps_ = 0;
};

double Simulator::Place(const Work& work, double ready, Wait* wait) {
  const bool vector = work.engine == Engine::kVector;
  absl::InlinedVector<Resource, 3> needed = {ResourceOf(work.engine)};
  if (vector || work.engine == Engine::kGpSimd) needed.push_back(Resource::kSbufPort);
  if (work.uses_psum && (vector || work.engine == Engine::kScalar)) needed.push_back(Resource::kPsumPort);
  const auto timeline = [this](Resource r) -> Timeline& { return timelines_[static_cast<size_t>(r)]; };
  double start = ready;
  for (bool agreed = false; !agreed;) {
    agreed = true;
    for (const Resource r : needed) {
      const double found = timeline(r).Find(start, work.occupancy_ns);
      if (found == start) continue;
      agreed = false;
      start = found;
      wait->kind = Wait::Kind::kUnit;
      wait->unit = r;
    }
  }
  for (const Resource r : needed) timeline(r).Take(start, work.occupancy_ns);
  return start;
}

bool Simulator::Replaces(const ir::Instr& instr) const {
  if (instr.attrs.accumulate || instr.op == isa::Opcode::kTensorCopyPredicated ||
      (isa::RowOf(instr.op).cost == isa::Cost::kDma && instr.attrs.op0 != isa::AluOp::kNone)) {
    return false;
  }
  std::vector<int64_t> shape;
  for (const ir::Access* dst : ir::Destinations(instr)) {
    if (dst->indirect_axis >= 0 || !UnmaskedShape(*dst, symbols_, &shape) || shape != dst->shape)
      return false;
    for (const ir::Access* src : ir::Sources(instr)) {
      if (ir::StorageOf(p_, src->tensor) == ir::StorageOf(p_, dst->tensor)) return false;
      if (src->shape == dst->shape && (!UnmaskedShape(*src, symbols_, &shape) || shape != src->shape)) {
        return false;
      }
    }
  }
  return true;
}

double Simulator::ReadyTime(const Operands& operands, Resource user, Wait* wait) const {
  double ready = 0;
  const auto later = [&](const Memory::Ready& r, const ir::Access& a, Wait::Kind kind) {
    if (r.time <= ready) return;
    ready = r.time;
    *wait = {kind, a.tensor, r.slice, user};
  };
  for (const auto& [a, region] : operands.reads) {
    later(memory_.ReadyToRead(*a, region, user), *a, Wait::Kind::kData);
  }
  for (const auto& [a, region] : operands.writes) {
    later(memory_.ReadyToWrite(*a, region, user, operands.accumulates, operands.replaces), *a,
          Wait::Kind::kBuffer);
  }
  return ready;
}

int64_t Simulator::Record(Slice::Kind kind, size_t n, Resource unit, const Work& work, const Wait& wait,
                          const SliceTimes& times) {
  if (recording_ == nullptr) return -1;
  Slice s;
  s.kind = kind;
  s.instr = n;
  s.unit = unit;
  s.asked = times.asked;
  s.start = times.start;
  s.end = times.end;
  s.busy = times.busy;
  s.done = times.done;
  s.wait = wait;
  s.work = work;
  for (const ir::Loop* loop : loops_of_[n]) s.indices.push_back(symbols_[static_cast<size_t>(loop->symbol)]);
  return recording_->Add(std::move(s));
}

void Simulator::Execute(size_t n) {
  const ir::Instr& instr = *instrs_[n];
  const Work work = masked_[n] ? WorkOf(p_, instr, symbols_, in_psum_, options_.calibration) : fixed_[n];
  ++steps_;
  if (work.skipped || IsHoisted(n)) return;
  const auto* dst0 = std::get_if<ir::Access>(&instr.dst[0]);
  if (instr.op == isa::Opcode::kMemset && instr.attrs.value == 0 && dst0 != nullptr &&
      cleared_by_matmul_[static_cast<size_t>(ir::StorageOf(p_, dst0->tensor))]) {
    return;
  }
  const Resource user = ResourceOf(work.engine);
  Operands operands;
  const auto collect = [&](const ir::Operand& o, auto& list) {
    const auto* a = std::get_if<ir::Access>(&o);
    if (a != nullptr && memory_.Tracks(*a)) list.emplace_back(a, RegionOf(p_, *a, symbols_));
  };
  for (const ir::Operand& o : instr.src) collect(o, operands.reads);
  for (const ir::Operand& o : instr.dst) collect(o, operands.writes);
  Wait wait;
  operands.accumulates = instr.op == isa::Opcode::kNcMatmul;
  operands.replaces = Replaces(instr);
  double ready = ReadyTime(operands, user, &wait);

  SliceTimes t;
  if (work.engine == Engine::kDma) {
    if (work.staging_ns > 0) {
      Work copy;
      copy.engine = Engine::kVector;
      copy.uses_psum = true;
      copy.occupancy_ns = work.staging_ns;
      Wait staging_wait = wait;
      const double start = Place(copy, ready, &staging_wait);
      const double end = start + work.staging_ns;
      Record(Slice::Kind::kStaging, n, Resource::kVector, copy, staging_wait,
             {ready, start, end, work.staging_ns, end + kVectorLatency / kVectorGhz});
      ready = end + kVectorLatency / kVectorGhz;
      totals_.busy_ns[static_cast<size_t>(Engine::kVector)] += work.staging_ns;
      instr_totals_[n].busy_ns += work.staging_ns;
    }
    const double issue = kDmaIssueCycles / kSyncGhz;
    Timeline& sync = timelines_[static_cast<size_t>(Resource::kSync)];
    const double issued = sync.Find(ready, issue);
    sync.Take(issued, issue);
    totals_.busy_ns[static_cast<size_t>(Engine::kSync)] += issue;
    Record(Slice::Kind::kIssue, n, Resource::kSync, Work{}, wait,
           {ready, issued, issued + issue, issue, issued + issue});
    const Timeline::Span span =
        timelines_[static_cast<size_t>(Resource::kDma)].Pour(issued + issue, work.occupancy_ns);
    if (span.start > issued + issue) wait = {Wait::Kind::kUnit, ir::kNoTensor, -1, Resource::kDma};
    t = {issued + issue, span.start, std::max(span.end, span.start + work.transfer_ns), work.occupancy_ns, 0};
    t.done = t.end + work.latency_ns;
  } else {
    t.asked = ready;
    t.start = Place(work, ready, &wait);
    t.end = t.start + work.occupancy_ns;
    t.busy = work.occupancy_ns;
    t.done = t.end + work.latency_ns;
  }
  const double read_until = work.engine == Engine::kDma ? t.done : t.end;
  const int64_t slice = Record(Slice::Kind::kInstruction, n, user, work, wait, t);
  for (const auto& [a, region] : operands.reads) memory_.Read(*a, region, user, read_until, slice);
  for (const auto& [a, region] : operands.writes)
    memory_.Write(*a, region, user, t.done, slice, operands.replaces);
  if (recording_ != nullptr) {
    const auto touch = [&](const ir::Access& a, double until) {
      const ir::TensorId storage = ir::StorageOf(p_, a.tensor);
      if (isa::IsHbm(p_.tensors[static_cast<size_t>(storage)].buffer)) return;
      recording_->Touch(storage, memory_.CopyInUse(storage), t.start, until);
    };
    for (const auto& [a, region] : operands.reads) touch(*a, read_until);
    for (const auto& [a, region] : operands.writes) touch(*a, t.done);
  }
  finish_[static_cast<size_t>(user)] = std::max(finish_[static_cast<size_t>(user)], t.done);

  totals_.busy_ns[static_cast<size_t>(work.engine)] += work.occupancy_ns;
  totals_.hbm_read += work.hbm_read;
  totals_.hbm_written += work.hbm_written;
  totals_.sbuf_read += work.sbuf_read;
  totals_.sbuf_written += work.sbuf_written;
  totals_.psum_read += work.psum_read;
  totals_.psum_written += work.psum_written;
  totals_.flops += work.flops;
  totals_.tensor_flops += work.tensor_flops;
  totals_.executed[static_cast<size_t>(work.engine)] += 1;
  instr_totals_[n].busy_ns += work.occupancy_ns;
  instr_totals_[n].executed += 1;
}

}  // namespace

absl::StatusOr<Estimate> EstimateLatency(const ir::Program& program, const TimingOptions& options,
                                         Recording* recording) {
  if (program.target != "trn1" && program.target != "inf2") {
    return absl::InvalidArgumentError(absl::StrCat("no timing model for target '", program.target,
                                                   "'; known are trn1 and inf2 (NeuronCore-v2)"));
  }
  Simulator simulator(program, options, recording);
  simulator.Run();
  return simulator.Result();
}

}  // namespace nkiagent::nki::timing
