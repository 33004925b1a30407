// The writer's own form of a graph: few kinds of operations over strided views, with PyTorch's composites
// taken apart.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_PROGRAM_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_PROGRAM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/attention.h"
#include "services/llm_gateway/builtin/dtype.h"
#include "services/llm_gateway/builtin/graph.h"
#include "services/llm_gateway/builtin/recurrence.h"
#include "services/llm_gateway/builtin/strided_view.h"
#include "services/llm_gateway/builtin/window.h"

namespace nkiagent::builtin {

// What an operation computes. The groups follow how tiles are combined; fn_table.h has a row for each.
enum class Fn {
  // One operand.
  kCopy,
  kNegate,
  kAbs,
  kExp,
  kLog,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kSquare,
  kRelu,
  kGelu,
  kGeluTanh,
  kSigmoid,
  kTanh,
  kErf,
  kSign,
  kFloor,
  kCeil,
  kTrunc,
  kSin,
  kCos,
  kLogicalNot,
  kTan,
  kArctan,
  kBitNot,
  // Two operands.
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kPower,
  kMaximum,
  kMinimum,
  kMod,
  kFmod,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kLogicalAnd,
  kLogicalOr,
  kLogicalXor,
  kBitAnd,
  kBitOr,
  kBitXor,
  kShiftLeft,
  kShiftRight,
  // Three operands: condition, then, else.
  kSelect,
  // One operand, running along the one axis that `Op::reduced` marks; the result has the operand's shape.
  kCumSum,
  kCumProd,
  kCumMax,
  kCumMin,
  // Three operands, running along the marked axis: r[i] = a[i] * r[i - 1] + b[i] with r[-1] the third, which
  // is the same all along it.
  kLinearScan,
  // One operand, over `Op::reduced` axes.
  kSum,
  kMean,
  kMax,
  kMin,
  kProd,
  // One operand: the largest few along the one axis that `Op::reduced` marks, or where they lie; see
  // Selection.
  // The result has the other axes and then theirs.
  kTopValues,
  kTopPositions,
  // Two operands of shapes (B, M, K) and (B, K, N).
  kMatmul,
  // One or two operands, see Window; `Op::dims` has groups and channels apart: (N, G, M, …), poolings (N, C,
  // …).
  kWindow,
  // Row numbers of any shape and a table (V, R); `Op::dims` is that shape and R. With two more operands, a
  // number and a tensor of the shape, the rows are numbers * third + fourth.
  kGather,
  // A recurrent layer, see recurrence.h.
  kRecurrence,
  // Products and softmax of attention, see attention.h.
  kAttention,
};

// Which elements of a row are selected.
struct Selection {
  int64_t count = 1;
  bool smallest = false;
};

// A tensor: an argument of the kernel, or what operations compute.
struct Value {
  std::string name;  // a Python identifier, not yet unique
  DType dtype = DType::kFloat32;
  Dims dims;
  bool is_argument = false;
  // Never in memory: element i, counted row-major, is the number i.
  bool is_positions = false;
};

// What an operation reads: a view of a value, or a number.
struct Operand {
  std::optional<double> immediate;
  int value = -1;
  StridedView view;  // of an immediate: its shape, strides 0
  DType dtype = DType::kFloat32;
};

// result[destination] = fn(operands). Operands are already broadcast to `dims` (Fn::kMatmul: see there;
// reductions: `dims` is the operand's shape and the result has the axes that are not reduced).
struct Op {
  Fn fn = Fn::kCopy;
  std::vector<Operand> operands;
  Dims dims;
  std::vector<bool> reduced;  // per axis of `dims`; empty unless a reduction or a scan
  int result = -1;
  // Where the result goes inside the value; row-major all of it unless several operations fill one value
  // (cat).
  StridedView destination;
  std::optional<Window> window;          // of Fn::kWindow
  std::optional<Recurrence> recurrence;  // of Fn::kRecurrence
  std::optional<Selection> selection;    // of Fn::kTopValues and Fn::kTopPositions
  std::optional<Attention> attention;    // of Fn::kAttention
  DType dtype = DType::kFloat32;
  std::string origin;  // name of the graph node
  std::string label;   // what this step of the node computes; empty where it yields the node's own value
};

struct Program {
  std::vector<Value> values;  // arguments first, in signature order
  std::vector<Op> ops;        // in execution order
  std::vector<int> results;   // values that the kernel returns, in order
  // Which optimistic lowerings were used, so that a mismatch can refute them.
  bool used_one_pass_variance = false;
  bool used_unreduced_trigonometry = false;
  bool used_distinct_extremes = false;
};

bool IsReduction(Fn fn);
bool IsScan(Fn fn);
bool IsSelection(Fn fn);

// The operation that alone writes `value`, in the order of its elements; -1 where there is none.
int SoleWriter(const Program& program, int value);

// Operations that some result of the program needs.
std::vector<bool> LiveOps(const Program& program);

// Values that the operation writes.
std::vector<int> Results(const Op& op);

// How many elements a reduction makes one.
int64_t ReducedCount(const Op& op);

// Shape of what `op` computes.
Dims ResultDims(const Op& op);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_PROGRAM_H_
