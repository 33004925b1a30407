// Several operations in one instruction: (data op number) op number on the Vector engine, (data op number) op
// tile, function(data * scale + bias) on the Scalar engine, and the latter with the sum of its results.
#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/fn_table.h"
#include "services/llm_gateway/builtin/stage_emitter.h"

namespace nkiagent::builtin {
namespace {

// What these instructions compute on floats; they have no division.
bool IsArithmetic(Fn fn) {
  return fn == Fn::kAdd || fn == Fn::kSubtract || fn == Fn::kMultiply || fn == Fn::kMaximum ||
         fn == Fn::kMinimum;
}

// Functions of the Scalar engine that take any argument.
bool IsActivation(Fn fn) {
  switch (fn) {
    case Fn::kExp:
    case Fn::kLog:
    case Fn::kSqrt:
    case Fn::kRsqrt:
    case Fn::kSquare:
    case Fn::kRelu:
    case Fn::kGelu:
    case Fn::kGeluTanh:
    case Fn::kSigmoid:
    case Fn::kTanh:
    case Fn::kErf:
    case Fn::kAbs:
      return true;
    default:
      return false;
  }
}

// The Scalar engine's function that the operation is; x * x is a square.
std::optional<Fn> ActivationOf(const Op& op) {
  if (op.operands.empty() || op.operands[0].immediate.has_value() || !IsFloat(op.dtype) ||
      !IsFloat(op.operands[0].dtype)) {
    return std::nullopt;
  }
  if (IsActivation(op.fn)) return op.fn;
  const bool square = op.fn == Fn::kMultiply && !op.operands[1].immediate.has_value() &&
                      op.operands[0].value == op.operands[1].value &&
                      op.operands[0].view == op.operands[1].view;
  return square ? std::optional<Fn>(Fn::kSquare) : std::nullopt;
}

std::string TypeArgument(DType dtype, const Tile& data) {
  return dtype == data.dtype ? "" : absl::StrCat(", dtype=", DTypeLiteral(dtype));
}

}  // namespace

StageEmitter::OperandKind StageEmitter::KindOf(size_t position, size_t k) const {
  const int index = stage_.stage.ops[position];
  const Operand& operand = program().ops[index].operands[k];
  if (operand.immediate.has_value()) return OperandKind::kNumber;
  for (size_t i = 0; i < stage_.stage.ops.size(); ++i) {
    const Op& maker = program().ops[stage_.stage.ops[i]];
    if (maker.result != operand.value) continue;
    const bool column = IsReduction(maker.fn) || stage_.stage.extents[i] == Extent::kRow;
    return column ? OperandKind::kColumn : OperandKind::kTile;
  }
  const Access& access = AccessOf(index, static_cast<int>(k));
  return access.strides[stage_.free.axis] == 0 ? OperandKind::kColumn : OperandKind::kTile;
}

std::optional<size_t> StageEmitter::DataOperand(size_t position) const {
  const Op& op = program().ops[stage_.stage.ops[position]];
  if (stage_.free.axis < 0 || !stage_.tile_axes.empty() || stage_.stage.windowed ||
      stage_.stage.extents[position] != Extent::kFull || !IsArithmetic(op.fn) || !IsFloat(op.dtype)) {
    return std::nullopt;
  }
  for (const Operand& operand : op.operands) {
    if (!IsFloat(operand.dtype) && !operand.immediate.has_value()) return std::nullopt;
  }
  for (const size_t k : {size_t{0}, size_t{1}}) {
    if (KindOf(position, k) == OperandKind::kTile && KindOf(position, 1 - k) != OperandKind::kTile) return k;
  }
  return std::nullopt;
}

std::optional<size_t> StageEmitter::OnlyReader(size_t position) const {
  const int index = stage_.stage.ops[position];
  const int value = program().ops[index].result;
  if (AccessOf(index, -1).is_store) return std::nullopt;
  std::optional<size_t> reader;
  int reads = 0;
  for (size_t i = 0; i < stage_.stage.ops.size(); ++i) {
    for (const Operand& operand : program().ops[stage_.stage.ops[i]].operands) {
      if (operand.immediate.has_value() || operand.value != value) continue;
      ++reads;
      reader = i;
    }
  }
  return reads == 1 ? reader : std::nullopt;
}

bool StageEmitter::Defer(size_t position) {
  const std::optional<size_t> data = DataOperand(position);
  if (!data.has_value()) return false;
  const Op& op = program().ops[stage_.stage.ops[position]];
  if (deferred_.contains(op.operands[*data].value)) return false;
  const std::optional<size_t> reader = OnlyReader(position);
  if (!reader.has_value() || stage_.stage.extents[*reader] != Extent::kFull) return false;
  const Op& next = program().ops[stage_.stage.ops[*reader]];
  if (ActivationOf(next).has_value()) {
    if (stage_.stage.windowed) return false;
    const bool shifts = op.fn == Fn::kAdd || op.fn == Fn::kSubtract;
    if (!shifts && op.fn != Fn::kMultiply) return false;
  } else if (IsArithmetic(next.fn) && IsFloat(next.dtype)) {
    const size_t other =
        next.operands[0].immediate.has_value() || next.operands[0].value != op.result ? 0 : 1;
    if (!next.operands[other].immediate.has_value()) {
      if (!IsFloat(next.operands[other].dtype) || deferred_.contains(next.operands[other].value))
        return false;
    }
  } else {
    return false;
  }
  deferred_[op.result] = position;
  return true;
}

bool StageEmitter::EmitFused(size_t position) {
  const Op& op = program().ops[stage_.stage.ops[position]];
  for (size_t k = 0; k < op.operands.size(); ++k) {
    if (op.operands[k].immediate.has_value()) continue;
    const auto found = deferred_.find(op.operands[k].value);
    if (found == deferred_.end()) continue;
    const size_t first = found->second;
    deferred_.erase(found);
    if (ActivationOf(op).has_value()) {
      EmitActivation(position, first);
    } else {
      EmitTwoOperators(position, k, first);
    }
    return true;
  }
  const bool on_scalar = ActivationOf(op).has_value() && stage_.stage.extents[position] == Extent::kFull &&
                         (op.fn == Fn::kMultiply || SumReaderOf(position));
  if (!on_scalar) return false;
  EmitActivation(position, std::nullopt);
  return true;
}

std::string StageEmitter::ScalarText(size_t position, size_t k) {
  const Operand& operand = program().ops[stage_.stage.ops[position]].operands[k];
  return operand.immediate.has_value() ? NumberLiteral(*operand.immediate, operand.dtype)
                                       : OperandTile(position, k).name;
}

void StageEmitter::EmitTwoOperators(size_t position, size_t k, size_t first) {
  const Op& inner = program().ops[stage_.stage.ops[first]];
  const Op& outer = program().ops[stage_.stage.ops[position]];
  const size_t data_operand = *DataOperand(first);
  const Tile data = OperandTile(first, data_operand);
  const auto reversed = [](const Op& op, size_t of_data, int number) {
    return of_data == 1 && op.fn == Fn::kSubtract ? absl::StrCat(", reverse", number, "=True")
                                                  : std::string();
  };
  const std::string one =
      absl::StrCat("op0=", RowOf(inner.fn).nl_name, ", operand0=", ScalarText(first, 1 - data_operand),
                   reversed(inner, data_operand, 0));
  const std::string two = absl::StrCat(", op1=", RowOf(outer.fn).nl_name, ", operand1=");
  const size_t other = 1 - k;
  const std::string end = absl::StrCat(reversed(outer, k, 1), TypeArgument(outer.dtype, data), ")");
  std::string expression;
  if (KindOf(position, other) == OperandKind::kTile) {
    const std::string tile = WithFreeAxis(OperandTile(position, other)).name;
    expression =
        absl::StrCat("nisa.scalar_tensor_tensor(data=", WithFreeAxis(data).name, ", ", one, two, tile, end);
  } else {
    expression =
        absl::StrCat("nisa.tensor_scalar(", data.name, ", ", one, two, ScalarText(position, other), end);
  }
  Bind(outer.result, DefineResult(outer, expression, true, outer.dtype));
}

bool StageEmitter::SumReaderOf(size_t position) const {
  if (stage_.chunked() || stage_.free.axis < 0 || !stage_.tile_axes.empty() || stage_.stage.matmul >= 0)
    return false;
  const int value = program().ops[stage_.stage.ops[position]].result;
  return std::any_of(stage_.stage.ops.begin(), stage_.stage.ops.end(), [&](int index) {
    const Op& op = program().ops[index];
    return (op.fn == Fn::kSum || op.fn == Fn::kMean) && op.operands[0].value == value;
  });
}

void StageEmitter::EmitActivation(size_t position, std::optional<size_t> first) {
  const Op& op = program().ops[stage_.stage.ops[position]];
  const absl::string_view function = RowOf(*ActivationOf(op)).nl_name;
  Tile data;
  std::string arguments;
  if (first.has_value()) {
    const Op& inner = program().ops[stage_.stage.ops[*first]];
    const size_t data_operand = *DataOperand(*first);
    data = OperandTile(*first, data_operand);
    const Operand& other = inner.operands[1 - data_operand];
    const bool negative = inner.fn == Fn::kSubtract && data_operand == 0;
    if (inner.fn == Fn::kMultiply) {
      arguments = absl::StrCat(", scale=", ScalarText(*first, 1 - data_operand));
    } else if (other.immediate.has_value()) {
      const double shift = negative ? -*other.immediate : *other.immediate;
      std::string& tile = biases_[shift];
      if (tile.empty()) {
        tile = names_.names.Unique("bias");
        hoisted_.Line(absl::StrCat(tile, " = nl.full(", TupleLiteral({stage_.partition.tile, 1}), ", ",
                                   NumberLiteral(shift, DType::kFloat32), ", dtype=nl.float32)"));
      }
      arguments = absl::StrCat(", bias=", tile);
    } else {
      std::string column = ScalarText(*first, 1 - data_operand);
      if (negative) {
        column = Define(absl::StrCat("minus_", BaseName(inner)), absl::StrCat("nl.negative(", column, ")"),
                        false, other.dtype)
                     .name;
      }
      arguments = absl::StrCat(", bias=", column);
    }
    if (inner.fn == Fn::kSubtract && !negative) arguments += ", scale=-1.0";
  } else {
    data = OperandTile(position, 0);
  }
  const bool plain = arguments.empty();
  arguments = absl::StrCat("op=", function, ", data=", data.name, arguments);
  const std::string type = TypeArgument(op.dtype, data);
  if (SumReaderOf(position) && data.has_free) {
    const Tile sum = Define(absl::StrCat(BaseName(op), "_sum"),
                            absl::StrCat("nl.ndarray(", TupleLiteral({stage_.partition.tile, 1}),
                                         ", dtype=nl.float32, buffer=nl.sbuf)"),
                            false, DType::kFloat32);
    sums_[op.result] = sum;
    arguments =
        absl::StrCat("nisa.activation_reduce(", arguments, ", reduce_op=nl.add, reduce_res=", sum.name);
  } else if (plain) {
    arguments = absl::StrCat(function, "(", data.name);
  } else {
    arguments = absl::StrCat("nisa.activation(", arguments);
  }
  Bind(op.result, DefineResult(op, absl::StrCat(arguments, type, ")"), data.has_free, op.dtype));
}

std::optional<Tile> StageEmitter::SumOf(int value) const {
  const auto found = sums_.find(value);
  return found == sums_.end() ? std::nullopt : std::optional<Tile>(found->second);
}

}  // namespace nkiagent::builtin
