#include "common/nki/ir/legality.h"

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/nki/ir/legality_rules.h"
#include "common/nki/ir/testing/program_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::ir {
namespace {

using isa::ActFn;
using isa::AluOp;
using isa::DType;
using isa::Engine;
using isa::Opcode;
using testing::Const;
using ::testing::Contains;
using testing::Dim;
using testing::Imm;
using ::testing::IsEmpty;
using testing::None;
using testing::ProgramBuilder;
using testing::Tile;

// One instruction as the last of a program.
struct Case {
  std::string name;
  std::string rule;  // empty: legal
  std::function<void(ProgramBuilder&)> build;
};

std::vector<std::string> RulesBrokenBy(const Case& c) {
  ProgramBuilder b;
  c.build(b);
  const Program p = b.BuildUnchecked();
  std::vector<std::string> rules;
  ForEachInstr(p.body, [&](const Instr& instr, absl::Span<const Loop* const>) {
    for (const Diagnostic& d : CheckInstr(p, instr)) {
      EXPECT_FALSE(d.message.empty());
      EXPECT_FALSE(d.hint.empty()) << d.rule;
      EXPECT_FALSE(d.limit.empty()) << d.rule;
      EXPECT_FALSE(d.actual.empty()) << d.rule;
      EXPECT_EQ(d.line, instr.loc.line);
      rules.push_back(d.rule);
    }
  });
  return rules;
}

Attrs Op(AluOp op0, AluOp op1 = AluOp::kNone) {
  Attrs a;
  a.op0 = op0;
  a.op1 = op1;
  return a;
}

Attrs Act(ActFn fn) {
  Attrs a;
  a.act = fn;
  return a;
}

Attrs Reduce(AluOp op, std::vector<int32_t> axes) {
  Attrs a;
  a.op0 = op;
  a.axes = std::move(axes);
  return a;
}

// Emits nc_matmul of [k1, m] and [k2, n].
void Matmul(ProgramBuilder& b, int64_t k1, int64_t m, int64_t k2, int64_t n, DType dtype = DType::kBFloat16) {
  const TensorId x = b.Sbuf("x", {k1, m}, dtype), y = b.Sbuf("y", {k2, n}, dtype), z = b.Psum("z", {m, n});
  b.Emit(Opcode::kNcMatmul, {b.Whole(z)}, {b.Whole(x), b.Whole(y)});
}

void Unary(ProgramBuilder& b, Opcode op, TensorId dst, TensorId src, Attrs attrs = {},
           Engine engine = Engine::kUnknown) {
  b.Emit(op, {b.Whole(dst)}, {b.Whole(src)}, std::move(attrs), engine);
}

void Gather(ProgramBuilder& b, int64_t partitions, int64_t elements, int64_t indices,
            DType index = DType::kUInt16) {
  const TensorId x = b.Sbuf("x", {partitions, 512}), i = b.Sbuf("i", {partitions, 8}, index);
  const TensorId y = b.Sbuf("y", {partitions, 128});
  Attrs a;
  a.num_elem_per_idx = elements;
  a.num_valid_indices = indices;
  b.Emit(Opcode::kLocalGather, {b.Whole(y)}, {b.Whole(x), b.Whole(i)}, a);
}

std::vector<Case> Cases() {
  return {
      {"LargestMatmul", "", [](auto& b) { Matmul(b, 128, 128, 128, 512); }},
      {"MatmulStationaryTooWide", "err_size_of_dimension_exceed_arch_limit",
       [](auto& b) { Matmul(b, 128, 129, 128, 512); }},
      {"MatmulMovingTooWide", "err_size_of_dimension_exceed_arch_limit",
       [](auto& b) { Matmul(b, 128, 128, 128, 513); }},
      {"MatmulContractionDiffers", "err_num_partition_mismatch", [](auto& b) { Matmul(b, 128, 64, 64, 64); }},
      {"MatmulContractionTooLong", "err_num_partition_exceed_arch_limit",
       [](auto& b) { Matmul(b, 256, 64, 256, 64); }},
      {"MatmulOfIntegers", "err_unsupported_dtype",
       [](auto& b) { Matmul(b, 128, 64, 128, 64, DType::kInt32); }},
      {"MatmulIntoSbuf", "err_unsupported_memory",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 128}), z = b.Sbuf("z", {128, 128});
         b.Emit(Opcode::kNcMatmul, {b.Whole(z)}, {b.Whole(x), b.Whole(x)});
       }},
      {"MatmulResultShape", "err_shape_mismatch",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 64}), z = b.Psum("z", {128, 64});
         b.Emit(Opcode::kNcMatmul, {b.Whole(z)}, {b.Whole(x), b.Whole(x)});
       }},
      {"MatmulIntoTheSecondBank", "",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 128}), y = b.Sbuf("y", {128, 512}),
                        z = b.Psum("z", {128, 1024});
         b.Emit(Opcode::kNcMatmul, {Tile(z, {128, 512}, {Dim(0), Dim(1) + Const(512)})},
                {b.Whole(x), b.Whole(y)});
       }},
      {"MatmulAcrossBanks", "err_psum_bank_exceeded",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 128}), y = b.Sbuf("y", {128, 512}),
                        z = b.Psum("z", {128, 1024});
         b.Emit(Opcode::kNcMatmul, {Tile(z, {128, 512}, {Dim(0), Dim(1) + Const(256)})},
                {b.Whole(x), b.Whole(y)});
       }},
      {"TransposeOfABlock", "",
       [](auto& b) {
         Unary(b, Opcode::kNcTranspose, b.Psum("z", {64, 128}), b.Sbuf("x", {128, 64}));
       }},
      {"TransposeTooWide", "err_size_of_dimension_exceed_arch_limit",
       [](auto& b) {
         Unary(b, Opcode::kNcTranspose, b.Psum("z", {129, 128}), b.Sbuf("x", {128, 129}));
       }},
      {"VectorTransposeTooWide", "err_size_of_dimension_exceed_arch_limit",
       [](auto& b) {
         Unary(b, Opcode::kNcTranspose, b.Sbuf("z", {64, 32}), b.Sbuf("x", {32, 64}), {}, Engine::kVector);
       }},
      {"TransposeOfPsumOnTensor", "err_unsupported_memory",
       [](auto& b) {
         Unary(b, Opcode::kNcTranspose, b.Psum("z", {64, 128}), b.Psum("x", {128, 64}));
       }},
      {"TransposeShape", "err_shape_mismatch",
       [](auto& b) {
         Unary(b, Opcode::kNcTranspose, b.Psum("z", {128, 64}), b.Sbuf("x", {128, 64}));
       }},
      {"DmaTransposeOfRankFive", "err_exceed_max_supported_dimension",
       [](auto& b) {
         const TensorId x = b.Input("x", {2, 2, 2, 2, 2}), y = b.Output("y", {2, 2, 2, 2, 2});
         b.Emit(Opcode::kDmaTranspose, {b.Whole(y)}, {b.Whole(x)});
       }},
      {"ActivationWithBiasAndScale", "",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 512}), v = b.Sbuf("v", {128, 1});
         b.Emit(Opcode::kActivation, {b.Whole(x)}, {b.Whole(x), b.Whole(v), b.Whole(v)}, Act(ActFn::kExp));
       }},
      {"ActivationScaleIsATile", "err_activation_scale_scalar_or_vector",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 128});
         b.Emit(Opcode::kActivation, {b.Whole(x)}, {b.Whole(x), None(), b.Whole(x)}, Act(ActFn::kExp));
       }},
      {"ActivationScaleIsBf16", "err_activation_scale_invalid_type",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 128}), v = b.Sbuf("v", {128, 1}, DType::kBFloat16);
         b.Emit(Opcode::kActivation, {b.Whole(x)}, {b.Whole(x), None(), b.Whole(v)}, Act(ActFn::kExp));
       }},
      {"ActivationBiasIsInt", "err_activation_bias_invalid_type",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 128}), v = b.Sbuf("v", {128, 1}, DType::kInt32);
         b.Emit(Opcode::kActivation, {b.Whole(x)}, {b.Whole(x), b.Whole(v), Imm(1)}, Act(ActFn::kExp));
       }},
      {"ActivationBiasIsATile", "err_operand_scalar_or_vector",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 128});
         b.Emit(Opcode::kActivation, {b.Whole(x)}, {b.Whole(x), b.Whole(x), Imm(1)}, Act(ActFn::kExp));
       }},
      {"ActivationReciprocalWithBias", "err_activation_reciprocal_bias",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 128}), v = b.Sbuf("v", {128, 1});
         b.Emit(Opcode::kActivation, {b.Whole(x)}, {b.Whole(x), b.Whole(v), Imm(1)}, Act(ActFn::kReciprocal));
       }},
      {"ActivationReducesByMaximum", "err_unsupported_reduce_op",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 128}), v = b.Sbuf("v", {128, 1});
         Attrs a = Act(ActFn::kExp);
         a.reduce_cmd = isa::ReduceCmd::kResetReduce;
         a.reduce_op = AluOp::kMaximum;
         b.Emit(Opcode::kActivation, {b.Whole(x), b.Whole(v)}, {b.Whole(x), None(), Imm(1)}, a);
       }},
      {"ActivationOfHbm", "err_unsupported_memory",
       [](auto& b) {
         const TensorId x = b.Input("x", {128, 128}), y = b.Sbuf("y", {128, 128});
         b.Emit(Opcode::kActivation, {b.Whole(y)}, {b.Whole(x), None(), Imm(1)}, Act(ActFn::kExp));
       }},
      {"ReduceOfTheFreeAxis", "",
       [](auto& b) {
         Unary(b, Opcode::kTensorReduce, b.Sbuf("y", {128, 1}), b.Sbuf("x", {128, 512}),
               Reduce(AluOp::kAdd, {1}));
       }},
      {"ReduceByDivision", "err_unsupported_reduce_op",
       [](auto& b) {
         Unary(b, Opcode::kTensorReduce, b.Sbuf("y", {128, 1}), b.Sbuf("x", {128, 512}),
               Reduce(AluOp::kEqual, {1}));
       }},
      {"ReduceOfNoAxis", "err_exceed_max_supported_dimension",
       [](auto& b) {
         Unary(b, Opcode::kTensorReduce, b.Sbuf("y", {128, 512}), b.Sbuf("x", {128, 512}),
               Reduce(AluOp::kAdd, {}));
       }},
      {"ReduceShape", "err_shape_mismatch",
       [](auto& b) {
         Unary(b, Opcode::kTensorReduce, b.Sbuf("y", {128, 2}), b.Sbuf("x", {128, 512}),
               Reduce(AluOp::kAdd, {1}));
       }},
      {"PartitionReduce", "",
       [](auto& b) {
         Unary(b, Opcode::kTensorPartitionReduce, b.Sbuf("y", {1, 512}), b.Sbuf("x", {128, 512}),
               Op(AluOp::kAdd));
       }},
      {"PartitionReduceByMinimum", "err_unsupported_reduce_op",
       [](auto& b) {
         Unary(b, Opcode::kTensorPartitionReduce, b.Sbuf("y", {1, 512}), b.Sbuf("x", {128, 512}),
               Op(AluOp::kMinimum));
       }},
      {"PartitionReduceShape", "err_shape_mismatch",
       [](auto& b) {
         Unary(b, Opcode::kTensorPartitionReduce, b.Sbuf("y", {128, 512}), b.Sbuf("x", {128, 512}),
               Op(AluOp::kAdd));
       }},
      {"PartitionReduceFromPsum", "err_unsupported_memory",
       [](auto& b) {
         Unary(b, Opcode::kTensorPartitionReduce, b.Sbuf("y", {1, 512}), b.Psum("x", {128, 512}),
               Op(AluOp::kAdd));
       }},
      {"TensorTensorOfOnePsumTile", "",
       [](auto& b) {
         const TensorId x = b.Psum("x", {128, 512}), y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(x), b.Whole(y)}, Op(AluOp::kAdd));
       }},
      {"TensorTensorOfTwoPsumTiles", "err_unsupported_memory",
       [](auto& b) {
         const TensorId x = b.Psum("x", {128, 512}), y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(x), b.Whole(x)}, Op(AluOp::kAdd));
       }},
      {"TensorTensorOfPsumOnGpSimd", "err_unsupported_memory",
       [](auto& b) {
         const TensorId x = b.Psum("x", {128, 512}), y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(x), b.Whole(y)}, Op(AluOp::kAdd),
                Engine::kGpSimd);
       }},
      {"TensorTensorMaximumOnGpSimd", "err_unsupported_engine",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(y), b.Whole(y)}, Op(AluOp::kMaximum),
                Engine::kGpSimd);
       }},
      {"TensorTensorOfOneOperandOperator", "err_unsupported_op",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(y), b.Whole(y)}, Op(AluOp::kRsqrt));
       }},
      {"TensorTensorShapes", "err_shape_mismatch",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 256}), y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(x), b.Whole(y)}, Op(AluOp::kAdd));
       }},
      {"TensorTensorPartitions", "err_num_partition_mismatch",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {1, 512}), y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(x), b.Whole(y)}, Op(AluOp::kAdd));
       }},
      {"BitwiseOnIntegers", "",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512}, DType::kInt32);
         b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(y), b.Whole(y)}, Op(AluOp::kBitwiseAnd));
       }},
      {"BitwiseOnFloats", "err_bitvec_operand_type",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorTensor, {b.Whole(y)}, {b.Whole(y), b.Whole(y)}, Op(AluOp::kBitwiseAnd));
       }},
      {"BitwiseAndArithmetic", "err_mixed_bitvec_and_arithmetic_ops",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512}, DType::kInt32);
         b.Emit(Opcode::kTensorScalar, {b.Whole(y)},
                {b.Whole(y), Imm(1, DType::kInt32), Imm(1, DType::kInt32)},
                Op(AluOp::kLeftShift, AluOp::kAdd));
       }},
      {"TensorScalarByAVector", "",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512}), v = b.Sbuf("v", {128, 1});
         b.Emit(Opcode::kTensorScalar, {b.Whole(y)}, {b.Whole(y), b.Whole(v), Imm(1)},
                Op(AluOp::kMultiply, AluOp::kAdd));
       }},
      {"TensorScalarByATile", "err_operand_scalar_or_vector",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorScalar, {b.Whole(y)}, {b.Whole(y), b.Whole(y)}, Op(AluOp::kMultiply));
       }},
      {"TensorScalarOnScalar", "err_unsupported_engine",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorScalar, {b.Whole(y)}, {b.Whole(y), Imm(1)}, Op(AluOp::kAbs), Engine::kScalar);
       }},
      {"TensorScalarReduceByAnd", "err_unsupported_reduce_op",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512}), v = b.Sbuf("v", {128, 1});
         Attrs a = Op(AluOp::kMultiply);
         a.reduce_op = AluOp::kLogicalAnd;
         b.Emit(Opcode::kTensorScalar, {b.Whole(y), b.Whole(v)}, {b.Whole(y), Imm(1)}, a);
       }},
      {"ScanOfBitwise", "err_unsupported_op",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorTensorScan, {b.Whole(y)}, {b.Whole(y), b.Whole(y), Imm(0)},
                Op(AluOp::kMultiply, AluOp::kBitwiseOr));
       }},
      {"PredicatedCopy", "",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512}), m = b.Sbuf("m", {128, 512}, DType::kUInt8);
         b.Emit(Opcode::kTensorCopyPredicated, {b.Whole(y)}, {b.Whole(y), b.Whole(m)});
       }},
      {"PredicateIsFloat", "err_predicate_dtype",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512});
         b.Emit(Opcode::kTensorCopyPredicated, {b.Whole(y)}, {b.Whole(y), b.Whole(y)});
       }},
      {"PredicatedCopyCasts", "err_dtype_mismatch",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512}), m = b.Sbuf("m", {128, 512}, DType::kUInt8);
         b.Emit(Opcode::kTensorCopyPredicated, {b.Whole(y)}, {b.Whole(m), b.Whole(m)});
       }},
      {"DropoutOfIntegersByBf16", "err_unsupported_dtype",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512}, DType::kInt32);
         b.Emit(Opcode::kDropout, {b.Whole(y)}, {b.Whole(y), Imm(0.5, DType::kBFloat16)});
       }},
      {"AffineSelectOfInt32", "err_unsupported_dtype",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512}, DType::kInt32);
         b.Emit(Opcode::kAffineSelect, {b.Whole(y)}, {b.Whole(y)}, Op(AluOp::kGreater));
       }},
      {"RangeSelectBoundsOfBf16", "err_unsupported_dtype",
       [](auto& b) {
         const TensorId y = b.Sbuf("y", {128, 512}), v = b.Sbuf("v", {128, 1}, DType::kBFloat16);
         b.Emit(Opcode::kRangeSelect, {b.Whole(y)}, {b.Whole(y), b.Whole(v), b.Whole(v)},
                Op(AluOp::kGreaterEqual, AluOp::kLess));
       }},
      {"BnStats", "",
       [](auto& b) {
         Unary(b, Opcode::kBnStats, b.Sbuf("y", {128, 6}), b.Sbuf("x", {128, 512}));
       }},
      {"BnStatsTooWide", "err_size_of_dimension_exceed_arch_limit",
       [](auto& b) {
         Unary(b, Opcode::kBnStats, b.Sbuf("y", {128, 6}), b.Sbuf("x", {128, 513}));
       }},
      {"BnStatsShape", "err_shape_mismatch",
       [](auto& b) {
         Unary(b, Opcode::kBnStats, b.Sbuf("y", {128, 2}), b.Sbuf("x", {128, 512}));
       }},
      {"BnAggrOfFour", "err_bn_aggr_free_size",
       [](auto& b) {
         Unary(b, Opcode::kBnAggr, b.Sbuf("y", {128, 2}), b.Sbuf("x", {128, 4}));
       }},
      {"Gather", "", [](auto& b) { Gather(b, 32, 1, 128); }},
      {"GatherByInt32", "err_local_gather_index_dtype",
       [](auto& b) { Gather(b, 32, 1, 128, DType::kInt32); }},
      {"GatherCasts", "err_dtype_mismatch",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {32, 512}), i = b.Sbuf("i", {32, 8}, DType::kUInt16);
         const TensorId y = b.Sbuf("y", {32, 128}, DType::kBFloat16);
         b.Emit(Opcode::kLocalGather, {b.Whole(y)}, {b.Whole(x), b.Whole(i)});
       }},
      {"BnAggrShape", "err_shape_mismatch",
       [](auto& b) {
         Unary(b, Opcode::kBnAggr, b.Sbuf("y", {128, 3}), b.Sbuf("x", {128, 6}));
       }},
      {"GatherOfPartOfACore", "err_local_gather_partitions", [](auto& b) { Gather(b, 24, 1, 128); }},
      {"GatherOfThreeElements", "err_local_gather_elements", [](auto& b) { Gather(b, 32, 3, 32); }},
      {"GatherOfMoreThanGiven", "err_local_gather_indices", [](auto& b) { Gather(b, 32, 1, 129); }},
      {"Max8", "",
       [](auto& b) {
         Unary(b, Opcode::kMax8, b.Sbuf("y", {128, 8}), b.Sbuf("x", {128, 16384}));
       }},
      {"Max8OfSeven", "err_size_of_dimension_exceed_arch_limit",
       [](auto& b) {
         Unary(b, Opcode::kMax8, b.Sbuf("y", {128, 8}), b.Sbuf("x", {128, 7}));
       }},
      {"Max8TooWide", "err_size_of_dimension_exceed_arch_limit",
       [](auto& b) {
         Unary(b, Opcode::kMax8, b.Sbuf("y", {128, 8}), b.Sbuf("x", {128, 16385}));
       }},
      {"Max8Shape", "err_shape_mismatch",
       [](auto& b) {
         Unary(b, Opcode::kMax8, b.Sbuf("y", {128, 4}), b.Sbuf("x", {128, 64}));
       }},
      {"FindIndexAsFloat", "err_find_index_dtype",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 64}), e = b.Sbuf("e", {128, 8});
         b.Emit(Opcode::kNcFindIndex8, {b.Whole(e)}, {b.Whole(x), b.Whole(e)});
       }},
      {"ShuffleOfHalfAQuadrant", "err_stream_shuffle_partitions",
       [](auto& b) {
         Unary(b, Opcode::kNcStreamShuffle, b.Sbuf("y", {16, 8}), b.Sbuf("x", {16, 8}));
       }},
      {"ShuffleCasts", "err_dtype_mismatch",
       [](auto& b) {
         Unary(b, Opcode::kNcStreamShuffle, b.Sbuf("y", {32, 8}, DType::kBFloat16), b.Sbuf("x", {32, 8}));
       }},
      {"BroadcastOfTwoPartitions", "err_shape_mismatch",
       [](auto& b) {
         Unary(b, Opcode::kPartitionBroadcast, b.Sbuf("y", {128, 8}), b.Sbuf("x", {2, 8}));
       }},
      {"Load", "",
       [](auto& b) {
         const TensorId x = b.Input("x", {128, 512}), t = b.Sbuf("t", {128, 512});
         Unary(b, Opcode::kDmaCopy, t, x);
       }},
      {"LoadOfManyPartitions", "err_num_partition_exceed_arch_limit",
       [](auto& b) {
         const TensorId x = b.Input("x", {256, 512}), t = b.Sbuf("t", {256, 512});
         Unary(b, Opcode::kDmaCopy, t, x);
       }},
      {"HbmToHbmHasNoPartitions", "",
       [](auto& b) {
         Unary(b, Opcode::kDmaCopy, b.Output("y", {256, 512}), b.Input("x", {256, 512}));
       }},
      {"StoreIntoASmallerTile", "err_store_dst_shape_smaller_than_other_shape",
       [](auto& b) {
         Unary(b, Opcode::kDmaCopy, b.Output("y", {128, 256}), b.Sbuf("x", {128, 512}));
       }},
      {"StoreByMultiply", "err_unsupported_op",
       [](auto& b) {
         Unary(b, Opcode::kDmaCopy, b.Output("y", {128, 256}), b.Sbuf("x", {128, 256}), Op(AluOp::kMultiply));
       }},
      {"RunTimeIndexPerPartition", "",
       [](auto& b) {
         const TensorId x = b.Input("x", {1000, 64}), i = b.Sbuf("i", {128, 1}, DType::kInt32);
         Access a = Tile(x, {128, 64}, {Const(0), Dim(1)});
         a.indirect_axis = 0;
         a.indirect_tensor = i;
         a.indirect_index = {Dim(0), Const(0)};
         b.Emit(Opcode::kDmaCopy, {b.Whole(b.Sbuf("t", {128, 64}))}, {a});
       }},
      {"RunTimeIndexAlongTheFreeAxis", "err_indirect_indices_free_dim",
       [](auto& b) {
         const TensorId x = b.Input("x", {128, 1000}), i = b.Sbuf("i", {128, 64}, DType::kInt32);
         Access a = Tile(x, {128, 64}, {Dim(0), Const(0)});
         a.indirect_axis = 1;
         a.indirect_tensor = i;
         a.indirect_index = {Dim(0), Dim(1)};
         b.Emit(Opcode::kDmaCopy, {b.Whole(b.Sbuf("t", {128, 64}))}, {a});
       }},
      {"FourFreeAxes", "",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 4, 4, 4, 4}), y = b.Sbuf("y", {128, 2, 2, 2, 2});
         b.Emit(Opcode::kTensorCopy, {b.Whole(y)},
                {Tile(x, {128, 2, 2, 2, 2}, {Dim(0), Dim(1), Dim(2), Dim(3), Dim(4)})});
       }},
      {"FiveFreeAxesThatMerge", "",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 4, 4, 4, 4, 4});
         Unary(b, Opcode::kTensorCopy, x, x);
       }},
      {"FiveSeparateFreeAxes", "err_exceed_max_supported_dimension",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 4, 4, 4, 4, 4}), y = b.Sbuf("y", {128, 2, 2, 2, 2, 2});
         b.Emit(Opcode::kTensorCopy, {b.Whole(y)},
                {Tile(x, {128, 2, 2, 2, 2, 2}, {Dim(0), Dim(1), Dim(2), Dim(3), Dim(4), Dim(5)})});
       }},
      {"PsumAccessTooLong", "err_size_of_dimension_exceed_arch_limit",
       [](auto& b) {
         const TensorId x = b.Psum("x", {128, 4097}, DType::kBFloat16), y = b.Sbuf("y", {128, 4097});
         Unary(b, Opcode::kTensorCopy, y, x);
       }},
      {"RankOneTile", "err_insufficient_rank",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128}), y = b.Sbuf("y", {128});
         Unary(b, Opcode::kTensorCopy, y, x);
       }},
      {"EightPartitionsFrom32", "",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 8}), y = b.Sbuf("y", {8, 8});
         b.Emit(Opcode::kTensorCopy, {b.Whole(y)}, {Tile(x, {8, 8}, {Dim(0) + Const(32), Dim(1)})});
       }},
      {"EightPartitionsFrom48", "err_start_partition_not_supported",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 8}), y = b.Sbuf("y", {8, 8});
         b.Emit(Opcode::kTensorCopy, {b.Whole(y)}, {Tile(x, {8, 8}, {Dim(0) + Const(48), Dim(1)})});
       }},
      {"SixtyFourPartitionsFrom32", "err_start_partition_not_supported",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 8}), y = b.Sbuf("y", {64, 8});
         b.Emit(Opcode::kTensorCopy, {b.Whole(y)}, {Tile(x, {64, 8}, {Dim(0) + Const(32), Dim(1)})});
       }},
      {"DmaMovesRowsAnywhere", "",
       [](auto& b) {
         const TensorId x = b.Sbuf("x", {128, 8}), y = b.Sbuf("y", {8, 8});
         b.Emit(Opcode::kDmaCopy, {b.Whole(y)}, {Tile(x, {8, 8}, {Dim(0) + Const(48), Dim(1)})});
       }},
  };
}

