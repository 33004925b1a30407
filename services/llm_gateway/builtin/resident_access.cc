// Values that stay in SBUF between stages: their tensors, and how tiles are read from and written to them.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/builtin/residency.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {

void StageEmitter::DeclareResidences(PythonWriter* kernel) const {
  for (const Access& access : stage_.iteration.accesses) {
    if (!access.is_store || !access.on_chip) continue;
    const Residence& residence = *plan_.residences[access.value];
    Dims shape = {residence.tile};
    shape.insert(shape.end(), residence.free.begin(), residence.free.end());
    kernel->Line(absl::StrCat(names_.on_chip[access.value],
                              residence.ragged() ? " = nl.zeros(" : " = nl.ndarray(", TupleLiteral(shape),
                              ", dtype=", DTypeLiteral(program().values[access.value].dtype),
                              ", buffer=nl.sbuf)  # stays on chip"));
  }
}

const std::string& StageEmitter::ValueName(int value) const {
  return names_.hbm[value].empty() ? program().values[value].name : names_.hbm[value];
}

StageEmitter::Subscripted StageEmitter::OnChip(int value, const TileSteps& steps,
                                               const std::string& partition,
                                               const std::vector<AxisIndex>& others) {
  const Residence& residence = *plan_.residences[value];
  const std::optional<Placement> placement =
      Place(residence, ElementCount(program().values[value].dims), steps);
  Dims extents;
  for (const Step& step : steps.others) extents.push_back(step.extent);
  const auto subscripts = placement.has_value()
                              ? SubscriptsIn(residence.free, placement->offset, placement->strides, extents)
                              : std::nullopt;
  Subscripted result;
  if (!subscripts.has_value()) {
    Fail(absl::StrCat("value '", program().values[value].name, "' is read otherwise than it lies on chip"));
    return result;
  }
  result.has_partition = steps.partition.stride != 0;
  std::vector<std::string> parts = {partition};
  for (const auto& subscript : *subscripts) {
    std::vector<std::string> terms;
    for (const auto& [axis, coefficient] : subscript.terms) {
      terms.push_back(ScaledIndex(coefficient, others[axis]));
      result.has_free |= others[axis].kind == AxisIndex::Kind::kFree;
      result.depends_on_loop |= others[axis].depends_on_loop;
    }
    if (subscript.constant != 0 || terms.empty()) terms.push_back(absl::StrCat(subscript.constant));
    parts.push_back(absl::StrJoin(terms, " + "));
  }
  result.text = absl::StrCat(names_.on_chip[value], "[", absl::StrJoin(parts, ", "), "]");
  return result;
}

StageEmitter::Subscripted StageEmitter::OnChip(const Access& access) {
  const TileSteps steps = StageSteps(stage_, access);
  std::vector<AxisIndex> others;
  for (int axis = 0; axis < static_cast<int>(axes_.size()); ++axis) {
    if (axis != stage_.partition.axis) others.push_back(axes_[axis]);
  }
  others.push_back({row_variable_, AxisIndex::Kind::kLoop, !row_variable_.empty()});
  const bool one_row = steps.partition.stride == 0 && stage_.partition.tile > 1;
  return OnChip(access.value, steps, one_row ? names_.i_one : names_.i_p, others);
}

Tile StageEmitter::ReadOnChip(const Access& access) {
  const Subscripted source = OnChip(access);
  const DType dtype = StoredDType(program().values[access.value].dtype);
  Tile tile{source.text, source.has_free, dtype, /*indexed=*/true};
  if (source.has_partition || stage_.partition.tile == 1) return tile;
  auto& cache = source.depends_on_loop ? loads_ : hoisted_loads_;
  const auto found = cache.find(source.text);
  if (found != cache.end()) return found->second;
  const Dims shape = {stage_.partition.tile, source.has_free ? stage_.free.tile : 1};
  const Tile wide{names_.names.Unique(absl::StrCat(ValueName(access.value), "_tile")), source.has_free,
                  dtype};
  (source.depends_on_loop ? body_ : hoisted_)
      .Line(
          absl::StrCat(wide.name, " = nl.broadcast_to(", source.text, ", shape=", TupleLiteral(shape), ")"));
  cache[source.text] = wide;
  return wide;
}

Tile StageEmitter::DefineResult(const Op& op, absl::string_view expression, bool has_free, DType dtype) {
  const int index = static_cast<int>(&op - program().ops.data());
  const Access& store = AccessOf(index, -1);
  // What has to be masked, widened or cast goes there by a copy, and so does what is turned for HBM.
  const bool turned = plan_.staged.in_hbm[op.result] && IsTurned(stage_, store, op.dtype);
  const bool direct = store.on_chip && !turned && Mask(true, true).empty() &&
                      dtype == StoredDType(program().values[op.result].dtype) &&
                      (has_free || store.extent == Extent::kRow || TileShape(true) == TileShape(false));
  if (!direct) return Define(BaseName(op), expression, has_free, dtype);
  const Tile tile{OnChip(store).text, has_free, dtype, /*indexed=*/true};
  body_.Line(absl::StrCat(tile.name, " = ", expression));
  return tile;
}

void StageEmitter::KeepOnChip(const Access& access, const Tile& tile) {
  const Subscripted target = OnChip(access);
  if (tile.name == target.text) return;
  const DType dtype = program().values[access.value].dtype;
  const std::string type =
      StoredDType(dtype) == tile.dtype ? "" : absl::StrCat(", dtype=", DTypeLiteral(dtype));
  body_.Line(absl::StrCat(target.text, " = nl.copy(", tile.name, type, Mask(true, target.has_free), ")"));
}

}  // namespace nkiagent::builtin
