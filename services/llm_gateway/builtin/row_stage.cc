#include "services/llm_gateway/builtin/row_stage.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/builtin/fn_table.h"

namespace nkiagent::builtin {
namespace {

// At most this many operation names in a stage's comment.
constexpr size_t kNamesInHeadline = 6;

// What nisa.max8 finds at once.
constexpr int64_t kEight = 8;

}  // namespace

std::string RowStageEmitter::Headline() const {
  std::vector<std::string> origins;
  for (int index : stage().stage.ops) {
    const std::string& origin = program().ops[index].origin;
    if (std::find(origins.begin(), origins.end(), origin) == origins.end()) origins.push_back(origin);
  }
  if (origins.size() > kNamesInHeadline) {
    origins.resize(kNamesInHeadline);
    origins.push_back("…");
  }
  const AxisTiling &rows = stage().partition, &columns = stage().free;
  const RowSpread& spread = stage().spread;
  const std::string lanes = spread.parts == 1
                                ? absl::StrCat(rows.count(), " x ", rows.tile, " rows, ")
                                : absl::StrCat(spread.rows, " rows on ", spread.parts, " partitions each, ");
  return absl::StrCat(absl::StrJoin(origins, ", "), ": ", lanes, columns.count(), " x ", columns.tile,
                      " columns");
}

bool RowStageEmitter::IsRowOp(size_t position) const {
  return stage().stage.extents[position] == Extent::kRow;
}

void RowStageEmitter::EmitLoops() {
  OpenRowLoops();
  OpenRowTileLoop();
  const bool reduces = stage().stage.has_free;
  if (stage().chunked() && reduces) {
    EmitPasses();
  } else {
    if (stage().chunked())
      OpenChunkLoops(/*in_order=*/false);
    else
      IndexColumns("");
    for (size_t i = 0; i < stage().stage.ops.size(); ++i) {
      if (IsSelection(program().ops[stage().stage.ops[i]].fn)) {
        EmitSelection(i);
      } else if (stage().spread.parts > 1 && IsReduction(program().ops[stage().stage.ops[i]].fn)) {
        EmitSpreadReduction(i);
      } else {
        EmitOp(i);
      }
      EmitStore(i);
    }
  }
  CloseLoops();
}

bool RowStageEmitter::AnyOf(Fn fn, int operand) const {
  return std::any_of(stage().stage.ops.begin(), stage().stage.ops.end(), [&](int index) {
    const Op& op = program().ops[index];
    return op.fn == fn && op.operands[0].value == operand;
  });
}

RowStageEmitter::Selected RowStageEmitter::Select(size_t position, const std::string& data) {
  const Op& op = program().ops[stage().stage.ops[position]];
  const bool positions = AnyOf(Fn::kTopPositions, op.operands[0].value);
  const int64_t rounds = (op.selection->count + kEight - 1) / kEight;
  Selected selected{op.selection->count, op.selection->smallest, "", ""};
  const auto eights = [&](absl::string_view name, absl::string_view dtype) {
    const std::string tile = names().names.Unique(name);
    body().Line(absl::StrCat(tile, " = nl.ndarray(", TupleLiteral({stage().partition.tile, kEight * rounds}),
                             ", dtype=", dtype, ", buffer=nl.sbuf)"));
    return tile;
  };
  const auto define = [&](absl::string_view name, absl::string_view expression) {
    const std::string tile = names().names.Unique(name);
    body().Line(absl::StrCat(tile, " = ", expression));
    return tile;
  };
  if (rounds == 1) {
    selected.values = define("top", absl::StrCat("nisa.max8(src=", data, ")"));
    if (positions) {
      selected.positions =
          define("found", absl::StrCat("nisa.nc_find_index8(data=", data, ", vals=", selected.values, ")"));
    }
    return selected;
  }
  const std::string rest = define("rest", absl::StrCat("nl.copy(", data, ")"));
  selected.values = eights("top", DTypeLiteral(op.operands[0].dtype));
  if (positions) selected.positions = eights("found", "nl.uint32");
  const std::string round = names().names.Unique("e");
  OpenLoop(round, rounds, /*in_order=*/true);
  const std::string some =
      absl::StrCat("[", names().i_p, ", ", kEight, " * ", round, " + ", Vector(kEight, 1), "]");
  body().Line(absl::StrCat(selected.values, some, " = nisa.max8(src=", rest, ")"));
  if (positions) {
    body().Line(absl::StrCat(selected.positions, some, " = nisa.nc_find_index8(data=", rest,
                             ", vals=", selected.values, some, ")"));
  }
  body().Line(absl::StrCat("nisa.nc_match_replace8(data=", rest, ", vals=", selected.values, some,
                           ", imm=float(\"-inf\"))"));
  CloseLoop();
  return selected;
}

void RowStageEmitter::EmitSelection(size_t position) {
  const Op& op = program().ops[stage().stage.ops[position]];
  if (stage().chunked()) {
    Fail(absl::StrCat("node '%", op.origin, "': a row doesn't fit on chip as a whole"));
    return;
  }
  const Tile whole = WithFreeAxis(OperandTile(position, 0));
  const std::string key = absl::StrCat(whole.name, op.selection->smallest ? " -" : "");
  auto found = selected_.find(key);
  if (found == selected_.end() || found->second.count < op.selection->count) {
    const std::string data =
        op.selection->smallest
            ? Define("negated", absl::StrCat("nl.negative(", whole.name, ")"), true, whole.dtype).name
            : whole.name;
    found = selected_.insert_or_assign(key, Select(position, data)).first;
  }
  const Selected& selected = found->second;
  const int64_t count = op.selection->count;
  const auto first = [&](const std::string& tile) {
    return count % kEight == 0 && count == selected.count
               ? tile
               : absl::StrCat(tile, "[", names().i_p, ", ", Vector(count, 1), "]");
  };
  if (op.fn == Fn::kTopPositions) {
    Bind(op.result,
         Define(BaseName(op),
                absl::StrCat("nl.copy(", first(selected.positions), ", dtype=", DTypeLiteral(op.dtype), ")"),
                false, op.dtype));
  } else if (op.selection->smallest) {
    Bind(op.result,
         Define(BaseName(op), absl::StrCat("nl.negative(", first(selected.values), ")"), false, whole.dtype));
  } else {
    Bind(op.result, Tile{first(selected.values), false, whole.dtype});
  }
}

void RowStageEmitter::OpenChunkLoops(bool in_order) {
  for (int axis : stage().free_loops) {
    const std::string variable = names().names.Unique("g");
    OpenLoop(variable, stage().iteration.dims[axis], in_order);
    axes()[axis] = {variable, AxisIndex::Kind::kLoop, true};
  }
  if (stage().free.count() == 1) {
    IndexColumns("");
  } else {
    OpenLoop(names().chunk, stage().free.count(), in_order);
    IndexColumns(names().chunk);
  }
}

std::vector<int> RowStageEmitter::PassOfOps() const {
  std::vector<int> passes;
  std::map<int, int> ready;  // value -> first pass that can read it
  for (size_t i = 0; i < stage().stage.ops.size(); ++i) {
    const Op& op = program().ops[stage().stage.ops[i]];
    int pass = 0;
    for (const Operand& operand : op.operands) {
      const auto found = ready.find(operand.value);
      if (!operand.immediate.has_value() && found != ready.end()) pass = std::max(pass, found->second);
    }
    passes.push_back(pass);
    ready[op.result] = IsReduction(op.fn) ? pass + 1 : pass;
  }
  return passes;
}

std::vector<bool> RowStageEmitter::NeededIn(int pass) const {
  const std::vector<int>& ops = stage().stage.ops;
  std::vector<bool> needed(ops.size(), false);
  std::map<int, size_t> producers;  // of values that are computed anew in each pass
  for (size_t j = 0; j < ops.size(); ++j) {
    const Op& op = program().ops[ops[j]];
    if (!IsRowOp(j) && !IsReduction(op.fn)) producers[op.result] = j;
  }
  for (size_t i = ops.size(); i-- > 0;) {
    const Op& op = program().ops[ops[i]];
    if (IsRowOp(i)) continue;
    const bool is_root = pass_of_[i] == pass && (IsReduction(op.fn) || AccessOf(ops[i], -1).is_store);
    if (!is_root && !needed[i]) continue;
    needed[i] = true;
    for (const Operand& operand : op.operands) {
      const auto producer = operand.immediate.has_value() ? producers.end() : producers.find(operand.value);
      if (producer != producers.end()) needed[producer->second] = true;
    }
  }
  return needed;
}

void RowStageEmitter::EmitPasses() {
  pass_of_ = PassOfOps();
  int passes = 0;
  for (size_t i = 0; i < pass_of_.size(); ++i) {
    if (!IsRowOp(i)) passes = std::max(passes, pass_of_[i] + 1);
  }
  for (int pass = 0; pass <= passes; ++pass) {
    for (size_t i = 0; i < pass_of_.size(); ++i) {
      if (!IsRowOp(i) || pass_of_[i] != pass) continue;
      EmitOp(i);
      EmitStore(i);
    }
    if (pass < passes) EmitPass(pass);
  }
}

Tile RowStageEmitter::Accumulator(const Op& op, absl::string_view role) {
  const Dims shape = {stage().partition.tile, 1};
  return Define(
      absl::StrCat(BaseName(op), role),
      absl::StrCat("nl.full(", TupleLiteral(shape), ", ", RowOf(op.fn).start, ", dtype=nl.float32)"), false,
      DType::kFloat32);
}

void RowStageEmitter::Accumulate(size_t position, const Tile& accumulator) {
  const Op& op = program().ops[stage().stage.ops[position]];
  const Tile tile = WithFreeAxis(OperandTile(position, 0));
  // A mean of chunks is a sum until the end.
  const absl::string_view reduce = op.fn == Fn::kMean ? RowOf(Fn::kSum).nl_name : RowOf(op.fn).nl_name;
  const std::string mask = MaskArgument({ColumnMask()});
  const std::string type = tile.dtype == DType::kFloat32 ? "" : ", dtype=nl.float32";
  const Tile part = Define(absl::StrCat(BaseName(op), "_part"),
                           absl::StrCat(reduce, "(", tile.name, ", axis=[1]", type, mask, ", keepdims=True)"),
                           false, DType::kFloat32);
  body().Line(absl::StrCat(accumulator.name, "[...] = ", RowOf(op.fn).merge, "(", accumulator.name, ", ",
                           part.name, ")"));
}

void RowStageEmitter::Finish(const Op& op, const Tile& accumulator) {
  if (stage().spread.parts > 1) {
    Bind(op.result, Together(op, accumulator));
    return;
  }
  Tile result = accumulator;
  if (op.fn == Fn::kMean) {
    const std::string dtype =
        op.dtype == DType::kFloat32 ? "" : absl::StrCat(", dtype=", DTypeLiteral(op.dtype));
    result = Define(BaseName(op),
                    absl::StrCat("nl.multiply(", accumulator.name, ", 1.0 / ", ReducedCount(op), dtype, ")"),
                    false, op.dtype);
  } else if (op.dtype != DType::kFloat32 && op.dtype != DType::kBool) {
    result = Define(BaseName(op),
                    absl::StrCat("nl.copy(", accumulator.name, ", dtype=", DTypeLiteral(op.dtype), ")"),
                    false, op.dtype);
  }
  Bind(op.result, result);
}

void RowStageEmitter::EmitPass(int pass) {
  const std::vector<int>& ops = stage().stage.ops;
  const std::vector<bool> needed = NeededIn(pass);
  std::map<size_t, Tile> accumulators;
  bool anything = false;
  for (size_t i = 0; i < ops.size(); ++i) {
    anything |= needed[i];
    if (needed[i] && IsReduction(program().ops[ops[i]].fn))
      accumulators[i] = Accumulator(program().ops[ops[i]], "_acc");
  }
  if (!anything) return;
  const std::map<std::string, Tile> outer_loads = SaveLoads();
  std::map<size_t, Tile> carries;
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!needed[i] || !IsScan(program().ops[ops[i]].fn)) continue;
    carries[i] = Accumulator(program().ops[ops[i]], "_carry");
    const std::string start = ScanStart(i);
    if (start != RowOf(program().ops[ops[i]].fn).start)
      body().Line(absl::StrCat(carries[i].name, "[...] = nl.add(", carries[i].name, ", ", start, ")"));
  }
  const size_t loops = stage().free_loops.size() + (stage().free.count() > 1 ? 1 : 0);
  OpenChunkLoops(/*in_order=*/!accumulators.empty() || !carries.empty());
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!needed[i]) continue;
    const auto accumulator = accumulators.find(i);
    if (accumulator != accumulators.end()) {
      Accumulate(i, accumulator->second);
    } else if (const auto carry = carries.find(i); carry != carries.end()) {
      EmitScan(i, carry->second.name);
      const std::string last =
          absl::StrCat("0:", stage().partition.tile, ", ", stage().free.tile - 1, ":", stage().free.tile);
      body().Line(absl::StrCat(carry->second.name, "[...] = nl.copy(",
                               Bound(program().ops[ops[i]].result).name, "[", last, "])"));
      if (pass_of_[i] == pass) EmitStore(i);
    } else {
      EmitOp(i);
      if (pass_of_[i] == pass) EmitStore(i);
    }
  }
  for (size_t i = 0; i < loops; ++i) CloseLoop();
  RestoreLoads(outer_loads);
  for (size_t i = 0; i < ops.size(); ++i) {
    if (needed[i] && !IsReduction(program().ops[ops[i]].fn)) Forget(program().ops[ops[i]].result);
  }
  for (const auto& [position, accumulator] : accumulators) {
    Finish(program().ops[ops[position]], accumulator);
    EmitStore(position);
  }
}

}  // namespace nkiagent::builtin
