#include "common/nki/frontend/program_builder.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace nkiagent::nki::frontend {
namespace {

namespace py = pybind11;

int64_t Int(py::handle h) {
  const long long v = PyLong_AsLongLong(h.ptr());
  if (v == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return v;
}

int32_t Int32(py::handle h) { return static_cast<int32_t>(Int(h)); }

double Double(py::handle h) {
  const double v = PyFloat_AsDouble(h.ptr());
  if (v == -1.0 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return v;
}

// Enum values come from tables.cc of this module, so a value past the end is the tracer's fault.
template <typename E>
E Enum(py::handle h, int count) {
  const int64_t v = Int(h);
  if (v < 0 || v >= count) throw py::value_error("enum value out of range");
  return static_cast<E>(v);
}

// Elements of a Python tuple or list, borrowed from it.
class Items {
 public:
  explicit Items(py::handle h) : seq_(h) {
    if (!PyTuple_Check(h.ptr()) && !PyList_Check(h.ptr())) throw py::type_error("expected a tuple or a list");
  }
  size_t size() const { return static_cast<size_t>(PySequence_Fast_GET_SIZE(seq_.ptr())); }
  py::handle operator[](size_t i) const {
    if (i >= size()) throw py::value_error("tuple too short");
    return PySequence_Fast_GET_ITEM(seq_.ptr(), static_cast<Py_ssize_t>(i));
  }

 private:
  py::handle seq_;
};

std::vector<int64_t> Ints(py::handle h) {
  const Items items(h);
  std::vector<int64_t> out;
  out.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) out.push_back(Int(items[i]));
  return out;
}

// (constant, ((symbol, coefficient), ...), (dim coefficients...)), terms sorted by symbol without zeros.
ir::Affine ToAffine(py::handle h) {
  const Items items(h);
  ir::Affine a;
  a.constant = Int(items[0]);
  const Items terms(items[1]);
  for (size_t i = 0; i < terms.size(); ++i) {
    const Items term(terms[i]);
    a.terms.push_back({Int32(term[0]), Int(term[1])});
  }
  const Items dims(items[2]);
  for (size_t i = 0; i < dims.size(); ++i) a.dims.push_back(Int(dims[i]));
  while (!a.dims.empty() && a.dims.back() == 0) a.dims.pop_back();
  return a;
}

std::vector<ir::Affine> Affines(py::handle h) {
  const Items items(h);
  std::vector<ir::Affine> out;
  out.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) out.push_back(ToAffine(items[i]));
  return out;
}

ir::SourceLoc Loc(py::handle line, py::handle column) { return {Int32(line), Int32(column)}; }

// None | (value, dtype) | (tensor, shape, index, mask, indirect_axis, indirect_tensor, indirect_index)
ir::Operand ToOperand(py::handle h) {
  if (h.is_none()) return std::monostate{};
  const Items items(h);
  if (items.size() == 2) {
    return ir::Immediate{Double(items[0]), Enum<isa::DType>(items[1], isa::kDTypeCount)};
  }
  ir::Access a;
  a.tensor = Int32(items[0]);
  a.shape = Ints(items[1]);
  a.index = Affines(items[2]);
  a.mask = Affines(items[3]);
  a.indirect_axis = Int32(items[4]);
  a.indirect_tensor = Int32(items[5]);
  a.indirect_index = Affines(items[6]);
  return a;
}

std::vector<ir::Operand> Operands(py::handle h) {
  const Items items(h);
  std::vector<ir::Operand> out;
  out.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) out.push_back(ToOperand(items[i]));
  return out;
}

ir::Attrs ToAttrs(const py::dict& d) {
  ir::Attrs a;
  for (const auto& [key, value] : d) {
    const std::string name = py::cast<std::string>(key);
    if (name == "op0") {
      a.op0 = Enum<isa::AluOp>(value, isa::kAluOpCount);
    } else if (name == "op1") {
      a.op1 = Enum<isa::AluOp>(value, isa::kAluOpCount);
    } else if (name == "reverse0") {
      a.reverse0 = py::cast<bool>(value);
    } else if (name == "reverse1") {
      a.reverse1 = py::cast<bool>(value);
    } else if (name == "act") {
      a.act = Enum<isa::ActFn>(value, isa::kActFnCount);
    } else if (name == "reduce_op") {
      a.reduce_op = Enum<isa::AluOp>(value, isa::kAluOpCount);
    } else if (name == "reduce_cmd") {
      a.reduce_cmd = Enum<isa::ReduceCmd>(value, isa::kReduceCmdCount);
    } else if (name == "axes") {
      for (int64_t v : Ints(value)) a.axes.push_back(static_cast<int32_t>(v));
    } else if (name == "negate") {
      a.negate = py::cast<bool>(value);
    } else if (name == "accumulate") {
      a.accumulate = py::cast<bool>(value);
    } else if (name == "is_transpose") {
      a.is_transpose = py::cast<bool>(value);
    } else if (name == "stationary_onezero") {
      a.stationary_onezero = py::cast<bool>(value);
    } else if (name == "moving_onezero") {
      a.moving_onezero = py::cast<bool>(value);
    } else if (name == "value") {
      a.value = Double(value);
    } else if (name == "expr") {
      a.expr = ToAffine(value);
    } else if (name == "list") {
      for (int64_t v : Ints(value)) a.list.push_back(static_cast<int32_t>(v));
    } else if (name == "num_elem_per_idx") {
      a.num_elem_per_idx = Int(value);
    } else if (name == "num_valid_indices") {
      a.num_valid_indices = Int(value);
    } else if (name == "seed") {
      a.seed = static_cast<uint64_t>(Int(value));
    } else if (name == "oob") {
      a.oob = Enum<isa::OobMode>(value, isa::kOobModeCount);
    } else {
      throw py::value_error("unknown attribute " + name);
    }
  }
  return a;
}

