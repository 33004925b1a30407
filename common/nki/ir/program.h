// The program: what a traced kernel becomes. Tensors in HBM, SBUF and PSUM; loops that stay loops;
// instructions whose operands are affine access patterns; the source line of each.
//
// A Program is a plain value. Whoever receives one from outside calls Parse (serialize.h), which validates it
// (validate.h); everything downstream (check, timing, exec) relies on a validated program.
#ifndef NKIAGENT_COMMON_NKI_IR_PROGRAM_H_
#define NKIAGENT_COMMON_NKI_IR_PROGRAM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "common/nki/ir/affine.h"
#include "common/nki/isa/table.h"
#include "common/nki/isa/types.h"

namespace nkiagent::nki::ir {

struct SourceLoc {
  int32_t line = 0;  // 1-based in the kernel source; 0 = unknown
  int32_t column = 0;
};

// ---- Tensors
// --------------------------------------------------------------------------------------------------

// Index into Program::tensors.
using TensorId = int32_t;
inline constexpr TensorId kNoTensor = -1;

enum class TensorRole : uint8_t {
  kLocal = 0,  // created by the kernel and not returned
  kInput,     // a kernel argument; read only unless it is also listed in Program::outputs (in-place argument)
  kOutput,    // created by the kernel in shared_hbm and returned
  kConstant,  // read-only data carried by the program (nl.shared_constant)
};
inline constexpr int kTensorRoleCount = 4;

// A tensor's elements are addressed row-major over `shape`. For SBUF and PSUM, axis `partition_axis` is the
// partition axis; axes in front of it are block axes (one tile for each block index), axes behind it are free
// axes.
struct Tensor {
  std::string name;
  isa::Buffer buffer = isa::Buffer::kSbuf;
  isa::DType dtype = isa::DType::kFloat32;
  TensorRole role = TensorRole::kLocal;
  std::vector<int64_t> shape;  // every size >= 1
  int32_t partition_axis = 0;  // 0 for HBM
  // The loop whose body creates the tensor, named by its symbol; -1 = kernel level. Every iteration of that
  // loop gets a fresh tensor with undefined contents.
  SymbolId scope = -1;
  // A view of another tensor under another shape (same element count, buffer and element size: same bits);
  // kNoTensor if it has storage of its own. A view's base is never a view.
  TensorId view_of = kNoTensor;
  // kConstant only: the elements, row-major, SizeOf(dtype) bytes each.
  std::string constant_data;
  SourceLoc loc;

