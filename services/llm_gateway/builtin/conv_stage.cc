#include "services/llm_gateway/builtin/conv_stage.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nkiagent::builtin {

std::string ConvStageEmitter::Headline() const {
  std::string text = absl::StrCat(
      op().origin, ": ", window().KernelText(), window().kind == WindowKind::kTransposed ? " transposed" : "",
      " convolution, ", stage().partition.count(), " x ", stage().partition.tile, " output channels, ",
      stage().free.count(), " x ", stage().free.tile, " positions");
  if (tiling().images > 1) absl::StrAppend(&text, " of ", tiling().images, " images");
  absl::StrAppend(&text, ", ", channel_tiles(), " x ", copy_lines(), " input channels");
  if (tiling().copies() > 1) absl::StrAppend(&text, " at ", tiling().copies(), " taps at once");
  return text;
}

void ConvStageEmitter::EmitLoops() {
  if (!tiling().grouped_rows) OpenAxis(1);
  if (!tiling().all_weights) OpenRows();
  LoadWeights();
  OpenAxis(0);
  if (tiling().whole_input) LoadInput();
  EmitPositions(0);
  CloseLoops();
}

int ConvStageEmitter::OpenInnerLoops() { return tiling().all_weights ? OpenRows() : 0; }

bool ConvStageEmitter::StaysInPsum() const {
  if (op().dtype != DType::kFloat32 || AccessOf(stage().stage.matmul, -1).is_store) return false;
  int readers = 0;
  for (int index : stage().stage.ops) {
    const Op& reader = program().ops[index];
    for (const Operand& operand : reader.operands) {
      if (operand.immediate.has_value() || operand.value != op().result) continue;
      ++readers;
      const bool simple = reader.fn == Fn::kAdd || reader.fn == Fn::kSubtract || reader.fn == Fn::kMultiply ||
                          reader.fn == Fn::kMaximum || reader.fn == Fn::kMinimum;
      if (!simple) return false;
    }
  }
  return readers == 1;
}

void ConvStageEmitter::EmitProduct(const Phases& phases, const std::vector<std::string>& positions,
                                   const std::vector<std::string>& taps, const std::string& sum,
                                   bool fills_tile) {
  const std::string channels = channel_tiles() > 1 ? names().k : "0";
  std::string into = sum;
  if (fills_tile) {
    absl::StrAppend(&into, "[", TileLead(stage().partition.tile, tile_rank()), ", ",
                    PieceIndex(phases, positions), "]");
  } else if (clips()) {
    std::vector<std::string> index = {TileLead(stage().partition.tile, tile_rank())};
    for (int a = tiling().tile_axis; a < spatial(); ++a) index.push_back(positions[a]);
    absl::StrAppend(&into, "[", absl::StrJoin(index, ", "), "]");
  }
  body().Line(absl::StrCat(into, " += nisa.nc_matmul(", ReadWeights(phases, taps, channels), ", ",
                           ReadInput(phases, positions, taps, channels, tile_rank()), ")"));
}

void ConvStageEmitter::EmitClippedProducts(const Phases& phases, std::vector<std::string> positions,
                                           std::vector<std::string> taps, const std::string& sum,
                                           bool fills_tile) {
  const size_t last = phases.size() - 1;
  const WindowAxis& windows = reads(static_cast<int>(last));
  const Phase& phase = *phases[last];
  // Outputs first..first+count-1 of the line meet input at this tap.
  struct Range {
    int64_t tap, first, count;
  };
  std::vector<Range> ranges;
  for (int64_t tap = 0; tap < phase.taps; ++tap) {
    const int64_t at = phase.origin + tap * phase.origin_step;
    const int64_t first = at >= 0 ? 0 : (-at + windows.input_step - 1) / windows.input_step;
    if (at >= windows.input) continue;
    const int64_t end = std::min(phase.count, (windows.input - 1 - at) / windows.input_step + 1);
    if (first < end) ranges.push_back({tap, first, end - first});
  }
  // The first product covers the most, if possible everything.
  std::stable_sort(ranges.begin(), ranges.end(),
                   [](const Range& a, const Range& b) { return a.count > b.count; });
  for (const Range& range : ranges) {
    const std::string vector = Vector("i_ow", range.count, tile_rank() - 1, tile_rank());
    positions[last] = SumOf({{vector, 1}}, range.first);
    taps[last] = absl::StrCat(range.tap);
    EmitProduct(phases, positions, taps, sum, fills_tile);
  }
}

void ConvStageEmitter::EmitProducts(const Phases& phases, const std::string& sum, bool fills_tile) {
  int loops = 0;
  if (channel_tiles() > 1) {
    OpenLoop(names().k, channel_tiles(), /*in_order=*/false);
    ++loops;
  }
  std::vector<std::string> taps;
  loops += OpenTapLoops(phases, spatial() - (clips() ? 1 : 0), /*in_order=*/false, &taps);
  const std::vector<std::string> positions = PositionVectors(phases, tile_rank());
  if (clips()) {
    EmitClippedProducts(phases, positions, taps, sum, fills_tile);
  } else {
    EmitProduct(phases, positions, taps, sum, fills_tile);
  }
  for (; loops > 0; --loops) CloseLoop();
}

