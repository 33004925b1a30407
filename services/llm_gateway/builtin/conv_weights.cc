// Weights of convolutions, brought on chip as the Tensor engine takes them.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/builtin/conv_stage.h"

namespace nkiagent::builtin {

bool ConvStageEmitter::WeightsAsTheyLie() const {
  return window().kind == WindowKind::kTransposed && tiling().copies() == 1 && tiling().groups == 1;
}

int64_t ConvStageEmitter::MatricesBefore(const Phases* phases) const {
  int64_t before = 0;
  for (const Phases& choice : AllPhases()) {
    if (phases != nullptr && choice == *phases) break;
    int64_t steps = 1;
    for (const Phase* phase : choice) steps *= phase->taps;
    before += steps;
  }
  return before;
}

std::string ConvStageEmitter::StepNumber(const Phases& phases, const std::vector<std::string>& taps,
                                         int64_t first) {
  Terms terms;
  int64_t inner = 1;
  for (size_t a = phases.size(); a-- > 0;) {
    terms.insert(terms.begin(), {taps[a], inner});
    inner *= phases[a]->taps;
  }
  return SumOf(terms, first);
}

void ConvStageEmitter::LoadWeights() {
  if (WeightsAsTheyLie()) {
    LoadWeightsAsTheyLie();
    return;
  }
  const AxisTiling& rows = stage().partition;
  const bool ragged_channels = window().channels % tiling().channel_tile != 0;
  body().Line(
      "# Weights: a matrix of input by output channels for each step, turned from rows of output channels.");
  weights_ = Declare(absl::StrCat(names().hbm[AccessOf(stage().stage.matmul, 1).value], "_taps"),
                     {lines(), channel_tiles(), MatricesBefore(nullptr), columns()},
                     rows.ragged() || ragged_channels, 0, op().operands[1].dtype);
  const bool loop = tiling().all_weights && rows.count() > 1;
  const std::string block = loop ? names().names.Unique("m") : "";
  if (loop) OpenLoop(block, rows.count(), /*in_order=*/false);
  if (channel_tiles() > 1) OpenLoop(names().k, channel_tiles(), /*in_order=*/false);
  TurnWeights(LoadWeightRows(block), block);
  if (channel_tiles() > 1) CloseLoop();
  if (loop) CloseLoop();
}

std::string ConvStageEmitter::LoadWeightRows(const std::string& block) {
  const AxisTiling& rows = stage().partition;
  const std::string tensor = names().hbm[AccessOf(stage().stage.matmul, 1).value];
  const int64_t run = tiling().channel_tile * window().taps();
  const bool transposed = window().kind == WindowKind::kTransposed;
  const bool by_group = transposed && tiling().groups > 1;
  const std::string group = by_group ? names().names.Unique("g") : "";
  std::vector<std::string> masks;
  std::string natural;
  if (transposed) {
    // A row's taps lie apart.
    const bool ragged = rows.ragged();
    natural = Declare(absl::StrCat(tensor, "_rows"), {rows.tile, run}, ragged, 0, op().operands[1].dtype);
    if (by_group) OpenLoop(group, tiling().groups, /*in_order=*/false);
    const int64_t count = by_group ? op().dims[2] : rows.tile;
    const std::string load = ReadTransposedRows(by_group ? group : block, &masks);
    body().Line(absl::StrCat(natural, "[", SumOf({{group, count}, {Vector("i_co", count, 0, 3), 1}}, 0), ", ",
                             SumOf({{Vector("i_ci", tiling().channel_tile, 1, 3), window().taps()},
                                    {Vector("i_t", window().taps(), 2, 3), 1}},
                                   0),
                             "] = nl.load(", load, MaskArgument(masks), ")"));
    if (by_group) CloseLoop();
  } else {
    const std::string load = ReadWeightRows(block, &masks);
    const std::string text = absl::StrCat("nl.load(", load, MaskArgument(masks), ")");
    if (masks.empty()) {
      natural = Define(absl::StrCat(tensor, "_rows"), text, true, op().operands[1].dtype).name;
    } else {
      natural = Declare(absl::StrCat(tensor, "_rows"), {rows.tile, run}, true, 0, op().operands[1].dtype);
      body().Line(absl::StrCat(natural, "[", Vector("i_co", rows.tile, 0, 2), ", ", Vector("i_ck", run, 1, 2),
                               "] = ", text));
    }
  }
  if (tiling().groups > 1) natural = SpreadGroups(natural);
  return tiling().taps() == window().taps() ? natural : PadTaps(natural);
}

// One row per output channel, as the weights lie.
std::string ConvStageEmitter::ReadWeightRows(const std::string& block, std::vector<std::string>* masks) {
  const AxisTiling& rows = stage().partition;
  const Access& access = AccessOf(stage().stage.matmul, 1);
  const int64_t channels = tiling().channel_tile, taps = window().taps();
  const std::string i_row = Vector("i_co", rows.tile, 0, 2), i_run = Vector("i_ck", channels * taps, 1, 2);
  const std::string tile = tiling().all_weights ? block : WeightTile();
  const std::string row = SumOf({{tile, rows.tile}, {i_row, 1}}, 0);
  const std::string run = SumOf({{channel_tiles() > 1 ? names().k : "", channels * taps}, {i_run, 1}}, 0);
  Dims strides = access.strides, sizes = stage().iteration.dims;
  std::vector<AxisIndex> indices = axes();
  if (rows.axis >= 0) {
    strides[rows.axis] = op().operands[1].view.strides[0];
    indices[rows.axis] = {row, AxisIndex::Kind::kPartition, true};
  }
  strides.push_back(1);
  sizes.push_back(window().channels * taps);
  indices.push_back({run, AxisIndex::Kind::kFree, true});
  if (rows.ragged()) masks->push_back(absl::StrCat(row, " < ", rows.size));
  if (window().channels % channels != 0) masks->push_back(absl::StrCat(run, " < ", window().channels * taps));
  return Subscript(access.value, access.offset, strides, sizes, indices).text;
}

// Rows of output channels of weights that lie with the input channels outermost: of one group, which `block`
// counts within the tile if the tile has several, or of the tile number `block`.
std::string ConvStageEmitter::ReadTransposedRows(const std::string& block, std::vector<std::string>* masks) {
  const AxisTiling& rows = stage().partition;
  const Access& access = AccessOf(stage().stage.matmul, 1);
  const Dims& of = op().operands[1].view.strides;
  const int64_t channels = tiling().channel_tile;
  const bool grouped = tiling().grouped_rows;
  const int64_t count = grouped ? op().dims[2] : rows.tile;
  const std::string i_row = Vector("i_co", count, 0, 3);
  const std::string tile = tiling().all_weights ? block : WeightTile();
  const std::string row = grouped ? i_row : SumOf({{tile, rows.tile}, {i_row, 1}}, 0);
  const std::string i_channel = Vector("i_ci", channels, 1, 3);
  const std::string channel =
      grouped ? SumOf({{WeightTile(), tiling().groups * channels},
                       {tiling().groups > 1 ? block : "", channels},
                       {i_channel, 1}},
                      0)
              : SumOf({{channel_tiles() > 1 ? names().k : "", channels}, {i_channel, 1}}, 0);
  Dims strides = access.strides, sizes = stage().iteration.dims;
  std::vector<AxisIndex> indices = axes();
  if (rows.axis >= 0) strides[rows.axis] = 0;
  strides.insert(strides.end(), {of[1], of[0], 1});
  sizes.insert(sizes.end(), {op().dims[2], grouped ? op().dims[1] * window().channels : window().channels,
                             window().taps()});
  indices.push_back({row, AxisIndex::Kind::kPartition, true});
  indices.push_back({channel, AxisIndex::Kind::kFree, true});
  indices.push_back({Vector("i_t", window().taps(), 2, 3), AxisIndex::Kind::kFree, true});
  if (!grouped && rows.ragged()) masks->push_back(absl::StrCat(row, " < ", rows.size));
  return Subscript(access.value, access.offset, strides, sizes, indices).text;
}

// The rows once for each group, of which each row's own is kept.
std::string ConvStageEmitter::SpreadGroups(const std::string& rows) {
  const int64_t tile = stage().partition.tile, per_group = op().dims[2], groups = tiling().groups;
  const int64_t run = window().channels * window().taps();
  const DType dtype = op().operands[1].dtype;
  const std::string i_row = Vector("i_co", tile, 0, 3), i_group = Vector("i_g", groups, 1, 3),
                    i_run = Vector("i_ck", run, 2, 3);
  const std::string spread = Declare(absl::StrCat(rows, "_by_group"), {tile, groups, run}, false, 0, dtype);
  const std::string at = absl::StrCat("[", i_row, ", ", i_group, ", ", i_run, "]");
  const auto select = [&](const std::string& from, const std::string& condition) {
    body().Line(absl::StrCat(spread, at, " = nisa.affine_select(pred=(", condition, "), on_true_tile=", from,
                             ", on_false_value=0.0)"));
  };
  select(absl::StrCat(rows, "[", i_row, ", ", SumOf({{i_run, 1}}, 0), " + 0 * ", i_group, "]"),
         absl::StrCat(i_row, " >= ", SumOf({{i_group, per_group}}, 0)));
  select(absl::StrCat(spread, at), absl::StrCat(i_row, " < ", SumOf({{i_group, per_group}}, per_group)));
  return spread;
}

std::string ConvStageEmitter::PadTaps(const std::string& rows) {
  const int64_t tile = stage().partition.tile, channels = copy_lines();
  const DType dtype = op().operands[1].dtype;
  const bool spread = tiling().groups > 1;
  const int rank = 2 + spatial() + (spread ? 1 : 0);
  const std::string padded =
      Declare(absl::StrCat(rows, "_padded"), {tile, channels * tiling().taps()}, true, 0, dtype);
  Terms from, to;
  std::string group;
  if (spread) {
    group = Vector("i_g", tiling().groups, 1, rank);
    to.emplace_back(group, window().channels * tiling().taps());
  }
  const std::string channel = Vector("i_ci", window().channels, spread ? 2 : 1, rank);
  from.emplace_back(channel, window().taps());
  to.emplace_back(channel, tiling().taps());
  int64_t offset = 0, natural = window().taps(), wide = tiling().taps();
  for (int a = 0; a < spatial(); ++a) {
    const int64_t kernel = window().axes[a].kernel;
    natural /= kernel;
    wide /= tiling().stacked[static_cast<size_t>(a)].taps;
    offset += tiling().stacked[static_cast<size_t>(a)].padding * wide;
    const std::string tap =
        Vector(absl::StrCat("i_k", AxisName(a, spatial())), kernel, rank - spatial() + a, rank);
    from.emplace_back(tap, natural);
    to.emplace_back(tap, wide);
  }
  const std::string i_row = Vector("i_co", tile, 0, rank);
  body().Line(absl::StrCat(padded, "[", i_row, ", ", SumOf(to, offset), "] = nl.copy(", rows, "[", i_row,
                           ", ", spread ? absl::StrCat(group, ", ") : "", SumOf(from, 0), "])"));
  return padded;
}

void ConvStageEmitter::TurnWeights(const std::string& rows, const std::string& block) {
  const AxisTiling& tiles = stage().partition;
  const bool spread = tiling().groups > 1 && tiling().taps() == window().taps();
  // Axes of what is turned: rows, one for each stacked axis, groups if these lie apart, channels.
  int rank = 2 + (spread ? 1 : 0);
  for (const StackedAxis& axis : tiling().stacked) rank += axis.stack.count > 1 ? 1 : 0;
  for (const Phases& phases : AllPhases()) {
    if (std::any_of(phases.begin(), phases.end(), [](const Phase* p) { return p->taps == 0; })) continue;
    std::vector<std::string> taps;
    int loops = OpenTapLoops(phases, spatial(), /*in_order=*/false, &taps);
    Terms columns;
    int64_t inner = tiling().taps();
    int position = 1;
    for (int a = 0; a < spatial(); ++a) {
      const StackedAxis& axis = tiling().stacked[static_cast<size_t>(a)];
      inner /= axis.taps;
      if (axis.stack.count == 1) continue;
      columns.emplace_back(
          Vector(absl::StrCat("i_k", AxisName(a, spatial())), axis.stack.count, position++, rank),
          axis.stack.tap_step * inner);
    }
    std::string group;
    if (spread) group = absl::StrCat(Vector("i_g", tiling().groups, position++, rank), ", ");
    const int64_t channels = spread ? window().channels : copy_lines();
    columns.emplace_back(Vector("i_ci", channels, position, rank), tiling().taps());
    const std::string tap = TapNumber(phases, taps);
    std::string column = SumOf(columns, 0);
    if (tap != "0") absl::StrAppend(&column, " + ", tap);
    body().Line(absl::StrCat(
        weights_, "[", Vector("i_kk", lines(), 0, 2), ", ", channel_tiles() > 1 ? names().k : "0", ", ",
        StepNumber(phases, taps, MatricesBefore(&phases)), ", ",
        SumOf({{block, tiles.tile}, {Vector("i_m", tiles.tile, 1, 2), 1}}, 0), "] = nisa.nc_transpose(", rows,
        "[", Vector("i_co", tiles.tile, 0, rank), ", ", group, column, "])"));
    for (; loops > 0; --loops) CloseLoop();
  }
}

void ConvStageEmitter::LoadWeightsAsTheyLie() {
  const AxisTiling& rows = stage().partition;
  const int64_t taps = window().taps(), channels = tiling().channel_tile;
  const bool grouped = tiling().grouped_rows;
  const Access& access = AccessOf(stage().stage.matmul, 1);
  const bool ragged = window().channels % channels != 0;
  body().Line("# Weights: input channels on partitions, as they lie.");
  weights_ =
      Declare(absl::StrCat(names().hbm[access.value], "_sb"), {channels, channel_tiles(), columns() * taps},
              rows.ragged() || ragged, 0, op().operands[1].dtype);
  if (channel_tiles() > 1) OpenLoop(names().k, channel_tiles(), /*in_order=*/false);
  const std::string number = channel_tiles() > 1 ? names().k : "";
  const std::string i_c = Vector("i_ci", channels, 0, 2), i_run = Vector("i_mk", columns() * taps, 1, 2);
  const std::string channel = SumOf({{grouped ? WeightTile() : number, channels}, {i_c, 1}}, 0);
  const std::string tile = grouped ? "" : WeightTile();
  const std::string run = SumOf({{tile, columns() * taps}, {i_run, 1}}, 0);
  Dims strides = access.strides, sizes = stage().iteration.dims;
  std::vector<AxisIndex> indices = axes();
  if (rows.axis >= 0) strides[rows.axis] = 0;  // the run covers it
  strides.insert(strides.end(), {op().operands[1].view.strides[0], 1});
  sizes.insert(sizes.end(), {grouped ? op().dims[1] * window().channels : window().channels,
                             (grouped ? op().dims[2] : rows.size) * taps});
  indices.push_back({channel, AxisIndex::Kind::kPartition, true});
  indices.push_back({run, AxisIndex::Kind::kFree, true});
  std::vector<std::string> masks;
  if (ragged) masks.push_back(absl::StrCat(channel, " < ", window().channels));
  if (!grouped && rows.ragged()) masks.push_back(absl::StrCat(run, " < ", rows.size * taps));
  body().Line(absl::StrCat(
      weights_, "[", i_c, ", ", number.empty() ? "0" : number, ", ", i_run, "] = nl.load(",
      Subscript(access.value, access.offset, strides, sizes, indices).text, MaskArgument(masks), ")"));
  if (channel_tiles() > 1) CloseLoop();
}

std::string ConvStageEmitter::ReadWeights(const Phases& phases, const std::vector<std::string>& taps,
                                          const std::string& channels) {
  const AxisTiling& rows = stage().partition;
  const std::string tile = tiling().all_weights && rows.count() > 1 ? names().row : "";
  const std::string i_m = Vector("i_m", rows.tile, 1, 2);
  if (WeightsAsTheyLie()) {
    const std::string tap = TapNumber(phases, taps);
    const int64_t count = window().taps();
    return absl::StrCat(weights_, "[", Vector("i_ci", tiling().channel_tile, 0, 2), ", ", channels, ", ",
                        SumOf({{tile, rows.tile * count}, {i_m, count}, {tap == "0" ? "" : tap, 1}}, 0), "]");
  }
  return absl::StrCat(weights_, "[", Vector("i_kk", lines(), 0, 2), ", ", channels, ", ",
                      StepNumber(phases, taps, MatricesBefore(&phases)), ", ",
                      SumOf({{tile, rows.tile}, {i_m, 1}}, 0), "]");
}

}  // namespace nkiagent::builtin
