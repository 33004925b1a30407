#include "services/llm_gateway/builtin/pool_stage.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nkiagent::builtin {
namespace {

// Cycles of the Vector engine, about: the fewest an instruction takes, and until its result may be used.
constexpr int64_t kLeastCycles = 64, kResultCycles = 100;

}  // namespace

std::string PoolStageEmitter::Headline() const {
  const WindowKind kind = window().kind;
  if (kind == WindowKind::kResample) {
    return absl::StrCat(op().origin, ": resampling, ", stage().partition.count(), " x ",
                        stage().partition.tile, " channels, ", stage().free.count(), " x ", stage().free.tile,
                        " positions");
  }
  return absl::StrCat(op().origin, ": ",
                      kind == WindowKind::kMax   ? "largest"
                      : kind == WindowKind::kSum ? "sum"
                                                 : "mean",
                      " of ", window().KernelText(), " windows, ", stage().partition.count(), " x ",
                      stage().partition.tile, tiling().folded ? " channels by positions, " : " channels, ",
                      stage().free.count(), " x ", stage().free.tile, " positions");
}

void PoolStageEmitter::EmitLoops() {
  OpenAxis(0);
  OpenRows();
  if (tiling().whole_input) LoadInput();
  EmitPositions(0);
  CloseLoops();
}

bool PoolStageEmitter::Uneven() const {
  for (const WindowAxis& axis : window().axes) {
    for (const Phase& phase : axis.phases) {
      if (phase.taps != axis.phases[0].taps) return true;
    }
  }
  return false;
}

std::vector<PoolStageEmitter::Piece> PoolStageEmitter::PiecesOf(int axis) {
  std::vector<Piece> pieces;
  const WindowAxis& windows = reads(axis);
  for (const Phase& phase : windows.phases) {
    if (!InTile(axis) && &phase != PhaseOf(axis)) continue;
    Piece whole{axis, InTile(axis) ? phase.start : 0, windows.output_step};
    whole.count = !InTile(axis) ? 1 : axis == tiling().tile_axis ? tiling().positions : phase.count;
    whole.input_step = windows.input_step;
    whole.taps = whole.kernel = phase.taps;
    whole.tap_step = phase.origin_step;
    whole.weights = phase.weights;
    if (!InTile(axis) || !LiesAsInMemory(axis)) {
      whole.first = FirstInput(axis, phase);
      pieces.push_back(whole);
      continue;
    }
    // Where windows reach over an edge, neighbours that keep the same taps make a piece.
    bool extends = false;
    for (int64_t q = 0; q < phase.count; ++q) {
      const int64_t from = q * windows.input_step + phase.origin, step = phase.origin_step;
      const int64_t skipped = from >= 0 ? 0 : (-from + step - 1) / step;
      const int64_t end =
          from >= windows.input ? 0 : std::min(phase.taps, (windows.input - 1 - from) / step + 1);
      const int64_t taps = std::max<int64_t>(end - skipped, 0);
      if (extends && skipped == 0 && taps == pieces.back().taps) {
        ++pieces.back().count;
        continue;
      }
      Piece piece = whole;
      piece.start += q * windows.output_step;
      piece.count = 1;
      piece.taps = taps;
      piece.first = absl::StrCat(from + skipped * step);
      pieces.push_back(piece);
      extends = skipped == 0;
    }
  }
  return pieces;
}

const PoolStageEmitter::Piece* PoolStageEmitter::Find(const Pieces& pieces, int axis) {
  for (const Piece& piece : pieces) {
    if (piece.axis == axis) return &piece;
  }
  return nullptr;
}

std::string PoolStageEmitter::Read(const Partial& from, const Pieces& pieces,
                                   const std::vector<std::string>& taps, int rank) {
  std::vector<std::string> index = {Vector("i_c", from.shape[0], 0, rank)};
  int position = 1;
  for (size_t i = 0; i < from.axes.size(); ++i) {
    const int axis = from.axes[i];
    const std::string base = absl::StrCat("i_", AxisName(axis, spatial()));
    const Piece* piece = Find(pieces, axis);
    if (piece == nullptr) {
      index.push_back(Vector(base, from.shape[i + 1], position++, rank));
      continue;
    }
    const std::string output =
        InTile(axis) ? Vector(absl::StrCat("i_o", AxisName(axis, spatial())), piece->count, position++, rank)
                     : "";
    index.push_back(SumOf({{output, piece->input_step},
                           {piece->first, 1},
                           {taps[static_cast<size_t>(piece - pieces.data())], piece->tap_step}},
                          0));
  }
  return absl::StrCat(from.name, "[", absl::StrJoin(index, ", "), "]");
}

