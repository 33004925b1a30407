#include "services/llm_gateway/builtin/conv_stage.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nkiagent::builtin {

std::string ConvStageEmitter::Headline() const {
  return absl::StrCat(op().origin, ": ", window().KernelText(),
                      window().kind == WindowKind::kTransposed ? " transposed" : "", " convolution, ",
                      stage().partition.count(), " x ", stage().partition.tile, " output channels, ",
                      stage().free.count(), " x ", stage().free.tile, " positions, ", channel_tiles(), " x ",
                      tiling().channel_tile, " input channels");
}

void ConvStageEmitter::EmitLoops() {
  OpenAxis(1);
  if (!tiling().all_weights) OpenRows();
  LoadWeights();
  OpenAxis(0);
  if (tiling().whole_input) LoadInput();
  EmitPositions(0);
  CloseLoops();
}

int ConvStageEmitter::OpenInnerLoops() { return tiling().all_weights ? OpenRows() : 0; }

void ConvStageEmitter::LoadWeights() {
  if (window().kind == WindowKind::kTransposed) {
    LoadTransposedWeights();
    return;
  }
  const AxisTiling& rows = stage().partition;
  const int64_t taps = window().taps(), channels = tiling().channel_tile;
  const Access& access = AccessOf(stage().stage.matmul, 1);
  const std::string& tensor = names().hbm[access.value];
  const bool ragged_channels = window().channels % channels != 0;
  body().Line(
      "# Weights: for each tap a matrix of input by output channels, turned from rows of output channels.");
  weights_ = Declare(absl::StrCat(tensor, "_taps"), {channels, channel_tiles(), taps, columns()},
                     rows.ragged() || ragged_channels, 0, op().operands[1].dtype);
  const bool loop = tiling().all_weights && rows.count() > 1;
  const std::string block = loop ? names().names.Unique("m") : "";
  if (loop) OpenLoop(block, rows.count(), /*in_order=*/false);
  if (channel_tiles() > 1) OpenLoop(names().k, channel_tiles(), /*in_order=*/false);

  // One row per output channel, as the weights lie.
  const std::string i_row = Vector("i_co", rows.tile, 0, 2), i_run = Vector("i_ck", channels * taps, 1, 2);
  const std::string tile_variable = tiling().all_weights ? block : rows.count() > 1 ? names().row : "";
  const std::string row = SumOf({{tile_variable, rows.tile}, {i_row, 1}}, 0);
  const std::string run = SumOf({{channel_tiles() > 1 ? names().k : "", channels * taps}, {i_run, 1}}, 0);
  Dims strides = access.strides, sizes = stage().iteration.dims;
  std::vector<AxisIndex> indices = axes();
  if (rows.axis >= 0) indices[rows.axis] = {row, AxisIndex::Kind::kPartition, true};
  strides.push_back(1);
  sizes.push_back(window().channels * taps);
  indices.push_back({run, AxisIndex::Kind::kFree, true});
  std::vector<std::string> masks;
  if (rows.ragged()) masks.push_back(absl::StrCat(row, " < ", rows.size));
  if (ragged_channels) masks.push_back(absl::StrCat(run, " < ", window().channels * taps));
  const std::string load = absl::StrCat(
      "nl.load(", Subscript(access.value, access.offset, strides, sizes, indices).text, MaskOf(masks), ")");
  std::string natural;
  if (masks.empty()) {
    natural = Define(absl::StrCat(tensor, "_rows"), load, true, op().operands[1].dtype).name;
  } else {
    natural =
        Declare(absl::StrCat(tensor, "_rows"), {rows.tile, channels * taps}, true, 0, op().operands[1].dtype);
    body().Line(absl::StrCat(natural, "[", i_row, ", ", i_run, "] = ", load));
  }
  EmitWeightTurns(natural, block);
  if (channel_tiles() > 1) CloseLoop();
  if (loop) CloseLoop();
}

