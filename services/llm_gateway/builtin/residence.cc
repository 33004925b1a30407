#include "services/llm_gateway/builtin/residence.h"

#include <algorithm>

namespace nkiagent::builtin {
namespace {

Dims Extents(const TileSteps& steps) {
  Dims extents;
  for (const Step& step : steps.others) extents.push_back(step.extent);
  return extents;
}

}  // namespace

std::optional<Placement> Place(const Residence& r, int64_t elements, const TileSteps& steps) {
  const int64_t outer = r.step * r.rows, tile_step = r.step * r.tile, tiles = r.tiles();
  if (outer <= 0 || elements % outer != 0) return std::nullopt;
  const Step& rows = steps.partition;
  if (rows.stride != 0 && rows.extent > 1 && (rows.stride != r.step || rows.extent > r.tile))
    return std::nullopt;
  const int64_t first_row = steps.offset % outer / r.step, first = steps.offset % r.step;
  if (steps.offset < 0 || first_row % r.tile != 0) return std::nullopt;
  Placement placement;
  placement.offset = (steps.offset / outer * tiles + first_row / r.tile) * r.step + first;
  // The largest indices, to see that no step leaves its part of the value.
  int64_t last = placement.offset, last_tile = first_row / r.tile, last_element = first;
  for (const Step& step : steps.others) {
    int64_t stride = 0;
    const int64_t reach = step.extent - 1;
    if (step.stride == 0 || reach == 0) {
      placement.strides.push_back(0);
      continue;
    }
    if (step.stride < 0) return std::nullopt;
    if (step.stride % outer == 0) {
      stride = step.stride / outer * tiles * r.step;
    } else if (step.stride % tile_step == 0 && (step.stride < outer || !r.ragged())) {
      stride = step.stride / r.tile;
      last_tile += step.stride / tile_step * reach;
    } else if (step.stride < r.step) {
      stride = step.stride;
      last_element += step.stride * reach;
    } else {
      return std::nullopt;
    }
    placement.strides.push_back(stride);
    last += stride * reach;
  }
  if (last_element >= r.step || (r.ragged() && last_tile >= tiles)) return std::nullopt;
  if (last >= ElementsPerPartition(r, elements)) return std::nullopt;
  return placement;
}

int64_t ElementsPerPartition(const Residence& residence, int64_t elements) {
  return elements / (residence.step * residence.rows) * residence.tiles() * residence.step;
}

Dims ShapeFor(int64_t elements, const std::vector<TileSteps>& steps,
              const std::vector<Placement>& placements) {
  std::vector<int64_t> strides;
  for (const Placement& placement : placements) {
    std::copy_if(placement.strides.begin(), placement.strides.end(), std::back_inserter(strides),
                 [](int64_t stride) { return stride > 0; });
  }
  const Dims shape = ShapeWithSteps(strides, elements);
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!SubscriptsIn(shape, placements[i].offset, placements[i].strides, Extents(steps[i])))
      return {elements};
  }
  return shape;
}

}  // namespace nkiagent::builtin
