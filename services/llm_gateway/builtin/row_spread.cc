// Rows that take several partitions each: loads and stores of what is not one step along them, and how what
// the partitions of a row have found becomes the row's.
#include <string>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/fn_table.h"
#include "services/llm_gateway/builtin/row_stage.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {
namespace {

std::string Arange(int64_t count, bool on_partitions) {
  return absl::StrCat("nl.arange(", count, on_partitions ? ")[:, None]" : ")[None, :]");
}

}  // namespace

Tile StageEmitter::LoadInPieces(const Access& access) {
  // A load for each index of the outer pieces.
  const PartitionPiece& inner = access.pieces.back();
  const std::string index = IndexVector(Arange(inner.size, true));
  Dims strides = access.strides, extents = stage_.iteration.dims;
  std::vector<AxisIndex> axes = axes_;
  std::vector<std::string> variables;
  std::string place = index;
  int64_t size = inner.size;
  for (size_t i = access.pieces.size() - 1; i-- > 0;) {
    const PartitionPiece& piece = access.pieces[i];
    variables.insert(variables.begin(), i == 0 ? names_.piece : names_.inner_piece);
    place = absl::StrCat(variables.front(), " * ", size, " + ", place);
    size *= piece.size;
    strides.push_back(piece.stride);
    extents.push_back(piece.size);
    // Where the inner piece doesn't move, each of its partitions reads the same.
    const bool repeats = inner.stride == 0 && piece.stride != 0;
    axes.push_back({repeats ? absl::StrCat(variables.front(), " + 0 * ", index) : variables.front(),
                    repeats ? AxisIndex::Kind::kPartition : AxisIndex::Kind::kLoop, false});
  }
  strides.push_back(inner.stride);
  extents.push_back(inner.size);
  axes.push_back({index, AxisIndex::Kind::kPartition, false});
  const Subscripted source = Subscript(access.value, access.offset, strides, extents, axes);
  auto& cache = source.depends_on_loop ? loads_ : hoisted_loads_;
  const auto found = cache.find(source.text);
  if (found != cache.end()) return found->second;
  PythonWriter& out = source.depends_on_loop ? body_ : hoisted_;
  const DType dtype = program().values[access.value].dtype;
  const Tile tile{names_.names.Unique(absl::StrCat(ValueName(access.value), "_tile")), source.has_free,
                  StoredDType(dtype)};
  out.Line(absl::StrCat(tile.name, " = nl.ndarray(", TupleLiteral(TileShape(source.has_free)),
                        ", dtype=", DTypeLiteral(dtype), ", buffer=nl.sbuf)"));
  for (size_t i = 0; i < variables.size(); ++i) {
    out.Line(absl::StrCat("for ", variables[i], " in nl.affine_range(", access.pieces[i].size, "):"));
    out.Indent();
  }
  const std::string mask = source.has_free ? ColumnMask() : "";
  out.Line(absl::StrCat(tile.name, "[", place, ", ", source.has_free ? names_.i_f : std::string("0"),
                        "] = nl.load(", source.text, MaskArgument({mask}), ")"));
  for (size_t i = 0; i < variables.size(); ++i) out.Dedent();
  cache[source.text] = tile;
  return tile;
}

void StageEmitter::StoreOfSpreadRow(const Access& access, const Tile& tile) {
  const RowSpread& spread = stage_.spread;
  Dims strides = access.strides, extents = stage_.iteration.dims;
  std::vector<AxisIndex> axes = axes_;
  std::string value = absl::StrCat(tile.name, "[", names_.i_one, ", 0]");
  if (spread.rows > 1) {
    const PartitionPiece& step = access.pieces[spread.parts_first ? 1 : 0];
    const std::string index = IndexVector(Arange(spread.rows, spread.parts_first));
    strides.push_back(step.stride);
    extents.push_back(step.size);
    axes.push_back({index, spread.parts_first ? AxisIndex::Kind::kPartition : AxisIndex::Kind::kFree, false});
    value = absl::StrCat(tile.name, "[", index, ", 0]");
    // Only neighbours among partitions are stored together, so the column becomes a row, and of that one
    // element for each row is taken.
    if (!spread.parts_first) {
      const Tile turned = Define(absl::StrCat(ValueName(access.value), "_turned"),
                                 absl::StrCat("nisa.nc_transpose(", tile.name, ")"), true, tile.dtype);
      value = Define(absl::StrCat(ValueName(access.value), "_row"),
                     absl::StrCat("nl.copy(", turned.name, "[", names_.i_one, ", ", index, " * ",
                                  spread.parts, "])"),
                     true, tile.dtype)
                  .name;
    }
  }
  const Subscripted target = Subscript(access.value, access.offset, strides, extents, axes);
  body_.Line(absl::StrCat("nl.store(", target.text, ", value=", value, ")"));
}

Tile RowStageEmitter::Together(const Op& op, const Tile& found) {
  const RowSpread& spread = stage().spread;
  if (spread.parts == 1) return found;
  const bool sums = op.fn == Fn::kSum || op.fn == Fn::kMean;
  return sums ? SumTogether(op, found) : ExtremeTogether(op, found);
}

