#include "services/llm_gateway/builtin/matmul_stage.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nkiagent::builtin {
namespace {

std::string MaskOf(std::vector<std::string> conditions) {
  std::erase(conditions, "");
  if (conditions.empty()) return "";
  if (conditions.size() == 1) return absl::StrCat(", mask=(", conditions[0], ")");
  return absl::StrCat(", mask=((", absl::StrJoin(conditions, ") & ("), "))");
}

std::string Arange(int64_t count, bool partitions) {
  return absl::StrCat("nl.arange(", count, partitions ? ")[:, None]" : ")[None, :]");
}

}  // namespace

MatmulStageEmitter::MatmulStageEmitter(const KernelPlan& plan, const StagePlan& stage, KernelNames& names)
    : StageEmitter(plan, stage, names), lhs_(SourceOf(0)), rhs_(SourceOf(1)) {}

std::string MatmulStageEmitter::Headline() const {
  const AxisTiling &rows = stage().partition, &columns = stage().free;
  const MatmulTiling& mm = stage().matmul;
  return absl::StrCat(matmul().origin, ": matmul, ", rows.count(), " x ", rows.tile, " rows, ",
                      columns.count(), " x ", columns.tile, " columns, contraction ", mm.k_count(), " x ",
                      mm.k_tile);
}

std::vector<std::pair<std::string, std::string>> MatmulStageEmitter::MoreIndices() const {
  const int64_t k_tile = stage().matmul.k_tile;
  return {{names().i_k, Arange(k_tile, true)},
          {names().i_kf, Arange(k_tile, false)},
          {names().i_m, Arange(stage().partition.tile, false)},
          {names().i_n, Arange(stage().free.size, false)}};
}

MatmulStageEmitter::Source MatmulStageEmitter::SourceOf(size_t operand) const {
  const Access& access = AccessOf(stage().stage.matmul, static_cast<int>(operand));
  const Operand& o = matmul().operands[operand];
  return {access.value, access.offset, access.strides, o.view.strides[operand == 0 ? 2 : 1], o.dtype};
}

std::string MatmulStageEmitter::KIndex(absl::string_view vector) const {
  const MatmulTiling& mm = stage().matmul;
  if (mm.k_count() == 1) return std::string(vector);
  return absl::StrCat(names().k, " * ", mm.k_tile, " + ", vector);
}

std::string MatmulStageEmitter::KMask(absl::string_view vector) const {
  return stage().matmul.k_ragged() ? absl::StrCat(KIndex(vector), " < ", stage().matmul.k) : "";
}

std::string MatmulStageEmitter::KNumber() const { return stage().matmul.k_count() == 1 ? "0" : names().k; }

bool MatmulStageEmitter::OpenKLoop() {
  if (stage().matmul.k_count() == 1) return false;
  OpenLoop(names().k, stage().matmul.k_count(), /*in_order=*/false);
  return true;
}

std::string MatmulStageEmitter::Declare(absl::string_view base, const Dims& shape, bool zeroed, DType dtype) {
  const std::string name = names().names.Unique(base);
  body().Line(absl::StrCat(name, " = ", zeroed ? "nl.zeros(" : "nl.ndarray(", TupleLiteral(shape),
                           ", dtype=", DTypeLiteral(dtype), ", buffer=nl.sbuf)"));
  return name;
}

std::string MatmulStageEmitter::At(const Source& source, absl::string_view k_vector, AxisIndex::Kind kind) {
  Dims strides = source.strides, extents = stage().iteration.dims;
  std::vector<AxisIndex> all = axes();
  strides.push_back(source.k_stride);
  extents.push_back(stage().matmul.k);
  all.push_back({KIndex(k_vector), kind, stage().matmul.k_count() > 1});
  return Subscript(source.value, source.offset, strides, extents, all).text;
}

// The rows' operand as [contraction, rows]. Where it lies row by row it is loaded so and turned by the Tensor
// engine, since a transposing DMA moves single elements.
void MatmulStageEmitter::LoadStationary() {
  const AxisTiling& rows = stage().partition;
  const MatmulTiling& mm = stage().matmul;
  const bool zeroed = rows.ragged() || mm.k_ragged();
  const int64_t row_stride = rows.axis < 0 ? mm.k : lhs_.strides[rows.axis];
  const bool turned = lhs_.k_stride != 1 || row_stride == 1;  // already contraction-major
  const std::string& tensor = names().hbm[lhs_.value];
  stationary_ =
      Declare(absl::StrCat(tensor, "_t"), {mm.k_tile, mm.k_count(), rows.tile}, zeroed && turned, lhs_.dtype);
  const std::string& i_k = names().i_k;
  const std::string& i_m = names().i_m;
  const bool loop = OpenKLoop();
  const std::string target = absl::StrCat(stationary_, "[", i_k, ", ", KNumber(), ", ", i_m, "]");
  if (turned) {
    // Rows along the free axis for this load only.
    const std::vector<AxisIndex> saved = axes();
    std::string row_mask = RowMask();
    if (rows.axis >= 0) {
      const std::string index =
          rows.count() == 1 ? i_m : absl::StrCat(names().row, " * ", rows.tile, " + ", i_m);
      axes()[rows.axis] = {index, AxisIndex::Kind::kFree, rows.count() > 1};
      if (!row_mask.empty()) row_mask = absl::StrCat(index, " < ", rows.size);
    }
    body().Line(absl::StrCat(target, " = nl.load(", At(lhs_, i_k, AxisIndex::Kind::kPartition),
                             MaskOf({row_mask, KMask(i_k)}), ")"));
    axes() = saved;
  } else {
    const std::string& i_kf = names().i_kf;
    const std::string source = absl::StrCat("nl.load(", At(lhs_, i_kf, AxisIndex::Kind::kFree),
                                            MaskOf({RowMask(), KMask(i_kf)}), ")");
    std::string tile;
    if (zeroed) {
      tile = Declare(absl::StrCat(tensor, "_tile"), {rows.tile, mm.k_tile}, true, lhs_.dtype);
      body().Line(absl::StrCat(tile, "[", names().i_p, ", ", i_kf, "] = ", source));
    } else {
      tile = Define(absl::StrCat(tensor, "_tile"), source, true, lhs_.dtype).name;
    }
    body().Line(absl::StrCat(target, " = nisa.nc_transpose(", tile, ")"));
  }
  if (loop) CloseLoop();
}

