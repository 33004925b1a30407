#include "common/nki/exec/testing/program_builder.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "common/nki/ir/print.h"
#include "common/nki/ir/validate.h"

namespace nkiagent::nki::exec::testing {

using ir::Access;
using ir::Affine;
using ir::Attrs;
using ir::Instr;
using ir::Operand;
using ir::TensorId;
using ir::TensorRole;
using isa::Buffer;
using isa::DType;
using isa::Opcode;

ProgramBuilder::ProgramBuilder(std::string name) {
  program_.kernel_name = std::move(name);
  bodies_.push_back(&program_.body);
}

TensorId ProgramBuilder::Add(ir::Tensor tensor) {
  tensor.loc.line = line_;
  program_.tensors.push_back(std::move(tensor));
  return static_cast<TensorId>(program_.tensors.size() - 1);
}

ir::SymbolId ProgramBuilder::AddSymbol(ir::Symbol symbol) {
  program_.symbols.push_back(std::move(symbol));
  return static_cast<ir::SymbolId>(program_.symbols.size() - 1);
}

namespace {

ir::Tensor Make(std::string name, Buffer buffer, DType dtype, TensorRole role, std::vector<int64_t> shape,
                int partition_axis, ir::SymbolId scope) {
  ir::Tensor t;
  t.name = std::move(name);
  t.buffer = buffer;
  t.dtype = dtype;
  t.role = role;
  t.shape = std::move(shape);
  t.partition_axis = partition_axis;
  t.scope = scope;
  return t;
}

}  // namespace

TensorId ProgramBuilder::Input(std::string name, DType dtype, std::vector<int64_t> shape) {
  const TensorId id =
      Add(Make(std::move(name), Buffer::kHbm, dtype, TensorRole::kInput, std::move(shape), 0, -1));
  program_.inputs.push_back(id);
  return id;
}

TensorId ProgramBuilder::Output(std::string name, DType dtype, std::vector<int64_t> shape) {
  const TensorId id =
      Add(Make(std::move(name), Buffer::kSharedHbm, dtype, TensorRole::kOutput, std::move(shape), 0, -1));
  program_.outputs.push_back(id);
  return id;
}

TensorId ProgramBuilder::InOut(std::string name, DType dtype, std::vector<int64_t> shape) {
  const TensorId id = Input(std::move(name), dtype, std::move(shape));
  program_.outputs.push_back(id);
  return id;
}

TensorId ProgramBuilder::Sbuf(std::string name, DType dtype, std::vector<int64_t> shape, int partition_axis) {
  return Add(Make(std::move(name), Buffer::kSbuf, dtype, TensorRole::kLocal, std::move(shape), partition_axis,
                  scopes_.empty() ? -1 : scopes_.back()));
}

TensorId ProgramBuilder::Psum(std::string name, DType dtype, std::vector<int64_t> shape, int partition_axis) {
  return Add(Make(std::move(name), Buffer::kPsum, dtype, TensorRole::kLocal, std::move(shape), partition_axis,
                  scopes_.empty() ? -1 : scopes_.back()));
}

TensorId ProgramBuilder::Hbm(std::string name, DType dtype, std::vector<int64_t> shape) {
  return Add(Make(std::move(name), Buffer::kPrivateHbm, dtype, TensorRole::kLocal, std::move(shape), 0,
                  scopes_.empty() ? -1 : scopes_.back()));
}

TensorId ProgramBuilder::Constant(std::string name, DType dtype, std::vector<int64_t> shape,
                                  std::string bytes) {
  ir::Tensor t = Make(std::move(name), Buffer::kHbm, dtype, TensorRole::kConstant, std::move(shape), 0, -1);
  t.constant_data = std::move(bytes);
  return Add(std::move(t));
}

TensorId ProgramBuilder::View(TensorId base, std::vector<int64_t> shape, int partition_axis) {
  const ir::Tensor& of = program_.tensors[static_cast<size_t>(base)];
  ir::Tensor t = Make(of.name + "_view", of.buffer, of.dtype, TensorRole::kLocal, std::move(shape),
                      partition_axis, of.scope);
  t.view_of = base;
  return Add(std::move(t));
}

void ProgramBuilder::Loop(ir::LoopKind kind, int64_t trips, const std::function<void(const Affine&)>& body,
                          int64_t start, int64_t step) {
  const ir::SymbolId symbol =
      AddSymbol({ir::SymbolKind::kLoop, "i" + std::to_string(program_.symbols.size()), {}, 1});
  auto loop = std::make_unique<ir::Loop>();
  loop->symbol = symbol;
  loop->kind = kind;
  loop->start = start;
  loop->step = step;
  loop->trips = trips;
  loop->loc.line = line_;
  if (kind == ir::LoopKind::kSpmd) program_.grid.push_back(trips);
  ir::Loop* raw = loop.get();
  bodies_.back()->push_back(ir::Node{std::move(loop)});
  bodies_.push_back(&raw->body);
  // Tensors made among SPMD loops only are at kernel level.
  if (kind != ir::LoopKind::kSpmd) scopes_.push_back(symbol);
  body(Affine::Symbol(symbol));
  if (kind != ir::LoopKind::kSpmd) scopes_.pop_back();
  bodies_.pop_back();
}

Affine ProgramBuilder::FloorDiv(const Affine& argument, int64_t divisor) {
  return Affine::Symbol(AddSymbol({ir::SymbolKind::kFloorDiv, "", argument, divisor}));
}

Affine ProgramBuilder::Mod(const Affine& argument, int64_t divisor) {
  return Affine::Symbol(AddSymbol({ir::SymbolKind::kMod, "", argument, divisor}));
}

Access ProgramBuilder::Tile(TensorId tensor, std::vector<int64_t> shape, std::vector<Affine> index,
                            std::vector<Affine> mask) const {
  Access a;
  a.tensor = tensor;
  a.shape = std::move(shape);
  a.index = std::move(index);
  a.mask = std::move(mask);
  return a;
}

Access ProgramBuilder::Whole(TensorId tensor) const {
  const ir::Tensor& t = program_.tensors[static_cast<size_t>(tensor)];
  std::vector<Affine> index;
  for (size_t d = 0; d < t.shape.size(); ++d) index.push_back(D(static_cast<int>(d)));
  return Tile(tensor, t.shape, std::move(index));
}

Instr& ProgramBuilder::Emit(Opcode op, std::vector<Operand> dst, std::vector<Operand> src, Attrs attrs) {
  const isa::Row& row = isa::RowOf(op);
  Instr instr;
  instr.op = op;
  instr.dst = std::move(dst);
  instr.src = std::move(src);
  // Optional operands at the end may be left out.
  instr.dst.resize(std::max(instr.dst.size(), row.dst.size()));
  instr.src.resize(std::max(instr.src.size(), row.src.size()));
  instr.attrs = std::move(attrs);
  instr.loc.line = line_++;
  bodies_.back()->push_back(ir::Node{std::move(instr)});
  return std::get<Instr>(bodies_.back()->back().item);
}

Instr& ProgramBuilder::Copy(Operand dst, Operand src) {
  return Emit(Opcode::kDmaCopy, {std::move(dst)}, {std::move(src)});
}

Instr& ProgramBuilder::Memset(Operand dst, double value) {
  Attrs attrs;
  attrs.value = value;
  return Emit(Opcode::kMemset, {std::move(dst)}, {}, attrs);
}

Instr& ProgramBuilder::TensorTensor(Operand dst, Operand a, Operand b, isa::AluOp op) {
  Attrs attrs;
  attrs.op0 = op;
  return Emit(Opcode::kTensorTensor, {std::move(dst)}, {std::move(a), std::move(b)}, attrs);
}

Instr& ProgramBuilder::TensorScalar(Operand dst, Operand data, isa::AluOp op, double operand) {
  return TensorScalar(std::move(dst), std::move(data), op, Imm(operand));
}

Instr& ProgramBuilder::TensorScalar(Operand dst, Operand data, isa::AluOp op, Operand operand) {
  Attrs attrs;
  attrs.op0 = op;
  return Emit(Opcode::kTensorScalar, {std::move(dst)}, {std::move(data), std::move(operand)}, attrs);
}

Instr& ProgramBuilder::Reduce(Operand dst, Operand data, isa::AluOp op, std::vector<int32_t> axes,
                              bool negate) {
  Attrs attrs;
  attrs.op0 = op;
  attrs.axes = std::move(axes);
  attrs.negate = negate;
  return Emit(Opcode::kTensorReduce, {std::move(dst)}, {std::move(data)}, attrs);
}

Instr& ProgramBuilder::Activation(Operand dst, Operand data, isa::ActFn fn, Operand bias, Operand scale) {
  Attrs attrs;
  attrs.act = fn;
  return Emit(Opcode::kActivation, {std::move(dst)}, {std::move(data), std::move(bias), std::move(scale)},
              attrs);
}

Instr& ProgramBuilder::Matmul(Operand dst, Operand stationary, Operand moving, bool accumulate) {
  Attrs attrs;
  attrs.accumulate = accumulate;
  return Emit(Opcode::kNcMatmul, {std::move(dst)}, {std::move(stationary), std::move(moving)}, attrs);
}

Instr& ProgramBuilder::Transpose(Operand dst, Operand data) {
  return Emit(Opcode::kNcTranspose, {std::move(dst)}, {std::move(data)});
}

ir::Program ProgramBuilder::Build(bool validate) {
  if (validate) {
    if (const absl::Status status = ir::Validate(program_); !status.ok()) {
      std::fprintf(stderr, "ProgramBuilder: %s\n%s", status.ToString().c_str(),
                   ir::ToString(program_).c_str());
      std::abort();
    }
  }
  return std::move(program_);
}

}  // namespace nkiagent::nki::exec::testing
