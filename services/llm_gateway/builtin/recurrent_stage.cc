#include "services/llm_gateway/builtin/recurrent_stage.h"

#include "absl/strings/str_cat.h"

namespace nkiagent::builtin {
namespace {

// Operands, see recurrence.h.
constexpr size_t kInput = 0, kInputWeight = 1, kHiddenWeight = 2, kFirstState = 3, kFirstCell = 4;

absl::string_view NameOf(CellKind kind) {
  switch (kind) {
    case CellKind::kLstm:
      return "LSTM";
    case CellKind::kGru:
      return "GRU";
    default:
      return "recurrent";
  }
}

}  // namespace

RecurrentStageEmitter::RecurrentStageEmitter(const KernelPlan& plan, const StagePlan& stage,
                                             KernelNames& names)
    : StageEmitter(plan, stage, names),
      op_(program().ops[stage.stage.ops.front()]),
      r_(*op_.recurrence),
      dtype_(op_.dtype),
      hidden_(Cut(r_.hidden)),
      inputs_(Cut(r_.inputs)),
      batch_(Cut(r_.batch)) {}

Tiles RecurrentStageEmitter::Cut(int64_t size) { return {size, ChooseTile(size, kMaxPartitions)}; }

std::string RecurrentStageEmitter::Headline() const {
  return absl::StrCat(op_.origin, ": ", NameOf(r_.kind), " layer, ", r_.steps, " steps",
                      r_.reverse ? " from the last" : "", ", ", r_.batch, " sequences, ", inputs_.count(),
                      " x ", inputs_.tile, " inputs, ", hidden_.count(), " x ", hidden_.tile,
                      " hidden units on partitions");
}

std::string RecurrentStageEmitter::OpenTiles(absl::string_view base, const Tiles& tiles) {
  if (tiles.count() == 1) return "0";
  const std::string variable = names().names.Unique(base);
  OpenLoop(variable, tiles.count(), /*in_order=*/false);
  return variable;
}

void RecurrentStageEmitter::CloseTiles(const Tiles& tiles) {
  if (tiles.count() > 1) CloseLoop();
}

std::string RecurrentStageEmitter::Below(const Tiles& tiles, const std::string& index) {
  return tiles.ragged() ? absl::StrCat(index, " < ", tiles.size) : "";
}

std::string RecurrentStageEmitter::Vector(absl::string_view base, int64_t count, bool partitions) {
  const std::string name = names().names.Unique(base);
  vectors_.emplace_back(name, absl::StrCat("nl.arange(", count, partitions ? ")[:, None]" : ")[None, :]"));
  return name;
}

std::string RecurrentStageEmitter::Declare(absl::string_view base, const Dims& shape, bool zeroed,
                                           absl::string_view dtype) {
  const std::string name = names().names.Unique(base);
  body().Line(absl::StrCat(name, " = ", zeroed ? "nl.zeros(" : "nl.ndarray(", TupleLiteral(shape),
                           ", dtype=", dtype, ", buffer=nl.sbuf)"));
  return name;
}

std::string RecurrentStageEmitter::OperandAt(size_t operand, const std::vector<AxisIndex>& axes) {
  const Operand& o = op_.operands[operand];
  return Subscript(o.value, o.view.offset, o.view.strides, o.view.dims, axes).text;
}

std::string RecurrentStageEmitter::LoadPadded(absl::string_view base, const Dims& shape,
                                              const std::string& subscripts, const std::string& source,
                                              const std::string& mask, DType dtype) {
  const std::string load = absl::StrCat("nl.load(", source, mask, ")");
  if (subscripts.empty()) return Define(base, load, true, dtype).name;
  const std::string tile = Declare(base, shape, true, DTypeLiteral(dtype));
  body().Line(absl::StrCat(tile, "[", subscripts, "] = ", load));
  return tile;
}

// (inputs on partitions, tiles of inputs, gates * padded hidden units), turned from the rows of the weight.
std::string RecurrentStageEmitter::EmitWeight(size_t operand, absl::string_view base, const Tiles& inputs,
                                              const std::string& k_partition, const std::string& k_free,
                                              const std::string& k_all) {
  const int64_t padded = hidden_.padded();
  const std::string panel =
      Declare(absl::StrCat(base, "_t"), {inputs.tile, inputs.count(), r_.gates() * padded}, false,
              DTypeLiteral(dtype_));
  std::string g = "0";
  if (r_.gates() > 1) {
    g = names().names.Unique("g");
    OpenLoop(g, r_.gates(), /*in_order=*/false);
  }
  const std::string m = OpenTiles("m", hidden_);
  const std::string unit = hidden_.Index(m, i_h_);
  const std::string row = r_.gates() > 1 ? absl::StrCat(g, " * ", r_.hidden, " + ", unit) : unit;
  const bool padded_load = hidden_.ragged() || inputs.ragged();
  const std::string rows = LoadPadded(
      absl::StrCat(base, "_rows"), {hidden_.tile, inputs.padded()},
      padded_load ? absl::StrCat(i_h_, ", ", k_all) : "",
      OperandAt(operand, {{row, AxisIndex::Kind::kPartition, true}, {k_all, AxisIndex::Kind::kFree, false}}),
      MaskArgument({Below(hidden_, unit)}), dtype_);
  const std::string k = OpenTiles("k", inputs);
  const std::string square =
      inputs.count() == 1 ? rows : absl::StrCat(rows, "[", i_h_, ", ", inputs.Index(k, k_free), "]");
  const std::string column = hidden_.Index(m, i_hf_);
  body().Line(absl::StrCat(panel, "[", k_partition, ", ", k, ", ",
                           r_.gates() > 1 ? absl::StrCat(g, " * ", padded, " + ", column) : column,
                           "] = nisa.nc_transpose(", square, ")"));
  CloseTiles(inputs);
  CloseTiles(hidden_);
  if (r_.gates() > 1) CloseLoop();
  return panel;
}

// A column for each gate and tile of hidden units. A GRU's new gate adds one bias before and one after the
// reset.
void RecurrentStageEmitter::EmitBiases() {
  if (!r_.has_bias) return;
  const size_t first = op_.operands.size() - 2;
  const Dims shape = {hidden_.tile, r_.gates() * hidden_.count()};
  const std::string float32 = "nl.float32";
  bias_input_ = Declare("bias_input", shape, hidden_.ragged(), float32);
  bias_hidden_ = Declare("bias_hidden", shape, hidden_.ragged(), float32);
  std::string g = "0";
  if (r_.gates() > 1) {
    g = names().names.Unique("g");
    OpenLoop(g, r_.gates(), /*in_order=*/false);
  }
  const std::string m = OpenTiles("m", hidden_);
  const std::string unit = hidden_.Index(m, i_h_);
  const std::string row = r_.gates() > 1 ? absl::StrCat(g, " * ", r_.hidden, " + ", unit) : unit;
  std::string column = g;
  if (hidden_.count() > 1) column = r_.gates() > 1 ? absl::StrCat(g, " * ", hidden_.count(), " + ", m) : m;
  for (size_t k = 0; k < 2; ++k) {
    body().Line(absl::StrCat(k == 0 ? bias_input_ : bias_hidden_, "[", i_h_, ", ", column, "] = nl.load(",
                             OperandAt(first + k, {{row, AxisIndex::Kind::kPartition, true}}),
                             MaskArgument({Below(hidden_, unit)}), ")"));
  }
  CloseTiles(hidden_);
  if (r_.gates() > 1) CloseLoop();
  bias_ = Define("bias", absl::StrCat("nl.add(", bias_input_, ", ", bias_hidden_, ")"), true, DType::kFloat32)
              .name;
}

// (hidden units on partitions, tiles of them, batch).
std::string RecurrentStageEmitter::EmitState(size_t operand, absl::string_view base,
                                             absl::string_view dtype) {
  const Dims shape = {hidden_.tile, hidden_.count(), batch_.tile};
  const Operand& o = op_.operands[operand];
  if (o.immediate.has_value()) {
    const std::string name = names().names.Unique(base);
    body().Line(absl::StrCat(name, " = nl.full(", TupleLiteral(shape), ", ",
                             NumberLiteral(*o.immediate, dtype_), ", dtype=", dtype, ", buffer=nl.sbuf)"));
    return name;
  }
  const std::string state = Declare(base, shape, false, dtype);
  const std::string m = OpenTiles("m", hidden_);
  const std::string row = batch_.Index(b_, i_b_), unit = hidden_.Index(m, i_hf_);
  const bool padded = hidden_.ragged() || batch_.ragged();
  const std::string rows = LoadPadded(
      absl::StrCat(base, "_rows"), {batch_.tile, hidden_.tile}, padded ? absl::StrCat(i_b_, ", ", i_hf_) : "",
      OperandAt(operand, {{row, AxisIndex::Kind::kPartition, true}, {unit, AxisIndex::Kind::kFree, true}}),
      MaskArgument({Below(batch_, row), Below(hidden_, unit)}), o.dtype);
  body().Line(absl::StrCat(state, "[", i_h_, ", ", m, ", ", i_bf_, "] = nisa.nc_transpose(", rows, ")"));
  CloseTiles(hidden_);
  return state;
}

// The step's input, turned like the state.
void RecurrentStageEmitter::EmitInput() {
  const std::string row = batch_.Index(b_, i_b_);
  const std::string step = r_.reverse ? absl::StrCat(r_.steps - 1, " - ", t_) : t_;
  const bool padded = inputs_.ragged() || batch_.ragged();
  const std::string rows =
      LoadPadded("input_rows", {batch_.tile, inputs_.padded()}, padded ? absl::StrCat(i_b_, ", ", i_ka_) : "",
                 OperandAt(kInput, {{step, AxisIndex::Kind::kLoop, true},
                                    {row, AxisIndex::Kind::kPartition, true},
                                    {i_ka_, AxisIndex::Kind::kFree, false}}),
                 MaskArgument({Below(batch_, row)}), op_.operands[kInput].dtype);
  input_ = Declare("input_t", {inputs_.tile, inputs_.count(), batch_.tile}, false, DTypeLiteral(dtype_));
  const std::string k = OpenTiles("k", inputs_);
  const std::string square =
      inputs_.count() == 1 ? rows : absl::StrCat(rows, "[", i_b_, ", ", inputs_.Index(k, i_kf_), "]");
  body().Line(absl::StrCat(input_, "[", i_k_, ", ", k, ", ", i_bf_, "] = nisa.nc_transpose(", square, ")"));
  CloseTiles(inputs_);
}

// What a gate gets from the input and from the state, added up in PSUM.
std::string RecurrentStageEmitter::EmitGateSum(absl::string_view name, int64_t gate, const std::string& m,
                                               bool input, bool state) {
  const std::string sum = names().names.Unique(absl::StrCat(name, "_psum"));
  body().Line(absl::StrCat(sum, " = nl.zeros(", TupleLiteral({hidden_.tile, batch_.tile}),
                           ", dtype=nl.float32, buffer=nl.psum)"));
  const auto add = [&](const Tiles& tiles, const std::string& vector, const std::string& panel,
                       const std::string& moving) {
    const std::string k = OpenTiles("k", tiles);
    const std::string unit = hidden_.Index(m, i_hf_);
    const std::string column = gate == 0 ? unit : absl::StrCat(gate * hidden_.padded(), " + ", unit);
    body().Line(absl::StrCat(sum, " += nisa.nc_matmul(", panel, "[", vector, ", ", k, ", ", column, "], ",
                             moving, "[", vector, ", ", k, ", ", i_bf_, "])"));
    CloseTiles(tiles);
  };
  if (input) add(inputs_, i_k_, weight_input_, input_);
  if (state) add(hidden_, i_h_, weight_hidden_, state_);
  return sum;
}

std::string RecurrentStageEmitter::EmitGate(absl::string_view name, absl::string_view function, int64_t gate,
                                            const std::string& m) {
  const std::string sum = EmitGateSum(name, gate, m, true, true);
  if (!r_.has_bias) return Define(name, absl::StrCat(function, "(", sum, ")"), true, DType::kFloat32).name;
  const int64_t column = gate * hidden_.count();
  const std::string at = m == "0" ? absl::StrCat(column) : column == 0 ? m : absl::StrCat(column, " + ", m);
  return Define(name,
                absl::StrCat("nisa.activation(op=", function, ", data=", sum, ", bias=", bias_, "[", i_h_,
                             ", ", at, "], dtype=nl.float32)"),
                true, DType::kFloat32)
      .name;
}

std::string RecurrentStageEmitter::NewGruState(const std::string& m) {
  const std::string reset = EmitGate("reset", "nl.sigmoid", 0, m);
  const std::string update = EmitGate("update", "nl.sigmoid", 1, m);
  std::string from_input = EmitGateSum("new_input", 2, m, true, false);
  std::string from_state = EmitGateSum("new_state", 2, m, false, true);
  if (r_.has_bias) {
    const int64_t column = 2 * hidden_.count();
    const std::string at = absl::StrCat("[", i_h_, ", ", m == "0" ? "" : absl::StrCat(m, " + "), column, "]");
    from_input = Define("new_input", absl::StrCat("nl.add(", from_input, ", ", bias_input_, at, ")"), true,
                        DType::kFloat32)
                     .name;
    from_state = Define("new_state", absl::StrCat("nl.add(", from_state, ", ", bias_hidden_, at, ")"), true,
                        DType::kFloat32)
                     .name;
  }
  const std::string new_gate =
      Define("new",
             absl::StrCat("nl.tanh(nl.add(", from_input, ", nl.multiply(", reset, ", ", from_state, ")))"),
             true, DType::kFloat32)
          .name;
  // (1 - update) * new + update * state
  return absl::StrCat("nl.add(", new_gate, ", nl.multiply(", update, ", nl.subtract(", state_, "[", i_h_,
                      ", ", m, ", ", i_bf_, "], ", new_gate, ")))");
}

// The expression of the next state's tile.
std::string RecurrentStageEmitter::NewState(const std::string& m) {
  if (r_.kind == CellKind::kGru) return NewGruState(m);
  if (r_.kind != CellKind::kLstm)
    return EmitGate("hidden", r_.kind == CellKind::kTanh ? "nl.tanh" : "nl.relu", 0, m);
  const std::string in = EmitGate("input_gate", "nl.sigmoid", 0, m);
  const std::string forget = EmitGate("forget_gate", "nl.sigmoid", 1, m);
  const std::string candidate = EmitGate("candidate", "nl.tanh", 2, m);
  const std::string out = EmitGate("output_gate", "nl.sigmoid", 3, m);
  const std::string cell = absl::StrCat(cell_, "[", i_h_, ", ", m, ", ", i_bf_, "]");
  body().Line(absl::StrCat(cell, " = nl.add(nl.multiply(", forget, ", ", cell, "), nl.multiply(", in, ", ",
                           candidate, "))"));
  return absl::StrCat("nl.multiply(", out, ", nl.tanh(", cell, "))");
}

void RecurrentStageEmitter::EmitStep() {
  EmitInput();
  next_ = Declare("next_state", {hidden_.tile, hidden_.count(), batch_.tile}, false, DTypeLiteral(dtype_));
  const std::string m = OpenTiles("m", hidden_);
  const std::string value = NewState(m);
  const std::string dtype = absl::StrCat(", dtype=", DTypeLiteral(dtype_), ")");
  body().Line(absl::StrCat(next_, "[", i_h_, ", ", m, ", ", i_bf_, "] = nl.copy(", value, dtype));
  CloseTiles(hidden_);
  body().Line(absl::StrCat(state_, "[...] = nl.copy(", next_, ")"));
}

void RecurrentStageEmitter::EmitStore(const std::string& state, int value, const StridedView& view,
                                      const std::vector<AxisIndex>& lead) {
  const std::string m = OpenTiles("m", hidden_);
  const DType dtype = program().values[value].dtype;
  const std::string rows = Define(absl::StrCat(state, "_rows"),
                                  absl::StrCat("nl.copy(nisa.nc_transpose(", state, "[", i_h_, ", ", m, ", ",
                                               i_bf_, "]), dtype=", DTypeLiteral(dtype), ")"),
                                  true, dtype)
                               .name;
  const std::string row = batch_.Index(b_, i_b_), unit = hidden_.Index(m, i_hf_);
  std::vector<AxisIndex> axes = lead;
  axes.push_back({row, AxisIndex::Kind::kPartition, true});
  axes.push_back({unit, AxisIndex::Kind::kFree, true});
  body().Line(absl::StrCat("nl.store(", Subscript(value, view.offset, view.strides, view.dims, axes).text,
                           ", value=", rows, MaskArgument({Below(batch_, row), Below(hidden_, unit)}), ")"));
  CloseTiles(hidden_);
}

void RecurrentStageEmitter::EmitLoops() {
  i_h_ = Vector("i_h", hidden_.tile, true);
  i_hf_ = Vector("i_hf", hidden_.tile, false);
  i_ha_ = Vector("i_ha", r_.hidden, false);
  i_k_ = Vector("i_in", inputs_.tile, true);
  i_kf_ = Vector("i_inf", inputs_.tile, false);
  i_ka_ = Vector("i_ina", r_.inputs, false);
  i_b_ = Vector("i_b", batch_.tile, true);
  i_bf_ = Vector("i_bf", batch_.tile, false);
  weight_input_ = EmitWeight(kInputWeight, "weight_input", inputs_, i_k_, i_kf_, i_ka_);
  weight_hidden_ = EmitWeight(kHiddenWeight, "weight_hidden", hidden_, i_h_, i_hf_, i_ha_);
  EmitBiases();
  b_ = OpenTiles("b", batch_);
  state_ = EmitState(kFirstState, "state", DTypeLiteral(dtype_));
  if (r_.kind == CellKind::kLstm) cell_ = EmitState(kFirstCell, "cell", "nl.float32");
  t_ = names().names.Unique("t");
  OpenLoop(t_, r_.steps, /*in_order=*/true);
  EmitStep();
  const std::string step = r_.reverse ? absl::StrCat(r_.steps - 1, " - ", t_) : t_;
  if (!names().hbm[op_.result].empty()) {
    EmitStore(next_, op_.result, op_.destination, {{step, AxisIndex::Kind::kLoop, true}});
  }
  CloseLoop();
  if (r_.cell_result >= 0 && !names().hbm[r_.cell_result].empty()) {
    EmitStore(cell_, r_.cell_result, r_.cell_destination, {});
  }
  CloseLoops();
}

}  // namespace nkiagent::builtin
