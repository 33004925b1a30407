#include "common/nki/ir/testing/program_builder.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "common/nki/ir/validate.h"

namespace nkiagent::nki::ir::testing {

Access Tile(TensorId tensor, std::vector<int64_t> shape, std::vector<Affine> index,
            std::vector<Affine> mask) {
  Access a;
  a.tensor = tensor;
  a.shape = std::move(shape);
  a.index = std::move(index);
  a.mask = std::move(mask);
  return a;
}

TensorId ProgramBuilder::Add(std::string name, std::vector<int64_t> shape, isa::DType dtype,
                             isa::Buffer buffer, TensorRole role) {
  Tensor t;
  t.name = std::move(name);
  t.shape = std::move(shape);
  t.dtype = dtype;
  t.buffer = buffer;
  t.role = role;
  t.loc.line = line_ + 1;
  if (role == TensorRole::kLocal && !open_.empty() && open_.back().loop.kind != LoopKind::kSpmd) {
    t.scope = open_.back().loop.symbol;
  }
  program_.tensors.push_back(std::move(t));
  return static_cast<TensorId>(program_.tensors.size() - 1);
}

TensorId ProgramBuilder::Input(std::string name, std::vector<int64_t> shape, isa::DType dtype) {
  const TensorId id = Add(std::move(name), std::move(shape), dtype, isa::Buffer::kHbm, TensorRole::kInput);
  program_.inputs.push_back(id);
  return id;
}

TensorId ProgramBuilder::Output(std::string name, std::vector<int64_t> shape, isa::DType dtype) {
  const TensorId id =
      Add(std::move(name), std::move(shape), dtype, isa::Buffer::kSharedHbm, TensorRole::kOutput);
  program_.outputs.push_back(id);
  return id;
}

TensorId ProgramBuilder::Sbuf(std::string name, std::vector<int64_t> shape, isa::DType dtype,
                              int partition_axis) {
  const TensorId id = Add(std::move(name), std::move(shape), dtype, isa::Buffer::kSbuf, TensorRole::kLocal);
  program_.tensors.back().partition_axis = partition_axis;
  return id;
}

TensorId ProgramBuilder::Psum(std::string name, std::vector<int64_t> shape, isa::DType dtype,
                              int partition_axis) {
  const TensorId id = Add(std::move(name), std::move(shape), dtype, isa::Buffer::kPsum, TensorRole::kLocal);
  program_.tensors.back().partition_axis = partition_axis;
  return id;
}

TensorId ProgramBuilder::Hbm(std::string name, std::vector<int64_t> shape, isa::DType dtype) {
  return Add(std::move(name), std::move(shape), dtype, isa::Buffer::kHbm, TensorRole::kLocal);
}

TensorId ProgramBuilder::View(TensorId base, std::vector<int64_t> shape, int partition_axis) {
  Tensor t = program_.tensors[static_cast<size_t>(base)];
  t.name += "_view";
  t.role = TensorRole::kLocal;
  t.shape = std::move(shape);
  t.partition_axis = partition_axis;
  t.view_of = base;
  t.constant_data.clear();
  program_.tensors.push_back(std::move(t));
  return static_cast<TensorId>(program_.tensors.size() - 1);
}

SymbolId ProgramBuilder::BeginLoop(std::string name, int64_t trips, LoopKind kind, int64_t start,
                                   int64_t step) {
  Symbol s;
  s.name = std::move(name);
  program_.symbols.push_back(std::move(s));
  Open open;
  open.loop.symbol = static_cast<SymbolId>(program_.symbols.size() - 1);
  open.loop.kind = kind;
  open.loop.start = start;
  open.loop.step = step;
  open.loop.trips = trips;
  open.loop.loc.line = line_ + 1;
  if (kind == LoopKind::kSpmd) program_.grid.push_back(trips);
  const SymbolId symbol = open.loop.symbol;
  open_.push_back(std::move(open));
  return symbol;
}

void ProgramBuilder::EndLoop() {
  auto loop = std::make_unique<Loop>(std::move(open_.back().loop));
  open_.pop_back();
  std::vector<Node>& body = open_.empty() ? program_.body : open_.back().loop.body;
  body.push_back(Node{std::move(loop)});
}

SymbolId ProgramBuilder::FloorDiv(Affine argument, int64_t divisor) {
  program_.symbols.push_back({SymbolKind::kFloorDiv, "", std::move(argument), divisor});
  return static_cast<SymbolId>(program_.symbols.size() - 1);
}

SymbolId ProgramBuilder::Mod(Affine argument, int64_t divisor) {
  program_.symbols.push_back({SymbolKind::kMod, "", std::move(argument), divisor});
  return static_cast<SymbolId>(program_.symbols.size() - 1);
}

Access ProgramBuilder::Whole(TensorId tensor) const {
  const Tensor& t = program_.tensors[static_cast<size_t>(tensor)];
  Access a;
  a.tensor = tensor;
  a.shape = t.shape;
  for (size_t k = 0; k < t.shape.size(); ++k) a.index.push_back(Affine::Dim(static_cast<int>(k)));
  return a;
}

int ProgramBuilder::Emit(isa::Opcode op, std::vector<Operand> dst, std::vector<Operand> src, Attrs attrs,
                         isa::Engine engine) {
  const isa::Row& row = isa::RowOf(op);
  Instr instr;
  instr.op = op;
  instr.engine = engine;
  instr.dst = std::move(dst);
  instr.src = std::move(src);
  instr.dst.resize(row.dst.size());
  instr.src.resize(row.src.size());
  instr.attrs = std::move(attrs);
  instr.loc.line = ++line_;
  std::vector<Node>& body = open_.empty() ? program_.body : open_.back().loop.body;
  body.push_back(Node{std::move(instr)});
  return line_;
}

Program ProgramBuilder::BuildUnchecked() {
  while (!open_.empty()) EndLoop();
  return std::move(program_);
}

Program ProgramBuilder::Build() {
  Program p = BuildUnchecked();
  if (const absl::Status s = Validate(p); !s.ok()) {
    std::fprintf(stderr, "ProgramBuilder: %s\n", std::string(s.message()).c_str());
    std::abort();
  }
  return p;
}

}  // namespace nkiagent::nki::ir::testing
