// Loads and stores through the Tensor engine, for tensors whose neighbours in memory lie along the partition
// axis.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {
namespace {

std::string Plus(const std::string& a, const std::string& b) {
  return a.empty() ? b : absl::StrCat(a, " + ", b);
}

}  // namespace

// The access with the roles of the two axes exchanged: columns on partitions, in as many blocks as they need,
// rows on the free axis. Neighbouring columns lie in one partition, so that whole rows make one run.
StageEmitter::Subscripted StageEmitter::SubscriptTurned(const Access& access) {
  const int64_t block = TurnedBlock(stage_), blocks = stage_.free.tile / block;
  std::vector<AxisIndex> turned = axes_;
  AxisIndex& rows = turned[stage_.partition.axis];
  AxisIndex& columns = turned[stage_.free.axis];
  std::string row = names_.i_pf, column = names_.i_bp;
  if (blocks > 1) {
    row = IndexVector(absl::StrCat("nl.arange(", stage_.partition.tile, ")[None, None, :]"));
    column = absl::StrCat(blocks, " * ", IndexVector(absl::StrCat("nl.arange(", block, ")[:, None, None]")),
                          " + ", IndexVector(absl::StrCat("nl.arange(", blocks, ")[None, :, None]")));
  }
  rows.text = Plus(row_start_, row);
  rows.kind = AxisIndex::Kind::kFree;
  columns.text = Plus(column_start_, column);
  columns.kind = AxisIndex::Kind::kPartition;
  Subscripted result = Subscript(access.value, access.offset, access.strides, stage_.iteration.dims, turned);
  result.mask =
      MaskArgument({stage_.partition.ragged() ? absl::StrCat(rows.text, " < ", stage_.partition.size) : "",
                    stage_.free.ragged() ? absl::StrCat(columns.text, " < ", stage_.free.size) : ""});
  return result;
}

// Turns each block into its columns of the tile of rows, which are every so many of these; or back.
void StageEmitter::TurnBlocks(const std::string& blocks_tile, const std::string& rows_tile, bool back) {
  const int64_t block = TurnedBlock(stage_), blocks = stage_.free.tile / block;
  const std::string& q = names_.square;
  std::string square = blocks_tile, columns = rows_tile;
  if (blocks > 1) {
    OpenLoop(q, blocks, /*in_order=*/false);
    square = absl::StrCat(blocks_tile, "[", names_.i_bp, ", ", q, ", ", names_.i_pf, "]");
    columns = absl::StrCat(rows_tile, "[", names_.i_p, ", ", blocks, " * ", names_.i_bf, " + ", q, "]");
  }
  const std::string& into = back ? square : columns;
  body_.Line(
      absl::StrCat(into, blocks > 1 ? "" : "[...]", " = nisa.nc_transpose(", back ? columns : square, ")"));
  if (blocks > 1) CloseLoop();
}

Dims StageEmitter::TurnedShape() const {
  const int64_t block = TurnedBlock(stage_), blocks = stage_.free.tile / block;
  return blocks > 1 ? Dims{block, blocks, stage_.partition.tile} : Dims{block, stage_.partition.tile};
}

Tile StageEmitter::LoadTurned(const Access& access) {
  const Subscripted source = SubscriptTurned(access);
  const auto found = loads_.find(source.text);
  if (found != loads_.end()) return found->second;
  const std::string& tensor = names_.hbm[access.value];
  const DType dtype = program().values[access.value].dtype;
  const Tile tile{names_.names.Unique(absl::StrCat(tensor, "_tile")), true, dtype};
  const std::string turned = names_.names.Unique(absl::StrCat(tensor, "_turned"));
  const std::string type = absl::StrCat(", dtype=", DTypeLiteral(dtype), ", buffer=nl.sbuf)");
  if (source.mask.empty()) {
    body_.Line(absl::StrCat(turned, " = nl.load(", source.text, ")"));
  } else {
    body_.Line(absl::StrCat(turned, " = nl.zeros(", TupleLiteral(TurnedShape()), type));
    std::vector<std::string> index;
    for (size_t i = 0; i < TurnedShape().size(); ++i) {
      std::vector<absl::string_view> axes(TurnedShape().size(), "None");
      axes[i] = ":";
      index.push_back(
          IndexVector(absl::StrCat("nl.arange(", TurnedShape()[i], ")[", absl::StrJoin(axes, ", "), "]")));
    }
    body_.Line(
        absl::StrCat(turned, "[", absl::StrJoin(index, ", "), "] = nl.load(", source.text, source.mask, ")"));
  }
  body_.Line(absl::StrCat(tile.name, " = nl.ndarray(",
                          TupleLiteral({stage_.partition.tile, stage_.free.tile}), type));
  TurnBlocks(turned, tile.name, /*back=*/false);
  loads_[source.text] = tile;
  return tile;
}

void StageEmitter::StoreTurned(const Access& access, const Tile& tile) {
  const Subscripted target = SubscriptTurned(access);
  const std::string turned = names_.names.Unique(absl::StrCat(names_.hbm[access.value], "_turned"));
  body_.Line(absl::StrCat(turned, " = nl.ndarray(", TupleLiteral(TurnedShape()),
                          ", dtype=", DTypeLiteral(tile.dtype), ", buffer=nl.sbuf)"));
  TurnBlocks(turned, tile.name, /*back=*/true);
  body_.Line(absl::StrCat("nl.store(", target.text, ", value=", turned, target.mask, ")"));
}

}  // namespace nkiagent::builtin
