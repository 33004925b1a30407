#include "services/llm_gateway/builtin/window_stage.h"

#include <algorithm>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nkiagent::builtin {

WindowStageEmitter::WindowStageEmitter(const KernelPlan& plan, const StagePlan& stage, KernelNames& names)
    : StageEmitter(plan, stage, names) {
  phases_.resize(window().axes.size(), nullptr);
  positions_.resize(window().axes.size());
  for (int a = 0; a < spatial(); ++a) {
    tap_variables_.push_back(names.names.Unique(absl::StrCat("k", AxisName(a, spatial()))));
  }
}

const char* WindowStageEmitter::AxisName(int spatial_axis, int spatial_axes) {
  static constexpr const char* kNames[] = {"d", "h", "w"};
  return kNames[std::clamp(spatial_axis + 3 - spatial_axes, 0, 2)];
}

std::string WindowStageEmitter::SumOf(const Terms& terms, int64_t constant) {
  std::string sum;
  for (const auto& [term, factor] : terms) {
    if (factor == 0) continue;
    // Numbers at the end of a term are added up.
    std::string text = term;
    const size_t sign = text.size() < 3 ? std::string::npos : text.rfind(' ') - 1;
    int64_t number = 0;
    if (absl::SimpleAtoi(text, &number)) {
      constant += factor * number;
      text.clear();
    } else if (sign < text.size() && absl::SimpleAtoi(text.substr(sign + 2), &number) && text[sign] != '*') {
      constant += factor * (text[sign] == '-' ? -number : number);
      text.resize(sign - 1);
    }
    if (text.empty()) continue;
    const int64_t size = factor < 0 ? -factor : factor;
    const bool composite = size != 1 && text.find(' ') != std::string::npos;
    const std::string operand = composite ? absl::StrCat("(", text, ")") : text;
    if (!sum.empty() || factor < 0) absl::StrAppend(&sum, sum.empty() ? "-" : factor < 0 ? " - " : " + ");
    absl::StrAppend(&sum, size == 1 ? "" : absl::StrCat(size, " * "), operand);
  }
  if (sum.empty()) return absl::StrCat(constant);
  if (constant != 0) absl::StrAppend(&sum, constant < 0 ? " - " : " + ", constant < 0 ? -constant : constant);
  return sum;
}

int64_t WindowStageEmitter::channel_tiles() const {
  if (!tiling().contracts) return 1;
  return (window().channels + tiling().channel_tile - 1) / tiling().channel_tile;
}

std::string WindowStageEmitter::Vector(absl::string_view base, int64_t count, int position, int rank) {
  std::string& name = vector_names_[{std::string(base), count, position, rank}];
  if (!name.empty()) return name;
  name = names().names.Unique(base);
  std::vector<std::string> axes(static_cast<size_t>(rank), "None");
  axes[static_cast<size_t>(position)] = ":";
  vectors_.emplace_back(name, absl::StrCat("nl.arange(", count, ")[", absl::StrJoin(axes, ", "), "]"));
  return name;
}

void WindowStageEmitter::OpenAxis(size_t axis) {
  const int at = tiling().axes[axis];
  if (at < 0 || at == stage().partition.axis) return;
  const std::string variable = names().names.Unique(axis == 0 ? "n" : axis == 1 ? "g" : "m");
  OpenLoop(variable, stage().iteration.dims[at], /*in_order=*/false);
  axes()[at] = {variable, AxisIndex::Kind::kLoop, true};
}

std::string WindowStageEmitter::Declare(absl::string_view base, const Dims& shape, bool filled, double fill,
                                        DType dtype) {
  const std::string name = names().names.Unique(base);
  const std::string make =
      !filled     ? absl::StrCat("nl.ndarray(", TupleLiteral(shape))
      : fill == 0 ? absl::StrCat("nl.zeros(", TupleLiteral(shape))
                  : absl::StrCat("nl.full(", TupleLiteral(shape), ", ", NumberLiteral(fill, DType::kFloat32));
  body().Line(absl::StrCat(name, " = ", make, ", dtype=", DTypeLiteral(dtype), ", buffer=nl.sbuf)"));
  return name;
}

int WindowStageEmitter::OpenRows() {
  OpenRowTileLoop();
  return stage().partition.count() > 1 ? 1 : 0;
}

