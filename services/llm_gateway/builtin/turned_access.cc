// Loads and stores through the Tensor engine, for tensors whose neighbours in memory lie along the partition
// axis.
#include <string>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {
namespace {

std::string Plus(const std::string& a, const std::string& b) {
  return a.empty() ? b : absl::StrCat(a, " + ", b);
}

}  // namespace

// The access with the roles of the two axes exchanged: a block of the free axis on partitions, rows on the
// free axis.
StageEmitter::Subscripted StageEmitter::SubscriptTurned(const Access& access, const std::string& block) {
  std::vector<AxisIndex> turned = axes_;
  AxisIndex& rows = turned[stage_.partition.axis];
  AxisIndex& columns = turned[stage_.free.axis];
  rows.text = Plus(row_start_, names_.i_pf);
  rows.kind = AxisIndex::Kind::kFree;
  columns.text = Plus(column_start_, Plus(block, names_.i_bp));
  columns.kind = AxisIndex::Kind::kPartition;
  Subscripted result = Subscript(access.value, access.offset, access.strides, stage_.iteration.dims, turned);
  std::string mask;
  if (stage_.partition.ragged()) mask = absl::StrCat(rows.text, " < ", stage_.partition.size);
  if (stage_.free.ragged()) {
    const std::string column_mask = absl::StrCat(columns.text, " < ", stage_.free.size);
    mask = mask.empty() ? column_mask : absl::StrCat("(", mask, ") & (", column_mask, ")");
  }
  result.mask = mask.empty() ? "" : absl::StrCat(", mask=(", mask, ")");
  return result;
}

Tile StageEmitter::LoadTurned(const Access& access) {
  const int64_t block = TurnedBlock(stage_);
  const int64_t blocks = stage_.free.tile / block;
  const std::string& variable = names_.square;
  const std::string start = blocks > 1 ? absl::StrCat(variable, " * ", block) : "";
  const Subscripted source = SubscriptTurned(access, start);
  const auto found = loads_.find(source.text);
  if (found != loads_.end()) return found->second;
  const std::string& tensor = names_.hbm[access.value];
  const DType dtype = program().values[access.value].dtype;
  const Tile tile{names_.names.Unique(absl::StrCat(tensor, "_tile")), true, dtype};
  const std::string squares = names_.names.Unique(absl::StrCat(tensor, "_turned"));
  body_.Line(absl::StrCat(tile.name, " = nl.ndarray(",
                          TupleLiteral({stage_.partition.tile, stage_.free.tile}),
                          ", dtype=", DTypeLiteral(dtype), ", buffer=nl.sbuf)"));
  if (blocks > 1) OpenLoop(variable, blocks, /*in_order=*/false);
  if (source.mask.empty()) {
    body_.Line(absl::StrCat(squares, " = nl.load(", source.text, ")"));
  } else {
    body_.Line(absl::StrCat(squares, " = nl.zeros(", TupleLiteral({block, stage_.partition.tile}),
                            ", dtype=", DTypeLiteral(dtype), ", buffer=nl.sbuf)"));
    body_.Line(absl::StrCat(squares, "[", names_.i_bp, ", ", names_.i_pf, "] = nl.load(", source.text,
                            source.mask, ")"));
  }
  body_.Line(absl::StrCat(tile.name, "[", names_.i_p, ", ", Plus(start, names_.i_bf),
                          "] = nisa.nc_transpose(", squares, ")"));
  if (blocks > 1) CloseLoop();
  loads_[source.text] = tile;
  return tile;
}

void StageEmitter::StoreTurned(const Access& access, const Tile& tile) {
  const int64_t block = TurnedBlock(stage_);
  const int64_t blocks = stage_.free.tile / block;
  const std::string& variable = names_.square;
  const std::string start = blocks > 1 ? absl::StrCat(variable, " * ", block) : "";
  if (blocks > 1) OpenLoop(variable, blocks, /*in_order=*/false);
  const Subscripted target = SubscriptTurned(access, start);
  const std::string square =
      blocks > 1 ? absl::StrCat(tile.name, "[", names_.i_p, ", ", Plus(start, names_.i_bf), "]") : tile.name;
  const Tile turned = Define(absl::StrCat(names_.hbm[access.value], "_turned"),
                             absl::StrCat("nl.copy(nisa.nc_transpose(", square, "))"), true, tile.dtype);
  body_.Line(absl::StrCat("nl.store(", target.text, ", value=", turned.name, target.mask, ")"));
  if (blocks > 1) CloseLoop();
}

}  // namespace nkiagent::builtin