void ConvStageEmitter::EmitWeightTurns(const std::string& rows, const std::string& block) {
  const AxisTiling& tiles = stage().partition;
  const int64_t taps = window().taps(), channels = tiling().channel_tile;
  const std::string tap = taps > 1 ? names().names.Unique("tap") : "";
  const std::string i_row = Vector("i_co", tiles.tile, 0, 2);
  if (taps > 1) OpenLoop(tap, taps, /*in_order=*/false);
  body().Line(absl::StrCat(weights_, "[", Vector("i_ci", channels, 0, 2), ", ",
                           channel_tiles() > 1 ? names().k : "0", ", ", taps > 1 ? tap : "0", ", ",
                           SumOf({{block, tiles.tile}, {Vector("i_m", tiles.tile, 1, 2), 1}}, 0),
                           "] = nisa.nc_transpose(", rows, "[", i_row, ", ",
                           SumOf({{Vector("i_cf", channels, 1, 2), taps}, {tap, 1}}, 0), "])"));
  if (taps > 1) CloseLoop();
}

// Weights of a transposed convolution lie with the input channels outermost: they need no turning.
void ConvStageEmitter::LoadTransposedWeights() {
  const AxisTiling& rows = stage().partition;
  const int64_t taps = window().taps(), channels = tiling().channel_tile;
  const Access& access = AccessOf(stage().stage.matmul, 1);
  const bool ragged = window().channels % channels != 0;
  body().Line("# Weights: input channels on partitions, as they lie.");
  weights_ =
      Declare(absl::StrCat(names().hbm[access.value], "_sb"), {channels, channel_tiles(), columns() * taps},
              rows.ragged() || ragged, 0, op().operands[1].dtype);
  if (channel_tiles() > 1) OpenLoop(names().k, channel_tiles(), /*in_order=*/false);
  const std::string number = channel_tiles() > 1 ? names().k : "";
  const std::string i_c = Vector("i_ci", channels, 0, 2), i_run = Vector("i_mk", columns() * taps, 1, 2);
  const std::string channel = SumOf({{number, channels}, {i_c, 1}}, 0);
  const std::string tile = !tiling().all_weights && rows.count() > 1 ? names().row : "";
  const std::string run = SumOf({{tile, columns() * taps}, {i_run, 1}}, 0);
  Dims strides = access.strides, sizes = stage().iteration.dims;
  std::vector<AxisIndex> indices = axes();
  if (rows.axis >= 0) strides[rows.axis] = 0;  // the run covers it
  strides.insert(strides.end(), {op().operands[1].view.strides[0], 1});
  sizes.insert(sizes.end(), {window().channels, rows.size * taps});
  indices.push_back({channel, AxisIndex::Kind::kPartition, true});
  indices.push_back({run, AxisIndex::Kind::kFree, true});
  std::vector<std::string> masks;
  if (ragged) masks.push_back(absl::StrCat(channel, " < ", window().channels));
  if (rows.ragged()) masks.push_back(absl::StrCat(run, " < ", rows.size * taps));
  body().Line(
      absl::StrCat(weights_, "[", i_c, ", ", number.empty() ? "0" : number, ", ", i_run, "] = nl.load(",
                   Subscript(access.value, access.offset, strides, sizes, indices).text, MaskOf(masks), ")"));
  if (channel_tiles() > 1) CloseLoop();
}

std::string ConvStageEmitter::ReadWeights(const std::string& tap, const std::string& channels) {
  const AxisTiling& rows = stage().partition;
  const std::string tile = tiling().all_weights && rows.count() > 1 ? names().row : "";
  const std::string i_c = Vector("i_ci", tiling().channel_tile, 0, 2), i_m = Vector("i_m", rows.tile, 1, 2);
  if (window().kind == WindowKind::kTransposed) {
    const int64_t taps = window().taps();
    return absl::StrCat(weights_, "[", i_c, ", ", channels, ", ",
                        SumOf({{tile, rows.tile * taps}, {i_m, taps}, {tap == "0" ? "" : tap, 1}}, 0), "]");
  }
  return absl::StrCat(weights_, "[", i_c, ", ", channels, ", ", tap, ", ",
                      SumOf({{tile, rows.tile}, {i_m, 1}}, 0), "]");
}