void WindowStageEmitter::EmitPositions(int axis) {
  if (axis == tiling().tile_axis) {
    EmitBands();
    return;
  }
  const WindowAxis& windows = reads(axis);
  const int at = tiling().axes[op().dims.size() - window().axes.size() + static_cast<size_t>(axis)];
  for (const Phase& phase : windows.phases) {
    const std::map<std::string, Tile> outer_loads = SaveLoads();
    phases_[axis] = &phase;
    positions_[axis] = phase.count > 1 ? names().names.Unique(AxisName(axis, spatial())) : "";
    if (phase.count > 1) OpenLoop(positions_[axis], phase.count, /*in_order=*/false);
    if (at >= 0) {
      axes()[at] = {SumOf({{positions_[axis], windows.output_step}}, phase.start), AxisIndex::Kind::kLoop,
                    true};
    }
    EmitPositions(axis + 1);
    if (phase.count > 1) CloseLoop();
    RestoreLoads(outer_loads);
  }
}

bool WindowStageEmitter::LiesAsInMemory(int axis) const {
  if (!window().pools()) return tiling().whole_lines && axis + 1 == spatial();
  if (window().kind == WindowKind::kResample && axis < tiling().tile_axis) return tiling().whole_input;
  return axis > tiling().tile_axis || (axis == tiling().tile_axis && tiling().tiles == 1);
}

std::string WindowStageEmitter::FirstInput(int axis, const Phase& phase) const {
  const WindowAxis& windows = reads(axis);
  Terms terms;
  if (axis < tiling().tile_axis) {
    const bool moving = !tiling().whole_input && windows.output > 1;
    if (!moving) terms = {{positions_[axis], windows.input_step}};
  } else if (axis == tiling().tile_axis) {
    if (tiling().whole_input)
      terms.emplace_back(band_, tiling().band * tiling().positions * windows.input_step);
    terms.emplace_back(tile_in_band_, tiling().positions * windows.input_step);
  }
  return SumOf(terms, phase.origin - extents_[static_cast<size_t>(axis)].lowest);
}

// All input positions that `positions` outputs from the first on read.
WindowStageEmitter::Extent WindowStageEmitter::WholeExtent(int axis, int64_t positions) {
  const WindowAxis& windows = reads(axis);
  const TapStack& stack = tiling().stacked[static_cast<size_t>(axis)].stack;
  Extent extent;
  if (LiesAsInMemory(axis)) {
    extent.size = windows.input;
  } else {
    extent.lowest = windows.Lowest(0);
    extent.size = windows.Highest(0, positions) - extent.lowest + 1;
    // Lines that lie next to each other are one run, even where not all are read.
    if (!window().axes[axis].padded() && stack.count == 1 && axis > tiling().tile_axis) {
      extent.lowest = 0;
      extent.size = std::max(extent.size, windows.input);
    }
  }
  const std::string base = absl::StrCat("i_", AxisName(axis, spatial()));
  if (stack.count > 1) {
    extent.vector = Vector(base, extent.size, lead() + axis, lead() + spatial());
    extent.image = SumOf({{extent.vector, 1}, {tap_variables_[axis], stack.step}}, extent.lowest);
    extent.chip = extent.vector;
    MaskExtent(axis, extent.size - 1, &extent);
    return extent;
  }
  const int64_t from = std::max<int64_t>(extent.lowest, 0);
  const int64_t to = std::min(extent.lowest + extent.size, windows.input);
  const int64_t count = std::max<int64_t>(to - from, 1);
  extent.vector = Vector(base, count, lead() + axis, lead() + spatial());
  extent.image = SumOf({{extent.vector, 1}}, from);
  extent.chip = SumOf({{extent.vector, 1}}, from - extent.lowest);
  extent.clipped = count < extent.size;
  extent.before = from - extent.lowest;
  extent.after = extent.size - count - extent.before;
  return extent;
}