std::string PoolStageEmitter::Into(const Partial& to, const Pieces& pieces, bool last) {
  const int rank = static_cast<int>(to.shape.size());
  std::vector<std::string> index = {Vector("i_c", to.shape[0], 0, rank)};
  Terms flat;
  int64_t inner = 1;
  for (size_t i = to.axes.size(); i-- > 0;) {
    const int axis = to.axes[i];
    const Piece* piece = Find(pieces, axis);
    const std::string base = absl::StrCat("i_", piece == nullptr ? "" : "o", AxisName(axis, spatial()));
    const std::string vector =
        Vector(base, piece == nullptr ? to.shape[i + 1] : piece->count, static_cast<int>(i) + 1, rank);
    const std::string at = piece == nullptr ? vector : SumOf({{vector, piece->step}}, piece->start);
    index.insert(index.begin() + 1, at);
    flat.insert(flat.begin(), {at, inner});
    inner *= to.shape[i + 1];
  }
  if (last) index = {index[0], SumOf(flat, 0)};
  return absl::StrCat(to.name, "[", absl::StrJoin(index, ", "), "]");
}

void PoolStageEmitter::EmitPieces(const Partial& from, const Partial& to, const Pieces& pieces, bool last) {
  const int rank = static_cast<int>(to.shape.size());
  const std::string into = Into(to, pieces, last);
  const std::string dtype = absl::StrCat(", dtype=", DTypeLiteral(to.dtype), ")");
  if (window().kind == WindowKind::kResample) {
    EmitWeighted(from, pieces, into, rank, to.dtype);
    return;
  }
  int64_t taps = 1, kernel = 1, elements = 1;
  for (size_t i = 0; i < to.axes.size(); ++i) {
    const Piece* piece = Find(pieces, to.axes[i]);
    elements *= piece == nullptr ? to.shape[i + 1] : piece->count;
  }
  for (const Piece& piece : pieces) {
    taps *= piece.taps;
    kernel *= piece.kernel;
  }
  const bool innermost = pieces.back().axis + 1 == spatial() && InTile(pieces.back().axis);
  // Neighbouring taps are read at full speed; others at half, but all at once.
  const int64_t at_once = (innermost ? 1 : 2) * taps * elements + kResultCycles;
  const int64_t by_taps = (taps - 1) * (std::max(2 * elements, kLeastCycles) + kResultCycles);
  const std::string both = largest() ? "nl.maximum(" : "nl.add(";
  if (taps == 0) {
    Dims shape = to.shape;
    for (size_t i = 0; i < to.axes.size(); ++i) {
      if (const Piece* piece = Find(pieces, to.axes[i])) shape[i + 1] = piece->count;
    }
    const double fill = largest() ? -std::numeric_limits<double>::infinity() : 0;
    body().Line(absl::StrCat(into, " = nisa.memset(", TupleLiteral(shape), ", ",
                             NumberLiteral(fill, DType::kFloat32), dtype));
  } else if (taps == 1) {
    body().Line(absl::StrCat(into, " = nl.copy(",
                             Read(from, pieces, std::vector<std::string>(pieces.size(), ""), rank), dtype));
  } else if (pieces.size() > 1 || at_once <= by_taps) {
    int wide = rank;
    for (const Piece& piece : pieces) wide += piece.taps > 1 ? 1 : 0;
    std::vector<std::string> at, axes;
    for (const Piece& piece : pieces) {
      const int position = rank + static_cast<int>(axes.size());
      at.push_back(piece.taps > 1 ? Vector(absl::StrCat("i_k", AxisName(piece.axis, spatial())), piece.taps,
                                           position, wide)
                                  : "");
      if (piece.taps > 1) axes.push_back(absl::StrCat(position));
    }
    body().Line(absl::StrCat(into, " = ", largest() ? "nl.max(" : "nl.sum(", Read(from, pieces, at, wide),
                             ", axis=[", absl::StrJoin(axes, ", "), "]", dtype));
  } else {
    body().Line(absl::StrCat(into, " = ", both, Read(from, pieces, {"0"}, rank), ", ",
                             Read(from, pieces, {"1"}, rank), dtype));
    std::string tap = "2";
    if (taps > 3) {
      OpenLoop(TapVariable(pieces[0].axis), taps - 2, /*in_order=*/true);
      tap = absl::StrCat(TapVariable(pieces[0].axis), " + 2");
    }
    if (taps > 2) {
      body().Line(absl::StrCat(into, " = ", both, into, ", ", Read(from, pieces, {tap}, rank), dtype));
    }
    if (taps > 3) CloseLoop();
  }
  if (window().kind == WindowKind::kMean && Uneven() && kernel > 1) {
    body().Line(absl::StrCat(into, " = nl.multiply(", into, ", 1.0 / ", kernel, dtype));
  }
}