void ConvStageEmitter::EmitWindows() {
  const std::string channels = channel_tiles() > 1 ? names().k : "0";
  const bool one_piece = IsOnePiece();
  const std::string result = one_piece ? "" : DeclareResult();
  for (const Phases& phases : TilePhases()) {
    const std::vector<std::string> positions = PositionVectors(phases, tile_rank() + 1);
    Dims shape = {stage().partition.tile};
    for (int64_t size : PositionsOf(phases)) shape.push_back(size);
    const std::string sum = names().names.Unique(absl::StrCat(BaseName(op()), "_psum"));
    body().Line(
        absl::StrCat(sum, " = nl.zeros(", TupleLiteral(shape), ", dtype=nl.float32, buffer=nl.psum)"));
    const bool reached =
        std::all_of(phases.begin(), phases.end(), [](const Phase* p) { return p->taps > 0; });
    if (reached) {
      int loops = 0;
      if (channel_tiles() > 1) {
        OpenLoop(names().k, channel_tiles(), /*in_order=*/false);
        ++loops;
      }
      std::vector<std::string> taps;
      loops += OpenTapLoops(phases, spatial(), /*in_order=*/false, &taps);
      body().Line(absl::StrCat(sum, " += nisa.nc_matmul(", ReadWeights(TapNumber(phases, taps), channels),
                               ", ", ReadInput(phases, positions, taps, channels, tile_rank() + 1), ")"));
      for (; loops > 0; --loops) CloseLoop();
    }
    const std::string copy = absl::StrCat("nl.copy(", sum, ", dtype=", DTypeLiteral(op().dtype), ")");
    if (one_piece) {
      Bind(op().result, Define(BaseName(op()), copy, true, op().dtype));
      return;
    }
    body().Line(absl::StrCat(result, "[", Vector("i_c", stage().partition.tile, 0, tile_rank() + 1), ", ",
                             PieceIndex(phases, positions), "] = ", copy));
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
  const bool one_piece = IsOnePiece();
  const std::string result = one_piece ? "" : DeclareResult();
  const std::string filter = tiling().axes[2] >= 0 ? axes()[tiling().axes[2]].text : "";
  for (const Phases& phases : TilePhases()) {
    const std::vector<std::string> positions = PositionVectors(phases, tile_rank() + 1);
    Dims shape = {stage().partition.tile};
    for (int64_t size : PositionsOf(phases)) shape.push_back(size);
    const std::string sum = Declare(absl::StrCat(BaseName(op()), "_sum"), shape, true, 0, DType::kFloat32);
    std::vector<std::string> taps;
    int loops = OpenTapLoops(phases, spatial(), /*in_order=*/true, &taps);
    const std::string tap = TapNumber(phases, taps);
    body().Line(absl::StrCat(sum, "[...] = nisa.scalar_tensor_tensor(data=",
                             ReadInput(phases, positions, taps, "", tile_rank() + 1),
                             ", op0=nl.multiply, operand0=", weights_, "[", names().i_p, ", ",
                             SumOf({{filter, window().taps()}, {tap == "0" ? "" : tap, 1}}, 0),
                             "], op1=nl.add, operand1=", sum, ")"));
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
    body().Line(absl::StrCat(result, "[", Vector("i_c", stage().partition.tile, 0, tile_rank() + 1), ", ",
                             PieceIndex(phases, positions), "] = nl.copy(", sum,
                             ", dtype=", DTypeLiteral(op().dtype), ")"));
  }
  Bind(op().result, Tile{result, true, op().dtype});
}

}  // namespace nkiagent::builtin