// Those of the current position of a loop, or of the current band.
WindowStageEmitter::Extent WindowStageEmitter::MovingExtent(int axis) {
  const WindowAxis& windows = reads(axis);
  const TapStack& stack = tiling().stacked[static_cast<size_t>(axis)].stack;
  Extent extent;
  extent.moves = true;
  Terms moved;
  int64_t reach = 0;  // input positions from the first loop iteration's lowest to the last one's highest
  if (axis == tiling().tile_axis) {
    const int64_t positions = tiling().band * tiling().positions;
    extent.lowest = windows.Lowest(0);
    extent.size = windows.Highest(0, positions) - extent.lowest + 1;
    reach = windows.Highest(0, tiling().tiles * tiling().positions) - extent.lowest;
    moved = {{band_, positions * windows.input_step}};
  } else {
    const Phase& phase = *phases_[axis];
    const int64_t span = (phase.taps - 1) * phase.origin_step;
    extent.lowest = phase.origin + std::min<int64_t>(0, span);
    extent.size = phase.taps == 0 ? 1 : (span < 0 ? -span : span) + 1;
    reach = (phase.count - 1) * windows.input_step + extent.size - 1;
    moved = {{positions_[axis], windows.input_step}};
  }
  extent.vector =
      Vector(absl::StrCat("i_", AxisName(axis, spatial())), extent.size, lead() + axis, lead() + spatial());
  moved.emplace_back(extent.vector, 1);
  if (stack.count > 1) moved.emplace_back(tap_variables_[axis], stack.step);
  extent.image = SumOf(moved, extent.lowest);
  extent.chip = extent.vector;
  MaskExtent(axis, reach, &extent);
  return extent;
}

// Those of one output of the first axis, which a partition selects.
WindowStageEmitter::Extent WindowStageEmitter::FoldedExtent() {
  const WindowAxis& windows = reads(0);
  Extent extent;
  extent.lowest = windows.Lowest(0);
  extent.size = windows.Highest(0, 1) - extent.lowest + 1;
  const std::string output = Vector("i_p_o", window().axes[0].output, 0, lead() + spatial());
  extent.vector = Vector(absl::StrCat("i_", AxisName(0, spatial())), extent.size, lead(), lead() + spatial());
  extent.image = SumOf({{output, windows.input_step}, {extent.vector, 1}}, extent.lowest);
  extent.chip = extent.vector;
  MaskExtent(0, (window().axes[0].output - 1) * windows.input_step + extent.size - 1, &extent);
  return extent;
}

void WindowStageEmitter::MaskExtent(int axis, int64_t reach, Extent* extent) {
  const int64_t input = reads(axis).input;
  const TapStack& stack = tiling().stacked[static_cast<size_t>(axis)].stack;
  const int64_t highest = extent->lowest + reach + (stack.count - 1) * stack.step;
  std::vector<std::string> conditions;
  if (extent->lowest < 0) conditions.push_back(absl::StrCat(extent->image, " >= 0"));
  if (highest >= input) conditions.push_back(absl::StrCat(extent->image, " < ", input));
  extent->before = std::max<int64_t>(-extent->lowest, 0);
  extent->after = std::max<int64_t>(highest - input + 1, 0);
  extent->mask = absl::StrJoin(conditions, ") & (");
  extent->clipped = !conditions.empty();
}

void WindowStageEmitter::DeclareInput(const std::string& base, const Dims& shape, bool partial, double fill) {
  bool clipped = false, by_margins = !partial;
  int64_t elements = 1, margins = 0;
  for (int64_t size : shape) elements *= size;
  for (size_t a = 0; a < extents_.size(); ++a) {
    const Extent& extent = extents_[a];
    clipped = clipped || extent.clipped;
    if (!extent.clipped) continue;
    by_margins = by_margins && !extent.moves && extent.before + extent.after < extent.size;
    margins += elements / extent.size * (extent.before + extent.after);
  }
  by_margins = by_margins && 2 * margins < elements;
  input_ = Declare(base, shape, partial || (clipped && !by_margins), fill, op().operands[0].dtype);
  if (clipped && by_margins) FillMargins(shape, fill);
}

// Copies overlap the margins of others with input, which is loaded over them.
void WindowStageEmitter::FillMargins(const Dims& shape, double fill) {
  const size_t first = shape.size() - extents_.size();
  for (size_t a = 0; a < extents_.size(); ++a) {
    for (const bool front : {true, false}) {
      const int64_t count = front ? extents_[a].before : extents_[a].after;
      if (!extents_[a].clipped || count == 0) continue;
      Dims margin = shape;
      margin[first + a] = count;
      std::vector<std::string> index;
      for (size_t i = 0; i < shape.size(); ++i) {
        index.push_back(Vector("i_z", margin[i], static_cast<int>(i), static_cast<int>(shape.size())));
      }
      if (!front) index[first + a] = SumOf({{index[first + a], 1}}, extents_[a].size - count);
      body().Line(absl::StrCat(input_, "[", absl::StrJoin(index, ", "), "] = nisa.memset(",
                               TupleLiteral(margin), ", ", NumberLiteral(fill, DType::kFloat32),
                               ", dtype=", DTypeLiteral(op().operands[0].dtype), ")"));
    }
  }
}

