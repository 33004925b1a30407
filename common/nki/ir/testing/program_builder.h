// Builds small programs for tests of common/nki: one call for each tensor, loop and instruction. Each
// instruction gets the next line number, starting with 1, so that tests can tell which one a finding names.
//
//   ProgramBuilder b;
//   const TensorId x = b.Input("x", {256, 512}), y = b.Output("y", {256, 512});
//   const SymbolId i = b.BeginLoop("i", 2);
//   const TensorId t = b.Sbuf("t", {128, 512});
//   const auto rows = [&](TensorId id) { return Tile(id, {128, 512}, {Sym(i, 128) + Dim(0), Dim(1)}); };
//   b.Emit(Opcode::kDmaCopy, {b.Whole(t)}, {rows(x)});
//   b.Emit(Opcode::kDmaCopy, {rows(y)}, {b.Whole(t)});
//   b.EndLoop();
//   const Program p = b.Build();
#ifndef NKIAGENT_COMMON_NKI_IR_TESTING_PROGRAM_BUILDER_H_
#define NKIAGENT_COMMON_NKI_IR_TESTING_PROGRAM_BUILDER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/nki/ir/program.h"

namespace nkiagent::nki::ir::testing {

inline Affine Sym(SymbolId symbol, int64_t coefficient = 1) { return Affine::Symbol(symbol, coefficient); }
inline Affine Dim(int dim, int64_t coefficient = 1) { return Affine::Dim(dim, coefficient); }
inline Affine Const(int64_t value) { return Affine::Constant(value); }
Access Tile(TensorId tensor, std::vector<int64_t> shape, std::vector<Affine> index,
            std::vector<Affine> mask = {});
inline Operand Imm(double value, isa::DType dtype = isa::DType::kFloat32) { return Immediate{value, dtype}; }
inline Operand None() { return std::monostate{}; }

inline Attrs Op(isa::AluOp op0, isa::AluOp op1 = isa::AluOp::kNone) {
  Attrs a;
  a.op0 = op0;
  a.op1 = op1;
  return a;
}

class ProgramBuilder {
 public:
  // Kernel arguments and results, in order.
  TensorId Input(std::string name, std::vector<int64_t> shape, isa::DType dtype = isa::DType::kFloat32);
  TensorId Output(std::string name, std::vector<int64_t> shape, isa::DType dtype = isa::DType::kFloat32);
  // Tensors of the kernel. On-chip and HBM locals belong to the innermost open loop, kSpmd loops apart.
  TensorId Sbuf(std::string name, std::vector<int64_t> shape, isa::DType dtype = isa::DType::kFloat32,
                int partition_axis = 0);
  TensorId Psum(std::string name, std::vector<int64_t> shape, isa::DType dtype = isa::DType::kFloat32,
                int partition_axis = 0);
  TensorId Hbm(std::string name, std::vector<int64_t> shape, isa::DType dtype = isa::DType::kFloat32);
  // A view of `base` under another shape.
  TensorId View(TensorId base, std::vector<int64_t> shape, int partition_axis = 0);

  // Values start, start + step, ... A kSpmd loop must come before everything else and stays open until
  // Build().
  SymbolId BeginLoop(std::string name, int64_t trips, LoopKind kind = LoopKind::kAffine, int64_t start = 0,
                     int64_t step = 1);
  void EndLoop();
  // floor(argument / divisor), argument mod divisor
  SymbolId FloorDiv(Affine argument, int64_t divisor);
  SymbolId Mod(Affine argument, int64_t divisor);

  // The tile that covers all of a tensor (partition axis first for on-chip tensors; no block axes).
  Access Whole(TensorId tensor) const;

  // Appends an instruction. Operand lists shorter than the row's are filled up with operands not given.
  // Returns its line.
  int Emit(isa::Opcode op, std::vector<Operand> dst, std::vector<Operand> src = {}, Attrs attrs = {},
           isa::Engine engine = isa::Engine::kUnknown);

  // Emits a DMA from `src` to `dst`.
  int Copy(Access dst, Access src) { return Emit(isa::Opcode::kDmaCopy, {std::move(dst)}, {std::move(src)}); }

  // Closes open loops and returns the program; aborts with the reason if it is not valid (validate.h).
  Program Build();
  // The same without validation, for tests of broken programs.
  Program BuildUnchecked();

  // The program so far, its tensors complete; for rules that look at one instruction.
  const Program& program() const { return program_; }

 private:
  TensorId Add(std::string name, std::vector<int64_t> shape, isa::DType dtype, isa::Buffer buffer,
               TensorRole role);

  struct Open {
    Loop loop;
  };
  Program program_;
  std::vector<Open> open_;
  int32_t line_ = 0;
};

}  // namespace nkiagent::nki::ir::testing

#endif  // NKIAGENT_COMMON_NKI_IR_TESTING_PROGRAM_BUILDER_H_