  int64_t ElementCount() const {
    int64_t n = 1;
    for (int64_t s : shape) n *= s;
    return n;
  }
};

// ---- Symbols
// --------------------------------------------------------------------------------------------------

enum class SymbolKind : uint8_t {
  kLoop = 0,  // the index of a loop (its value steps start, start + step, ...)
  kFloorDiv,  // floor(argument / divisor)
  kMod,       // argument - divisor * floor(argument / divisor)
};
inline constexpr int kSymbolKindCount = 3;

struct Symbol {
  SymbolKind kind = SymbolKind::kLoop;
  std::string name;
  // kFloorDiv and kMod: an expression over symbols with smaller ids (no tile dimensions), and a divisor >= 1.
  Affine argument;
  int64_t divisor = 1;
};

// ---- Operands
// -------------------------------------------------------------------------------------------------

// A tile of a tensor: element (t0, t1, ...) of the tile, 0 <= td < shape[d], is the tensor element whose
// index along axis k is index[k] evaluated at (t0, t1, ...). Dimension 0 of an on-chip tile is its partition
// dimension: only the partition axis may depend on it, with coefficient 0 (broadcast) or 1, and no other axis
// may depend on it. Broadcasting is a zero coefficient; views by slicing, stepping, expand_dims and
// broadcast_to are all just accesses.
struct Access {
  TensorId tensor = kNoTensor;
  std::vector<int64_t> shape;
  std::vector<Affine> index;  // one for each axis of the tensor
  // Conditions "expression >= 0" over the tile dimensions and symbols, all of which must hold for an element
  // to take part. A masked-off destination element keeps its contents. A masked-off source element is left
  // out of a reduction, counts as zero in a matmul, and elsewhere is never used (its destination is masked
  // off as well).
  std::vector<Affine> mask;
  // Run-time index: if indirect_axis >= 0, index[indirect_axis] is added to the integer that
  // `indirect_tensor` (SBUF) holds at `indirect_index` (same tile dimensions), one Affine for each of its
  // axes.
  int32_t indirect_axis = -1;
  TensorId indirect_tensor = kNoTensor;
  std::vector<Affine> indirect_index;
};

struct Immediate {
  double value = 0;
  isa::DType dtype = isa::DType::kFloat32;
};

// monostate: an optional operand that is not given.
using Operand = std::variant<std::monostate, Access, Immediate>;

// ---- Instructions
// ---------------------------------------------------------------------------------------------

// Everything an instruction says besides its operands. One struct for all: an opcode reads the fields named
// beside it and the others keep their defaults.
struct Attrs {
  isa::AluOp op0 =
      isa::AluOp::kNone;  // tensor_tensor, tensor_scalar, scalar_tensor_tensor, tensor_tensor_scan,
                          // tensor_reduce, tensor_partition_reduce; dma_copy: kAdd for read-modify-write;
                          // range_select: comparison with bound0
  isa::AluOp op1 = isa::AluOp::kNone;  // second operator of the same; range_select: comparison with bound1
  bool reverse0 = false;               // operand0 op0 data instead of data op0 operand0
  bool reverse1 = false;
  isa::ActFn act = isa::ActFn::kCopy;        // activation
  isa::AluOp reduce_op = isa::AluOp::kNone;  // activation, tensor_scalar, range_select with reduce_res
  isa::ReduceCmd reduce_cmd = isa::ReduceCmd::kIdle;  // activation, range_select
  std::vector<int32_t> axes;  // tensor_reduce: reduced dimensions of the source tile, ascending, never 0.
                              // The destination tile has the source's rank with size 1 at those dimensions.
  bool negate = false;        // tensor_reduce: result times -1. tensor_copy_predicated: inverted predicate
  bool accumulate = false;    // nc_matmul: add to the destination instead of overwriting it
  bool is_transpose = false;  // nc_matmul hints
  bool stationary_onezero = false;
  bool moving_onezero = false;
  double value = 0;           // memset, affine_select and range_select (false value), nc_match_replace8 (imm)
  Affine expr;                // iota: the value; affine_select: the left side of "expr op0 0"
  std::vector<int32_t> list;  // nc_stream_shuffle: 32 source partitions, 255 = keep
  int64_t num_elem_per_idx = 1;             // local_gather
  int64_t num_valid_indices = 0;            // local_gather
  uint64_t seed = 0;                        // dropout, rng
  isa::OobMode oob = isa::OobMode::kError;  // dma_copy with a run-time index
};

struct Instr {
  isa::Opcode op = isa::Opcode::kDmaCopy;
  isa::Engine engine = isa::Engine::kUnknown;  // kUnknown: the row's preferred engine
  std::vector<Operand> dst;                    // as many as the row has, in its order
  std::vector<Operand> src;
  Attrs attrs;
  SourceLoc loc;
};

enum class LoopKind : uint8_t {
  kAffine = 0,  // iterations independent except for matmul accumulation: may be reordered
  kSequential,  // in order; carried dependences allowed
  kSpmd,        // one dimension of the launch grid; outermost, independent programs run in any order
};
inline constexpr int kLoopKindCount = 3;

struct Node;

struct Loop {
  SymbolId symbol = 0;  // a kLoop symbol; each belongs to exactly one loop
  LoopKind kind = LoopKind::kAffine;
  int64_t start = 0;
  int64_t step = 1;   // >= 1
  int64_t trips = 0;  // >= 0
  std::vector<Node> body;
  SourceLoc loc;
};

struct Node {
  std::variant<Instr, std::unique_ptr<Loop>> item;
};

struct Program {
  std::string kernel_name;
  std::string target = "trn1";  // hardware the limits belong to
  std::string sdk = "2.24";     // dialect the kernel was written in
  std::vector<Tensor> tensors;
  std::vector<Symbol> symbols;
  std::vector<TensorId> inputs;   // kernel arguments in order
  std::vector<TensorId> outputs;  // returned tensors in order; an input's id here is an in-place argument
  std::vector<int64_t> grid;      // launch grid; its dimensions are also kSpmd loops around the whole body
  std::vector<Node> body;
};

// Calls fn(const Instr&, absl::Span<const Loop* const> enclosing_loops) for each instruction in program
// order.
template <typename Fn>
void ForEachInstr(const std::vector<Node>& body, Fn&& fn, std::vector<const Loop*>* loops = nullptr) {
  std::vector<const Loop*> own;
  if (loops == nullptr) loops = &own;
  for (const Node& node : body) {
    if (const auto* instr = std::get_if<Instr>(&node.item)) {
      fn(*instr, absl::MakeConstSpan(*loops));
    } else {
      const Loop& loop = *std::get<std::unique_ptr<Loop>>(node.item);
      loops->push_back(&loop);
      ForEachInstr(loop.body, fn, loops);
      loops->pop_back();
    }
  }
}

// The tensor that holds the storage of `id` (itself, or what it is a view of).
inline TensorId StorageOf(const Program& p, TensorId id) {
  const TensorId base = p.tensors[static_cast<size_t>(id)].view_of;
  return base == kNoTensor ? id : base;
}

// Inclusive range of an affine expression's symbol part over all iterations of the program, by interval
// arithmetic.
struct Range {
  int64_t min = 0;
  int64_t max = 0;
};
// Range of each symbol over its loop, or over its argument for derived symbols. Loops with zero trips give
// {start, start}.
std::vector<Range> SymbolRanges(const Program& program);
// Range of `a` for tile dimensions 0..shape[d]-1 and the given symbol ranges; saturates at +-2^62.
Range RangeOf(const Affine& a, absl::Span<const int64_t> shape, absl::Span<const Range> symbol_ranges);

// Values of derived symbols (kFloorDiv, kMod), computed in place after the loop symbols in `values` have been
// set.
void EvaluateDerivedSymbols(const Program& program, absl::Span<int64_t> values);

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_PROGRAM_H_