void WindowStageEmitter::LoadInput() {
  extents_.clear();
  for (int a = 0; a < spatial(); ++a) {
    const bool moving =
        !tiling().whole_input &&
        (a < tiling().tile_axis ? window().axes[a].output > 1 : a == tiling().tile_axis && !band_.empty());
    int64_t most = 1;
    for (const Phase& phase : reads(a).phases) most = std::max(most, phase.count);
    extents_.push_back(
        tiling().folded && a == 0 ? FoldedExtent()
        : moving                  ? MovingExtent(a)
                 : WholeExtent(a, a == tiling().tile_axis ? tiling().tiles * tiling().positions : most));
  }
  // The source: the axes that select image, group or row, then channels, then the spatial axes.
  const Access& access = AccessOf(stage().stage.matmul, 0);
  const StridedView& view = op().operands[0].view;
  Dims strides = access.strides, sizes = stage().iteration.dims;
  std::vector<AxisIndex> indices = axes();
  const int rank = lead() + spatial();
  const int64_t in_copy = tiling().contracts ? copy_lines() : lines();
  const std::string line = Vector("i_c", in_copy, 0, rank);
  const AxisTiling& rows = stage().partition;
  const std::string tile = rows.count() > 1 ? names().row : "";
  std::vector<std::string> masks;
  const std::string plane = tiling().folded ? names().names.Unique("plane") : "";
  if (tiling().contracts) {
    // Channels of one group, or of all.
    const bool grouped = tiling().grouped_rows;
    const int64_t channels = grouped ? op().dims[1] * window().channels : window().channels;
    const std::string number = grouped ? tile : channel_tiles() > 1 ? names().k : "";
    const std::string channel = SumOf({{number, in_copy}, {line, 1}}, 0);
    if (grouped && rows.axis >= 0) strides[rows.axis] = 0;
    strides.push_back(view.strides[1]);
    sizes.push_back(channels);
    indices.push_back({channel, AxisIndex::Kind::kPartition, true});
    if (channels % in_copy != 0) masks.push_back(absl::StrCat(channel, " < ", channels));
  } else if (tiling().folded) {
    const int64_t planes = op().dims[0] * op().dims[1], in_tile = rows.tile / window().axes[0].output;
    strides[rows.axis] = 0;
    strides.push_back(view.strides[1]);
    sizes.push_back(planes);
    indices.push_back(
        {SumOf({{tile, in_tile}, {in_tile > 1 ? plane : "", 1}}, 0), AxisIndex::Kind::kLoop, true});
    if (rows.ragged()) masks.push_back(absl::StrCat(indices.back().text, " < ", planes));
  } else {
    const std::string row = SumOf({{tile, rows.tile}, {line, 1}}, 0);
    if (rows.axis >= 0) indices[rows.axis] = {row, AxisIndex::Kind::kPartition, true};
    if (rows.ragged()) masks.push_back(absl::StrCat(row, " < ", rows.size));
  }
  const bool partial = !masks.empty();
  Terms partition;
  int64_t copies = 1;
  for (int a = spatial(); a-- > 0;) {
    const int64_t count = tiling().stacked[static_cast<size_t>(a)].stack.count;
    if (count > 1) partition.insert(partition.begin(), {tap_variables_[a], copies * in_copy});
    copies *= count;
  }
  if (tiling().folded) {
    const int64_t outputs = window().axes[0].output;
    if (rows.tile > outputs) partition.emplace_back(plane, outputs);
    partition.emplace_back(Vector("i_p_o", outputs, 0, rank), 1);
  } else {
    partition.emplace_back(line, 1);
  }
  Dims shape = {lines()};
  std::vector<std::string> chip = {SumOf(partition, 0)};
  if (tiling().contracts) {
    shape.push_back(channel_tiles());
    chip.push_back(channel_tiles() > 1 ? names().k : "0");
  }
  if (tiling().images > 1) {
    const std::string image = Vector("i_n", tiling().images, 1, rank);
    indices[stage().tile_axes[0]] = {image, AxisIndex::Kind::kFree, true};
    shape.push_back(tiling().images);
    chip.push_back(image);
  }
  for (int a = 0; a < spatial(); ++a) {
    strides.push_back(view.strides[2 + a]);
    sizes.push_back(window().axes[a].input);
    const bool on_partitions = tiling().folded && a == 0;
    indices.push_back(
        {extents_[a].image, on_partitions ? AxisIndex::Kind::kPartition : AxisIndex::Kind::kFree, true});
    masks.push_back(extents_[a].mask);
    shape.push_back(extents_[a].size);
    chip.push_back(extents_[a].chip);
  }
  const double fill = window().kind == WindowKind::kMax ? -std::numeric_limits<double>::infinity() : 0;
  DeclareInput(absl::StrCat(names().hbm[access.value], "_sb"), shape, partial, fill);
  const std::string source = Subscript(access.value, access.offset, strides, sizes, indices).text;
  int loops = 0;
  const auto open = [&](const std::string& variable, int64_t count) {
    if (count <= 1) return;
    OpenLoop(variable, count, /*in_order=*/false);
    ++loops;
  };
  open(names().k, channel_tiles());
  if (tiling().folded) open(plane, rows.tile / window().axes[0].output);
  for (int a = 0; a < spatial(); ++a) {
    open(tap_variables_[a], tiling().stacked[static_cast<size_t>(a)].stack.count);
  }
  body().Line(
      absl::StrCat(input_, "[", absl::StrJoin(chip, ", "), "] = nl.load(", source, MaskArgument(masks), ")"));
  for (; loops > 0; --loops) CloseLoop();
}