class InstrLegality : public ::testing::TestWithParam<Case> {};

TEST_P(InstrLegality, BreaksExactlyTheRuleItShould) {
  const std::vector<std::string> broken = RulesBrokenBy(GetParam());
  if (GetParam().rule.empty()) {
    EXPECT_THAT(broken, IsEmpty());
  } else {
    ASSERT_FALSE(broken.empty());
    EXPECT_EQ(broken[0], GetParam().rule) << ::testing::PrintToString(broken);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, InstrLegality, ::testing::ValuesIn(Cases()),
                         [](const auto& c) { return c.param.name; });

TEST(InstrLegality, EveryRuleHasACaseThatBreaksIt) {
  std::set<std::string> covered;
  for (const Case& c : Cases()) covered.insert(c.rule);
  for (const auto rules : {legality::OpRules(), legality::GeneralRules()}) {
    for (const legality::Rule& rule : rules) EXPECT_THAT(covered, Contains(std::string(rule.name)));
  }
}

TEST(InstrLegality, NamesOperandCallShapeAndLimit) {
  ProgramBuilder b;
  Matmul(b, 128, 128, 128, 1024);
  const Program p = b.BuildUnchecked();
  const std::vector<Diagnostic> found = CheckInstr(p, std::get<Instr>(p.body[0].item));
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].message,
            "size 1024 of the free axis of operand 'moving' (sbuf tensor 'y', bfloat16, tile [128, 1024]) of "
            "'nc_matmul' exceeds the architecture limit of 512");
}

