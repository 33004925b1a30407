#include "services/llm_gateway/builtin/repair.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/residency.h"

namespace nkiagent::builtin {
namespace {

// Below this many elements per partition a smaller tile no longer helps: fixed costs take over, and something
// else must fill the memory.
constexpr int64_t kSmallestFree = 32;

std::string StageName(const KernelPlan& plan, size_t stage) {
  const Stage& s = plan.stages[stage].stage;
  return absl::StrCat("stage ", stage + 1, " (", plan.program.ops[s.ops.front()].origin, ")");
}

// Sections of fewer keys cost more in rescaling than they save.
constexpr int64_t kSmallestSection = 512;
constexpr int64_t kLongestSection = 8192;

// A tile length that brings a need of `actual` down to `limit`, as a power of two.
int64_t SmallerTile(int64_t tile, double limit, double actual) {
  const double ratio = limit > 0 && actual > limit ? limit / actual : 0.5;
  const double wanted = static_cast<double>(tile) * std::min(ratio, 0.5);
  int64_t power = 1;
  while (2 * power <= static_cast<int64_t>(wanted)) power *= 2;
  return power;
}

// Gives back to HBM the largest value that waits in SBUF during the stage, if that is enough.
std::optional<Revision> ReviseResidence(const KernelPlan& plan, size_t stage, const ToldError& error) {
  int largest = -1;
  for (int value = 0; value < static_cast<int>(plan.residences.size()); ++value) {
    if (!plan.residences[value].has_value()) continue;
    const Lifetime life = LifetimeOf(plan, value);
    if (stage < life.first || stage > life.last) continue;
    if (largest < 0 || ResidentBytes(plan, value) > ResidentBytes(plan, largest)) largest = value;
  }
  if (largest < 0 || static_cast<double>(ResidentBytes(plan, largest)) < error.actual - error.limit)
    return std::nullopt;
  const size_t maker = LifetimeOf(plan, largest).first;
  Revision revision{plan.assumptions, ""};
  revision.assumptions.stages[maker] = plan.stages[maker].assumptions;
  revision.assumptions.stages[maker].results_on_chip = false;
  revision.reason = absl::StrCat("SBUF is too small for ", StageName(plan, stage), " while '",
                                 plan.program.values[largest].name, "' waits there, so what ",
                                 StageName(plan, maker), " computes now passes through HBM.");
  return revision;
}

// Without its own operation attention becomes stages of its own, so that what was learnt of stages no longer
// holds.
Revision WithoutFusedAttention(const KernelPlan& plan, std::string reason) {
  Revision revision{plan.assumptions, std::move(reason)};
  revision.assumptions.lowering.fused_attention = false;
  revision.assumptions.stages.clear();
  return revision;
}

std::optional<Revision> ReviseAttention(const KernelPlan& plan, size_t stage, Revision revision) {
  StageAssumptions& next = revision.assumptions.stages[stage];
  const Op& op = plan.program.ops[plan.stages[stage].stage.ops.front()];
  if (next.resident_moving) {
    next.resident_moving = false;
    revision.reason = absl::StrCat("The keys and values of ", StageName(plan, stage),
                                   " do not fit on chip as a whole, so they now come section by section.");
    return revision;
  }
  const int64_t section =
      std::min(next.max_free > 0 ? next.max_free : op.attention->columns, kLongestSection);
  if (section / 2 >= kSmallestSection) {
    next.max_free = section / 2;
    revision.reason = absl::StrCat("A row of scores does not fit on chip in ", StageName(plan, stage),
                                   ", so it now comes in sections of at most ", next.max_free, " keys.");
    return revision;
  }
  return WithoutFusedAttention(plan,
                               absl::StrCat("The tiles of ", StageName(plan, stage),
                                            " do not fit on chip, so its scores now go through memory."));
}

std::optional<Revision> ReviseForCapacity(const KernelPlan& plan, size_t stage, const ToldError& error) {
  if (error.rule == "err_sbuf_capacity_exceeded") {
    if (std::optional<Revision> revision = ReviseResidence(plan, stage, error)) return revision;
  }
  const StagePlan& planned = plan.stages[stage];
  Revision revision{plan.assumptions, ""};
  StageAssumptions& next = revision.assumptions.stages[stage];
  next = planned.assumptions;
  if (planned.stage.attends) return ReviseAttention(plan, stage, std::move(revision));
  if (planned.stage.matmul >= 0 && planned.matmul.resident_moving && planned.matmul.panel_tiles > 1) {
    const MatmulTiling& mm = planned.matmul;
    const int64_t bytes = DTypeBytes(plan.program.ops[planned.stage.matmul].operands[1].dtype);
    next.panel_bytes = mm.panel_tiles * planned.free.tile * mm.k_count() * bytes / 2;
    revision.reason = absl::StrCat("The moving matrix of ", StageName(plan, stage),
                                   " does not fit on chip, so at most half as many of its columns are there "
                                   "at a time.");
    return revision;
  }
  if (planned.stage.matmul >= 0 && planned.matmul.resident_moving) {
    next.resident_moving = false;
    revision.reason =
        absl::StrCat("The moving matrix of ", StageName(plan, stage),
                     " does not fit on chip as a whole, so its tiles are now loaded where they are used.");
    return revision;
  }
  if (planned.stage.matmul >= 0 && next.whole_contraction) {
    next.whole_contraction = false;
    revision.reason = absl::StrCat("Whole rows of the contraction do not fit on chip in ",
                                   StageName(plan, stage), ", so they are now loaded tile by tile.");
    return revision;
  }
  const int64_t tile = planned.free.tile;
  const int64_t smaller = SmallerTile(tile, error.limit, error.actual);
  if (tile <= kSmallestFree) return std::nullopt;
  next.max_free = std::max(smaller, kSmallestFree);
  const bool whole = !planned.chunked();
  revision.reason =
      whole && planned.stage.has_free && planned.stage.matmul < 0
          ? absl::StrCat("Whole rows of ", tile, " elements do not fit in SBUF in ", StageName(plan, stage),
                         ", so rows are now split into chunks of at most ", next.max_free,
                         " with running reductions.")
          : absl::StrCat("Tiles of ", tile, " columns are too large in ", StageName(plan, stage),
                         ", so they shrink to at most ", next.max_free, ".");
  return revision;
}

std::optional<Revision> ReviseForError(const KernelPlan& plan, const KernelText& text,
                                       const ToldError& error) {
  const std::optional<size_t> stage = StageAtLine(text, error.line);
  if (!stage.has_value()) return std::nullopt;
  if (error.rule == "err_sbuf_capacity_exceeded" || error.rule == "err_psum_capacity_exceeded" ||
      error.rule == "err_size_of_dimension_exceed_arch_limit") {
    return ReviseForCapacity(plan, *stage, error);
  }
  if (error.rule == "err_unexpected_output_dependencies" &&
      plan.stages[*stage].assumptions.independent_tiles) {
    Revision revision{plan.assumptions, ""};
    revision.assumptions.stages[*stage] = plan.stages[*stage].assumptions;
    revision.assumptions.stages[*stage].independent_tiles = false;
    revision.reason = absl::StrCat("The iterations of ", StageName(plan, *stage),
                                   " depend on each other, so its loops are now sequential.");
    return revision;
  }
  return std::nullopt;
}

// Whether the stage multiplies with zeros on the belief that nothing becomes of that.
bool TrustsFinite(const KernelPlan& plan, const StagePlan& stage) {
  if (!stage.assumptions.finite_tiles) return false;
  if (stage.spread.parts > 1) return true;
  if (stage.stage.windowed) return stage.window.multiplies_with_zeros;
  return std::any_of(
      stage.iteration.accesses.begin(), stage.iteration.accesses.end(),
      [&](const Access& access) { return IsTurned(stage, access, plan.program.values[access.value].dtype); });
}

std::optional<Revision> ReviseForMismatch(const KernelPlan& plan, const Observation& observation) {
  Revision revision{plan.assumptions, ""};
  if (plan.program.used_one_pass_variance) {
    revision.assumptions.lowering.one_pass_variance = false;
    revision.reason =
        "The variance as mean(x^2) - mean(x)^2 cancels on this data, so the deviations from the mean are now "
        "squared "
        "and averaged.";
    return revision;
  }
  if (observation.has_nan) {
    for (size_t i = 0; i < plan.stages.size(); ++i) {
      if (!TrustsFinite(plan, plan.stages[i])) continue;
      revision.assumptions.stages[i] = plan.stages[i].assumptions;
      revision.assumptions.stages[i].finite_tiles = false;
      revision.reason =
          "NaN or infinity spreads where the Tensor engine multiplies it by zeros, so tiles are no longer "
          "turned by it and groups of channels are no longer multiplied together.";
    }
    if (!revision.reason.empty()) return revision;
    if (std::any_of(plan.stages.begin(), plan.stages.end(),
                    [](const StagePlan& s) { return s.stage.attends; })) {
      return WithoutFusedAttention(
          plan,
          "NaN or infinity spreads where attention turns its tiles, so its scores now go "
          "through memory.");
    }
  }
  if (plan.program.used_distinct_extremes) {
    revision.assumptions.lowering.distinct_extremes = false;
    revision.reason =
        "Some of the largest elements are equal, so each is now found and struck out by itself.";
    return revision;
  }
  if (plan.program.used_unreduced_trigonometry) {
    revision.assumptions.lowering.trigonometry_in_domain = false;
    revision.reason = "The arguments of sin and cos leave -pi..pi, so they are now brought into it first.";
    return revision;
  }
  return std::nullopt;
}

}  // namespace

std::optional<size_t> StageAtLine(const KernelText& text, int line) {
  std::optional<size_t> stage;
  for (size_t i = 0; i < text.stage_first_line.size(); ++i) {
    if (text.stage_first_line[i] <= line) stage = i;
  }
  return stage;
}

std::optional<Revision> Revise(const KernelPlan& plan, const KernelText& text,
                               const Observation& observation) {
  for (const ToldError& error : observation.errors) {
    if (std::optional<Revision> revision = ReviseForError(plan, text, error)) return revision;
  }
  // Only wrong numbers speak about the data; a crash or a timeout says nothing about what was assumed of it.
  const bool wrong = observation.failure == "mismatch" || observation.failure == "nan";
  if (observation.errors.empty() && wrong) return ReviseForMismatch(plan, observation);
  return std::nullopt;
}

}  // namespace nkiagent::builtin