// ("I", opcode, engine, dst, src, attrs, line, column) | ("L", symbol, kind, start, step, trips, body, line,
// column)
std::vector<ir::Node> Body(
    py::handle h) {  // NOLINT(misc-no-recursion): loop nests are shallow (kMaxLoopDepth)
  const Items nodes(h);
  std::vector<ir::Node> out;
  out.reserve(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Items n(nodes[i]);
    if (n.size() == 8) {
      ir::Instr instr;
      instr.op = Enum<isa::Opcode>(n[1], isa::kOpcodeCount);
      instr.engine = Enum<isa::Engine>(n[2], isa::kEngineCount);
      instr.dst = Operands(n[3]);
      instr.src = Operands(n[4]);
      instr.attrs = ToAttrs(py::reinterpret_borrow<py::dict>(n[5]));
      instr.loc = Loc(n[6], n[7]);
      out.push_back(ir::Node{std::move(instr)});
    } else {
      auto loop = std::make_unique<ir::Loop>();
      loop->symbol = Int32(n[1]);
      loop->kind = Enum<ir::LoopKind>(n[2], ir::kLoopKindCount);
      loop->start = Int(n[3]);
      loop->step = Int(n[4]);
      loop->trips = Int(n[5]);
      loop->body = Body(n[6]);
      loop->loc = Loc(n[7], n[8]);
      out.push_back(ir::Node{std::move(loop)});
    }
  }
  return out;
}

// (name, buffer, dtype, role, shape, partition_axis, scope, view_of, constant_data, line, column)
ir::Tensor ToTensor(py::handle h) {
  const Items n(h);
  ir::Tensor t;
  t.name = py::cast<std::string>(n[0]);
  t.buffer = Enum<isa::Buffer>(n[1], isa::kBufferCount);
  t.dtype = Enum<isa::DType>(n[2], isa::kDTypeCount);
  t.role = Enum<ir::TensorRole>(n[3], ir::kTensorRoleCount);
  t.shape = Ints(n[4]);
  t.partition_axis = Int32(n[5]);
  t.scope = Int32(n[6]);
  t.view_of = Int32(n[7]);
  t.constant_data = py::cast<std::string>(n[8]);
  t.loc = Loc(n[9], n[10]);
  return t;
}

}  // namespace

ir::Program BuildProgram(const py::dict& spec) {
  ir::Program p;
  p.kernel_name = py::cast<std::string>(spec["kernel_name"]);
  p.target = py::cast<std::string>(spec["target"]);
  p.sdk = py::cast<std::string>(spec["sdk"]);
  const Items tensors(spec["tensors"]);
  p.tensors.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) p.tensors.push_back(ToTensor(tensors[i]));
  const Items symbols(spec["symbols"]);
  for (size_t i = 0; i < symbols.size(); ++i) {  // (kind, name, argument, divisor)
    const Items n(symbols[i]);
    ir::Symbol s;
    s.kind = Enum<ir::SymbolKind>(n[0], ir::kSymbolKindCount);
    s.name = py::cast<std::string>(n[1]);
    s.argument = ToAffine(n[2]);
    s.divisor = Int(n[3]);
    p.symbols.push_back(std::move(s));
  }
  for (int64_t v : Ints(spec["inputs"])) p.inputs.push_back(static_cast<ir::TensorId>(v));
  for (int64_t v : Ints(spec["outputs"])) p.outputs.push_back(static_cast<ir::TensorId>(v));
  p.grid = Ints(spec["grid"]);
  p.body = Body(spec["body"]);
  return p;
}

}  // namespace nkiagent::nki::frontend
