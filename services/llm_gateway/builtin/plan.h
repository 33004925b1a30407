// What the writer decides for a program: what it assumes, and how each stage is tiled.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_PLAN_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_PLAN_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/llm_gateway/builtin/graph.h"
#include "services/llm_gateway/builtin/lowering.h"
#include "services/llm_gateway/builtin/program.h"
#include "services/llm_gateway/builtin/residence.h"
#include "services/llm_gateway/builtin/stages.h"

namespace nkiagent::builtin {

// Limits of NeuronCore-v2 (isa-constraints of SDK 2.24, nl.tile_size).
inline constexpr int64_t kMaxPartitions = 128;
inline constexpr int64_t kMaxMovingFree = 512;

// Longest tile of a stage without reductions. Nothing is gained beyond it: instructions are long enough to
// hide their fixed cost, and the DMA moves 8 KiB per partition.
inline constexpr int64_t kElementwiseFree = 2048;

// Longest run of a gathered row: 16 KiB of a partition saturate the DMA engines.
inline constexpr int64_t kGatherFree = 4096;

// Of the 176 KiB of a partition, what a matmul's moving matrix may take beside the tiles that stream past it.
inline constexpr int64_t kPanelBytes = 96 * 1024;

// What is believed of one stage until a diagnostic refutes it.
struct StageAssumptions {
  // Longest tile along the free axis; 0 while a row is believed to fit on chip as a whole.
  int64_t max_free = 0;
  // The matmul's moving matrix is loaded once and stays in SBUF.
  bool resident_moving = true;
  // Bytes of each partition that the moving matrix may take; of a larger one some columns are there at a
  // time.
  int64_t panel_bytes = kPanelBytes;
  // Rows of a matmul's operand are loaded with their whole contraction before they are turned.
  bool whole_contraction = true;
  // Tiles hold finite numbers only, so that the Tensor engine may turn them: it multiplies by an identity,
  // and a NaN or infinity would spread (isa-constraints of SDK 2.24, nc_transpose).
  bool finite_tiles = true;
  // What the stage computes for later ones stays in SBUF where these can read it there.
  bool results_on_chip = true;
  // Loops over tiles are independent (affine_range); otherwise sequential_range.
  bool independent_tiles = true;

  bool operator==(const StageAssumptions&) const = default;
};

struct Assumptions {
  LoweringOptions lowering;
  std::map<size_t, StageAssumptions> stages;  // by stage number; absent means the defaults

  StageAssumptions ForStage(size_t stage) const {
    const auto found = stages.find(stage);
    return found == stages.end() ? StageAssumptions{} : found->second;
  }
};

// Tiles along one axis. `tile` divides `size` unless `ragged`.
struct AxisTiling {
  int axis = -1;  // of the iteration; -1 when the stage has no such axis (size 1)
  int64_t size = 1;
  int64_t tile = 1;

  int64_t count() const { return (size + tile - 1) / tile; }
  bool ragged() const { return size % tile != 0; }
};

// The same of an axis that no iteration has.
struct Tiles {
  int64_t size = 1;
  int64_t tile = 1;

  int64_t count() const { return (size + tile - 1) / tile; }
  bool ragged() const { return size % tile != 0; }
  int64_t padded() const { return count() * tile; }
  // "m * 128 + vector", the subscript of the tile of that number; the vector alone where there is one tile.
  std::string Index(const std::string& number, const std::string& vector) const;
};

// Tiles along `axis` (-1 for none) of at most `limit`.
AxisTiling TileAxis(const Iteration& iteration, int axis, int64_t limit);

struct MatmulTiling {
  int64_t k = 1, k_tile = 1;
  bool resident_moving = true;
  // Column tiles of the moving matrix that are on chip together, and how many such blocks it has.
  int64_t panel_tiles = 1, panels = 1;
  int64_t k_count() const { return (k + k_tile - 1) / k_tile; }
  bool k_ragged() const { return k % k_tile != 0; }
};

// How rows lie on partitions where each takes several: `rows` of them with `parts` partitions each. Partition
// p holds a part of row p / parts or, with the parts first, of row p % rows.
struct RowSpread {
  int64_t rows = 1, parts = 1;
  bool parts_first = false;
};

struct StagePlan {
  Stage stage;
  Iteration iteration;
  std::vector<int> row_loops;   // axes of the iteration with a loop of their own, outermost first
  std::vector<int> free_loops;  // free axes with a loop of their own around the chunks
  // Axes that a tile has, whole, between its partition axis and its free axis. Only without reductions.
  std::vector<int> tile_axes;
  AxisTiling partition;
  AxisTiling free;
  RowSpread spread;
  MatmulTiling matmul;  // meaningful when stage.matmul >= 0
  WindowTiling window;  // meaningful when stage.windowed
  StageAssumptions assumptions;

  // Whether a row is seen in several chunks, so that each reduction needs a pass of its own.
  bool chunked() const { return free.count() > 1 || !free_loops.empty(); }
};

struct KernelPlan {
  Assumptions assumptions;
  Program program;
  StagedProgram staged;
  std::vector<StagePlan> stages;
  // By value: where it stays in SBUF until its last reader, if it does. It may lie in HBM as well.
  std::vector<std::optional<Residence>> residences;
};

// UNIMPLEMENTED, naming the node, for what can't be lowered.
absl::StatusOr<KernelPlan> MakePlan(const Graph& graph, const Assumptions& assumptions);

// Whether an access of the stage moves neighbours in memory along the partition axis, so that a plain DMA
// would move single elements, and can go through the Tensor engine instead: loaded or stored in squares and
// turned on chip.
bool IsTurned(const StagePlan& plan, const Access& access, DType dtype);

// Whether a load of the stage would pick single elements, a few apart, along the free axis, and can bring
// whole runs of a tensor of shape `dims` instead, of which instructions read every so many.
bool IsSpaced(const StagePlan& plan, const Access& access, const Dims& dims);

// Elements of one such run.
int64_t SpacedRun(const StagePlan& plan, const Access& access);

// Columns of one such square.
int64_t TurnedBlock(const StagePlan& plan);

// Tiles a stage over windows whose iteration is known. In window_plan.cc.
void TileWindows(const Program& program, StagePlan* plan);

// Gives each row several partitions where that is faster; by how many nanoseconds. In row_spread_plan.cc.
double SpreadRows(const Program& program, StagePlan* plan);

// Chooses the axes of a stage without reductions, with regard to its neighbours if these are given. In
// elementwise_plan.cc.
class Neighbours;
void TileElementwise(const Program& program, const Neighbours* neighbours, StagePlan* plan);

// The axes in the order in which the access steps through memory, the slowest first.
void SortByStride(const Access& access, std::vector<int>* axes);

// Tile for an axis of `size` under `limit`: all of it, or the largest even split that isn't wasteful, or
// `limit` with a ragged last tile.
int64_t ChooseTile(int64_t size, int64_t limit);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_PLAN_H_
