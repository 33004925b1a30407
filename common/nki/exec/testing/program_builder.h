// Programs by hand, for tests and benchmarks: tensors, loops and instructions in a few lines each.
//
//   ProgramBuilder b("add_one");
//   TensorId x = b.Input("x", DType::kFloat32, {256, 512}), y = b.Output("y", DType::kFloat32, {256, 512});
//   b.Loop(ir::LoopKind::kAffine, 2, [&](const Affine& i) {
//     TensorId t = b.Sbuf("t", DType::kFloat32, {128, 512});
//     b.Copy(b.Whole(t), b.Tile(x, {128, 512}, {i * 128 + D(0), D(1)}));
//     b.TensorScalar(b.Whole(t), b.Whole(t), AluOp::kAdd, 1.0);
//     b.Copy(b.Tile(y, {128, 512}, {i * 128 + D(0), D(1)}), b.Whole(t));
//   });
//   Program p = b.Build();   // validated
#ifndef NKIAGENT_COMMON_NKI_EXEC_TESTING_PROGRAM_BUILDER_H_
#define NKIAGENT_COMMON_NKI_EXEC_TESTING_PROGRAM_BUILDER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec::testing {

// Tile dimension d as an index expression.
inline ir::Affine D(int d, int64_t coefficient = 1) { return ir::Affine::Dim(d, coefficient); }
inline ir::Affine C(int64_t c) { return ir::Affine::Constant(c); }
// A constant operand.
inline ir::Operand Imm(double value, isa::DType dtype = isa::DType::kFloat32) {
  return ir::Immediate{value, dtype};
}
inline ir::Operand None() { return std::monostate{}; }

class ProgramBuilder {
 public:
  explicit ProgramBuilder(std::string name);

  // ---- Tensors. On-chip tensors and Hbm() belong to the innermost open loop; the others to the kernel.
  ir::TensorId Input(std::string name, isa::DType dtype, std::vector<int64_t> shape);
  ir::TensorId Output(std::string name, isa::DType dtype, std::vector<int64_t> shape);
  // An argument that is also returned.
  ir::TensorId InOut(std::string name, isa::DType dtype, std::vector<int64_t> shape);
  ir::TensorId Sbuf(std::string name, isa::DType dtype, std::vector<int64_t> shape, int partition_axis = 0);
  ir::TensorId Psum(std::string name, isa::DType dtype, std::vector<int64_t> shape, int partition_axis = 0);
  ir::TensorId Hbm(std::string name, isa::DType dtype, std::vector<int64_t> shape);
  ir::TensorId Constant(std::string name, isa::DType dtype, std::vector<int64_t> shape, std::string bytes);
  ir::TensorId View(ir::TensorId base, std::vector<int64_t> shape, int partition_axis = 0);

  // ---- Loops and derived symbols. `body` gets the loop's index.
  void Loop(ir::LoopKind kind, int64_t trips, const std::function<void(const ir::Affine&)>& body,
            int64_t start = 0, int64_t step = 1);
  ir::Affine FloorDiv(const ir::Affine& argument, int64_t divisor);
  ir::Affine Mod(const ir::Affine& argument, int64_t divisor);

  // ---- Accesses
  ir::Access Tile(ir::TensorId tensor, std::vector<int64_t> shape, std::vector<ir::Affine> index,
                  std::vector<ir::Affine> mask = {}) const;
  // Every element, tile dimension d on axis d.
  ir::Access Whole(ir::TensorId tensor) const;

  // ---- Instructions. A returned reference is valid until the next instruction or loop is added.
  ir::Instr& Emit(isa::Opcode op, std::vector<ir::Operand> dst, std::vector<ir::Operand> src,
                  ir::Attrs attrs = {});
  ir::Instr& Copy(ir::Operand dst, ir::Operand src);  // dma_copy
  ir::Instr& Memset(ir::Operand dst, double value);
  ir::Instr& TensorTensor(ir::Operand dst, ir::Operand a, ir::Operand b, isa::AluOp op);
  ir::Instr& TensorScalar(ir::Operand dst, ir::Operand data, isa::AluOp op, double operand);
  ir::Instr& TensorScalar(ir::Operand dst, ir::Operand data, isa::AluOp op, ir::Operand operand);
  ir::Instr& Reduce(ir::Operand dst, ir::Operand data, isa::AluOp op, std::vector<int32_t> axes,
                    bool negate = false);
  ir::Instr& Activation(ir::Operand dst, ir::Operand data, isa::ActFn fn, ir::Operand bias = None(),
                        ir::Operand scale = Imm(1.0));
  ir::Instr& Matmul(ir::Operand dst, ir::Operand stationary, ir::Operand moving, bool accumulate);
  ir::Instr& Transpose(ir::Operand dst, ir::Operand data);

  // The source line of the instructions that follow; increases by one with each instruction.
  void SetLine(int line) { line_ = line; }

  // The finished program; dies (CHECK) if ir::Validate refuses it, unless `validate` is false.
  ir::Program Build(bool validate = true);

 private:
  ir::TensorId Add(ir::Tensor tensor);
  ir::SymbolId AddSymbol(ir::Symbol symbol);

  ir::Program program_;
  std::vector<std::vector<ir::Node>*> bodies_;  // open bodies, innermost last
  std::vector<ir::SymbolId> scopes_;            // symbols of the open loops
  int line_ = 1;
};

}  // namespace nkiagent::nki::exec::testing

#endif  // NKIAGENT_COMMON_NKI_EXEC_TESTING_PROGRAM_BUILDER_H_