TEST(TensorLegality, TilesOnChipHaveAtMost128PartitionsAndTwoAxes) {
  Tensor t;
  t.name = "t";
  t.shape = {128, 512};
  EXPECT_THAT(CheckTensor(t), IsEmpty());
  t.shape = {256, 512};
  ASSERT_EQ(CheckTensor(t).size(), 1u);
  EXPECT_EQ(CheckTensor(t)[0].rule, "err_num_partition_exceed_arch_limit");
  t.shape = {128};
  ASSERT_EQ(CheckTensor(t).size(), 1u);
  EXPECT_EQ(CheckTensor(t)[0].rule, "err_insufficient_rank");
  t.buffer = isa::Buffer::kHbm;
  EXPECT_THAT(CheckTensor(t), IsEmpty());
}

TEST(TensorLegality, OneTileFitsItsMemory) {
  Tensor t;
  t.name = "t";
  t.buffer = isa::Buffer::kPsum;
  t.shape = {128, 4096};
  EXPECT_THAT(CheckTensor(t), IsEmpty());
  t.shape = {128, 4097};
  ASSERT_EQ(CheckTensor(t).size(), 1u);
  EXPECT_EQ(CheckTensor(t)[0].rule, "err_size_of_dimension_exceed_arch_limit");
  t.buffer = isa::Buffer::kSbuf;
  EXPECT_THAT(CheckTensor(t), IsEmpty());
  t.shape = {128, isa::kSbufBytesPerPartition / 4 + 1};
  EXPECT_EQ(CheckTensor(t).size(), 1u);
}

}  // namespace
}  // namespace nkiagent::nki::ir
