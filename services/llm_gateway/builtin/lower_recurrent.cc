// LSTM, GRU and plain recurrent networks that the graph keeps as one node: layers and directions one after
// another, each a loop over the steps.
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/node_lowering.h"

namespace nkiagent::builtin {
namespace {

// What the node's arguments say. Positions differ by one list only: an LSTM has two states.
struct Network {
  CellKind kind = CellKind::kLstm;
  std::vector<Tensor> states;  // (layers*directions, batch, hidden) each
  std::vector<Tensor> parameters;
  bool has_bias = true, bidirectional = false, batch_first = false;
  int64_t layers = 1;

  int64_t directions() const { return bidirectional ? 2 : 1; }
  size_t parameters_per_layer() const { return has_bias ? 4 : 2; }
};

Network ReadNetwork(NodeLowering& n) {
  Network net;
  const absl::string_view op = n.op();
  net.kind = op == "aten.lstm"       ? CellKind::kLstm
             : op == "aten.gru"      ? CellKind::kGru
             : op == "aten.rnn_tanh" ? CellKind::kTanh
                                     : CellKind::kRelu;
  if (net.kind == CellKind::kLstm) {
    net.states = n.TensorsAt(1, "hx");
  } else {
    net.states = {n.TensorAt(1, "hx")};
  }
  net.parameters = n.TensorsAt(2, "params");
  net.has_bias = n.BoolOr(3, "has_biases", true);
  net.layers = n.IntOr(4, "num_layers", 1);
  net.bidirectional = n.BoolOr(7, "bidirectional", false);
  net.batch_first = n.BoolOr(8, "batch_first", false);
  return net;
}

bool IsConsistent(const Network& net, const Tensor& x) {
  if (x.view.dims.size() != 3 || net.layers < 1 || net.layers > 1024) return false;
  const size_t runs = static_cast<size_t>(net.layers * net.directions());
  if (net.parameters.size() != runs * net.parameters_per_layer()) return false;
  if (net.states.size() != (net.kind == CellKind::kLstm ? 2U : 1U)) return false;
  for (const Tensor& state : net.states) {
    if (state.view.dims.size() != 3 || state.view.dims[0] != static_cast<int64_t>(runs)) return false;
  }
  return true;
}

// One layer in one direction: `x` (steps, batch, inputs) to `into` (steps, batch, hidden), the last cell
// state to `cell`.
void Run(NodeLowering& n, const Network& net, size_t run, const Tensor& x, const Tensor& into,
         const Tensor* cell) {
  Builder& b = n.builder();
  Recurrence r;
  r.kind = net.kind;
  r.has_bias = net.has_bias;
  r.reverse = net.bidirectional && run % 2 == 1;
  r.steps = x.view.dims[0];
  r.batch = x.view.dims[1];
  r.inputs = x.view.dims[2];
  r.hidden = into.view.dims[2];
  const auto first = static_cast<ptrdiff_t>(run * net.parameters_per_layer());
  std::vector<Tensor> operands = {x, net.parameters[first], net.parameters[first + 1]};
  const Dims input_weight = {r.gates() * r.hidden, r.inputs},
             hidden_weight = {r.gates() * r.hidden, r.hidden};
  if (operands[1].view.dims != input_weight || operands[2].view.dims != hidden_weight) {
    b.Fail("projections of the hidden state are not supported");
    return;
  }
  for (const Tensor& state : net.states) {
    operands.push_back(b.DropAxis(b.Slice(state, 0, static_cast<int64_t>(run), 1, 1), 0));
  }
  if (net.has_bias) {
    operands.push_back(net.parameters[first + 2]);
    operands.push_back(net.parameters[first + 3]);
  }
  if (cell != nullptr) {
    r.cell_result = cell->value;
    r.cell_destination = cell->view;
  }
  b.Recur(std::move(r), std::move(operands), into);
}

void LowerNetwork(NodeLowering& n) {
  Builder& b = n.builder();
  const Network net = ReadNetwork(n);
  Tensor x = n.TensorAt(0, "input");
  if (b.failed()) return;
  if (!IsConsistent(net, x)) {
    b.Fail(absl::StrCat(n.node().op, " with these arguments is not supported"));
    return;
  }
  const Dims state = net.states[0].view.dims;
  const int64_t hidden = state[2], width = hidden * net.directions();
  if (net.batch_first) x = b.Permute(x, {1, 0, 2});
  const int64_t steps = x.view.dims[0], batch = x.view.dims[1];
  if (state[1] != batch) {
    b.Fail("the states' batch differs from the input's");
    return;
  }
  const Tensor cells = b.Buffer(state, n.dtype(0));
  std::vector<Tensor> last;
  Tensor all;
  for (int64_t layer = 0; layer < net.layers && !b.failed(); ++layer) {
    const Dims dims = net.batch_first ? Dims{batch, steps, width} : Dims{steps, batch, width};
    all = b.Buffer(dims, n.dtype(0));
    const Tensor ordered = net.batch_first ? b.Permute(all, {1, 0, 2}) : all;
    for (int64_t direction = 0; direction < net.directions(); ++direction) {
      const int64_t run = layer * net.directions() + direction;
      const Tensor into = b.Slice(ordered, 2, direction * hidden, 1, hidden);
      const Tensor cell = b.DropAxis(b.Slice(cells, 0, run, 1, 1), 0);
      Run(n, net, static_cast<size_t>(run), x, into, net.kind == CellKind::kLstm ? &cell : nullptr);
      last.push_back(b.Slice(into, 0, direction == 1 ? 0 : steps - 1, 1, 1));
    }
    x = ordered;
  }
  std::vector<Tensor> results = {all, b.Concat(last, 0, n.dtype(1))};
  if (net.kind == CellKind::kLstm) results.push_back(cells);
  n.YieldTuple(std::move(results));
}

}  // namespace

bool LowerRecurrent(NodeLowering& n) {
  const absl::string_view op = n.op();
  if (op != "aten.lstm" && op != "aten.gru" && op != "aten.rnn_tanh" && op != "aten.rnn_relu") return false;
  if (n.overload() != "input") return false;
  LowerNetwork(n);
  return true;
}

}  // namespace nkiagent::builtin
