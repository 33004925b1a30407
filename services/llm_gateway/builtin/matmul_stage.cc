#include "services/llm_gateway/builtin/matmul_stage.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/builtin/residency.h"

namespace nkiagent::builtin {
namespace {

std::string Sum(std::vector<std::string> terms) {
  std::erase(terms, "");
  return absl::StrJoin(terms, " + ");
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
  const Lines columns = ColumnLines(stage().matmul.resident_moving);
  const int64_t block = ChooseTile(columns.count, kMaxPartitions);
  return {{names().i_k, Arange(k_tile, true)},
          {names().i_kf, Arange(k_tile, false)},
          {names().i_m, Arange(stage().partition.tile, false)},
          {names().i_kk, Arange(stage().matmul.k, false)},
          {names().i_n, Arange(columns.count, false)},
          {names().i_np, Arange(block, true)},
          {names().i_nf, Arange(block, false)}};
}

MatmulStageEmitter::Source MatmulStageEmitter::SourceOf(size_t operand) const {
  const Access& access = AccessOf(stage().stage.matmul, static_cast<int>(operand));
  const Operand& o = matmul().operands[operand];
  return {access.value, access.offset, access.strides, o.view.strides[operand == 0 ? 2 : 1],
          o.dtype,      &access};
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

std::string MatmulStageEmitter::At(const Source& source, int line_axis, const AxisIndex& line,
                                   const AxisIndex& k) {
  Dims strides = source.strides, extents = stage().iteration.dims;
  std::vector<AxisIndex> all = axes();
  if (line_axis >= 0) all[line_axis] = line;
  strides.push_back(source.k_stride);
  extents.push_back(stage().matmul.k);
  all.push_back(k);
  return Subscript(source.value, source.offset, strides, extents, all).text;
}

bool MatmulStageEmitter::NeedsTurning(const Source& source, int line_axis) const {
  if (source.on_chip()) return source.access->turned;
  return line_axis >= 0 && source.k_stride == 1 && source.strides[line_axis] != 1;
}

std::string MatmulStageEmitter::OnChipBlock(const Source& source, const std::string& partition,
                                            const std::string& block) {
  const OperandSteps operand = MatmulSteps(program(), stage(), *source.access, /*turned=*/true);
  std::vector<AxisIndex> others;
  for (int axis = 0; axis < static_cast<int>(axes().size()); ++axis) {
    if (axis != operand.line_axis) others.push_back(axes()[axis]);
  }
  others.push_back({block, AxisIndex::Kind::kLoop, true});
  others.push_back({KIndex(names().i_kf), AxisIndex::Kind::kFree, true});
  return OnChip(source.value, operand.steps, partition, others).text;
}

std::string MatmulStageEmitter::OnChipTile(const Source& source, const std::string& line) {
  const OperandSteps operand = MatmulSteps(program(), stage(), *source.access, /*turned=*/false);
  std::vector<AxisIndex> others;
  for (int axis = 0; axis < static_cast<int>(axes().size()); ++axis) {
    if (axis != operand.line_axis) others.push_back(axes()[axis]);
  }
  others.push_back({KNumber(), AxisIndex::Kind::kLoop, true});
  others.push_back({line, AxisIndex::Kind::kFree, true});
  return OnChip(source.value, operand.steps, names().i_k, others).text;
}

bool MatmulStageEmitter::LoadSquare(const Source& source, const Lines& lines, const std::string& start,
                                    std::string* square) {
  const MatmulTiling& mm = stage().matmul;
  const std::string& tensor = ValueName(source.value);
  const bool whole = stage().assumptions.whole_contraction;
  const int64_t block = ChooseTile(lines.count, kMaxPartitions);
  const bool lines_ragged = lines.ragged || lines.count % block != 0;
  const std::string line = Sum({lines.base, start, lines.on_partitions});
  const std::string line_mask = lines_ragged ? absl::StrCat(line, " < ", lines.size) : "";
  const AxisIndex line_index = {line, AxisIndex::Kind::kPartition, true};

  bool loop = false;
  if (!whole) loop = OpenKLoop();
  const std::string k_vector = whole ? names().i_kk : names().i_kf;
  const AxisIndex k_index = {whole ? k_vector : KIndex(k_vector), AxisIndex::Kind::kFree, true};
  const std::string k_mask = whole ? "" : KMask(k_vector);
  const std::string load = absl::StrCat("nl.load(", At(source, lines.axis, line_index, k_index),
                                        MaskArgument({line_mask, k_mask}), ")");
  if (lines_ragged || mm.k_ragged()) {
    *square = Declare(absl::StrCat(tensor, "_rows"), {block, whole ? mm.k_tile * mm.k_count() : mm.k_tile},
                      true, source.dtype);
    body().Line(absl::StrCat(*square, "[", lines.on_partitions, ", ", k_vector, "] = ", load));
  } else {
    *square = Define(absl::StrCat(tensor, "_rows"), load, true, source.dtype).name;
  }
  if (!whole) return loop;
  loop = OpenKLoop();
  if (loop) *square = absl::StrCat(*square, "[", lines.on_partitions, ", ", KIndex(names().i_kf), "]");
  return loop;
}

// Natural tiles of lines by contraction, turned one square at a time by the Tensor engine: a transposing DMA
// would move single elements.
std::string MatmulStageEmitter::EmitTurnedPanel(const Source& source, const Lines& lines) {
  const MatmulTiling& mm = stage().matmul;
  const int64_t block = ChooseTile(lines.count, kMaxPartitions);
  const int64_t blocks = (lines.count + block - 1) / block;
  const std::string panel = Declare(absl::StrCat(ValueName(source.value), "_t"),
                                    {mm.k_tile, mm.k_count(), blocks * block}, false, source.dtype);
  const std::string variable = names().names.Unique("n");
  if (blocks > 1) OpenLoop(variable, blocks, /*in_order=*/false);
  const std::string start = blocks > 1 ? absl::StrCat(variable, " * ", block) : "";
  std::string square;
  bool loop = false;
  if (source.on_chip()) {
    loop = OpenKLoop();
    square = OnChipBlock(source, lines.on_partitions, Sum({lines.blocks, blocks > 1 ? variable : ""}));
  } else {
    loop = LoadSquare(source, lines, start, &square);
  }
  body().Line(absl::StrCat(panel, "[", names().i_k, ", ", KNumber(), ", ", Sum({start, lines.on_free}),
                           "] = nisa.nc_transpose(", square, ")"));
  if (loop) CloseLoop();
  if (blocks > 1) CloseLoop();
  return panel;
}

std::string MatmulStageEmitter::EmitDirectPanel(const Source& source, const Lines& lines) {
  const MatmulTiling& mm = stage().matmul;
  const std::string panel =
      Declare(absl::StrCat(ValueName(source.value), "_sb"), {mm.k_tile, mm.k_count(), lines.count},
              lines.ragged || mm.k_ragged(), source.dtype);
  const bool loop = OpenKLoop();
  const std::string& i_k = names().i_k;
  const std::string line = Sum({lines.base, lines.all_on_free});
  const std::string line_mask = lines.ragged ? absl::StrCat(line, " < ", lines.size) : "";
  const std::string from = At(source, lines.axis, {line, AxisIndex::Kind::kFree, true},
                              {KIndex(i_k), AxisIndex::Kind::kPartition, true});
  body().Line(absl::StrCat(panel, "[", i_k, ", ", KNumber(), ", ", lines.all_on_free, "] = nl.load(", from,
                           MaskArgument({line_mask, KMask(i_k)}), ")"));
  if (loop) CloseLoop();
  return panel;
}

std::string MatmulStageEmitter::EmitPanel(const Source& source, const Lines& lines) {
  if (NeedsTurning(source, lines.axis)) return EmitTurnedPanel(source, lines);
  // What is in SBUF already is read right there.
  return source.on_chip() ? "" : EmitDirectPanel(source, lines);
}

void MatmulStageEmitter::LoadStationary() {
  const AxisTiling& rows = stage().partition;
  Lines lines;
  lines.axis = rows.axis;
  lines.size = rows.size;
  lines.count = rows.tile;
  lines.ragged = rows.ragged();
  lines.base = rows.count() == 1 ? "" : absl::StrCat(names().row, " * ", rows.tile);
  lines.blocks = rows.count() == 1 ? "" : names().row;
  lines.on_partitions = names().i_p;
  lines.on_free = lines.all_on_free = names().i_m;
  stationary_ = EmitPanel(lhs_, lines);
}

std::string MatmulStageEmitter::StationaryTile() {
  if (!stationary_.empty())
    return absl::StrCat(stationary_, "[", names().i_k, ", ", KNumber(), ", ", names().i_m, "]");
  const AxisTiling& rows = stage().partition;
  const std::string start = rows.count() == 1 ? "" : absl::StrCat(names().row, " * ", rows.tile);
  return OnChipTile(lhs_, Sum({start, names().i_m}));
}

MatmulStageEmitter::Lines MatmulStageEmitter::ColumnLines(bool all) const {
  const AxisTiling& columns = stage().free;
  Lines lines;
  lines.axis = columns.axis;
  lines.size = columns.size;
  const int64_t panel = stage().matmul.panel_tiles * columns.tile;
  lines.count = all ? panel : columns.tile;
  lines.ragged = columns.ragged();
  if (all) {
    lines.base = panel_.empty() ? "" : absl::StrCat(panel_, " * ", panel);
  } else if (columns.count() > 1) {
    lines.base = absl::StrCat(names().chunk, " * ", columns.tile);
  }
  const std::string& loop = all ? panel_ : names().chunk;
  if (all ? !panel_.empty() : columns.count() > 1) {
    const int64_t blocks = lines.count / ChooseTile(lines.count, kMaxPartitions);
    lines.blocks = blocks == 1 ? loop : absl::StrCat(loop, " * ", blocks);
  }
  lines.on_partitions = names().i_np;
  lines.on_free = names().i_nf;
  lines.all_on_free = names().i_n;
  return lines;
}

std::string MatmulStageEmitter::MovingTile() {
  const AxisTiling& columns = stage().free;
  const MatmulTiling& mm = stage().matmul;
  const std::string& i_k = names().i_k;
  const std::string& i_f = names().i_f;
  if (!moving_.empty()) {
    const std::string start =
        mm.resident_moving && mm.panel_tiles > 1 ? absl::StrCat(names().chunk, " * ", columns.tile) : "";
    return absl::StrCat(moving_, "[", i_k, ", ", KNumber(), ", ", Sum({start, i_f}), "]");
  }
  if (rhs_.on_chip()) {
    return OnChipTile(rhs_, columns.axis >= 0 ? axes()[columns.axis].text : i_f);
  }
  const std::string base = absl::StrCat(names().hbm[rhs_.value], "_tile");
  const AxisIndex column = columns.axis >= 0 ? axes()[columns.axis] : AxisIndex{};
  const AxisIndex k = {KIndex(i_k), AxisIndex::Kind::kPartition, true};
  const std::string source = absl::StrCat("nl.load(", At(rhs_, columns.axis, column, k),
                                          MaskArgument({ColumnMask(), KMask(i_k)}), ")");
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
  body().Line(absl::StrCat(sum, " += nisa.nc_matmul(", StationaryTile(), ", ", moving, ")"));
  if (loop) CloseLoop();
  Bind(matmul().result,
       DefineResult(matmul(), absl::StrCat("nl.copy(", sum, ", dtype=", DTypeLiteral(matmul().dtype), ")"),
                    true, matmul().dtype));
}

// The moving matrix, or the block of its columns that a loop opened here is at.
void MatmulStageEmitter::EmitMovingPanel() {
  if (stage().matmul.panels > 1) {
    panel_ = names().names.Unique("g");
    OpenLoop(panel_, stage().matmul.panels, /*in_order=*/false);
  }
  moving_ = EmitPanel(rhs_, ColumnLines(/*all=*/true));
}

void MatmulStageEmitter::OpenColumnLoop() {
  const int64_t tiles = panel_.empty() ? stage().free.count() : stage().matmul.panel_tiles;
  if (tiles > 1) OpenLoop(names().chunk, tiles, /*in_order=*/false);
  const std::string chunk = tiles > 1 ? names().chunk : "";
  if (panel_.empty() || tiles == 1) {
    IndexColumns(panel_.empty() ? chunk : panel_);
  } else {
    IndexColumns(absl::StrCat("(", panel_, " * ", tiles, " + ", chunk, ")"));
  }
}

void MatmulStageEmitter::EmitLoops() {
  if (!IsFloat(lhs_.dtype) || !IsFloat(rhs_.dtype)) {
    Fail(absl::StrCat("node '%", matmul().origin, "': the Tensor engine takes no integers"));
    return;
  }
  const bool moving_changes = std::any_of(stage().row_loops.begin(), stage().row_loops.end(),
                                          [this](int axis) { return rhs_.strides[axis] != 0; });
  const bool resident = stage().matmul.resident_moving;
  if (resident && !moving_changes) EmitMovingPanel();
  OpenRowLoops();
  if (resident && moving_changes) EmitMovingPanel();
  OpenRowTileLoop();
  LoadStationary();
  OpenColumnLoop();
  if (!resident && NeedsTurning(rhs_, stage().free.axis))
    moving_ = EmitPanel(rhs_, ColumnLines(/*all=*/false));
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
