// Loads of every so many elements along the free axis: as whole runs, of which instructions read some.
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {
namespace {

// Elements that are moved for one that is read. Single elements cost a DMA engine 7 ns each, as much as eight
// neighbours of four bytes, and more for the rest of the chip.
constexpr int64_t kMostSpacing = 8;
// Fewer are not worth a run.
constexpr int64_t kFewestSpaced = 8;

}  // namespace

int64_t SpacedRun(const StagePlan& plan, const Access& access) {
  return (plan.free.tile - 1) * access.strides[static_cast<size_t>(plan.free.axis)] + 1;
}

bool IsSpaced(const StagePlan& plan, const Access& access, const Dims& dims) {
  const int p = plan.partition.axis, f = plan.free.axis;
  if (access.is_store || p < 0 || f < 0 || access.strides[p] == 0) return false;
  if (!plan.tile_axes.empty() || plan.stage.matmul >= 0 || plan.free.tile < kFewestSpaced) return false;
  if (access.strides[f] < 2 || access.strides[f] > kMostSpacing) return false;
  Dims strides = access.strides, sizes = plan.iteration.dims;
  sizes[f] = (sizes[f] - 1) * strides[f] + 1;
  strides[f] = 1;
  return IndexOf(dims, access.offset, strides, sizes).has_value();
}

StageEmitter::Subscripted StageEmitter::SubscriptSpaced(const Access& access) {
  const auto f = static_cast<size_t>(stage_.free.axis);
  const int64_t spacing = access.strides[f];
  Dims strides = access.strides, sizes = stage_.iteration.dims;
  sizes[f] = (sizes[f] - 1) * spacing + 1;
  strides[f] = 1;
  std::vector<AxisIndex> axes = axes_;
  const std::string run = Vector(SpacedRun(stage_, access), 1);
  axes[f].text = column_start_.empty() ? run : absl::StrCat(spacing, " * (", column_start_, ") + ", run);
  Subscripted result = Subscript(access.value, access.offset, strides, sizes, axes);
  result.mask =
      MaskArgument({RowMask(), stage_.free.ragged() ? absl::StrCat(axes[f].text, " < ", sizes[f]) : ""});
  return result;
}

}  // namespace nkiagent::builtin