void WindowStageEmitter::EmitBands() {
  const std::map<std::string, Tile> outer_loads = SaveLoads();
  const int64_t bands = tiling().tiles / tiling().band;
  int loops = 0;
  band_ = bands > 1 ? names().names.Unique("band") : "";
  if (bands > 1) {
    OpenLoop(band_, bands, /*in_order=*/false);
    ++loops;
  }
  if (!tiling().whole_input) LoadInput();
  loops += OpenInnerLoops();
  if (tiling().tiles == 1) {
    tile_in_band_ = "";
    IndexColumns("");
  } else if (bands == 1 || tiling().band == 1) {
    tile_in_band_ = bands == 1 ? names().chunk : "";
    if (bands == 1) {
      OpenLoop(names().chunk, tiling().tiles, /*in_order=*/false);
      ++loops;
    }
    IndexColumns(bands == 1 ? names().chunk : band_);
  } else {
    tile_in_band_ = names().names.Unique("t");
    OpenLoop(tile_in_band_, tiling().band, /*in_order=*/false);
    ++loops;
    body().Line(absl::StrCat(names().chunk, " = ", SumOf({{band_, tiling().band}, {tile_in_band_, 1}}, 0)));
    IndexColumns(names().chunk);
  }
  EmitTile();
  for (; loops > 0; --loops) CloseLoop();
  RestoreLoads(outer_loads);
}

void WindowStageEmitter::EmitTile() {
  for (size_t i = 0; i < stage().stage.ops.size(); ++i) {
    if (stage().stage.ops[i] == stage().stage.matmul) {
      EmitWindows();
    } else {
      EmitOp(i);
    }
    EmitStore(i);
  }
}

std::vector<WindowStageEmitter::Phases> WindowStageEmitter::TilePhases() const {
  std::vector<Phases> choices = {phases_};
  AddPhases(tiling().tile_axis, &choices);
  return choices;
}

std::vector<WindowStageEmitter::Phases> WindowStageEmitter::AllPhases() const {
  std::vector<Phases> choices = {phases_};
  AddPhases(0, &choices);
  return choices;
}

void WindowStageEmitter::AddPhases(int from, std::vector<Phases>* choices) const {
  for (int a = from; a < spatial(); ++a) {
    std::vector<Phases> longer;
    for (const Phases& choice : *choices) {
      for (const Phase& phase : reads(a).phases) {
        longer.push_back(choice);
        longer.back()[a] = &phase;
      }
    }
    *choices = std::move(longer);
  }
}