// A product with the matrix that has a one wherever two partitions belong to one row.
Tile RowStageEmitter::SumTogether(const Op& op, const Tile& found) {
  const RowSpread& spread = stage().spread;
  const int64_t partitions = spread.rows * spread.parts;
  if (same_row_.empty()) {
    same_row_ = names().names.Unique("same_row");
    if (spread.rows == 1) {
      hoisted().Line(absl::StrCat(same_row_, " = nl.ones(", TupleLiteral({partitions, partitions}),
                                  ", dtype=nl.float32)"));
    } else {
      const auto row_of = [&](absl::string_view base, const std::string& expression) {
        const std::string number = names().names.Unique(absl::StrCat("partition_", base));
        hoisted().Line(absl::StrCat(number, " = nisa.iota(", expression, ", dtype=nl.float32)"));
        const std::string row = names().names.Unique(absl::StrCat("row_", base));
        const std::string rest =
            absl::StrCat("nl.mod(", number, ", ", spread.parts_first ? spread.rows : spread.parts, ")");
        hoisted().Line(absl::StrCat(
            row, " = ", spread.parts_first ? rest : absl::StrCat("nl.subtract(", number, ", ", rest, ")")));
        return row;
      };
      const std::string other = IndexVector(Arange(partitions, false));
      const std::string own = row_of("own", names().i_p);
      const std::string others = row_of("other", absl::StrCat(other, " + 0 * ", names().i_p));
      hoisted().Line(absl::StrCat(same_row_, " = nl.equal(", others, ", ", own, ", dtype=nl.float32)"));
    }
  }
  const std::string product = absl::StrCat("nisa.nc_matmul(", same_row_, ", ", found.name, ")");
  const std::string type =
      op.dtype == DType::kFloat32 ? "" : absl::StrCat(", dtype=", DTypeLiteral(op.dtype));
  return Define(BaseName(op),
                op.fn == Fn::kMean
                    ? absl::StrCat("nl.multiply(", product, ", 1.0 / ", ReducedCount(op), type, ")")
                    : absl::StrCat("nl.copy(", product, type, ")"),
                false, op.dtype);
}

// Turned onto the free axis of one partition, where they are reduced, and spread again by a product with one.
Tile RowStageEmitter::ExtremeTogether(const Op& op, const Tile& found) {
  const RowSpread& spread = stage().spread;
  const int64_t partitions = spread.rows * spread.parts;
  const std::string reduce(RowOf(op.fn).nl_name);
  const Tile turned =
      Define(absl::StrCat(BaseName(op), "_parts"),
             absl::StrCat("nl.copy(nisa.nc_transpose(", found.name, "))"), true, DType::kFloat32);
  std::string whole;
  if (spread.rows == 1) {
    const Tile extreme =
        Define(BaseName(op), absl::StrCat(reduce, "(", turned.name, ", axis=[1], keepdims=True)"), false,
               DType::kFloat32);
    whole =
        Define(absl::StrCat(BaseName(op), "_wide"),
               absl::StrCat("nl.broadcast_to(", extreme.name, ", shape=", TupleLiteral({1, partitions}), ")"),
               true, DType::kFloat32)
            .name;
  } else {
    const std::string row = IndexVector(absl::StrCat("nl.arange(", spread.rows, ")[None, :, None]"));
    const std::string part = IndexVector(absl::StrCat("nl.arange(", spread.parts, ")[None, None, :]"));
    const std::string one = IndexVector("nl.arange(1)[:, None, None]");
    const std::string at = spread.parts_first
                               ? absl::StrCat("[", one, ", ", part, " * ", spread.rows, " + ", row, "]")
                               : absl::StrCat("[", one, ", ", row, " * ", spread.parts, " + ", part, "]");
    const Tile extreme =
        Define(BaseName(op), absl::StrCat(reduce, "(", turned.name, at, ", axis=[2], keepdims=True)"), false,
               DType::kFloat32);
    const Tile wide = Define(
        absl::StrCat(BaseName(op), "_wide"),
        absl::StrCat("nl.ndarray(", TupleLiteral({1, partitions}), ", dtype=nl.float32, buffer=nl.sbuf)"),
        true, DType::kFloat32);
    body().Line(absl::StrCat(wide.name, at, " = nl.broadcast_to(", extreme.name,
                             ", shape=", TupleLiteral({1, spread.rows, spread.parts}), ")"));
    whole = wide.name;
  }
  if (one_.empty()) {
    one_ = names().names.Unique("one");
    hoisted().Line(absl::StrCat(one_, " = nl.ones((1, 1), dtype=nl.float32)"));
  }
  const std::string type =
      op.dtype == DType::kFloat32 ? "" : absl::StrCat(", dtype=", DTypeLiteral(op.dtype));
  return Define(BaseName(op), absl::StrCat("nl.copy(nisa.nc_matmul(", whole, ", ", one_, ")", type, ")"),
                false, op.dtype);
}

void RowStageEmitter::EmitSpreadReduction(size_t position) {
  const Op& op = program().ops[stage().stage.ops[position]];
  const Tile whole = WithFreeAxis(OperandTile(position, 0));
  const std::optional<Tile> sum = SumOf(op.operands[0].value);
  if (sum.has_value() && (op.fn == Fn::kSum || op.fn == Fn::kMean)) {
    Bind(op.result, Together(op, *sum));
    return;
  }
  const Fn partial = op.fn == Fn::kMean ? Fn::kSum : op.fn;
  const std::string type = whole.dtype == DType::kFloat32 ? "" : ", dtype=nl.float32";
  const Tile found =
      Define(absl::StrCat(BaseName(op), "_part"),
             absl::StrCat(RowOf(partial).nl_name, "(", whole.name, ", axis=[1]", type, ", keepdims=True)"),
             false, DType::kFloat32);
  Bind(op.result, Together(op, found));
}

}  // namespace nkiagent::builtin
