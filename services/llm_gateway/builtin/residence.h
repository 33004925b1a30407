// Where a value lies in SBUF while it passes from one stage to later ones, and how an access finds it there.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_RESIDENCE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_RESIDENCE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "services/llm_gateway/builtin/access.h"
#include "services/llm_gateway/builtin/graph.h"

namespace nkiagent::builtin {

// One axis of the value is on partitions, cut into tiles; everything else lies side by side in each
// partition. Elements of the value are numbered row-major: element (a * rows + t * tile + p) * step + i is on
// partition p, at (a * tiles() + t) * step + i.
struct Residence {
  int64_t step = 1;  // elements between neighbours on the partition axis
  int64_t rows = 1;  // size of that axis
  int64_t tile = 1;  // partitions
  Dims free;         // how the elements of a partition are numbered: the axes behind the partition axis
  // Some partitions of the last tile hold no row, and must hold zeros.
  bool ragged() const { return rows % tile != 0; }
  int64_t tiles() const { return (rows + tile - 1) / tile; }

  bool operator==(const Residence&) const = default;
};

// `extent` indices, `stride` elements of the value apart.
struct Step {
  int64_t stride = 0;
  int64_t extent = 1;
};

// An access as instructions on tiles make it.
struct TileSteps {
  int64_t offset = 0;
  Step partition;            // the rows of one tile; stride 0 where all partitions see the same
  std::vector<Step> others;  // loops, and axes of the tile
};

// The same within one partition: element `offset + sum(strides[k] * i_k)`, one stride for each of
// TileSteps::others.
struct Placement {
  int64_t offset = 0;
  Dims strides;
};

// Where the steps lead in a value of `elements`. None when they cut the value otherwise than it lies: other
// partitions, or tiles of another size.
std::optional<Placement> Place(const Residence& residence, int64_t elements, const TileSteps& steps);

// Elements of the value in each partition.
int64_t ElementsPerPartition(const Residence& residence, int64_t elements);

// A shape of `elements` that tells all of the placements in subscripts, with as few axes as they need; one
// axis if there is no better.
Dims ShapeFor(int64_t elements, const std::vector<TileSteps>& steps,
              const std::vector<Placement>& placements);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_RESIDENCE_H_
