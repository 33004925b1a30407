// Rules of single instructions: sizes, types and shapes that the SDK states for each call.
// Source unless named: aws-neuron-sdk v2.24.0, general/nki/api/nki/isa/__init__.py.
#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/nki/ir/legality_rules.h"
#include "common/nki/ir/saturate.h"

namespace nkiagent::nki::ir::legality {
namespace {

using isa::AluOp;
using isa::DType;
using isa::Engine;
using isa::Opcode;

constexpr int64_t kMax8Fewest = 8;
constexpr int64_t kMax8Most = 16384;
constexpr size_t kMax8Rank = 5;
constexpr int64_t kTensorTransposeMax = 128;
constexpr int64_t kVectorTransposeMax = 32;
constexpr int64_t kGatherIndicesPerCore = 4096;
constexpr int64_t kGatherCorePartitions = 16;
constexpr int64_t kQuadrant = 32;

bool In(DType d, std::initializer_list<DType> set) {
  return std::find(set.begin(), set.end(), d) != set.end();
}
bool In(AluOp op, std::initializer_list<AluOp> set) {
  return std::find(set.begin(), set.end(), op) != set.end();
}

Finding TooLarge(const InstrView& v, const OperandView& o, absl::string_view axis, int64_t actual,
                 int64_t limit) {
  return {absl::StrCat("size ", actual, " of the ", axis, " of operand ", o.Describe(), " of '", v.row.name,
                       "' exceeds the architecture limit of ", limit),
          absl::StrCat(limit), absl::StrCat(actual)};
}

Finding WrongType(const InstrView& v, const OperandView& o, absl::string_view expected) {
  return {absl::StrCat("operand ", o.Describe(), " of '", v.row.name, "' must be ", expected, ", but it is ",
                       isa::Name(o.dtype())),
          std::string(expected), std::string(isa::Name(o.dtype()))};
}

Finding WrongShape(const InstrView& v, const OperandView& o, const std::string& expected) {
  return {absl::StrCat("operand ", o.Describe(), " of '", v.row.name, "' must have shape ", expected),
          expected, ShapeText(o.access->shape)};
}

bool HasShape(const OperandView& o, int64_t partitions, int64_t free) {
  return o.partitions() == partitions && o.FreeElements() == free;
}

// ---- nc_matmul

Verdict MatmulSizes(const InstrView& v) {
  const OperandView& stationary = v.src[0];
  const OperandView& moving = v.src[1];
  if (stationary.FreeElements() > isa::kMatmulStationaryFreeMax) {
    return TooLarge(v, stationary, "free axis", stationary.FreeElements(), isa::kMatmulStationaryFreeMax);
  }
  if (moving.FreeElements() > isa::kMatmulMovingFreeMax) {
    return TooLarge(v, moving, "free axis", moving.FreeElements(), isa::kMatmulMovingFreeMax);
  }
  return std::nullopt;
}

Verdict MatmulContraction(const InstrView& v) {
  if (v.src[0].partitions() == v.src[1].partitions()) return std::nullopt;
  return Finding{
      absl::StrCat("the contraction axis differs between operands ", v.src[0].Describe(), " and ",
                   v.src[1].Describe(), " of '", v.row.name, "'; it is the partition axis of both"),
      "equal partition sizes", absl::StrCat(v.src[0].partitions(), " and ", v.src[1].partitions())};
}

Verdict MatmulTypes(const InstrView& v) {
  for (const OperandView& o : v.src) {
    if (!isa::IsFloat(o.dtype())) {
      return WrongType(v, o, "float8_e4m3, float8_e5m2, bfloat16, float16, tfloat32 or float32");
    }
  }
  return std::nullopt;
}

Verdict MatmulResultShape(const InstrView& v) {
  const int64_t m = v.src[0].FreeElements();
  const int64_t n = v.src[1].FreeElements();
  if (HasShape(v.dst[0], m, n)) return std::nullopt;
  return WrongShape(v, v.dst[0], absl::StrCat("[", m, ", ", n, "] (free sizes of stationary and moving)"));
}

// A matmul result lies in one bank. A tensor no larger than a bank always does; a larger one starts at a
// bank, so the tile's own offset decides.
Verdict MatmulBank(const InstrView& v) {
  const OperandView& o = v.dst[0];
  const int64_t element = isa::SizeOf(o.dtype());
  const auto axis = static_cast<size_t>(o.tensor->partition_axis);
  Affine offset;
  int64_t weight = element;
  for (size_t k = o.tensor->shape.size(); k-- > axis + 1;) {
    offset = offset + o.access->index[k] * weight;
    weight *= o.tensor->shape[k];
  }
  int64_t last = element - 1;  // of the tile, relative to its first byte
  for (size_t d = 1; d < o.access->shape.size(); ++d) {
    last = SaturatingAdd(last, SaturatingMul(offset.DimCoefficient(d), o.access->shape[d] - 1));
  }
  int64_t start = offset.constant % isa::kPsumBankBytes;
  const bool known = std::all_of(offset.terms.begin(), offset.terms.end(), [](const Affine::Term& t) {
    return t.coefficient % isa::kPsumBankBytes == 0;
  });
  if (!known || weight <= isa::kPsumBankBytes) start = 0;
  if (start + last < isa::kPsumBankBytes) return std::nullopt;
  return Finding{absl::StrCat("destination ", o.Describe(), " of '", v.row.name, "' covers bytes ", start,
                              " to ", start + last, " of a PSUM bank; a result must lie inside one bank of ",
                              isa::kPsumBankBytes, " bytes per partition"),
                 absl::StrCat(isa::kPsumBankBytes, " bytes per partition (512 float32)"),
                 absl::StrCat(start + last + 1, " bytes per partition")};
}

// ---- nc_transpose

Verdict TransposeSizes(const InstrView& v) {
  const OperandView& data = v.src[0];
  const int64_t limit = v.engine == Engine::kVector ? kVectorTransposeMax : kTensorTransposeMax;
  if (data.FreeElements() > limit) return TooLarge(v, data, "free axis", data.FreeElements(), limit);
  if (data.partitions() > limit) return TooLarge(v, data, "partition axis", data.partitions(), limit);
  return std::nullopt;
}

Verdict TransposeShape(const InstrView& v) {
  const OperandView& data = v.src[0];
  if (HasShape(v.dst[0], data.FreeElements(), data.partitions())) return std::nullopt;
  return WrongShape(v, v.dst[0], absl::StrCat("[", data.FreeElements(), ", ", data.partitions(), "]"));
}

Verdict DmaTransposeRank(const InstrView& v) {
  const size_t rank = v.dst[0].access->shape.size();
  if (rank >= 2 && rank <= 4) return std::nullopt;
  return Finding{
      absl::StrCat("operand ", v.dst[0].Describe(), " of '", v.row.name, "' must be of rank 2, 3 or 4"),
      "rank 2 to 4", absl::StrCat("rank ", rank)};
}

// ---- activation

Verdict ActivationScaleShape(const InstrView& v) {
  const OperandView& scale = v.src[2];
  if (!scale.IsTile() || HasShape(scale, v.src[0].partitions(), 1)) return std::nullopt;
  return Finding{
      absl::StrCat("operand ", scale.Describe(), " of '", v.row.name,
                   "' must be a scalar or one value per partition, shape [", v.src[0].partitions(), ", 1]"),
      absl::StrCat("[", v.src[0].partitions(), ", 1] or a scalar"), ShapeText(scale.access->shape)};
}

Verdict ActivationScaleType(const InstrView& v) {
  const OperandView& scale = v.src[2];
  if (!scale.IsTile() || scale.dtype() == DType::kFloat32) return std::nullopt;
  return WrongType(v, scale, "float32");
}

Verdict ActivationBiasType(const InstrView& v) {
  const OperandView& bias = v.src[1];
  if (!bias.IsTile() || In(bias.dtype(), {DType::kFloat32, DType::kFloat16, DType::kBFloat16}))
    return std::nullopt;
  return WrongType(v, bias, "float32, float16 or bfloat16");
}

Verdict ActivationBiasShape(const InstrView& v) {
  const OperandView& bias = v.src[1];
  if (!bias.IsTile() || bias.FreeElements() == 1) return std::nullopt;
  return WrongShape(v, bias, absl::StrCat("[", v.src[0].partitions(), ", 1]"));
}

Verdict ActivationReciprocalBias(const InstrView& v) {
  if (v.instr.attrs.act != isa::ActFn::kReciprocal || !v.src[1].IsTile()) return std::nullopt;
  return Finding{"activation function 'reciprocal' takes no bias on NeuronCore-v2", "no bias",
                 v.src[1].Describe()};
}

Verdict ReductionOperator(const InstrView& v, AluOp op, std::initializer_list<AluOp> allowed,
                          absl::string_view names) {
  if (In(op, allowed)) return std::nullopt;
  return Finding{absl::StrCat("'", isa::Info(op).name, "' is no reduction operator of '", v.row.name, "'"),
                 std::string(names), std::string(isa::Info(op).name)};
}

Verdict ActivationReduceOp(const InstrView& v) {
  if (v.instr.attrs.reduce_cmd == isa::ReduceCmd::kIdle && !v.dst[1].IsTile()) return std::nullopt;
  return ReductionOperator(v, v.instr.attrs.reduce_op, {AluOp::kAdd, AluOp::kNone}, "add");
}

// ---- reductions

Verdict ReduceOp(const InstrView& v) {
  const AluOp op = v.instr.attrs.op0;
  if (isa::Info(op).reducible) return std::nullopt;
  return Finding{absl::StrCat("'", isa::Info(op).name, "' is no reduction operator of '", v.row.name, "'"),
                 "add, subtract, multiply, maximum, minimum, bitwise_* or logical_*",
                 std::string(isa::Info(op).name)};
}

Verdict ReduceAxes(const InstrView& v) {
  const size_t most = static_cast<size_t>(isa::kMaxFreeAxes);
  const size_t n = v.instr.attrs.axes.size();
  if (n == 0) {
    return Finding{absl::StrCat("'", v.row.name, "' reduces no axis of ", v.src[0].Describe()),
                   "1 to 4 free axes", "0 axes"};
  }
  if (n <= most) return std::nullopt;
  return Finding{absl::StrCat("'", v.row.name, "' reduces ", n, " axes of ", v.src[0].Describe()),
                 "1 to 4 free axes", absl::StrCat(n, " axes")};
}

Verdict ReduceShape(const InstrView& v) {
  std::vector<int64_t> expected = v.src[0].access->shape;
  for (int32_t axis : v.instr.attrs.axes) expected[static_cast<size_t>(axis)] = 1;
  if (v.dst[0].access->shape == expected) return std::nullopt;
  return WrongShape(v, v.dst[0], ShapeText(expected));
}

Verdict PartitionReduceOp(const InstrView& v) {
  return ReductionOperator(v, v.instr.attrs.op0,
                           {AluOp::kAdd, AluOp::kMaximum, AluOp::kBitwiseOr, AluOp::kBitwiseAnd},
                           "add, maximum, bitwise_or or bitwise_and");
}

Verdict PartitionReduceShape(const InstrView& v) {
  const int64_t free = v.src[0].FreeElements();
  if (HasShape(v.dst[0], 1, free)) return std::nullopt;
  return WrongShape(v, v.dst[0], absl::StrCat("[1, ", free, "]"));
}

Verdict TensorScalarReduceOp(const InstrView& v) {
  if (!v.dst[1].IsTile()) return std::nullopt;
  return ReductionOperator(
      v, v.instr.attrs.reduce_op,
      {AluOp::kAdd, AluOp::kSubtract, AluOp::kMultiply, AluOp::kMaximum, AluOp::kMinimum},
      "add, subtract, multiply, maximum or minimum");
}

// ---- element-wise operators

Verdict BothInPsum(const InstrView& v) {
  const size_t second = v.instr.op == Opcode::kScalarTensorTensor ? 2 : 1;
  const OperandView& a = v.src[0];
  const OperandView& b = v.src[second];
  if (!a.InPsum() || !b.InPsum()) return std::nullopt;
  return Finding{absl::StrCat("operands ", a.Describe(), " and ", b.Describe(), " of '", v.row.name,
                              "' are both in psum; at most one may be"),
                 "one operand in psum", "two operands in psum"};
}

Verdict BinaryOperator(const InstrView& v) {
  const auto check = [&](AluOp op) -> Verdict {
    if (op != AluOp::kNone && isa::Info(op).arity == 2) return std::nullopt;
    return Finding{
        absl::StrCat("'", v.row.name, "' needs an operator of two operands, got '", isa::Info(op).name, "'"),
        "a binary operator", std::string(isa::Info(op).name)};
  };
  if (Verdict bad = check(v.instr.attrs.op0); bad.has_value()) return bad;
  if (v.instr.op == Opcode::kTensorTensor) return std::nullopt;
  return check(v.instr.attrs.op1);
}

Verdict ArithmeticOnly(const InstrView& v) {
  for (const AluOp op : {v.instr.attrs.op0, v.instr.attrs.op1}) {
    if (!isa::Info(op).bitvec) continue;
    return Finding{
        absl::StrCat("'", v.row.name, "' takes arithmetic operators only, got '", isa::Info(op).name, "'"),
        "an arithmetic operator", std::string(isa::Info(op).name)};
  }
  return std::nullopt;
}

Verdict ScalarEngineLater(const InstrView& v) {
  if (v.engine != Engine::kScalar || v.program.target != "trn1") return std::nullopt;
  return Finding{absl::StrCat("'", v.row.name, "' runs on the scalar engine from NeuronCore-v3 on only"),
                 "vector or gpsimd engine", "scalar engine"};
}

Verdict PredicateTypes(const InstrView& v) {
  const OperandView& predicate = v.src[1];
  if (!In(predicate.dtype(), {DType::kUInt8, DType::kUInt16, DType::kUInt32, DType::kBool})) {
    return WrongType(v, predicate, "uint8, uint16 or uint32");
  }
  return std::nullopt;
}

Verdict PredicatedCopyTypes(const InstrView& v) {
  if (!v.src[0].IsTile() || v.src[0].dtype() == v.dst[0].dtype()) return std::nullopt;
  return WrongType(v, v.src[0], absl::StrCat(isa::Name(v.dst[0].dtype()), " as its destination is"));
}

Verdict DropoutTypes(const InstrView& v) {
  const OperandView& data = v.src[0];
  const OperandView& prob = v.src[1];
  if (isa::IsFloat(data.dtype())) {
    if (!isa::IsFloat(prob.dtype())) return WrongType(v, prob, "a floating-point type");
    return std::nullopt;
  }
  if (prob.dtype() != DType::kFloat32) return WrongType(v, prob, "float32 for integer data");
  if (v.dst[0].dtype() != data.dtype()) {
    return WrongType(v, v.dst[0], absl::StrCat(isa::Name(data.dtype()), " for integer data"));
  }
  return std::nullopt;
}

Verdict AffineSelectTypes(const InstrView& v) {
  for (const OperandView* o : {&v.src[0], &v.dst[0]}) {
    if (isa::IsFloat(o->dtype()) || isa::SizeOf(o->dtype()) <= 2) continue;
    return WrongType(v, *o, "a floating-point or an 8- or 16-bit integer type");
  }
  return std::nullopt;
}

Verdict RangeSelectTypes(const InstrView& v) {
  if (!isa::IsFloat(v.src[0].dtype())) return WrongType(v, v.src[0], "a floating-point type");
  for (const size_t k : {size_t{1}, size_t{2}}) {
    if (v.src[k].dtype() != DType::kFloat32) return WrongType(v, v.src[k], "float32");
  }
  return std::nullopt;
}

// ---- statistics, gather, max8, shuffle

Verdict BnStatsSize(const InstrView& v) {
  if (v.src[0].FreeElements() <= isa::kBnStatsFreeMax) return std::nullopt;
  return TooLarge(v, v.src[0], "free axis", v.src[0].FreeElements(), isa::kBnStatsFreeMax);
}

Verdict BnStatsShape(const InstrView& v) {
  if (HasShape(v.dst[0], v.src[0].partitions(), 6)) return std::nullopt;
  return WrongShape(v, v.dst[0], absl::StrCat("[", v.src[0].partitions(), ", 6]"));
}

Verdict BnAggrSize(const InstrView& v) {
  if (v.src[0].FreeElements() % 3 == 0) return std::nullopt;
  return WrongShape(v, v.src[0], "[P, 3 * k] (count, mean, variance * count)");
}

Verdict BnAggrShapes(const InstrView& v) {
  if (HasShape(v.dst[0], v.src[0].partitions(), 2)) return std::nullopt;
  return WrongShape(v, v.dst[0], absl::StrCat("[", v.src[0].partitions(), ", 2]"));
}

Verdict GatherIndexType(const InstrView& v) {
  if (v.src[1].dtype() == DType::kUInt16) return std::nullopt;
  return WrongType(v, v.src[1], "uint16");
}

Verdict GatherTypes(const InstrView& v) {
  if (v.src[0].dtype() == v.dst[0].dtype()) return std::nullopt;
  return WrongType(v, v.dst[0], absl::StrCat(isa::Name(v.src[0].dtype()), " as src_buffer is"));
}

Verdict GatherPartitions(const InstrView& v) {
  const int64_t p = v.src[0].partitions();
  if (p % kGatherCorePartitions == 0) return std::nullopt;
  return Finding{absl::StrCat("operand ", v.src[0].Describe(), " of '", v.row.name,
                              "' must have a multiple of 16 partitions"),
                 "a multiple of 16 partitions", absl::StrCat(p, " partitions")};
}

Verdict GatherElements(const InstrView& v) {
  const int64_t e = v.instr.attrs.num_elem_per_idx;
  if (e <= 32 && (e & (e - 1)) == 0) return std::nullopt;
  return Finding{absl::StrCat("num_elem_per_idx of '", v.row.name, "' is ", e), "1, 2, 4, 8, 16 or 32",
                 absl::StrCat(e)};
}

Verdict GatherIndices(const InstrView& v) {
  const int64_t given = kGatherCorePartitions * v.src[1].FreeElements();
  const int64_t limit = std::min(given, kGatherIndicesPerCore);
  if (v.instr.attrs.num_valid_indices <= limit) return std::nullopt;
  return Finding{absl::StrCat("'", v.row.name, "' reads ", v.instr.attrs.num_valid_indices,
                              " indices per core; at most 4096, and no more than the ", given, " of operand ",
                              v.src[1].Describe()),
                 absl::StrCat(limit, " indices"), absl::StrCat(v.instr.attrs.num_valid_indices, " indices")};
}

Verdict Max8Sizes(const InstrView& v) {
  const OperandView& data = v.src[0];
  if (data.access->shape.size() > kMax8Rank) {
    return Finding{absl::StrCat("operand ", data.Describe(), " of '", v.row.name, "' has too many axes"),
                   "rank <= 5", absl::StrCat("rank ", data.access->shape.size())};
  }
  const int64_t n = data.FreeElements();
  if (n > kMax8Most) return TooLarge(v, data, "free axes", n, kMax8Most);
  if (n < kMax8Fewest && v.instr.op != Opcode::kNcMatchReplace8) {
    return Finding{absl::StrCat("operand ", data.Describe(), " of '", v.row.name, "' has ", n,
                                " elements per partition; it needs at least 8"),
                   "8 elements per partition", absl::StrCat(n, " elements per partition")};
  }
  return std::nullopt;
}

Verdict Max8Shapes(const InstrView& v) {
  const int64_t p = v.src[0].partitions();
  const std::string eight = absl::StrCat("[", p, ", 8]");
  if (v.src.size() > 1 && !HasShape(v.src[1], p, 8)) return WrongShape(v, v.src[1], eight);
  if (v.instr.op == Opcode::kNcMatchReplace8) {
    if (v.dst[0].access->shape != v.src[0].access->shape) {
      return WrongShape(v, v.dst[0], ShapeText(v.src[0].access->shape));
    }
  } else if (!HasShape(v.dst[0], p, 8)) {
    return WrongShape(v, v.dst[0], eight);
  }
  return std::nullopt;
}

Verdict FindIndexType(const InstrView& v) {
  if (In(v.dst[0].dtype(), {DType::kUInt32, DType::kUInt16})) return std::nullopt;
  return WrongType(v, v.dst[0], "uint32 or uint16");
}

Verdict ShufflePartitions(const InstrView& v) {
  if (v.src[0].partitions() % kQuadrant == 0) return std::nullopt;
  return Finding{absl::StrCat("operand ", v.src[0].Describe(), " of '", v.row.name,
                              "' must fill whole quadrants of 32 partitions"),
                 "32, 64, 96 or 128 partitions", absl::StrCat(v.src[0].partitions(), " partitions")};
}

Verdict ShuffleTypes(const InstrView& v) {
  if (v.src[0].dtype() == v.dst[0].dtype()) return std::nullopt;
  return WrongType(v, v.dst[0], absl::StrCat(isa::Name(v.src[0].dtype()), " as its source is"));
}

Verdict BroadcastShapes(const InstrView& v) {
  if (v.src[0].partitions() == 1 && v.src[0].FreeElements() == v.dst[0].FreeElements()) return std::nullopt;
  return WrongShape(v, v.src[0], absl::StrCat("[1, ", v.dst[0].FreeElements(), "]"));
}

Verdict RmwOperator(const InstrView& v) {
  const AluOp op = v.instr.attrs.op0;
  if (op == AluOp::kNone) return std::nullopt;
  if (op != AluOp::kAdd) {
    return Finding{absl::StrCat("'", v.row.name, "' reads, modifies and writes with add only, not '",
                                isa::Info(op).name, "'"),
                   "add", std::string(isa::Info(op).name)};
  }
  if (v.instr.attrs.oob == isa::OobMode::kSkip) {
    return Finding{absl::StrCat("'", v.row.name, "' with dst_rmw_op needs oob_mode.error"), "oob_mode.error",
                   "oob_mode.skip"};
  }
  return std::nullopt;
}

constexpr absl::string_view kCast = "cast it first, for example nl.copy(x, dtype=nl.float32)";
constexpr absl::string_view kSplit = "use a smaller tile and loop over the pieces";
constexpr absl::string_view kShapes = "make the operands' shapes agree";
constexpr absl::string_view kPsumToSbuf = "copy one of them to SBUF first: nl.copy(x)";
constexpr OpSet kMax8Ops = OneOf(Opcode::kMax8, Opcode::kNcFindIndex8, Opcode::kNcMatchReplace8);

constexpr Rule kRules[] = {
    {"err_size_of_dimension_exceed_arch_limit", OneOf(Opcode::kNcMatmul), MatmulSizes,
     "tile to at most 128 columns of the stationary and 512 of the moving operand, and loop"},
    {"err_num_partition_mismatch", OneOf(Opcode::kNcMatmul), MatmulContraction,
     "put the contraction axis (K) on the partitions of both operands, in tiles of at most 128"},
    {"err_unsupported_dtype", OneOf(Opcode::kNcMatmul), MatmulTypes, kCast},
    {"err_shape_mismatch", OneOf(Opcode::kNcMatmul), MatmulResultShape,
     "declare the PSUM tile as (stationary free size, moving free size)"},
    {"err_psum_bank_exceeded", OneOf(Opcode::kNcMatmul), MatmulBank,
     "accumulate at most 512 float32 columns in one PSUM tile"},
    {"err_size_of_dimension_exceed_arch_limit", OneOf(Opcode::kNcTranspose), TransposeSizes,
     "transpose in blocks of at most 128 x 128 (32 x 32 on the Vector engine)"},
    {"err_shape_mismatch", OneOf(Opcode::kNcTranspose), TransposeShape,
     "the result of transposing (P, F) has shape (F, P)"},
    {"err_exceed_max_supported_dimension", OneOf(Opcode::kDmaTranspose), DmaTransposeRank,
     "reshape or index down to at most four axes"},
    {"err_activation_scale_scalar_or_vector", OneOf(Opcode::kActivation), ActivationScaleShape,
     "pass a Python scalar or a (P, 1) tile; for a full tile use nl.multiply first"},
    {"err_activation_scale_invalid_type", OneOf(Opcode::kActivation), ActivationScaleType,
     "use a float32 tile or a Python scalar for scale"},
    {"err_activation_bias_invalid_type", OneOf(Opcode::kActivation), ActivationBiasType,
     "use a float32, float16 or bfloat16 tile for bias"},
    {"err_operand_scalar_or_vector", OneOf(Opcode::kActivation), ActivationBiasShape,
     "pass a (P, 1) tile as bias; for a full tile use nl.add first"},
    {"err_activation_reciprocal_bias", OneOf(Opcode::kActivation), ActivationReciprocalBias,
     "add the bias with nl.add before the reciprocal"},
    {"err_unsupported_reduce_op", OneOf(Opcode::kActivation), ActivationReduceOp,
     "use nl.add, or nisa.tensor_reduce for other operators"},
    {"err_unsupported_reduce_op", OneOf(Opcode::kTensorReduce), ReduceOp, "use one of the operators listed"},
    {"err_exceed_max_supported_dimension", OneOf(Opcode::kTensorReduce), ReduceAxes,
     "reduce free axes only; for the partition axis use nc_matmul with ones or nisa.tensor_partition_reduce"},
    {"err_shape_mismatch", OneOf(Opcode::kTensorReduce), ReduceShape, kShapes},
    {"err_unsupported_reduce_op", OneOf(Opcode::kTensorPartitionReduce), PartitionReduceOp,
     "use one of the operators listed"},
    {"err_shape_mismatch", OneOf(Opcode::kTensorPartitionReduce), PartitionReduceShape, kShapes},
    {"err_unsupported_engine", OneOf(Opcode::kTensorScalar), ScalarEngineLater,
     "leave out engine=, or use nisa.activation"},
    {"err_unsupported_reduce_op", OneOf(Opcode::kTensorScalar), TensorScalarReduceOp,
     "use one of the operators listed"},
    {"err_unsupported_memory",
     OneOf(Opcode::kTensorTensor, Opcode::kTensorTensorScan, Opcode::kScalarTensorTensor,
           Opcode::kTensorCopyPredicated),
     BothInPsum, kPsumToSbuf},
    {"err_unsupported_op",
     OneOf(Opcode::kTensorTensor, Opcode::kTensorTensorScan, Opcode::kScalarTensorTensor), BinaryOperator,
     "use an operator of two operands"},
    {"err_unsupported_op", OneOf(Opcode::kTensorTensorScan, Opcode::kScalarTensorTensor), ArithmeticOnly,
     "split it into tensor_tensor or tensor_scalar calls"},
    {"err_predicate_dtype", OneOf(Opcode::kTensorCopyPredicated), PredicateTypes,
     "make the predicate uint8, for example by dtype=nl.uint8 on the comparison"},
    {"err_dtype_mismatch", OneOf(Opcode::kTensorCopyPredicated), PredicatedCopyTypes, kCast},
    {"err_unsupported_dtype", OneOf(Opcode::kDropout), DropoutTypes, kCast},
    {"err_unsupported_dtype", OneOf(Opcode::kAffineSelect), AffineSelectTypes, kCast},
    {"err_unsupported_dtype", OneOf(Opcode::kRangeSelect), RangeSelectTypes, kCast},
    {"err_size_of_dimension_exceed_arch_limit", OneOf(Opcode::kBnStats), BnStatsSize,
     "call bn_stats on pieces of at most 512 elements and combine them with bn_aggr"},
    {"err_shape_mismatch", OneOf(Opcode::kBnStats), BnStatsShape, kShapes},
    {"err_bn_aggr_free_size", OneOf(Opcode::kBnAggr), BnAggrSize,
     "pass the bn_stats results, three numbers each"},
    {"err_shape_mismatch", OneOf(Opcode::kBnAggr), BnAggrShapes, kShapes},
    {"err_local_gather_index_dtype", OneOf(Opcode::kLocalGather), GatherIndexType, kCast},
    {"err_dtype_mismatch", OneOf(Opcode::kLocalGather), GatherTypes, kCast},
    {"err_local_gather_partitions", OneOf(Opcode::kLocalGather), GatherPartitions,
     "gather in whole cores of 16 partitions"},
    {"err_local_gather_elements", OneOf(Opcode::kLocalGather), GatherElements,
     "use one of the counts listed"},
    {"err_local_gather_indices", OneOf(Opcode::kLocalGather), GatherIndices, kSplit},
    {"err_size_of_dimension_exceed_arch_limit", kMax8Ops, Max8Sizes, kSplit},
    {"err_shape_mismatch", kMax8Ops, Max8Shapes, kShapes},
    {"err_find_index_dtype", OneOf(Opcode::kNcFindIndex8), FindIndexType, "declare the result as uint32"},
    {"err_stream_shuffle_partitions", OneOf(Opcode::kNcStreamShuffle), ShufflePartitions, kSplit},
    {"err_dtype_mismatch", OneOf(Opcode::kNcStreamShuffle), ShuffleTypes, kCast},
    {"err_shape_mismatch", OneOf(Opcode::kPartitionBroadcast), BroadcastShapes, kShapes},
    {"err_unsupported_op", OneOf(Opcode::kDmaCopy), RmwOperator, "use dst_rmw_op=np.add"},
};

}  // namespace

absl::Span<const Rule> OpRules() { return kRules; }

}  // namespace nkiagent::nki::ir::legality
