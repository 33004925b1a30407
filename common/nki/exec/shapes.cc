#include "common/nki/exec/shapes.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nkiagent::nki::exec {

using ir::Access;
using ir::Instr;
using ir::Operand;
using isa::AluOp;
using isa::Opcode;

int64_t Count(absl::Span<const int64_t> shape, size_t first) {
  int64_t n = 1;
  for (size_t d = first; d < shape.size(); ++d) n *= shape[d];
  return n;
}

const Access* AccessOf(const Operand& operand) { return std::get_if<Access>(&operand); }

namespace {

constexpr int kKeepPartition = 255;
constexpr int64_t kQuadrant = 32;
constexpr int64_t kPartitionsPerCore = 16;
constexpr int64_t kEight = 8;

using Shape = std::vector<int64_t>;

std::string Text(const Shape& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

class Checker {
 public:
  explicit Checker(const Instr& instr) : instr_(instr), row_(isa::RowOf(instr.op)), attrs_(instr.attrs) {}

  absl::Status Run() {
    const Shape& s = AccessOf(instr_.dst[0])->shape;
    Operators();
    switch (instr_.op) {
      case Opcode::kDmaCopy:
      case Opcode::kDmaTranspose:
      case Opcode::kTensorCopy:
      case Opcode::kReciprocal:
      case Opcode::kAffineSelect:
        Same(0, s);
        break;
      case Opcode::kActivation:
      case Opcode::kTensorScalar:
      case Opcode::kRangeSelect:
        Same(0, s);
        Vector(1, s[0]);
        Vector(2, s[0]);
        ReduceResult(s[0]);
        break;
      case Opcode::kTensorTensor:
      case Opcode::kTensorCopyPredicated:
        Same(0, s);
        Same(1, s);
        break;
      case Opcode::kTensorTensorScan:
        Same(0, s);
        Same(1, s);
        Vector(2, s[0]);
        break;
      case Opcode::kScalarTensorTensor:
        Same(0, s);
        Vector(1, s[0]);
        Same(2, s);
        break;
      case Opcode::kDropout:
        Same(0, s);
        Vector(1, s[0]);
        break;
      case Opcode::kMemset:
      case Opcode::kIota:
      case Opcode::kRng:
        break;
      case Opcode::kTensorReduce: {
        Shape expected = Src(0)->shape;
        for (const int32_t axis : attrs_.axes) expected[static_cast<size_t>(axis)] = 1;
        if (s != expected) Fail("dst ", Text(s), " is not the reduced shape ", Text(expected));
        break;
      }
      case Opcode::kTensorPartitionReduce: {
        Shape expected = Src(0)->shape;
        expected[0] = 1;
        if (s != expected) Fail("dst ", Text(s), " is not the reduced shape ", Text(expected));
        break;
      }
      case Opcode::kPartitionBroadcast: {
        Shape expected = s;
        expected[0] = 1;
        Same(0, expected);
        break;
      }
      case Opcode::kNcMatmul: {
        const Shape& st = Src(0)->shape;
        const Shape& mv = Src(1)->shape;
        if (st[0] != mv[0] || s[0] != Count(st, 1) || Count(s, 1) != Count(mv, 1)) {
          Fail("stationary ", Text(st), ", moving ", Text(mv), " and dst ", Text(s),
               " are not [K, M], [K, N] and [M, N]");
        }
        break;
      }
      case Opcode::kNcTranspose: {
        const Shape& d = Src(0)->shape;
        if (s[0] != Count(d, 1) || Count(s, 1) != d[0]) {
          Fail("dst ", Text(s), " is not the transpose of data ", Text(d));
        }
        break;
      }
      case Opcode::kBnStats:
        Partitions(0, s[0]);
        Free(s, 6, "dst");
        break;
      case Opcode::kBnAggr:
        Partitions(0, s[0]);
        Free(s, 2, "dst");
        if (Count(Src(0)->shape, 1) % 3 != 0) Fail("data ", Text(Src(0)->shape), " does not hold triples");
        break;
      case Opcode::kLocalGather:
        Partitions(0, s[0]);
        Partitions(1, s[0]);
        LocalGather(s);
        break;
      case Opcode::kMax8:
        Partitions(0, s[0]);
        Free(s, kEight, "dst");
        break;
      case Opcode::kNcFindIndex8:
        Partitions(0, s[0]);
        Partitions(1, s[0]);
        Free(s, kEight, "dst");
        Free(Src(1)->shape, kEight, "vals");
        break;
      case Opcode::kNcMatchReplace8:
        Same(0, s);
        Partitions(1, s[0]);
        Free(Src(1)->shape, kEight, "vals");
        break;
      case Opcode::kNcStreamShuffle:
        Same(0, s);
        for (int64_t p = 0; p < s[0]; ++p) {
          const int32_t from = attrs_.list[static_cast<size_t>(p % kQuadrant)];
          if (from == kKeepPartition) continue;
          if (from >= kQuadrant || p / kQuadrant * kQuadrant + from >= s[0]) {
            Fail("shuffle mask names partition ", from, " of a quadrant of a tile ", Text(s));
          }
        }
        break;
    }
    return status_;
  }

 private:
  template <typename... Args>
  void Fail(const Args&... args) {
    if (!status_.ok()) return;
    status_ =
        absl::InvalidArgumentError(absl::StrCat("line ", instr_.loc.line, ": ", row_.name, ": ", args...));
  }

  const Access* Src(size_t i) const { return AccessOf(instr_.src[i]); }

  void Same(size_t i, const Shape& shape) {
    const Access* a = Src(i);
    if (a != nullptr && a->shape != shape) {
      Fail("operand '", row_.src[i].name, "' has shape ", Text(a->shape), ", not ", Text(shape));
    }
  }

  void IsVector(const Access* a, absl::string_view name, int64_t partitions) {
    if (a != nullptr && (a->shape[0] != partitions || Count(a->shape, 1) != 1)) {
      Fail("operand '", name, "' has shape ", Text(a->shape), ", not [", partitions, ", 1]");
    }
  }
  void Vector(size_t i, int64_t partitions) { IsVector(Src(i), row_.src[i].name, partitions); }
  void ReduceResult(int64_t partitions) { IsVector(AccessOf(instr_.dst[1]), row_.dst[1].name, partitions); }

  void Partitions(size_t i, int64_t partitions) {
    if (Src(i)->shape[0] != partitions) {
      Fail("operand '", row_.src[i].name, "' has ", Src(i)->shape[0], " partitions, not ", partitions);
    }
  }

  void Free(const Shape& shape, int64_t n, absl::string_view name) {
    if (Count(shape, 1) != n)
      Fail("operand '", name, "' has shape ", Text(shape), ", not ", n, " per partition");
  }

  void LocalGather(const Shape& s) {
    const int64_t last_core = (s[0] - 1) % kPartitionsPerCore + 1;
    const int64_t indices = last_core * Count(Src(1)->shape, 1);
    if (attrs_.num_valid_indices > indices) {
      Fail(attrs_.num_valid_indices, " valid indices, but a core holds ", indices);
    }
    const int64_t room = Count(s, 1);
    if (attrs_.num_elem_per_idx > room || attrs_.num_valid_indices > room / attrs_.num_elem_per_idx) {
      Fail(attrs_.num_valid_indices, " indices of ", attrs_.num_elem_per_idx, " elements exceed dst ",
           Text(s));
    }
  }

  static bool IsBitvec(AluOp op) { return op != AluOp::kNone && isa::Info(op).bitvec; }

  void Reducible(AluOp op, bool bitvec_allowed) {
    // subtract folds as ((x0 - x1) - x2)...; nki.isa.tensor_scalar_reduce lists it.
    const bool ok = op != AluOp::kNone && (isa::Info(op).reducible || op == AluOp::kSubtract);
    if (!ok || (IsBitvec(op) && !bitvec_allowed)) Fail("can't reduce by '", isa::Info(op).name, "'");
  }

  void Operators() {
    const AluOp a = attrs_.op0;
    const AluOp b = attrs_.op1;
    switch (instr_.op) {
      case Opcode::kDmaCopy:
      case Opcode::kDmaTranspose:
        if (a != AluOp::kNone && a != AluOp::kAdd) Fail("read-modify-write by an operator other than add");
        break;
      case Opcode::kTensorTensor:
        if (a == AluOp::kNone) Fail("no operator");
        break;
      case Opcode::kTensorReduce:
        Reducible(a, true);
        if (IsBitvec(a) && attrs_.negate) Fail("negate with a bitwise operator");
        break;
      case Opcode::kTensorPartitionReduce:
        Reducible(a, true);
        break;
      case Opcode::kTensorTensorScan:
        if (a == AluOp::kNone || b == AluOp::kNone || IsBitvec(a) || IsBitvec(b)) {
          Fail("a scan needs two arithmetic operators");
        }
        break;
      case Opcode::kTensorScalar:
      case Opcode::kScalarTensorTensor:
        if (b != AluOp::kNone && a != AluOp::kNone && IsBitvec(a) != IsBitvec(b)) {
          Fail("bitwise and arithmetic operators mixed");
        }
        if (instr_.op == Opcode::kTensorScalar && b != AluOp::kNone && isa::Info(b).arity == 2 &&
            std::holds_alternative<std::monostate>(instr_.src[2])) {
          Fail("op1 lacks its operand");
        }
        if (!std::holds_alternative<std::monostate>(instr_.dst[instr_.dst.size() - 1]) &&
            instr_.op == Opcode::kTensorScalar) {
          Reducible(attrs_.reduce_op, false);
          if (IsBitvec(a) || IsBitvec(b)) Fail("a reduction of bitwise results");
        }
        break;
      case Opcode::kActivation:
        if (attrs_.reduce_op != AluOp::kNone) Reducible(attrs_.reduce_op, false);
        break;
      case Opcode::kAffineSelect:
        if (a == AluOp::kNone || !isa::Info(a).comparison) Fail("op0 is no comparison");
        break;
      case Opcode::kRangeSelect:
        if (a == AluOp::kNone || b == AluOp::kNone || !isa::Info(a).comparison || !isa::Info(b).comparison) {
          Fail("op0 or op1 is no comparison");
        }
        break;
      default:
        break;
    }
  }

  const Instr& instr_;
  const isa::Row& row_;
  const ir::Attrs& attrs_;
  absl::Status status_;
};

}  // namespace

absl::Status CheckOperandShapes(const Instr& instr) { return Checker(instr).Run(); }

}  // namespace nkiagent::nki::exec
