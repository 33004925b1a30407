// The vocabulary in which the reference semantics are written: positions, masks, reads and writes of one
// element. Internal to reference*.cc.
#ifndef NKIAGENT_COMMON_NKI_EXEC_REFERENCE_MACHINE_H_
#define NKIAGENT_COMMON_NKI_EXEC_REFERENCE_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/types/span.h"
#include "common/nki/exec/context.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

// A position in a tile, one entry for each of its dimensions.
using Position = std::vector<int64_t>;

// One element as read: its fp32 value, its value as an exact integer, its bits.
struct Cell {
  float f = 0;
  int64_t i = 0;
  uint32_t bits = 0;
};

// What an element-wise instruction writes to one element.
struct Result {
  enum class Kind { kKeep, kFloat, kIntBits, kIntSaturated, kRawBits };
  Kind kind = Kind::kKeep;
  float f = 0;
  int64_t i = 0;

  static Result Keep() { return {}; }
  static Result Float(float v) { return {Kind::kFloat, v, 0}; }
  static Result IntBits(int64_t v) { return {Kind::kIntBits, 0, v}; }
  static Result IntSaturated(int64_t v) { return {Kind::kIntSaturated, 0, v}; }
  static Result RawBits(uint32_t v) { return {Kind::kRawBits, 0, v}; }
};

// A source of an element-wise instruction: a tile of the destination's shape, a [P, 1] vector, or a constant.
struct Source {
  const ir::Access* access = nullptr;  // null: `constant`
  bool vector = false;
  Cell constant;
};

class ReferenceMachine {
 public:
  ReferenceMachine(Context& context, const ir::Instr& instr) : c_(context), in_(instr), at_(instr.attrs) {}

  bool Run();

 private:
  // ---- One element (reference.cc)
  const ir::Tensor& TensorOf(const ir::Access& a) const {
    return c_.program().tensors[static_cast<size_t>(a.tensor)];
  }
  int64_t Eval(const ir::Affine& a, const Position& pos) const;
  bool Held(const ir::Access& a, const Position& pos) const;
  // The element's row-major place in its tensor. False on a fault; *skipped if oob_mode.skip drops the
  // element.
  bool Locate(const ir::Access& a, const Position& pos, int64_t* place, bool* skipped);
  bool Read(const ir::Access& a, const Position& pos, Cell* cell);
  Cell ReadAt(const ir::Access& a, int64_t place);
  void WriteAt(const ir::Access& a, int64_t place, const Result& r);
  // Reserves memory for n elements of working state until the instruction ends.
  bool Reserve(int64_t elements);
  // Calls fn for each position of `shape` in row-major order until it returns false.
  bool ForEach(absl::Span<const int64_t> shape, const std::function<bool(const Position&, int64_t)>& fn);

  const ir::Access& Dst(size_t i = 0) const { return std::get<ir::Access>(in_.dst[i]); }
  const ir::Access& Src(size_t i) const { return std::get<ir::Access>(in_.src[i]); }
  // A whole tile as fp32 in row-major order; masked-off elements are `fill` and not `active`.
  bool ReadTile(const ir::Access& a, float fill, std::vector<float>* values, std::vector<bool>* active);
  // Stores fp32 results to every element of `a` that its mask holds, row-major.
  bool WriteTile(const ir::Access& a, const std::vector<float>& values);

  // ---- Groups of instructions (reference_elementwise.cc)
  Source Tile(size_t i) const { return Make(in_.src[i], false); }
  Source Vector(size_t i) const { return Make(in_.src[i], true); }
  static Source Make(const ir::Operand& o, bool vector);
  using Compute = std::function<Result(const Position& pos, int64_t index, absl::Span<const Cell> cells)>;
  // dst = compute(sources) at every position that all masks hold, reading everything before writing. If
  // `results` is given, it receives the fp32 results with their partitions, in row-major order.
  struct Fp32Result {
    int64_t partition;
    float value;
  };
  bool Elementwise(const std::vector<Source>& sources, const Compute& compute,
                   std::vector<Fp32Result>* results = nullptr);
  Result CopyOf(const Cell& cell, const ir::Operand& src, bool exact_integers) const;
  bool TwoOperators(const std::vector<Source>& sources, std::vector<Fp32Result>* results);
  bool WriteReduceResult(const std::vector<float>& by_partition);
  bool Activation();
  bool TensorScalar();
  bool RangeSelect();
  bool Transpose();
  uint64_t RandomStream() const;

  // ---- Reductions and the rest (reference_tiles.cc)
  bool TensorReduce(bool partitions);
  bool Matmul();
  bool Scan();
  bool BnStats();
  bool BnAggr();
  bool LocalGather();
  bool Eight();
  bool Shuffle();

  Context& c_;
  const ir::Instr& in_;
  const ir::Attrs& at_;
  int64_t reserved_ = 0;
};

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_REFERENCE_MACHINE_H_
