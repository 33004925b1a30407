// Poolings and resamplings: images and channels on partitions, spatial axes reduced one after the other.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_POOL_STAGE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_POOL_STAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "services/llm_gateway/builtin/window_stage.h"

namespace nkiagent::builtin {

class PoolStageEmitter : public WindowStageEmitter {
 public:
  using WindowStageEmitter::WindowStageEmitter;

 protected:
  void EmitLoops() override;
  std::string Headline() const override;
  void EmitWindows() override;

 private:
  // A tile on the way from input to result: axes that are done have their outputs, the others the input's.
  struct Partial {
    std::string name;
    Dims shape;             // partitions, then the spatial axes that are left
    std::vector<int> axes;  // which these are
    DType dtype = DType::kFloat32;
  };
  // Outputs of one axis whose windows meet the same taps, none of them padding.
  struct Piece {
    int axis = 0;
    int64_t start = 0, step = 1, count = 1;  // of the outputs
    std::string first;                       // what the first output meets at its first tap
    int64_t input_step = 1, taps = 1, tap_step = 1;
    int64_t kernel = 1;  // taps of the whole window
    std::vector<double> weights;
  };
  // Pieces of several axes, reduced together.
  using Pieces = std::vector<Piece>;

  std::vector<Piece> PiecesOf(int axis);
  // Whether an axis has outputs in a tile; those with loops of their own have a single one.
  bool InTile(int axis) const { return axis >= tiling().tile_axis; }
  // Whether reducing the last two axes at once is less work than one after the other.
  bool ReducesPairs(const Partial& from, const Piece& rows, const Piece& columns) const;
  // `from` with these axes done; the last step makes the result.
  Partial Reduce(const Partial& from, const std::vector<int>& axes, bool last);
  void EmitPieces(const Partial& from, const Partial& to, const Pieces& pieces, bool last);
  // What the outputs meet at the given taps, as a tile of `rank` axes.
  std::string Read(const Partial& from, const Pieces& pieces, const std::vector<std::string>& taps, int rank);
  std::string Into(const Partial& to, const Pieces& pieces, bool last);
  // Taps of a resampling, weighted and added up.
  void EmitWeighted(const Partial& from, const Pieces& pieces, const std::string& into, int rank,
                    DType dtype);
  static const Piece* Find(const Pieces& pieces, int axis);
  bool largest() const { return window().kind == WindowKind::kMax; }
  // Whether windows differ in size, so that each is divided by its own.
  bool Uneven() const;
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_POOL_STAGE_H_
