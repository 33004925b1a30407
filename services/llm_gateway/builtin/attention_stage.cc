#include "services/llm_gateway/builtin/attention_stage.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/builtin/fn_table.h"

namespace nkiagent::builtin {
namespace {

constexpr size_t kQueries = 0, kKeys = 1, kValues = 2;
// Loops over tiles of queries, and sections within, are unrolled up to this many.
constexpr int64_t kMostUnrolled = 1024;
// A partition holds 176 KiB; a row of scores and what is made of it may take about a third.
constexpr int64_t kRowBytes = 64 * 1024;
// Beside keys and values that take most of it, less.
constexpr int64_t kShortRowBytes = 24 * 1024;
constexpr int64_t kSmallestSection = 512;
// What keys and values may take: as a whole, and of one section while the next is on its way.
constexpr int64_t kKeyBytes = 128 * 1024;
constexpr int64_t kSectionKeyBytes = 32 * 1024;
// Stands for -inf where a difference of two must not be NaN.
constexpr char kLowest[] = "-3.0e38";
constexpr char kHighest[] = "3.0e38";

using Kind = AxisIndex::Kind;

std::string Shape(const std::vector<std::string>& sizes) {
  return absl::StrCat("(", absl::StrJoin(sizes, ", "), ")");
}

std::string Plus(const std::string& a, const std::string& b) {
  return a.empty() ? b : absl::StrCat(a, " + ", b);
}

bool IsPowerOfTwo(double x) {
  int exponent = 0;
  return std::fabs(std::frexp(x, &exponent)) == 0.5;
}

// Whether later steps leave what a mask put aside where it is.
bool KeepsLow(const Attention::Step& step) {
  if (step.fn == Fn::kAdd) return true;
  if (step.fn == Fn::kSubtract) return !step.scores_last;
  if (step.fn == Fn::kMultiply) return step.operand < 0 && step.number > 0;
  return step.fn == Fn::kSelect;
}

}  // namespace

AttentionStageEmitter::AttentionStageEmitter(const KernelPlan& plan, const StagePlan& stage,
                                             KernelNames& names)
    : StageEmitter(plan, stage, names),
      op_(program().ops[stage.stage.ops.front()]),
      a_(*op_.attention),
      batch_(static_cast<size_t>(a_.batch_axes)) {
  ChooseTiles();
}

void AttentionStageEmitter::ChooseTiles() {
  rows_ = {a_.rows, ChooseTile(a_.rows, kMaxPartitions)};
  columns_ = {a_.columns, ChooseTile(a_.columns, kMaxPartitions)};
  depth_ = {a_.depth, ChooseTile(a_.depth, kMaxPartitions)};
  const DType dtype = op_.operands[kQueries].dtype;
  scale_queries_ = dtype == DType::kFloat32 || a_.scale < 0 || IsPowerOfTwo(a_.scale);
  guarded_ = op_.operands.size() > 3;

  std::optional<int64_t> reach;
  for (size_t i = 0; i < a_.steps.size(); ++i) {
    if (!std::all_of(a_.steps.begin() + static_cast<ptrdiff_t>(i) + 1, a_.steps.end(), KeepsLow)) continue;
    for (const AffineForm& c : a_.steps[i].kept) {
      if (c.row == 1 && c.column == -1) reach = std::min(reach.value_or(c.constant), c.constant);
    }
  }
  reach_ = reach.value_or(0);
  int64_t each = DTypeBytes(op_.operands[kValues].dtype) + 4;
  for (const Attention::Step& step : a_.steps)
    each += step.kept.empty() ? 4 + (step.operand >= 0 ? 4 : 0) : 0;
  // A column of keys and its share of a row of values.
  const int64_t key_bytes =
      DTypeBytes(dtype) * depth_.count() +
      (DTypeBytes(op_.operands[kValues].dtype) * a_.width + columns_.tile - 1) / columns_.tile;
  resident_ = stage().assumptions.resident_moving && key_bytes * a_.columns <= kKeyBytes;
  const int64_t row_bytes = resident_ && 2 * key_bytes * a_.columns > kKeyBytes ? kShortRowBytes : kRowBytes;
  int64_t limit = std::max(row_bytes / each, kSmallestSection);
  if (stage().assumptions.max_free > 0) limit = std::min(limit, stage().assumptions.max_free);
  if (!resident_) limit = std::min(limit, std::max(kSectionKeyBytes / key_bytes, kSmallestSection));
  unrolled_ = reach.has_value() && rows_.count() > 1 && rows_.tile + reach_ < a_.columns &&
              rows_.count() * ((a_.columns + limit - 1) / limit) <= kMostUnrolled;
  section_ = a_.columns;
  chunk_ = ChooseTile(a_.columns, kMaxMovingFree);
  if (a_.columns > limit) {
    const int64_t tiles = std::max<int64_t>(kMaxMovingFree / columns_.tile, 1);
    chunk_ = tiles * columns_.tile;
    section_ = std::max<int64_t>(limit / chunk_, 1) * chunk_;
  } else if (unrolled_ && a_.columns > kMaxMovingFree) {
    chunk_ = std::max<int64_t>(kMaxMovingFree / columns_.tile, 1) * columns_.tile;
  }
}

std::string AttentionStageEmitter::Headline() const {
  std::vector<std::string> parts = {absl::StrCat(op_.origin, ": attention, ", rows_.count(), " x ",
                                                 rows_.tile, " queries, ", columns_.count(), " x ",
                                                 columns_.tile, " keys")};
  if (sections()) parts.push_back(absl::StrCat("sections of ", section_));
  parts.push_back(absl::StrCat("depth ", a_.depth, ", width ", a_.width));
  return absl::StrJoin(parts, ", ");
}

std::string AttentionStageEmitter::Vector(absl::string_view base, int64_t count, bool partitions) {
  const std::string name = names().names.Unique(base);
  vectors_.emplace_back(name, absl::StrCat("nl.arange(", count, partitions ? ")[:, None]" : ")[None, :]"));
  return name;
}

std::string AttentionStageEmitter::Declare(absl::string_view base, absl::string_view shape, bool zeroed,
                                           DType dtype) {
  const std::string name = names().names.Unique(base);
  body().Line(absl::StrCat(name, " = ", zeroed ? "nl.zeros(" : "nl.ndarray(", shape,
                           ", dtype=", DTypeLiteral(dtype), ", buffer=nl.sbuf)"));
  return name;
}

std::string AttentionStageEmitter::OpenTiles(absl::string_view variable, const Tiles& tiles) {
  if (tiles.count() == 1) return "0";
  OpenLoop(std::string(variable), tiles.count(), /*in_order=*/false);
  return std::string(variable);
}

void AttentionStageEmitter::CloseTiles(const Tiles& tiles) {
  if (tiles.count() > 1) CloseLoop();
}

std::string AttentionStageEmitter::At(const Operand& operand, const AxisIndex& row, const AxisIndex& column) {
  std::vector<AxisIndex> axes = batch_;
  axes.push_back(row);
  axes.push_back(column);
  return Subscript(operand.value, operand.view.offset, operand.view.strides, operand.view.dims, axes).text;
}

std::string AttentionStageEmitter::Load(absl::string_view base, absl::string_view shape,
                                        absl::string_view subscripts, const std::string& source,
                                        const std::string& mask, DType dtype) {
  const std::string load = absl::StrCat("nl.load(", source, mask, ")");
  if (mask.empty()) return Define(base, load, true, dtype).name;
  const std::string tile = Declare(base, shape, true, dtype);
  body().Line(absl::StrCat(tile, "[", subscripts, "] = ", load));
  return tile;
}

std::string AttentionStageEmitter::RowMask() const {
  return rows_.ragged() ? absl::StrCat(rows_.Index(r_, i_q_), " < ", a_.rows) : "";
}

std::string AttentionStageEmitter::Scale() const {
  if (scale_queries_ || a_.scale == 1) return "";
  return absl::StrCat(", scale=", NumberLiteral(a_.scale, DType::kFloat32));
}

// A loop over tiles of columns, all or those that cover the span; its variable, or "0" for a single tile.
std::string AttentionStageEmitter::OpenColumnTiles(bool all) {
  if (columns_.count() == 1) return "0";
  OpenLoop(tile_,
           absl::StrCat("nl.affine_range(", all ? absl::StrCat(columns_.count()) : WeightTiles(), ")"));
  return tile_;
}

// Loops over batch axes that select keys and values, or over those that share them.
void AttentionStageEmitter::OpenBatch(bool keys) {
  for (size_t axis = 0; axis < batch_.size(); ++axis) {
    const bool selects =
        op_.operands[kKeys].view.strides[axis] != 0 || op_.operands[kValues].view.strides[axis] != 0;
    if (selects != keys) continue;
    const std::string variable = names().names.Unique(keys ? "b" : "h");
    OpenLoop(variable, op_.dims[axis], /*in_order=*/false);
    batch_[axis] = {variable, Kind::kLoop, true};
  }
}

// Keys with their depth on partitions, values with the columns there: all of them, or those of the span.
void AttentionStageEmitter::EmitKeys() {
  const Operand &keys = op_.operands[kKeys], &values = op_.operands[kValues];
  const int64_t held = resident_ ? a_.columns : std::min(section_, a_.columns);
  const int64_t tiles = (held + columns_.tile - 1) / columns_.tile;
  const int64_t width = std::max(tiles * columns_.tile, (held + chunk_ - 1) / chunk_ * chunk_);
  const std::string first = resident_ ? "" : first_, span = resident_ ? i_all_ : i_s_;
  const bool direct = keys.view.strides[keys.view.strides.size() - 2] == 1 && keys.view.strides.back() != 1;
  const std::string d = depth_.count() > 1 ? absl::StrCat(depth_.count(), ", ") : "";
  keys_ = Declare("keys", absl::StrCat("(", depth_.tile, ", ", d, width, ")"),
                  width > tiles * columns_.tile || (direct && (columns_.ragged() || depth_.ragged())),
                  keys.dtype);
  const std::string v = columns_.count() > 1 ? absl::StrCat(tiles, ", ") : "";
  values_ = Declare("values", absl::StrCat("(", columns_.tile, ", ", v, a_.width, ")"), columns_.ragged(),
                    values.dtype);
  if (direct) {
    const std::string k = OpenTiles(names().k, depth_);
    const std::string row = depth_.Index(k, i_d_);
    body().Line(absl::StrCat(keys_, "[", i_d_, ", ", depth_.count() > 1 ? absl::StrCat(k, ", ") : "", span,
                             "] = nl.load(",
                             At(keys, {Plus(first, span), Kind::kFree, true}, {row, Kind::kPartition, true}),
                             MaskArgument({depth_.ragged() ? absl::StrCat(row, " < ", a_.depth) : ""}), ")"));
    CloseTiles(depth_);
  }
  if (tile_.empty()) tile_ = names().names.Unique("n");
  const std::string n = OpenColumnTiles(/*all=*/resident_);
  const std::string column = Plus(first, columns_.Index(n, i_n_));
  const std::string mask = columns_.ragged() ? absl::StrCat(column, " < ", a_.columns) : "";
  if (!direct) {
    const std::string i_depth = i_da_;
    const bool padded = depth_.ragged();
    std::string rows;
    const std::string source = At(keys, {column, Kind::kPartition, true}, {i_depth, Kind::kFree, false});
    const std::string shape = Shape({absl::StrCat(columns_.tile), absl::StrCat(depth_.padded())});
    if (padded && mask.empty()) {
      rows = Declare("key_rows", shape, true, keys.dtype);
      body().Line(absl::StrCat(rows, "[", i_n_, ", ", i_depth, "] = nl.load(", source, ")"));
    } else {
      rows = Load("key_rows", shape, absl::StrCat(i_n_, ", ", i_depth), source, MaskArgument({mask}),
                  keys.dtype);
    }
    const std::string k = OpenTiles(names().k, depth_);
    const std::string square =
        depth_.count() > 1 ? absl::StrCat(rows, "[", i_n_, ", ", depth_.Index(k, i_df_), "]") : rows;
    body().Line(absl::StrCat(keys_, "[", i_d_, ", ", depth_.count() > 1 ? absl::StrCat(k, ", ") : "",
                             columns_.Index(n, i_nf_), "] = nisa.nc_transpose(", square, ")"));
    CloseTiles(depth_);
  }
  body().Line(absl::StrCat(
      values_, "[", i_n_, ", ", columns_.count() > 1 ? absl::StrCat(n, ", ") : "", i_w_, "] = nl.load(",
      At(values, {column, Kind::kPartition, true}, {i_w_, Kind::kFree, false}), MaskArgument({mask}), ")"));
  CloseTiles(columns_);
}

// What steps read and all queries share: one row for all partitions.
void AttentionStageEmitter::EmitSharedExtras() {
  for (size_t k = 3; k < op_.operands.size(); ++k) {
    const Operand& extra = op_.operands[k];
    const size_t rank = extra.view.strides.size();
    if (extra.view.strides[rank - 2] != 0) continue;
    const bool along = extra.view.strides[rank - 1] != 0;
    const std::string& tensor = names().hbm[extra.value];
    const std::string row =
        Define(absl::StrCat(tensor, "_row"),
               absl::StrCat("nl.load(", At(extra, {}, {i_all_, Kind::kFree, false}), ")"), along, extra.dtype)
            .name;
    shared_extras_[static_cast<int>(k)] = Define(absl::StrCat(tensor, "_tile"),
                                                 absl::StrCat("nl.broadcast_to(", row, ", shape=(",
                                                              rows_.tile, ", ", along ? a_.columns : 1, "))"),
                                                 along, extra.dtype)
                                              .name;
  }
}

// A tile of queries with their depth on partitions, times the scale where that costs no accuracy.
void AttentionStageEmitter::EmitQueries() {
  const Operand& queries = op_.operands[kQueries];
  const bool direct =
      queries.view.strides[queries.view.strides.size() - 2] == 1 && queries.view.strides.back() != 1;
  const std::string row = rows_.Index(r_, direct ? i_qf_ : i_q_);
  const std::string row_mask = rows_.ragged() ? absl::StrCat(row, " < ", a_.rows) : "";
  const bool scaled = scale_queries_ && a_.scale != 1;
  const std::string factor = NumberLiteral(a_.scale, DType::kFloat32);
  const std::string type =
      queries.dtype == DType::kFloat32 ? "" : absl::StrCat(", dtype=", DTypeLiteral(queries.dtype));
  const std::string d = depth_.count() > 1 ? absl::StrCat(depth_.count(), ", ") : "";
  queries_ = Declare("queries", absl::StrCat("(", depth_.tile, ", ", d, rows_.tile, ")"),
                     direct && (rows_.ragged() || depth_.ragged()), queries.dtype);
  std::string rows;
  const std::string i_depth = i_da_;
  if (!direct) {
    const std::string source = At(queries, {row, Kind::kPartition, true}, {i_depth, Kind::kFree, false});
    const std::string shape = Shape({absl::StrCat(rows_.tile), absl::StrCat(depth_.padded())});
    if (depth_.ragged() && row_mask.empty()) {
      rows = Declare("query_rows", shape, true, queries.dtype);
      body().Line(absl::StrCat(rows, "[", i_q_, ", ", i_depth, "] = nl.load(", source, ")"));
    } else {
      rows = Load("query_rows", shape, absl::StrCat(i_q_, ", ", i_depth), source, MaskArgument({row_mask}),
                  queries.dtype);
    }
  }
  const std::string k = OpenTiles(names().k, depth_);
  const std::string to =
      absl::StrCat(queries_, "[", i_d_, ", ", depth_.count() > 1 ? absl::StrCat(k, ", ") : "", i_qf_, "]");
  if (direct) {
    const std::string at = depth_.Index(k, i_d_);
    body().Line(absl::StrCat(
        to, " = nl.load(", At(queries, {row, Kind::kFree, true}, {at, Kind::kPartition, true}),
        MaskArgument({row_mask, depth_.ragged() ? absl::StrCat(at, " < ", a_.depth) : ""}), ")"));
    if (scaled) body().Line(absl::StrCat(to, " = nl.multiply(", to, ", ", factor, type, ")"));
  } else {
    const std::string square =
        depth_.count() > 1 ? absl::StrCat(rows, "[", i_q_, ", ", depth_.Index(k, i_df_), "]") : rows;
    const std::string turned = absl::StrCat("nisa.nc_transpose(", square, ")");
    body().Line(absl::StrCat(
        to, " = ", scaled ? absl::StrCat("nl.multiply(", turned, ", ", factor, type, ")") : turned));
  }
  CloseTiles(depth_);
}

// Which columns are looked at: all, those that the tile of queries sees, or a section of either.
void AttentionStageEmitter::EmitSpan() {
  std::string all = absl::StrCat(a_.columns);
  if (unrolled_) {
    seen_ = names().names.Unique("seen");
    const std::string end = absl::StrCat(r_, " * ", rows_.tile, " + ", rows_.tile + reach_);
    const bool whole_tiles = rows_.tile % columns_.tile == 0 && reach_ % columns_.tile == 0;
    const std::string tiles =
        whole_tiles ? end : absl::StrCat("-(-(", end, ") // ", columns_.tile, ") * ", columns_.tile);
    body().Line(absl::StrCat(seen_, " = min(", tiles, ", ", a_.columns, ")"));
    all = seen_;
  }
  width_ = all;
  if (!sections()) {
    i_s_ = i_all_;
    if (unrolled_) {
      i_s_ = names().names.Unique("i_s");
      body().Line(absl::StrCat(i_s_, " = nl.arange(", all, ")[None, :]"));
    }
    return;
  }
  s_ = names().names.Unique("s");
  const std::string count = unrolled_ ? absl::StrCat("-(-", all, " // ", section_, ")")
                                      : absl::StrCat((a_.columns + section_ - 1) / section_);
  OpenLoop(s_, absl::StrCat("nl.static_range(", count, ")"));
  first_ = absl::StrCat(s_, " * ", section_);
  width_ = names().names.Unique("width");
  i_s_ = names().names.Unique("i_s");
  body().Line(absl::StrCat(width_, " = min(", section_, ", ", all, " - ", first_, ")"));
  body().Line(absl::StrCat(i_s_, " = nl.arange(", width_, ")[None, :]"));
}

// sum += queries^T @ keys[…, from].
void AttentionStageEmitter::EmitProductInto(const std::string& sum, const std::string& from) {
  const std::string k = OpenTiles(names().k, depth_);
  const std::string at = depth_.count() > 1 ? absl::StrCat(k, ", ") : "";
  body().Line(absl::StrCat(sum, " += nisa.nc_matmul(", queries_, "[", i_d_, ", ", at, i_qf_, "], ", keys_,
                           "[", i_d_, ", ", at, from, "])"));
  CloseTiles(depth_);
}

void AttentionStageEmitter::EmitScores() {
  const std::string psum = names().names.Unique("scores_psum");
  unscaled_ = !scale_queries_ && a_.scale != 1;
  in_psum_ = one_chunk();
  if (in_psum_) {
    body().Line(absl::StrCat(psum, " = nl.zeros((", rows_.tile, ", ", width_,
                             "), dtype=nl.float32, buffer=nl.psum)"));
    EmitProductInto(psum, i_s_);
    scores_ = psum;
    if (unscaled_ && !a_.steps.empty()) EmitRow();
  } else {
    const int64_t most = (section_ + chunk_ - 1) / chunk_;
    const std::string row = Declare("scores", Shape({absl::StrCat(rows_.tile), absl::StrCat(most * chunk_)}),
                                    false, DType::kFloat32);
    const std::string& c = names().chunk;
    if (unrolled_ || sections()) {
      OpenLoop(c, absl::StrCat("nl.affine_range(-(-", width_, " // ", chunk_, "))"));
    } else {
      OpenLoop(c, most, /*in_order=*/false);
    }
    const std::string at = absl::StrCat(c, " * ", chunk_, " + ", i_c_);
    body().Line(absl::StrCat(psum, " = nl.zeros((", rows_.tile, ", ", chunk_,
                             "), dtype=nl.float32, buffer=nl.psum)"));
    EmitProductInto(psum, Plus(resident_ ? first_ : "", at));
    body().Line(
        absl::StrCat(row, "[", i_q_, ", ", at, "] = nisa.activation(op=nl.copy, data=", psum, Scale(), ")"));
    CloseLoop();
    unscaled_ = false;
    scores_ = absl::StrCat(row, "[", i_q_, ", ", i_s_, "]");
    row_ = row;
  }
  for (const Attention::Step& step : a_.steps) EmitStep(step);
}

// The scores copied to SBUF by the Scalar engine, which has the least to do.
void AttentionStageEmitter::EmitRow() {
  const std::string name =
      Define("scores", absl::StrCat("nisa.activation(op=nl.copy, data=", scores_, Scale(), ")"), true,
             DType::kFloat32)
          .name;
  scores_ = row_ = name;
  in_psum_ = unscaled_ = false;
}

// What a step reads, for the tile of queries and the span: a tile, or one column of it.
std::string AttentionStageEmitter::Extra(int operand) {
  const Operand& extra = op_.operands[static_cast<size_t>(operand)];
  const bool along = extra.view.strides.back() != 0;
  const auto shared = shared_extras_.find(operand);
  if (shared != shared_extras_.end()) {
    if (!along || i_s_ == i_all_) return shared->second;
    return absl::StrCat(shared->second, "[", i_q_, ", ", Plus(first_, i_s_), "]");
  }
  const std::string row = rows_.Index(r_, i_q_), column = along ? Plus(first_, i_s_) : "";
  return Load(absl::StrCat(names().hbm[extra.value], "_tile"),
              Shape({absl::StrCat(rows_.tile), along ? width_ : "1"}),
              absl::StrCat(i_q_, ", ", along ? i_s_ : "nl.arange(1)[None, :]"),
              At(extra, {row, Kind::kPartition, true}, {column, Kind::kFree, true}),
              MaskArgument({RowMask()}), extra.dtype);
}

void AttentionStageEmitter::EmitStep(const Attention::Step& step) {
  if (!step.kept.empty()) {
    EmitMask(step);
    return;
  }
  const FnRow& row = RowOf(step.fn);
  const std::string number = NumberLiteral(step.number, DType::kFloat32);
  std::string expression;
  if (row.operands == 1) {
    expression = absl::StrCat(row.nl_name, "(", scores_, ")");
  } else if (step.fn == Fn::kSelect) {
    std::string condition = Extra(step.operand);
    if (op_.operands[static_cast<size_t>(step.operand)].view.strides.back() == 0) {
      condition = absl::StrCat("nl.broadcast_to(", condition, ", shape=(", rows_.tile, ", ", width_, "))");
    }
    if (step.scores_last) {
      const std::string fill =
          Define("fill",
                 absl::StrCat("nl.full((", rows_.tile, ", ", width_, "), ", number, ", dtype=nl.float32)"),
                 true, DType::kFloat32)
              .name;
      expression = absl::StrCat("nl.where(", condition, ", ", fill, ", ", scores_, ", dtype=nl.float32)");
    } else {
      expression = absl::StrCat("nl.where(", condition, ", ", scores_, ", ", number, ", dtype=nl.float32)");
    }
  } else {
    const std::string other = step.operand >= 0 ? Extra(step.operand) : number;
    expression = absl::StrCat(row.nl_name, "(", step.scores_last ? other : scores_, ", ",
                              step.scores_last ? scores_ : other, ", dtype=nl.float32)");
  }
  scores_ = row_ = Define("scores", expression, true, DType::kFloat32).name;
  in_psum_ = false;
}

// Scores of keys that a query doesn't see, where only positions decide.
void AttentionStageEmitter::EmitMask(const Attention::Step& step) {
  if (in_psum_) EmitRow();
  for (const AffineForm& c : step.kept) {
    const bool diagonal = unrolled_ && !sections() && c.row == 1 && c.column == -1;
    std::string start = first_, columns = i_s_, tile = scores_;
    if (diagonal) {
      // The first column that not all queries of the tile see.
      const std::string edge = names().names.Unique("edge"), i_e = names().names.Unique("i_e");
      body().Line(absl::StrCat(edge, " = max(0, min(", r_, " * ", rows_.tile, " + ", c.constant + 1, ", ",
                               seen_, " - 1))"));
      body().Line(absl::StrCat(i_e, " = nl.arange(", seen_, " - ", edge, ")[None, :]"));
      start = edge;
      columns = i_e;
      tile = absl::StrCat(row_, "[", i_q_, ", ", edge, " + ", i_e, "]");
    }
    const auto term = [](int64_t coefficient, const std::string& sum) {
      const bool plain = sum.find(' ') == std::string::npos;
      if (coefficient == 1) return sum;
      return absl::StrCat(coefficient, " * ", plain ? sum : absl::StrCat("(", sum, ")"));
    };
    std::vector<std::string> terms;
    if (c.row != 0) terms.push_back(term(c.row, rows_.Index(r_, i_q_)));
    if (c.column != 0) terms.push_back(term(c.column, Plus(start, columns)));
    if (c.constant != 0) terms.push_back(absl::StrCat(c.constant));
    const std::string select = absl::StrCat("nisa.affine_select(pred=(", absl::StrJoin(terms, " + "),
                                            " >= 0), on_true_tile=", tile, ", on_false_value=", kLowest, ")");
    if (diagonal) {
      body().Line(absl::StrCat(tile, " = ", select));
    } else {
      scores_ = row_ = Define("scores", select, true, DType::kFloat32).name;
    }
  }
}

// weights = exp(scores - max) with their sum; the quotient waits until the values are weighted.
void AttentionStageEmitter::EmitSoftmax() {
  const DType dtype = op_.operands[kValues].dtype;
  const auto column = [&](absl::string_view base, const std::string& expression) {
    return Define(base, expression, false, DType::kFloat32).name;
  };
  negative_max_ = column("negative_max", absl::StrCat("nisa.tensor_reduce(nl.max, ", scores_,
                                                      ", axis=[1], negate=True, keepdims=True)"));
  if (unscaled_) {
    negative_max_ = column("negative_max", absl::StrCat("nl.multiply(", negative_max_, ", ",
                                                        NumberLiteral(a_.scale, DType::kFloat32), ")"));
  }
  if (sections()) {
    negative_max_ =
        column("negative_max", absl::StrCat("nl.minimum(", negative_max_, ", ", running_max_, ")"));
  } else if (guarded_) {
    // Rows without any score weigh nothing instead of NaN.
    negative_max_ = column("negative_max", absl::StrCat("nl.minimum(", negative_max_, ", ", kHighest, ")"));
  }
  sum_ = Declare("row_sum", absl::StrCat("(", rows_.tile, ", 1)"), false, DType::kFloat32);
  const std::string exp =
      absl::StrCat("nisa.activation_reduce(nl.exp, ", scores_, ", reduce_op=nl.add, reduce_res=", sum_,
                   ", bias=", negative_max_, unscaled_ ? Scale() : "", ", dtype=", DTypeLiteral(dtype), ")");
  if (!columns_.ragged()) {
    weights_ = Define("weights", exp, true, dtype).name;
    return;
  }
  weights_ = Declare("weights", Shape({absl::StrCat(rows_.tile), WeightColumns()}), true, dtype);
  body().Line(absl::StrCat(weights_, "[", i_q_, ", ", i_s_, "] = ", exp));
}

// Whole tiles of columns that cover the span.
std::string AttentionStageEmitter::WeightTiles() const {
  if (!unrolled_ && !sections()) return absl::StrCat(columns_.count());
  return absl::StrCat("-(-", width_, " // ", columns_.tile, ")");
}

std::string AttentionStageEmitter::WeightColumns() const {
  if (!unrolled_ && !sections()) return absl::StrCat(columns_.padded());
  return absl::StrCat(WeightTiles(), " * ", columns_.tile);
}

void AttentionStageEmitter::EmitWeightedSum() {
  product_ = names().names.Unique("product_psum");
  body().Line(absl::StrCat(product_, " = nl.zeros((", rows_.tile, ", ", a_.width,
                           "), dtype=nl.float32, buffer=nl.psum)"));
  const bool several = columns_.count() > 1;
  const std::string n = OpenColumnTiles(/*all=*/false);
  const std::string square =
      several ? absl::StrCat(weights_, "[", i_q_, ", ", n, " * ", columns_.tile, " + ", i_nf_, "]")
              : weights_;
  const std::string turned =
      Define("weights_t",
             absl::StrCat("nisa.tensor_copy(nisa.nc_transpose(", square, "), engine=nisa.scalar_engine)"),
             true, op_.operands[kValues].dtype)
          .name;
  std::string tile;
  if (several) {
    tile = absl::StrCat(
        sections() && resident_ ? absl::StrCat(s_, " * ", section_ / columns_.tile, " + ") : "", n, ", ");
  }
  body().Line(absl::StrCat(product_, " += nisa.nc_matmul(", turned, ", ", values_, "[", i_n_, ", ", tile,
                           i_w_, "])"));
  if (several) CloseLoop();
}

// Brings what earlier sections gave under the new maximum and adds this one.
void AttentionStageEmitter::EmitMerge() {
  const std::string rescale = Define("rescale",
                                     absl::StrCat("nisa.activation(op=nl.exp, data=", running_max_,
                                                  ", bias=", negative_max_, ", scale=-1.0)"),
                                     false, DType::kFloat32)
                                  .name;
  body().Line(absl::StrCat(running_max_, "[...] = nl.copy(", negative_max_, ")"));
  body().Line(absl::StrCat(running_sum_, "[...] = nl.add(nl.multiply(", running_sum_, ", ", rescale, "), ",
                           sum_, ")"));
  body().Line(
      absl::StrCat(running_, "[...] = nl.add(nl.multiply(", running_, ", ", rescale, "), ", product_, ")"));
}

void AttentionStageEmitter::EmitResult() {
  const DType dtype = program().values[op_.result].dtype;
  if (a_.safe && guarded_) {
    sum_ = Define("row_sum", absl::StrCat("nl.maximum(", sum_, ", 1e-30)"), false, DType::kFloat32).name;
  }
  const std::string inverse =
      Define("inverse_sum", absl::StrCat("nl.reciprocal(", sum_, ")"), false, DType::kFloat32).name;
  const std::string result =
      Define(BaseName(op_),
             absl::StrCat("nl.multiply(", product_, ", ", inverse, ", dtype=", DTypeLiteral(dtype), ")"),
             true, dtype)
          .name;
  const StridedView& to = op_.destination;
  Operand target;
  target.value = op_.result;
  target.view = to;
  if (to.strides.back() == 1 || a_.width == 1 || to.strides[to.strides.size() - 2] != 1) {
    body().Line(absl::StrCat(
        "nl.store(", At(target, {rows_.Index(r_, i_q_), Kind::kPartition, true}, {i_w_, Kind::kFree, false}),
        ", value=", result, MaskArgument({RowMask()}), ")"));
    return;
  }
  const Tiles width{a_.width, ChooseTile(a_.width, kMaxPartitions)};
  const std::string w = OpenTiles(names().square, width);
  const std::string i_o = Vector("i_o", width.tile, true), i_of = Vector("i_of", width.tile, false);
  if (width.ragged())
    Fail(absl::StrCat("node '%", op_.origin, "': a width of ", a_.width, " can't be turned"));
  const std::string square =
      width.count() > 1 ? absl::StrCat(result, "[", i_q_, ", ", width.Index(w, i_of), "]") : result;
  const std::string turned = Define(absl::StrCat(BaseName(op_), "_t"),
                                    absl::StrCat("nl.copy(nisa.nc_transpose(", square, "))"), true, dtype)
                                 .name;
  const std::string row = rows_.Index(r_, i_qf_);
  body().Line(absl::StrCat(
      "nl.store(", At(target, {row, Kind::kFree, true}, {width.Index(w, i_o), Kind::kPartition, true}),
      ", value=", turned, MaskArgument({rows_.ragged() ? absl::StrCat(row, " < ", a_.rows) : ""}), ")"));
  CloseTiles(width);
}

void AttentionStageEmitter::EmitLoops() {
  i_q_ = Vector("i_q", rows_.tile, true);
  i_qf_ = Vector("i_qf", rows_.tile, false);
  i_n_ = Vector("i_j", columns_.tile, true);
  i_nf_ = Vector("i_jf", columns_.tile, false);
  i_d_ = Vector("i_d", depth_.tile, true);
  i_df_ = Vector("i_df", depth_.tile, false);
  i_da_ = Vector("i_da", a_.depth, false);
  i_w_ = Vector("i_w", a_.width, false);
  i_c_ = Vector("i_c", chunk_, false);
  i_all_ = Vector("i_s", a_.columns, false);

  OpenBatch(/*keys=*/true);
  if (resident_) EmitKeys();
  OpenBatch(/*keys=*/false);
  EmitSharedExtras();
  if (rows_.count() > 1) {
    r_ = names().row;
    OpenLoop(r_, absl::StrCat(unrolled_ ? "nl.static_range(" : "nl.affine_range(", rows_.count(), ")"));
  }
  EmitQueries();
  if (sections()) {
    const std::string shape = absl::StrCat("((", rows_.tile, ", 1), ");
    running_max_ = Define("running_max", absl::StrCat("nl.full", shape, kHighest, ", dtype=nl.float32)"),
                          false, DType::kFloat32)
                       .name;
    running_sum_ = Define("running_sum", absl::StrCat("nl.full", shape, "0.0, dtype=nl.float32)"), false,
                          DType::kFloat32)
                       .name;
    running_ =
        Declare("running", Shape({absl::StrCat(rows_.tile), absl::StrCat(a_.width)}), true, DType::kFloat32);
  }
  EmitSpan();
  if (!resident_) EmitKeys();
  EmitScores();
  EmitSoftmax();
  EmitWeightedSum();
  if (sections()) {
    EmitMerge();
    CloseLoop();
    sum_ = running_sum_;
    product_ = running_;
  }
  EmitResult();
  CloseLoops();
}

}  // namespace nkiagent::builtin
