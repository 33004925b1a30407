#include "services/llm_gateway/builtin/gather_stage.h"

#include <vector>

#include "absl/strings/str_cat.h"

namespace nkiagent::builtin {

std::string GatherStageEmitter::Headline() const {
  const AxisTiling &rows = stage().partition, &columns = stage().free;
  return absl::StrCat(op().origin, ": gather, ", rows.count(), " x ", rows.tile, " rows, ", columns.count(),
                      " x ", columns.tile, " columns");
}

std::string GatherStageEmitter::LoadNumbers() {
  const Access& access = AccessOf(stage().stage.matmul, 0);
  Tile numbers = Load(access);
  const auto define = [&](const std::string& expression) {
    return Define(BaseName(op()) + "_row", expression, numbers.has_free, DType::kInt32);
  };
  if (op().operands.size() > 2) {
    const double scale = *op().operands[2].immediate;
    if (scale != 1)
      numbers = define(absl::StrCat("nl.multiply(", numbers.name, ", ", NumberLiteral(scale, DType::kInt32),
                                    ", dtype=nl.int32)"));
    const Tile first = Load(AccessOf(stage().stage.matmul, 3));
    numbers = define(absl::StrCat("nl.add(", numbers.name, ", ", first.name, ", dtype=nl.int32)"));
  }
  const bool ragged_columns = OneByOne() && stage().free.ragged();
  if (!stage().partition.ragged() && !ragged_columns) return numbers.name;
  // Rows beyond the last name the first row of the table.
  const std::string name = names().names.Unique(BaseName(op()) + "_row");
  const int64_t columns = OneByOne() ? stage().free.tile : 1;
  body().Line(absl::StrCat(name, " = nl.zeros(", TupleLiteral({stage().partition.tile, columns}),
                           ", dtype=nl.int32, buffer=nl.sbuf)"));
  const std::string at =
      absl::StrCat("[", names().i_p, ", ", OneByOne() ? names().i_f : std::string("0"), "]");
  body().Line(absl::StrCat(name, at, " = nl.copy(", numbers.name, at, Mask(true, OneByOne()), ")"));
  return name;
}

bool GatherStageEmitter::OneByOne() const { return !stage().stage.has_free; }

void GatherStageEmitter::EmitElements(const std::string& numbers) {
  const Access& table = AccessOf(stage().stage.matmul, 1);
  const StridedView& view = op().operands[1].view;
  const std::string column = names().names.Unique("j");
  const std::string tile = names().names.Unique(BaseName(op()));
  body().Line(absl::StrCat(tile, " = nl.ndarray(", TupleLiteral({stage().partition.tile, stage().free.tile}),
                           ", dtype=", DTypeLiteral(op().dtype), ", buffer=nl.sbuf)"));
  const bool loop = stage().free.tile > 1;
  if (loop) OpenLoop(column, stage().free.tile, /*in_order=*/false);
  const std::string at = absl::StrCat("[", names().i_p, ", ", loop ? column : std::string("0"), "]");
  const std::vector<AxisIndex> indices = {{absl::StrCat(numbers, at), AxisIndex::Kind::kPartition, true},
                                          {names().i_f, AxisIndex::Kind::kFree, false}};
  const std::string source = Subscript(table.value, table.offset, view.strides, view.dims, indices).text;
  body().Line(absl::StrCat(tile, at, " = nl.load(", source, ")"));
  if (loop) CloseLoop();
  Bind(op().result, Tile{tile, true, op().dtype});
}

void GatherStageEmitter::EmitRows(const std::string& numbers) {
  const Access& table = AccessOf(stage().stage.matmul, 1);
  const StridedView& view = op().operands[1].view;
  const int column_axis = stage().free.axis;
  const std::vector<AxisIndex> indices = {
      {absl::StrCat(numbers, "[", names().i_p, ", 0]"), AxisIndex::Kind::kPartition, true},
      column_axis >= 0 ? axes()[column_axis] : AxisIndex{names().i_f, AxisIndex::Kind::kFree, false}};
  const std::string source = Subscript(table.value, table.offset, view.strides, view.dims, indices).text;
  Bind(op().result, Define(BaseName(op()), absl::StrCat("nl.load(", source, Mask(true, true), ")"),
                           column_axis >= 0, op().dtype));
}

void GatherStageEmitter::EmitLoops() {
  OpenRowLoops();
  OpenRowTileLoop();
  const std::string numbers = OneByOne() ? "" : LoadNumbers();
  if (stage().free.count() == 1) {
    IndexColumns("");
  } else {
    OpenLoop(names().chunk, stage().free.count(), /*in_order=*/false);
    IndexColumns(names().chunk);
  }
  for (size_t i = 0; i < stage().stage.ops.size(); ++i) {
    if (stage().stage.ops[i] == stage().stage.matmul) {
      if (OneByOne()) {
        EmitElements(LoadNumbers());
      } else {
        EmitRows(numbers);
      }
    } else {
      EmitOp(i);
    }
    EmitStore(i);
  }
  CloseLoops();
}

}  // namespace nkiagent::builtin
