// Stages over windows: loops over groups, images and positions, the input of the windows on chip, the
// windows' result in a tile, then elementwise operations on that tile.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_WINDOW_STAGE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_WINDOW_STAGE_H_

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {

class WindowStageEmitter : public StageEmitter {
 public:
  WindowStageEmitter(const KernelPlan& plan, const StagePlan& stage, KernelNames& names);

 protected:
  // A sum of terms, each a text times a number; zero terms are left out.
  using Terms = std::vector<std::pair<std::string, int64_t>>;
  static std::string SumOf(const Terms& terms, int64_t constant);

  // The result of all windows of a tile, bound to the operation's value.
  virtual void EmitWindows() = 0;
  std::vector<std::pair<std::string, std::string>> MoreIndices() const override { return vectors_; }

  const Op& op() const { return program().ops[stage().stage.matmul]; }
  const Window& window() const { return *op().window; }
  const WindowTiling& tiling() const { return stage().window; }
  int spatial() const { return static_cast<int>(window().axes.size()); }
  // A spatial axis as the input on chip is read along it.
  const WindowAxis& reads(int axis) const { return tiling().stacked[static_cast<size_t>(axis)].reads; }
  // Axes of a tile: partitions, images if there are several, positions.
  int tile_rank() const { return lead() + spatial() - tiling().tile_axis; }
  int lead() const { return tiling().images > 1 ? 2 : 1; }
  // Partitions of the input: copies of the channels, or rows.
  int64_t lines() const {
    return tiling().contracts ? tiling().copies() * copy_lines() : stage().partition.tile;
  }
  int64_t copy_lines() const { return tiling().groups * tiling().channel_tile; }
  int64_t channel_tiles() const;

  // `nl.arange(count)` along axis `position` of `rank`, defined once; its name.
  std::string Vector(absl::string_view base, int64_t count, int position, int rank);
  // Opens a loop along axis `axis` of Op::dims if it has one.
  void OpenAxis(size_t axis);
  // Position loops, bands and tiles, innermost the windows and what follows them.
  void EmitPositions(int axis);
  // Brings input on chip: the image's, or the band's.
  void LoadInput();
  // Declares an SBUF tensor, filled with `fill` where `filled`.
  std::string Declare(absl::string_view base, const Dims& shape, bool filled, double fill, DType dtype);
  // Loops around tiles that share an input, outermost first; how many were opened.
  virtual int OpenInnerLoops() { return 0; }
  int OpenRows();

  // The input on chip: its name, and how much of it lies along a spatial axis.
  const std::string& input() const { return input_; }
  int64_t InputSize(int axis) const { return extents_[static_cast<size_t>(axis)].size; }
  // Whether all of an axis is there, without padding.
  bool LiesAsInMemory(int axis) const;
  // Where output 0 of the tile meets its first tap.
  std::string FirstInput(int axis, const Phase& phase) const;
  const Phase* PhaseOf(int axis) const { return phases_[static_cast<size_t>(axis)]; }
  const std::string& TapVariable(int axis) const { return tap_variables_[static_cast<size_t>(axis)]; }

  // One choice of phase for each spatial axis; those of the axes with loops of their own are given.
  using Phases = std::vector<const Phase*>;
  std::vector<Phases> TilePhases() const;
  // The same for all spatial axes.
  std::vector<Phases> AllPhases() const;
  // Shape of the tile of one choice.
  Dims ShapeOf(const Phases& phases) const;
  // Index vectors of the positions, by spatial axis.
  std::vector<std::string> PositionVectors(const Phases& phases, int rank);
  // `input[…]` at the taps `taps` (by spatial axis, empty for the only one) of channel tile `channels`, as a
  // tile of `rank` axes.
  std::string ReadInput(const Phases& phases, const std::vector<std::string>& positions,
                        const std::vector<std::string>& taps, const std::string& channels, int rank);
  // The index vectors of a tile up to its positions, as subscripts.
  std::string TileLead(int64_t rows, int rank);
  // Opens loops over the taps of one choice along the first `axes` spatial axes that have several; fills in
  // their variables.
  int OpenTapLoops(const Phases& phases, int axes, bool in_order, std::vector<std::string>* taps);
  // The number of a tap among all of them.
  std::string TapNumber(const Phases& phases, const std::vector<std::string>& taps) const;
  // Whether the result is one piece that fills the tile.
  bool IsOnePiece() const;
  // Index of the piece within the tile of all positions, flattened.
  std::string PieceIndex(const Phases& phases, const std::vector<std::string>& positions) const;
  // Shape of the tile of all choices.
  Dims ResultShape() const;
  // A tile for their pieces; its name.
  std::string DeclareResult();

  static const char* AxisName(int spatial_axis, int spatial_axes);

 private:
  // How the on-chip input lies along one spatial axis: element 0 is input position `lowest` (plus what loops
  // add).
  struct Extent {
    int64_t size = 1, lowest = 0;
    std::string vector, image, chip, mask;  // of the load
    bool clipped = false;                   // some elements are not loaded: of each copy,
    int64_t before = 0, after = 0;          // these at the ends; where loops move them, maybe any
    bool moves = false;
  };
  Extent WholeExtent(int axis, int64_t positions);
  Extent MovingExtent(int axis);
  Extent FoldedExtent();
  // Adds the masks of a copy's load.
  void MaskExtent(int axis, int64_t reach, Extent* extent);
  // Declares the input; what no load fills of it is `fill`.
  void DeclareInput(const std::string& base, const Dims& shape, bool partial, double fill);
  void FillMargins(const Dims& shape, double fill);
  void AddPhases(int from, std::vector<Phases>* choices) const;
  void EmitBands();
  void EmitTile();

  std::vector<std::pair<std::string, std::string>> vectors_;
  std::map<std::tuple<std::string, int64_t, int, int>, std::string> vector_names_;
  std::vector<const Phase*> phases_;    // of the axes with loops, while inside
  std::vector<std::string> positions_;  // their loop variables, "" for a single position
  std::vector<std::string> tap_variables_;
  std::vector<Extent> extents_;
  std::string input_, band_, tile_in_band_;
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_WINDOW_STAGE_H_