void PoolStageEmitter::EmitWeighted(const Partial& from, const Pieces& pieces, const std::string& into,
                                    int rank, DType dtype) {
  // All but one axis have a single tap.
  size_t weighted = 0;
  for (size_t i = 0; i < pieces.size(); ++i) weighted = pieces[i].taps > 1 ? i : weighted;
  std::vector<std::string> taps(pieces.size());
  const std::vector<double>& weights = pieces[weighted].weights;
  const std::string type = absl::StrCat(", dtype=", DTypeLiteral(dtype), ")");
  std::string sum;
  for (size_t t = 0; t < weights.size(); ++t) {
    taps[weighted] = weights.size() > 1 ? absl::StrCat(t) : "";
    const std::string read = Read(from, pieces, taps, rank),
                      weight = NumberLiteral(weights[t], DType::kFloat32);
    if (t > 0) {
      body().Line(absl::StrCat(into, " = nisa.scalar_tensor_tensor(data=", read,
                               ", op0=nl.multiply, operand0=", weight, ", op1=nl.add, operand1=", sum, type));
      sum = into;
    } else if (weights.size() == 1 && weights[t] == 1) {
      body().Line(absl::StrCat(into, " = nl.copy(", read, type));
    } else {
      // The Scalar engine's part, while the Vector engine adds up others.
      const std::string part =
          absl::StrCat("nisa.activation(op=nl.copy, data=", read, ", scale=", weight, type);
      if (weights.size() == 1) {
        body().Line(absl::StrCat(into, " = ", part));
      } else {
        sum = Define(absl::StrCat(BaseName(op()), "_part"), part, true, dtype).name;
      }
    }
  }
}

bool PoolStageEmitter::ReducesPairs(const Partial& from, const Piece& rows, const Piece& columns) const {
  const int64_t lines = from.shape[from.shape.size() - 2];
  const int64_t at_once = rows.count * columns.count * rows.taps * columns.taps;
  return at_once <= lines * columns.count * columns.taps +
                        2 * (rows.taps - 1) * std::max(rows.count * columns.count, kLeastCycles);
}

PoolStageEmitter::Partial PoolStageEmitter::Reduce(const Partial& from, const std::vector<int>& axes,
                                                   bool last) {
  Partial to;
  to.dtype = largest() ? from.dtype : DType::kFloat32;
  to.shape = {from.shape[0]};
  for (size_t i = 0; i < from.axes.size(); ++i) {
    const int axis = from.axes[i];
    const bool reduced = std::count(axes.begin(), axes.end(), axis) > 0;
    if (reduced && !InTile(axis)) continue;
    to.axes.push_back(axis);
    // Positions of a tile that lie beyond the last output are there, but nobody stores them.
    to.shape.push_back(!reduced                ? from.shape[i + 1]
                       : !LiesAsInMemory(axis) ? tiling().positions * window().axes[axis].output_step
                                               : window().axes[axis].output);
  }
  to.name = last ? Declare(BaseName(op()), {from.shape[0], stage().free.tile}, false, 0, to.dtype)
                 : Declare(absl::StrCat(BaseName(op()), "_", AxisName(axes[0], spatial())), to.shape, false,
                           0, to.dtype);
  std::vector<Pieces> choices = {{}};
  for (int axis : axes) {
    std::vector<Pieces> longer;
    for (const Pieces& choice : choices) {
      for (const Piece& piece : PiecesOf(axis)) {
        longer.push_back(choice);
        longer.back().push_back(piece);
      }
    }
    choices = std::move(longer);
  }
  for (const Pieces& pieces : choices) EmitPieces(from, to, pieces, last);
  return to;
}

void PoolStageEmitter::EmitWindows() {
  Partial tile{input(), {stage().partition.tile}, {}, op().operands[0].dtype};
  for (int a = 0; a < spatial(); ++a) {
    tile.axes.push_back(a);
    tile.shape.push_back(InputSize(a));
  }
  // Axes with loops of their own first: they leave one output. Then the innermost: its taps are neighbours.
  std::vector<std::vector<int>> steps;
  std::vector<int> single;  // of one tap: nothing to do but to find it
  for (int a = 0; a < tiling().tile_axis; ++a) {
    if (PhaseOf(a)->taps == 1) {
      single.push_back(a);
    } else {
      steps.push_back({a});
    }
  }
  int axis = spatial() - 1;
  // An access pattern has up to four free axes: two of outputs, two of taps.
  if (axis == tiling().tile_axis + 1 && window().kind != WindowKind::kResample) {
    const std::vector<Piece> rows = PiecesOf(axis - 1), columns = PiecesOf(axis);
    if (rows.size() == 1 && columns.size() == 1 && ReducesPairs(tile, rows[0], columns[0])) {
      steps.push_back({axis - 1, axis});
      axis -= 2;
    }
  }
  for (; axis >= tiling().tile_axis; --axis) steps.push_back({axis});
  steps[0].insert(steps[0].begin(), single.begin(), single.end());
  for (size_t i = 0; i < steps.size(); ++i) tile = Reduce(tile, steps[i], i + 1 == steps.size());
  Tile result{tile.name, true, tile.dtype};
  const std::string dtype = absl::StrCat(", dtype=", DTypeLiteral(op().dtype), ")");
  if (window().kind == WindowKind::kMean && !Uneven()) {
    result =
        Define(absl::StrCat(BaseName(op()), "_mean"),
               absl::StrCat("nl.multiply(", tile.name, ", 1.0 / ", window().taps(), dtype), true, op().dtype);
  } else if (tile.dtype != op().dtype) {
    result = Define(absl::StrCat(BaseName(op()), "_cast"), absl::StrCat("nl.copy(", tile.name, dtype), true,
                    op().dtype);
  }
  Bind(op().result, std::move(result));
}

}  // namespace nkiagent::builtin