// The columns' operand as [contraction, columns], all of it.
void MatmulStageEmitter::LoadResidentMoving() {
  const AxisTiling& columns = stage().free;
  const MatmulTiling& mm = stage().matmul;
  const bool zeroed = columns.ragged() || mm.k_ragged();
  moving_ = Declare(absl::StrCat(names().hbm[rhs_.value], "_sb"),
                    {mm.k_tile, mm.k_count(), columns.count() * columns.tile}, zeroed, rhs_.dtype);
  const bool loop = OpenKLoop();
  const std::vector<AxisIndex> saved = axes();
  if (columns.axis >= 0) axes()[columns.axis] = {names().i_n, AxisIndex::Kind::kFree, false};
  const std::string& i_k = names().i_k;
  body().Line(absl::StrCat(moving_, "[", i_k, ", ", KNumber(), ", ", names().i_n, "] = nl.load(",
                           At(rhs_, i_k, AxisIndex::Kind::kPartition), MaskOf({KMask(i_k)}), ")"));
  axes() = saved;
  if (loop) CloseLoop();
}

std::string MatmulStageEmitter::MovingTile() {
  const AxisTiling& columns = stage().free;
  const MatmulTiling& mm = stage().matmul;
  const std::string& i_k = names().i_k;
  const std::string& i_f = names().i_f;
  if (mm.resident_moving) {
    const std::string index =
        columns.count() == 1 ? i_f : absl::StrCat(names().chunk, " * ", columns.tile, " + ", i_f);
    return absl::StrCat(moving_, "[", i_k, ", ", KNumber(), ", ", index, "]");
  }
  const std::string base = absl::StrCat(names().hbm[rhs_.value], "_tile");
  const std::string source = absl::StrCat("nl.load(", At(rhs_, i_k, AxisIndex::Kind::kPartition),
                                          MaskOf({ColumnMask(), KMask(i_k)}), ")");
  if (!columns.ragged() && !mm.k_ragged()) return Define(base, source, true, rhs_.dtype).name;
  const std::string tile = Declare(base, {mm.k_tile, columns.tile}, true, rhs_.dtype);
  body().Line(absl::StrCat(tile, "[", i_k, ", ", i_f, "] = ", source));
  return tile;
}

void MatmulStageEmitter::EmitProduct() {
  const std::string sum = names().names.Unique(absl::StrCat(BaseName(matmul()), "_psum"));
  body().Line(absl::StrCat(sum, " = nl.zeros(", TupleLiteral({stage().partition.tile, stage().free.tile}),
                           ", dtype=nl.float32, buffer=nl.psum)"));
  const bool loop = OpenKLoop();
  const std::string moving = MovingTile();
  body().Line(absl::StrCat(sum, " += nisa.nc_matmul(", stationary_, "[", names().i_k, ", ", KNumber(), ", ",
                           names().i_m, "], ", moving, ")"));
  if (loop) CloseLoop();
  Bind(matmul().result, Define(BaseName(matmul()),
                               absl::StrCat("nl.copy(", sum, ", dtype=", DTypeLiteral(matmul().dtype), ")"),
                               true, matmul().dtype));
}

void MatmulStageEmitter::EmitLoops() {
  if (!IsFloat(lhs_.dtype) || !IsFloat(rhs_.dtype)) {
    Fail(absl::StrCat("node '%", matmul().origin, "': the Tensor engine takes no integers"));
    return;
  }
  const bool moving_changes = std::any_of(stage().row_loops.begin(), stage().row_loops.end(),
                                          [this](int axis) { return rhs_.strides[axis] != 0; });
  if (stage().matmul.resident_moving && !moving_changes) LoadResidentMoving();
  OpenRowLoops();
  if (stage().matmul.resident_moving && moving_changes) LoadResidentMoving();
  OpenRowTileLoop();
  LoadStationary();
  if (stage().free.count() == 1) {
    IndexColumns("");
  } else {
    OpenLoop(names().chunk, stage().free.count(), /*in_order=*/false);
    IndexColumns(names().chunk);
  }
  for (size_t i = 0; i < stage().stage.ops.size(); ++i) {
    if (stage().stage.ops[i] == stage().stage.matmul) {
      EmitProduct();
    } else {
      EmitOp(i);
    }
    EmitStore(i);
  }
  CloseLoops();
}

}  // namespace nkiagent::builtin