void ConvStageEmitter::EmitWindows() {
  const bool one_piece = IsOnePiece();
  const std::string result = one_piece ? "" : DeclareResult();
  for (const Phases& phases : TilePhases()) {
    const std::string sum = names().names.Unique(absl::StrCat(BaseName(op()), "_psum"));
    body().Line(absl::StrCat(sum, " = nl.zeros(", TupleLiteral(one_piece ? ResultShape() : ShapeOf(phases)),
                             ", dtype=nl.float32, buffer=nl.psum)"));
    const bool reached =
        std::all_of(phases.begin(), phases.end(), [](const Phase* p) { return p->taps > 0; });
    if (reached) EmitProducts(phases, sum, one_piece);
    const std::string copy = absl::StrCat("nl.copy(", sum, ", dtype=", DTypeLiteral(op().dtype), ")");
    if (one_piece) {
      Bind(op().result,
           StaysInPsum() ? Tile{sum, true, DType::kFloat32} : Define(BaseName(op()), copy, true, op().dtype));
      return;
    }
    body().Line(absl::StrCat(result, "[", TileLead(stage().partition.tile, tile_rank()), ", ",
                             PieceIndex(phases, PositionVectors(phases, tile_rank())), "] = ", copy));
  }
  Bind(op().result, Tile{result, true, op().dtype});
}

std::string DepthwiseStageEmitter::Headline() const {
  return absl::StrCat(op().origin, ": ", window().KernelText(), " depthwise convolution, ",
                      stage().partition.count(), " x ", stage().partition.tile, " channels, ",
                      stage().free.count(), " x ", stage().free.tile, " positions");
}

void DepthwiseStageEmitter::EmitLoops() {
  OpenRows();
  LoadWeights();
  OpenAxis(0);
  if (tiling().whole_input) LoadInput();
  EmitPositions(0);
  CloseLoops();
}

int DepthwiseStageEmitter::OpenInnerLoops() {
  OpenAxis(2);
  return tiling().axes[2] >= 0 ? 1 : 0;
}

void DepthwiseStageEmitter::LoadWeights() {
  const AxisTiling& rows = stage().partition;
  const int64_t run = window().taps() * op().dims[2];
  const Access& access = AccessOf(stage().stage.matmul, 1);
  Dims strides = access.strides, sizes = stage().iteration.dims;
  std::vector<AxisIndex> indices = axes();
  if (tiling().axes[2] >= 0) strides[tiling().axes[2]] = 0;  // the run covers it
  const std::string i_run = Vector("i_t", run, 1, 2);
  strides.push_back(1);
  sizes.push_back(run);
  indices.push_back({i_run, AxisIndex::Kind::kFree, true});
  weights_ = Declare(absl::StrCat(names().hbm[access.value], "_sb"), {rows.tile, run}, rows.ragged(), 0,
                     op().operands[1].dtype);
  body().Line(absl::StrCat(weights_, "[", names().i_p, ", ", i_run, "] = nl.load(",
                           Subscript(access.value, access.offset, strides, sizes, indices).text,
                           Mask(true, false), ")"));
}

void DepthwiseStageEmitter::EmitWindows() {
  const bool one_piece = IsOnePiece() && tile_rank() == 2;
  const std::string result = one_piece ? "" : DeclareResult();
  const std::string filter = tiling().axes[2] >= 0 ? axes()[tiling().axes[2]].text : "";
  for (const Phases& phases : TilePhases()) {
    const std::vector<std::string> positions = PositionVectors(phases, tile_rank());
    const std::string sum =
        Declare(absl::StrCat(BaseName(op()), "_sum"), ShapeOf(phases), true, 0, DType::kFloat32);
    std::vector<std::string> taps;
    int loops = OpenTapLoops(phases, spatial(), /*in_order=*/true, &taps);
    const std::string tap = TapNumber(phases, taps);
    body().Line(absl::StrCat(
        sum, "[...] = nisa.scalar_tensor_tensor(data=", ReadInput(phases, positions, taps, "", tile_rank()),
        ", op0=nl.multiply, operand0=", weights_, "[", names().i_p, ", ",
        SumOf({{filter, window().taps()}, {tap == "0" ? "" : tap, 1}}, 0), "], op1=nl.add, operand1=", sum,
        ")"));
    for (; loops > 0; --loops) CloseLoop();
    if (one_piece) {
      Tile tile{sum, true, DType::kFloat32};
      if (op().dtype != DType::kFloat32) {
        tile =
            Define(BaseName(op()), absl::StrCat("nl.copy(", sum, ", dtype=", DTypeLiteral(op().dtype), ")"),
                   true, op().dtype);
      }
      Bind(op().result, std::move(tile));
      return;
    }
    body().Line(absl::StrCat(result, "[", Vector("i_c", stage().partition.tile, 0, tile_rank()), ", ",
                             PieceIndex(phases, positions), "] = nl.copy(", sum,
                             ", dtype=", DTypeLiteral(op().dtype), ")"));
  }
  Bind(op().result, Tile{result, true, op().dtype});
}

}  // namespace nkiagent::builtin
