#include "services/llm_gateway/builtin/stage_emitter.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/builtin/fn_table.h"
#include "services/llm_gateway/builtin/residency.h"

namespace nkiagent::builtin {
namespace {

// `nl.arange(count)` along axis `position` of `rank`.
std::string Arange(int64_t count, size_t position, size_t rank) {
  std::vector<absl::string_view> axes(rank, "None");
  axes[position] = ":";
  return absl::StrCat("nl.arange(", count, ")[", absl::StrJoin(axes, ", "), "]");
}

// Kernel-side shape: rank 0 is (1,).
Dims KernelDims(const Value& value) { return value.dims.empty() ? Dims{1} : value.dims; }

}  // namespace

std::string StageEmitter::ScaledIndex(int64_t coefficient, const AxisIndex& index) {
  if (coefficient == 1) return index.text;
  const bool sum = index.text.find(' ') != std::string::npos;
  return sum ? absl::StrCat(coefficient, " * (", index.text, ")")
             : absl::StrCat(coefficient, " * ", index.text);
}

DType StageEmitter::StoredDType(DType dtype) {
  if (dtype == DType::kBool) return DType::kUInt8;
  return dtype == DType::kInt64 ? DType::kInt32 : dtype;
}

StageEmitter::StageEmitter(const KernelPlan& plan, const StagePlan& stage, KernelNames& names)
    : plan_(plan), stage_(stage), names_(names), axes_(stage.iteration.dims.size()) {}

void StageEmitter::Fail(const std::string& message) {
  if (status_.ok()) status_ = absl::UnimplementedError(message);
}

absl::Status StageEmitter::Emit(PythonWriter* kernel) {
  EmitLoops();
  if (!status_.ok()) return status_;
  const size_t rank = 2 + stage_.tile_axes.size();
  kernel->Line(absl::StrCat("# ", Headline()));
  DeclareResidences(kernel);
  kernel->Append(views_);
  std::vector<std::pair<std::string, std::string>> indices = {
      {names_.i_p, Arange(stage_.partition.tile, 0, rank)},
      {names_.i_f, Arange(stage_.free.tile, rank - 1, rank)},
      {names_.i_one, "nl.arange(1)[:, None]"},
      {names_.i_bp, absl::StrCat("nl.arange(", TurnedBlock(stage_), ")[:, None]")},
      {names_.i_bf, absl::StrCat("nl.arange(", TurnedBlock(stage_), ")[None, :]")},
      {names_.i_pf, absl::StrCat("nl.arange(", stage_.partition.tile, ")[None, :]")}};
  for (auto& more : vectors_) indices.push_back(std::move(more));
  for (auto& more : MoreIndices()) indices.push_back(std::move(more));
  for (const auto& [name, definition] : indices) {
    if (hoisted_.Mentions(name) || body_.Mentions(name)) kernel->Line(absl::StrCat(name, " = ", definition));
  }
  kernel->Append(hoisted_);
  kernel->Append(body_);
  return absl::OkStatus();
}

void StageEmitter::OpenLoop(const std::string& variable, int64_t count, bool in_order) {
  const absl::string_view range =
      in_order || !stage_.assumptions.independent_tiles ? "nl.sequential_range" : "nl.affine_range";
  OpenLoop(variable, absl::StrCat(range, "(", count, ")"));
}

void StageEmitter::OpenLoop(const std::string& variable, absl::string_view range) {
  body_.Line(absl::StrCat("for ", variable, " in ", range, ":"));
  body_.Indent();
  ++open_loops_;
}

void StageEmitter::OpenRowLoops() {
  for (int axis : stage_.row_loops) {
    const std::string variable = names_.names.Unique("b");
    OpenLoop(variable, stage_.iteration.dims[axis], /*in_order=*/false);
    axes_[axis] = {variable, AxisIndex::Kind::kLoop, true};
  }
}

void StageEmitter::OpenRowTileLoop() {
  if (stage_.partition.count() == 1) {
    IndexRows("");
    return;
  }
  OpenLoop(names_.row, stage_.partition.count(), /*in_order=*/false);
  IndexRows(names_.row);
}

void StageEmitter::CloseLoop() {
  body_.Dedent();
  --open_loops_;
}

void StageEmitter::CloseLoops() {
  while (open_loops_ > 0) CloseLoop();
}

void StageEmitter::IndexRows(const std::string& row_variable) {
  const AxisTiling& rows = stage_.partition;
  row_variable_ = row_variable;
  row_start_ = row_variable.empty() ? "" : absl::StrCat(row_variable, " * ", rows.tile);
  row_index_ =
      row_variable.empty() ? names_.i_p : absl::StrCat(row_variable, " * ", rows.tile, " + ", names_.i_p);
  if (rows.axis >= 0) axes_[rows.axis] = {row_index_, AxisIndex::Kind::kPartition, !row_variable.empty()};
}

void StageEmitter::IndexColumns(const std::string& chunk_variable) {
  for (size_t i = 0; i < stage_.tile_axes.size(); ++i) {
    const int axis = stage_.tile_axes[i];
    axes_[axis] = {Vector(stage_.iteration.dims[axis], i + 1), AxisIndex::Kind::kFree, false};
  }
  const AxisTiling& columns = stage_.free;
  column_start_ = chunk_variable.empty() ? "" : absl::StrCat(chunk_variable, " * ", columns.tile);
  column_index_ = chunk_variable.empty()
                      ? names_.i_f
                      : absl::StrCat(chunk_variable, " * ", columns.tile, " + ", names_.i_f);
  if (columns.axis >= 0)
    axes_[columns.axis] = {column_index_, AxisIndex::Kind::kFree, !chunk_variable.empty()};
}

std::string StageEmitter::RowMask() const {
  return stage_.partition.ragged() ? absl::StrCat(row_index_, " < ", stage_.partition.size) : "";
}

std::string StageEmitter::ColumnMask() const {
  return stage_.free.ragged() ? absl::StrCat(column_index_, " < ", stage_.free.size) : "";
}

std::string StageEmitter::Mask(bool rows, bool columns) const {
  return MaskArgument({rows ? RowMask() : "", columns ? ColumnMask() : ""});
}

std::string StageEmitter::ViewOf(int value, const Dims& shape) {
  const std::string& tensor = names_.hbm[value];
  if (shape == KernelDims(program().values[value])) return tensor;
  std::string& view = view_names_[{value, shape}];
  if (view.empty()) {
    view = names_.names.Unique(absl::StrCat(tensor, "_", shape.size(), "d"));
    views_.Line(absl::StrCat(view, " = ", tensor, ".reshape(", TupleLiteral(shape), ")"));
  }
  return view;
}

StageEmitter::Subscripted StageEmitter::Subscript(int value, int64_t offset, const Dims& strides,
                                                  const Dims& extents, const std::vector<AxisIndex>& axes) {
  Subscripted result;
  std::optional<HbmIndex> index = IndexOf(program().values[value].dims, offset, strides, extents);
  if (!index.has_value()) {
    Fail(absl::StrCat("value '", program().values[value].name,
                      "' is read in a pattern that no shape of it tells"));
    return result;
  }
  std::vector<std::string> parts;
  std::vector<bool> plain;  // without an index vector
  for (const auto& subscript : index->subscripts) {
    std::vector<std::string> terms;
    bool is_plain = true;
    for (const auto& [axis, coefficient] : subscript.terms) {
      terms.push_back(ScaledIndex(coefficient, axes[axis]));
      result.has_partition |= axes[axis].kind == AxisIndex::Kind::kPartition;
      result.has_free |= axes[axis].kind == AxisIndex::Kind::kFree;
      result.depends_on_loop |= axes[axis].depends_on_loop;
      is_plain = is_plain && axes[axis].kind == AxisIndex::Kind::kLoop;
    }
    if (subscript.constant != 0 || terms.empty()) terms.push_back(absl::StrCat(subscript.constant));
    parts.push_back(absl::StrJoin(terms, " + "));
    plain.push_back(is_plain);
  }
  if (!result.has_partition) {
    // The tile's partition axis has to come from somewhere: a vector of one index.
    const auto at = std::find(plain.begin(), plain.end(), true);
    if (at == plain.end()) {
      index->shape.insert(index->shape.begin(), 1);
      parts.insert(parts.begin(), names_.i_one);
    } else {
      std::string& part = parts[static_cast<size_t>(at - plain.begin())];
      part = part == "0" ? names_.i_one : absl::StrCat(part, " + ", names_.i_one);
    }
  } else if (parts.size() == 1 && !result.has_free) {
    index->shape.push_back(1);
    parts.push_back("0");
  }
  result.text = absl::StrCat(ViewOf(value, index->shape), "[", absl::StrJoin(parts, ", "), "]");
  return result;
}

const Access& StageEmitter::AccessOf(int op, int operand) const {
  static const Access kNone;
  for (const Access& access : stage_.iteration.accesses) {
    if (access.op == op && access.operand == operand) return access;
  }
  return kNone;
}

Tile StageEmitter::Define(absl::string_view base, absl::string_view expression, bool has_free, DType dtype) {
  Tile tile{names_.names.Unique(base), has_free, dtype};
  body_.Line(absl::StrCat(tile.name, " = ", expression));
  return tile;
}

// Positions are counted on chip.
Tile StageEmitter::LoadPositions(const Access& access) {
  std::vector<std::string> terms;
  bool has_partition = false, has_free = false, depends_on_loop = false;
  for (size_t i = 0; i < axes_.size(); ++i) {
    if (access.strides[i] == 0) continue;
    terms.push_back(ScaledIndex(access.strides[i], axes_[i]));
    has_partition |= axes_[i].kind == AxisIndex::Kind::kPartition;
    has_free |= axes_[i].kind == AxisIndex::Kind::kFree;
    depends_on_loop |= axes_[i].depends_on_loop;
  }
  if (access.offset != 0) terms.push_back(absl::StrCat(access.offset));
  if (!has_partition) terms.push_back(absl::StrCat("0 * ", names_.i_p));
  const std::string text = absl::StrJoin(terms, " + ");
  auto& cache = depends_on_loop ? loads_ : hoisted_loads_;
  const auto found = cache.find(text);
  if (found != cache.end()) return found->second;
  const Tile tile{names_.names.Unique("positions"), has_free, DType::kInt32};
  (depends_on_loop ? body_ : hoisted_)
      .Line(absl::StrCat(tile.name, " = nisa.iota(", text, ", dtype=nl.int32)"));
  cache[text] = tile;
  return tile;
}

Dims StageEmitter::TileShape(bool has_free) const {
  Dims shape = {stage_.partition.tile};
  for (int axis : stage_.tile_axes) shape.push_back(has_free ? stage_.iteration.dims[axis] : 1);
  shape.push_back(has_free ? stage_.free.tile : 1);
  return shape;
}

std::string StageEmitter::IndexVector(const std::string& definition) {
  std::string& name = vector_of_[definition];
  if (name.empty()) {
    name = names_.names.Unique("i_t");
    vectors_.emplace_back(name, definition);
  }
  return name;
}

std::string StageEmitter::Vector(int64_t count, size_t position) {
  return IndexVector(Arange(count, position, 2 + stage_.tile_axes.size()));
}

Tile StageEmitter::LoadInOrder(const Access& access) {
  const Value& value = program().values[access.value];
  std::vector<int> tiled = stage_.tile_axes;
  tiled.push_back(stage_.free.axis);
  std::vector<int> order = tiled;
  SortByStride(access, &order);
  std::vector<AxisIndex> axes = axes_;
  for (size_t i = 0; i < order.size() && order != tiled; ++i) {
    // Where the free axis comes in chunks, these start where they do in the stage's order.
    const bool free = order[i] == stage_.free.axis;
    const std::string vector = Vector(free ? stage_.free.tile : stage_.iteration.dims[order[i]], i + 1);
    axes[order[i]].text =
        free && !column_start_.empty() ? absl::StrCat(column_start_, " + ", vector) : vector;
  }
  const Subscripted source =
      Subscript(access.value, access.offset, access.strides, stage_.iteration.dims, axes);
  auto& cache = source.depends_on_loop ? loads_ : hoisted_loads_;
  const auto found = cache.find(source.text);
  if (found != cache.end()) return found->second;
  std::vector<std::string> conditions = {RowMask()};
  if (stage_.free.ragged() && access.strides[stage_.free.axis] != 0) {
    conditions.push_back(absl::StrCat(axes[stage_.free.axis].text, " < ", stage_.free.size));
  }
  Tile tile{names_.names.Unique(absl::StrCat(names_.hbm[access.value], "_tile")), source.has_free,
            StoredDType(value.dtype)};
  (source.depends_on_loop ? body_ : hoisted_)
      .Line(absl::StrCat(tile.name, " = nl.load(", source.text, MaskArgument(conditions), ")"));
  if (order != tiled && source.has_free) {
    std::vector<std::string> subscripts = {names_.i_p};
    for (int axis : order) {
      const size_t position =
          static_cast<size_t>(std::find(tiled.begin(), tiled.end(), axis) - tiled.begin()) + 1;
      subscripts.push_back(axis == stage_.free.axis ? names_.i_f
                                                    : Vector(stage_.iteration.dims[axis], position));
    }
    tile.name = absl::StrCat(tile.name, "[", absl::StrJoin(subscripts, ", "), "]");
    tile.indexed = true;
  }
  cache[source.text] = tile;
  return tile;
}

Tile StageEmitter::Load(const Access& access) {
  if (access.is_positions) return LoadPositions(access);
  if (access.on_chip) return ReadOnChip(access);
  if (!access.pieces.empty()) return LoadInPieces(access);
  if (!stage_.tile_axes.empty()) return LoadInOrder(access);
  if (IsTurned(stage_, access, program().values[access.value].dtype)) return LoadTurned(access);
  const Value& value = program().values[access.value];
  const bool reversed = IsReversed(access);
  const bool spaced = IsSpaced(stage_, access, value.dims);
  const Subscripted source =
      reversed ? SubscriptReversed(access)
      : spaced ? SubscriptSpaced(access)
               : Subscript(access.value, access.offset, access.strides, stage_.iteration.dims, axes_);
  auto& cache = source.depends_on_loop ? loads_ : hoisted_loads_;
  // A tile that is used in both orders is loaded once.
  const auto in_order = [&](Tile tile) {
    if (reversed) tile.name = absl::StrCat(tile.name, "[", names_.i_p, ", ", ReversedColumns(), "]");
    if (spaced) {
      tile.name = absl::StrCat(tile.name, "[", names_.i_p, ", ", access.strides[stage_.free.axis], " * ",
                               names_.i_f, "]");
    }
    tile.indexed = reversed || spaced;
    return tile;
  };
  const auto found = cache.find(source.text);
  if (found != cache.end()) return in_order(found->second);
  const std::string mask = reversed || spaced ? source.mask : Mask(source.has_partition, source.has_free);
  PythonWriter& out = source.depends_on_loop ? body_ : hoisted_;
  const bool widen = !source.has_partition && stage_.partition.tile > 1;
  Tile tile{names_.names.Unique(absl::StrCat(names_.hbm[access.value], widen ? "_row" : "_tile")),
            source.has_free, StoredDType(value.dtype)};
  out.Line(absl::StrCat(tile.name, " = nl.load(", source.text, mask, ")"));
  if (widen) {
    const std::string row = tile.name;
    tile.name = names_.names.Unique(absl::StrCat(names_.hbm[access.value], "_tile"));
    const Dims shape = {stage_.partition.tile, source.has_free ? stage_.free.tile : 1};
    out.Line(absl::StrCat(tile.name, " = nl.broadcast_to(", row, ", shape=", TupleLiteral(shape), ")"));
  }
  cache[source.text] = tile;
  return in_order(tile);
}

bool StageEmitter::IsReversed(const Access& access) const {
  return stage_.tile_axes.empty() && stage_.stage.matmul < 0 && stage_.free.axis >= 0 &&
         access.strides[stage_.free.axis] == -1;
}

std::string StageEmitter::ReversedColumns() const {
  return absl::StrCat(stage_.free.tile - 1, " - ", names_.i_f);
}

StageEmitter::Subscripted StageEmitter::SubscriptReversed(const Access& access) {
  std::vector<AxisIndex> axes = axes_;
  AxisIndex& columns = axes[stage_.free.axis];
  std::vector<std::string> conditions = {RowMask()};
  Subscripted result;
  if (column_start_.empty()) {  // one tile: its first element is the row's last
    columns.text = names_.i_f;
    Dims strides = access.strides;
    strides[stage_.free.axis] = 1;
    result =
        Subscript(access.value, access.offset - (stage_.free.tile - 1), strides, stage_.iteration.dims, axes);
  } else {
    columns.text = absl::StrCat(column_start_, " + ", ReversedColumns());
    result = Subscript(access.value, access.offset, access.strides, stage_.iteration.dims, axes);
    if (stage_.free.ragged()) conditions.push_back(absl::StrCat(columns.text, " < ", stage_.free.size));
  }
  if (result.has_partition) result.mask = MaskArgument(conditions);
  return result;
}

Tile StageEmitter::OperandTile(size_t position, size_t k) {
  const int index = stage_.stage.ops[position];
  const Operand& operand = program().ops[index].operands[k];
  const auto bound = tiles_.find(operand.value);
  if (bound != tiles_.end()) return bound->second;
  return Load(AccessOf(index, static_cast<int>(k)));
}

Tile StageEmitter::WithFreeAxis(const Tile& tile) {
  if (tile.has_free || TileShape(true) == TileShape(false)) return tile;
  const Dims shape = TileShape(true);
  return Define(absl::StrCat(tile.name.substr(0, tile.name.find('[')), "_wide"),
                absl::StrCat("nl.broadcast_to(", tile.name, ", shape=", TupleLiteral(shape), ")"), true,
                tile.dtype);
}

std::string StageEmitter::DTypeArgument(const Op& op, const std::vector<Tile>& tiles) const {
  if (RowOf(op.fn).yields_bool) return "";
  // One tile: the result has its type. Several, or a tile and numbers: only all float32 is sure to stay as it
  // is.
  const DType wanted = StoredDType(op.dtype);
  const bool alone = op.operands.size() == 1 && tiles.size() == 1;
  const bool kept = std::all_of(tiles.begin(), tiles.end(), [&](const Tile& t) { return t.dtype == wanted; });
  if (kept && (alone || wanted == DType::kFloat32)) return "";
  return absl::StrCat(", dtype=", DTypeLiteral(op.dtype));
}

std::string StageEmitter::ScanStart(size_t position) {
  const Op& op = program().ops[stage_.stage.ops[position]];
  if (op.fn != Fn::kLinearScan) return std::string(RowOf(op.fn).start);
  if (op.operands[2].immediate.has_value()) return NumberLiteral(*op.operands[2].immediate, DType::kFloat32);
  return OperandTile(position, 2).name;
}

void StageEmitter::EmitScan(size_t position, const std::string& start) {
  const Op& op = program().ops[stage_.stage.ops[position]];
  const FnRow& row = RowOf(op.fn);
  const auto filled = [&](double value) {
    std::string& tile = filled_[value];
    if (tile.empty()) {
      tile = names_.names.Unique(value == 0 ? "zeros" : "factors");
      hoisted_.Line(absl::StrCat(tile, " = nl.full(", TupleLiteral({stage_.partition.tile, stage_.free.tile}),
                                 ", ", NumberLiteral(value, DType::kFloat32),
                                 ", dtype=nl.float32, buffer=nl.sbuf)"));
    }
    return tile;
  };
  const auto operand = [&](size_t k) {
    return op.operands[k].immediate.has_value() ? filled(*op.operands[k].immediate)
                                                : WithFreeAxis(OperandTile(position, k)).name;
  };
  // Each result is op1(op0(data, previous), second): of a plain scan the second operand has to change
  // nothing.
  const std::string data = operand(0);
  const bool extreme = op.fn == Fn::kCumMax || op.fn == Fn::kCumMin;
  const std::string second = op.fn == Fn::kLinearScan ? operand(1) : extreme ? data : filled(0);
  Bind(op.result,
       Define(BaseName(op),
              absl::StrCat(row.nl_name, "(", data, ", ", second, ", initial=", start, ", op0=", row.merge,
                           ", op1=", extreme ? row.merge : "nl.add", ", dtype=", DTypeLiteral(op.dtype), ")"),
              true, StoredDType(op.dtype)));
}

void StageEmitter::EmitOp(size_t position) {
  const int index = stage_.stage.ops[position];
  const Op& op = program().ops[index];
  if (IsScan(op.fn)) {
    EmitScan(position, ScanStart(position));
    return;
  }
  if (Defer(position) || EmitFused(position)) return;
  const bool is_row = stage_.stage.extents[position] == Extent::kRow;
  std::vector<Tile> tiles;
  std::vector<std::string> texts;
  bool has_free = false;
  for (size_t k = 0; k < op.operands.size(); ++k) {
    if (op.operands[k].immediate.has_value()) {
      texts.push_back(NumberLiteral(*op.operands[k].immediate, op.operands[k].dtype));
      continue;
    }
    tiles.push_back(OperandTile(position, k));
    texts.push_back(tiles.back().name);
    has_free |= tiles.back().has_free;
  }
  const Dims shape = TileShape(!is_row);
  if (op.fn == Fn::kSelect) {
    // nl.where wants tiles of one shape, the first branch included; only the second may be a number.
    for (size_t k = 0, t = 0; k < op.operands.size(); ++k) {
      if (op.operands[k].immediate.has_value()) {
        if (k == 2) continue;
        texts[k] = Define(absl::StrCat(BaseName(op), "_fill"),
                          absl::StrCat("nl.full(", TupleLiteral(TileShape(has_free && !is_row)), ", ",
                                       texts[k], ", dtype=", DTypeLiteral(op.dtype), ")"),
                          has_free, op.dtype)
                       .name;
      } else {
        if (has_free) texts[k] = WithFreeAxis(tiles[t]).name;
        ++t;
      }
    }
  }
  const FnRow& row = RowOf(op.fn);
  Tile result;
  if (op.fn == Fn::kCopy && tiles.empty()) {
    result = DefineResult(op,
                          absl::StrCat("nl.full(", TupleLiteral(shape), ", ", texts[0],
                                       ", dtype=", DTypeLiteral(op.dtype), ")"),
                          !is_row, StoredDType(op.dtype));
  } else if (op.fn == Fn::kCopy && tiles[0].dtype == StoredDType(op.dtype) && !tiles[0].indexed) {
    result = tiles[0];
  } else if (row.is_reduction) {
    Tile whole = WithFreeAxis(tiles[0]);
    DType dtype = StoredDType(op.dtype);
    if (op.dtype == DType::kBool) {  // extremes of truth values are taken as numbers
      dtype = DType::kFloat32;
      if (whole.dtype != dtype) {
        whole = Define(absl::StrCat(BaseName(op), "_number"),
                       absl::StrCat("nl.copy(", whole.name, ", dtype=nl.float32)"), true, dtype);
      }
    }
    const std::string type = whole.dtype == dtype ? "" : absl::StrCat(", dtype=", DTypeLiteral(dtype));
    const std::optional<Tile> sum = SumOf(op.operands[0].value);
    if (sum.has_value() && (op.fn == Fn::kSum || op.fn == Fn::kMean)) {
      const std::string sum_type =
          dtype == DType::kFloat32 ? "" : absl::StrCat(", dtype=", DTypeLiteral(dtype));
      if (op.fn == Fn::kMean) {
        result = DefineResult(
            op, absl::StrCat("nl.multiply(", sum->name, ", 1.0 / ", ReducedCount(op), sum_type, ")"), false,
            dtype);
      } else if (sum_type.empty()) {
        result = *sum;
      } else {
        result = DefineResult(op, absl::StrCat("nl.copy(", sum->name, sum_type, ")"), false, dtype);
      }
      Bind(op.result, result);
      return;
    }
    result = DefineResult(
        op, absl::StrCat(row.nl_name, "(", whole.name, ", axis=[1]", type, ", keepdims=True)"), false, dtype);
  } else {
    result = DefineResult(
        op, absl::StrCat(row.nl_name, "(", absl::StrJoin(texts, ", "), DTypeArgument(op, tiles), ")"),
        has_free, row.yields_bool ? DType::kBool : StoredDType(op.dtype));
  }
  Bind(op.result, result);
}

void StageEmitter::EmitStore(size_t position) {
  const int index = stage_.stage.ops[position];
  const Access& access = AccessOf(index, -1);
  if (!access.is_store) return;
  const Value& value = program().values[access.value];
  Tile tile = tiles_[access.value];
  if (access.extent == Extent::kFull) tile = WithFreeAxis(tile);
  if (access.on_chip) KeepOnChip(access, tile);
  if (!plan_.staged.in_hbm[access.value]) return;
  if (StoredDType(value.dtype) != tile.dtype) {
    tile = Define(absl::StrCat(ValueName(access.value), "_cast"),
                  absl::StrCat("nl.copy(", tile.name, ", dtype=", DTypeLiteral(value.dtype), ")"),
                  tile.has_free, StoredDType(value.dtype));
  }
  if (stage_.spread.parts > 1 && access.extent == Extent::kRow) {
    StoreOfSpreadRow(access, tile);
    return;
  }
  if (IsTurned(stage_, access, value.dtype)) {
    StoreTurned(access, tile);
    return;
  }
  if (IsReversed(access)) {
    const Tile forward =
        Define(absl::StrCat(names_.hbm[access.value], "_forward"),
               absl::StrCat("nl.copy(", tile.name, "[", names_.i_p, ", ", ReversedColumns(), "])"), true,
               tile.dtype);
    const Subscripted target = SubscriptReversed(access);
    body_.Line(absl::StrCat("nl.store(", target.text, ", value=", forward.name, target.mask, ")"));
    return;
  }
  const Op& op = program().ops[index];
  if (IsSelection(op.fn)) {
    const int64_t count = op.selection->count;
    Dims strides = access.strides, extents = stage_.iteration.dims;
    std::vector<AxisIndex> axes = axes_;
    strides.push_back(1);
    extents.push_back(count);
    axes.push_back({Vector(count, 1), AxisIndex::Kind::kFree, false});
    const Subscripted target = Subscript(access.value, access.offset, strides, extents, axes);
    body_.Line(absl::StrCat("nl.store(", target.text, ", value=", tile.name,
                            Mask(target.has_partition, false), ")"));
    return;
  }
  const Subscripted target =
      Subscript(access.value, access.offset, access.strides, stage_.iteration.dims, axes_);
  body_.Line(absl::StrCat("nl.store(", target.text, ", value=", tile.name,
                          Mask(target.has_partition, target.has_free), ")"));
}

}  // namespace nkiagent::builtin
