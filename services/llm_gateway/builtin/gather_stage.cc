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
  const std::string load = absl::StrCat(
      "nl.load(", Subscript(access.value, access.offset, access.strides, stage().iteration.dims, axes()).text,
      Mask(true, false), ")");
  const std::string base = absl::StrCat(names().hbm[access.value], "_tile");
  if (!stage().partition.ragged()) return Define(base, load, false, DType::kInt32).name;
  // Rows beyond the last name the first row of the table.
  const std::string name = names().names.Unique(base);
  body().Line(absl::StrCat(name, " = nl.zeros(", TupleLiteral({stage().partition.tile, 1}),
                           ", dtype=nl.int32, buffer=nl.sbuf)"));
  body().Line(absl::StrCat(name, "[", names().i_p, ", 0] = ", load));
  return name;
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
  const std::string numbers = LoadNumbers();
  if (stage().free.count() == 1) {
    IndexColumns("");
  } else {
    OpenLoop(names().chunk, stage().free.count(), /*in_order=*/false);
    IndexColumns(names().chunk);
  }
  for (size_t i = 0; i < stage().stage.ops.size(); ++i) {
    if (stage().stage.ops[i] == stage().stage.matmul) {
      EmitRows(numbers);
    } else {
      EmitOp(i);
    }
    EmitStore(i);
  }
  CloseLoops();
}

}  // namespace nkiagent::builtin
