#include "services/llm_gateway/builtin/pool_stage.h"

#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nkiagent::builtin {
namespace {

// Free axes of an engine's access pattern (isa-constraints of SDK 2.24).
constexpr int kMaxFreeAxes = 4;

}  // namespace

std::string PoolStageEmitter::Headline() const {
  const WindowKind kind = window().kind;
  return absl::StrCat(op().origin, ": ",
                      kind == WindowKind::kMax   ? "largest"
                      : kind == WindowKind::kSum ? "sum"
                                                 : "mean",
                      " of ", window().KernelText(), " windows, ", stage().partition.count(), " x ",
                      stage().partition.tile, " channels, ", stage().free.count(), " x ", stage().free.tile,
                      " positions");
}

void PoolStageEmitter::EmitLoops() {
  OpenAxis(0);
  OpenRows();
  if (tiling().whole_input) LoadInput();
  EmitPositions(0);
  CloseLoops();
}

std::string PoolStageEmitter::EmitPiece(const Phases& phases) {
  const bool largest = window().kind == WindowKind::kMax;
  // The innermost tap axes become axes of the tile; the others get loops.
  int looped = spatial(), reduced = 0;
  const int positions = tile_rank() - 1;
  while (looped > 0 && (phases[looped - 1]->taps <= 1 || positions + reduced < kMaxFreeAxes)) {
    reduced += phases[--looped]->taps > 1 ? 1 : 0;
  }
  const int rank = tile_rank() + reduced;
  std::string accumulator;
  std::vector<std::string> taps(window().axes.size());
  int64_t count = 1;
  for (const Phase* phase : phases) count *= phase->taps;
  bool loops_needed = false;
  for (int a = 0; a < looped; ++a) loops_needed |= phases[a]->taps > 1;
  int loops = 0;
  if (loops_needed) {
    accumulator = Declare(absl::StrCat(BaseName(op()), largest ? "_max" : "_sum"), ShapeOf(phases), true,
                          largest ? -std::numeric_limits<double>::infinity() : 0, DType::kFloat32);
    loops = OpenTapLoops(phases, looped, /*in_order=*/true, &taps);
  }
  std::vector<std::string> axes;
  for (int a = looped, at = tile_rank(); a < spatial(); ++a) {
    if (phases[a]->taps <= 1) continue;
    taps[a] = Vector(absl::StrCat("i_k", AxisName(a, spatial())), phases[a]->taps, at, rank);
    axes.push_back(absl::StrCat(at++));
  }
  const std::string read = ReadInput(phases, PositionVectors(phases, rank), taps, "", rank);
  const std::string axis = absl::StrCat(", axis=[", absl::StrJoin(axes, ", "), "]");
  const std::string wide = op().operands[0].dtype == DType::kFloat32 ? "" : ", dtype=nl.float32";
  if (!loops_needed) {
    if (axes.empty()) return read;
    return absl::StrCat(largest                              ? "nl.max("
                        : window().kind == WindowKind::kMean ? "nl.mean("
                                                             : "nl.sum(",
                        read, axis, largest ? "" : wide, ")");
  }
  const std::string part =
      axes.empty() ? read : absl::StrCat(largest ? "nl.max(" : "nl.sum(", read, axis, wide, ")");
  body().Line(absl::StrCat(accumulator, "[...] = ", largest ? "nl.maximum(" : "nl.add(", accumulator, ", ",
                           part, ")"));
  for (; loops > 0; --loops) CloseLoop();
  if (window().kind != WindowKind::kMean) return accumulator;
  return absl::StrCat("nl.multiply(", accumulator, ", 1.0 / ", count, ")");
}

void PoolStageEmitter::EmitWindows() {
  const std::string dtype = absl::StrCat(", dtype=", DTypeLiteral(op().dtype), ")");
  if (IsOnePiece() && tile_rank() == 2) {
    const std::string piece = EmitPiece(TilePhases().front());
    Bind(op().result, Define(BaseName(op()), absl::StrCat("nl.copy(", piece, dtype), true, op().dtype));
    return;
  }
  const std::string result = DeclareResult();
  for (const Phases& phases : TilePhases()) {
    const std::string piece = EmitPiece(phases);
    const int rank = tile_rank();
    body().Line(absl::StrCat(result, "[", Vector("i_c", stage().partition.tile, 0, rank), ", ",
                             PieceIndex(phases, PositionVectors(phases, rank)), "] = ", piece));
  }
  Bind(op().result, Tile{result, true, op().dtype});
}

}  // namespace nkiagent::builtin