Dims WindowStageEmitter::ShapeOf(const Phases& phases) const {
  Dims shape = {stage().partition.tile};
  if (tiling().images > 1) shape.push_back(tiling().images);
  for (int a = tiling().tile_axis; a < spatial(); ++a) {
    shape.push_back(a == tiling().tile_axis ? tiling().positions : phases[a]->count);
  }
  return shape;
}

std::vector<std::string> WindowStageEmitter::PositionVectors(const Phases& phases, int rank) {
  const Dims shape = ShapeOf(phases);
  std::vector<std::string> vectors(window().axes.size());
  for (int a = tiling().tile_axis; a < spatial(); ++a) {
    const int position = lead() + a - tiling().tile_axis;
    vectors[a] = Vector(absl::StrCat("i_o", AxisName(a, spatial())), shape[position], position, rank);
  }
  return vectors;
}

std::string WindowStageEmitter::TileLead(int64_t rows, int rank) {
  const std::string row = Vector("i_c", rows, 0, rank);
  return tiling().images > 1 ? absl::StrCat(row, ", ", Vector("i_n", tiling().images, 1, rank)) : row;
}

std::string WindowStageEmitter::ReadInput(const Phases& phases, const std::vector<std::string>& positions,
                                          const std::vector<std::string>& taps, const std::string& channels,
                                          int rank) {
  std::vector<std::string> index = {Vector("i_c", lines(), 0, rank)};
  if (tiling().contracts) index.push_back(channels);
  if (tiling().images > 1) index.push_back(Vector("i_n", tiling().images, 1, rank));
  for (int a = 0; a < spatial(); ++a) {
    const Phase& phase = *phases[a];
    const std::string first = FirstInput(a, phase);
    index.push_back(SumOf({{a < tiling().tile_axis ? "" : positions[a], reads(a).input_step},
                           {first, 1},
                           {taps[a], phase.origin_step}},
                          0));
  }
  return absl::StrCat(input_, "[", absl::StrJoin(index, ", "), "]");
}

int WindowStageEmitter::OpenTapLoops(const Phases& phases, int axes, bool in_order,
                                     std::vector<std::string>* taps) {
  int loops = 0;
  taps->assign(window().axes.size(), "");
  for (int a = 0; a < axes; ++a) {
    if (phases[a]->taps <= 1) continue;
    (*taps)[a] = tap_variables_[a];
    OpenLoop(tap_variables_[a], phases[a]->taps, in_order);
    ++loops;
  }
  return loops;
}

std::string WindowStageEmitter::TapNumber(const Phases& phases, const std::vector<std::string>& taps) const {
  Terms terms;
  int64_t constant = 0, inner = 1;
  for (int a = spatial(); a-- > 0;) {
    terms.insert(terms.begin(), {taps[a], phases[a]->tap_step * inner});
    constant += phases[a]->first_tap * inner;
    inner *= tiling().stacked[static_cast<size_t>(a)].taps;
  }
  return SumOf(terms, constant);
}

bool WindowStageEmitter::IsOnePiece() const {
  for (int a = tiling().tile_axis; a < spatial(); ++a) {
    if (window().axes[a].output_step != 1) return false;
  }
  return true;
}

std::string WindowStageEmitter::PieceIndex(const Phases& phases,
                                           const std::vector<std::string>& positions) const {
  Terms terms;
  int64_t constant = 0, inner = 1;
  for (int a = spatial(); a-- > tiling().tile_axis;) {
    terms.insert(terms.begin(), {positions[a], window().axes[a].output_step * inner});
    constant += phases[a]->start * inner;
    inner *= window().axes[a].output;
  }
  return SumOf(terms, constant);
}

Dims WindowStageEmitter::ResultShape() const {
  Dims shape = {stage().partition.tile};
  if (tiling().images > 1) shape.push_back(tiling().images);
  shape.push_back(stage().free.tile);
  return shape;
}

std::string WindowStageEmitter::DeclareResult() {
  // With fewer outputs than the stride some of the tile belongs to no phase.
  bool partial = false;
  for (int a = tiling().tile_axis; a < spatial(); ++a) {
    partial |= static_cast<int64_t>(window().axes[a].phases.size()) < window().axes[a].output_step;
  }
  return Declare(BaseName(op()), ResultShape(), partial, 0, op().dtype);
}

}  // namespace nkiagent::builtin
