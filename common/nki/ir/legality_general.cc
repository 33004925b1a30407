// Rules that hold for every instruction: memories, partitions, access patterns, operators.
#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nki/ir/legality.h"
#include "common/nki/ir/legality_rules.h"
#include "common/nki/ir/saturate.h"

namespace nkiagent::nki::ir::legality {
namespace {

using isa::AluOp;
using isa::Engine;
using isa::Opcode;

constexpr OpSet kDmaOps = OneOf(Opcode::kDmaCopy, Opcode::kDmaTranspose);
constexpr OpSet kComputeOps = kEveryOp & ~kDmaOps;

// Destination and tiles have one shape (the frontend has resolved broadcasts).
constexpr OpSet kElementwiseOps =
    OneOf(Opcode::kActivation, Opcode::kTensorTensor, Opcode::kTensorTensorScan, Opcode::kScalarTensorTensor,
          Opcode::kTensorScalar, Opcode::kTensorCopy, Opcode::kTensorCopyPredicated, Opcode::kReciprocal,
          Opcode::kDropout, Opcode::kAffineSelect, Opcode::kRangeSelect, Opcode::kNcStreamShuffle);

// Instructions whose operands differ in partition size by definition.
constexpr OpSet kCrossPartitionOps = OneOf(Opcode::kNcMatmul, Opcode::kNcTranspose,
                                           Opcode::kTensorPartitionReduce, Opcode::kPartitionBroadcast);

std::string MemoriesText(uint8_t set) {
  std::vector<std::string> names;
  if (set & isa::kInHbm) names.push_back("hbm");
  if (set & isa::kInPsum) names.push_back("psum");
  if (set & isa::kInSbuf) names.push_back("sbuf");
  return absl::StrJoin(names, "|");
}

// What the engine's ports reach, beyond the row (aws-neuron-sdk v2.24.0,
// general/nki/arch/trainium_inferentia2_arch.rst, figure memory_hierarchy).
uint8_t Reachable(const InstrView& v, const OperandView& o) {
  uint8_t set = o.rule->buffers;
  if (v.engine == Engine::kGpSimd) set &= isa::kInSbuf;
  if (v.engine == Engine::kTensor && v.row.dialects != 0) set &= o.is_dst ? isa::kInPsum : isa::kInSbuf;
  return set;
}

Verdict Memory(const InstrView& v) {
  Verdict verdict;
  v.ForEachTile([&](const OperandView& o) {
    const uint8_t allowed = Reachable(v, o);
    if (verdict.has_value() || (isa::BufferBit(o.tensor->buffer) & allowed) != 0) return;
    verdict =
        Finding{absl::StrCat("expected operand ", o.Describe(), " of '", v.row.name, "' on the ",
                             isa::Name(v.engine), " engine to be in address space '", MemoriesText(allowed),
                             "', but it is in '", isa::Name(o.tensor->buffer), "'"),
                MemoriesText(allowed), std::string(isa::Name(o.tensor->buffer))};
  });
  return verdict;
}

Verdict Rank(const InstrView& v) {
  Verdict verdict;
  v.ForEachTile([&](const OperandView& o) {
    if (verdict.has_value() || !o.OnChip() || o.access->shape.size() >= 2) return;
    verdict = Finding{absl::StrCat("Insufficient rank: operand ", o.Describe(), " of '", v.row.name,
                                   "' needs a partition axis and at least one free axis"),
                      "rank >= 2", absl::StrCat("rank ", o.access->shape.size())};
  });
  return verdict;
}

Verdict PartitionLimit(const InstrView& v) {
  Verdict verdict;
  v.ForEachTile([&](const OperandView& o) {
    if (verdict.has_value() || !o.OnChip() || o.partitions() <= isa::kMaxPartitions) return;
    verdict = Finding{
        absl::StrCat("number of partitions ", o.partitions(), " of operand ", o.Describe(), " of '",
                     v.row.name, "' exceeds the architecture limit of ", isa::kMaxPartitions),
        absl::StrCat(isa::kMaxPartitions, " partitions"), absl::StrCat(o.partitions(), " partitions")};
  });
  return verdict;
}

Verdict PartitionMismatch(const InstrView& v) {
  const OperandView* first = nullptr;
  Verdict verdict;
  v.ForEachTile([&](const OperandView& o) {
    if (verdict.has_value() || !o.OnChip()) return;
    if (first == nullptr) {
      first = &o;
    } else if (o.partitions() != first->partitions()) {
      verdict = Finding{absl::StrCat("number of partitions differs between operands ", first->Describe(),
                                     " and ", o.Describe(), " of '", v.row.name, "'"),
                        "equal partition sizes", absl::StrCat(first->partitions(), " and ", o.partitions())};
    }
  });
  return verdict;
}

// Elements between neighbours along tile dimension d, in the row-major order of the tensor's free axes.
int64_t FreeStride(const OperandView& o, size_t d) {
  int64_t stride = 0;
  int64_t weight = 1;
  for (size_t k = o.tensor->shape.size(); k-- > 0;) {
    if (k != static_cast<size_t>(o.tensor->partition_axis)) {
      stride = SaturatingAdd(stride, SaturatingMul(weight, o.access->index[k].DimCoefficient(d)));
      weight *= o.tensor->shape[k];
    }
  }
  return stride;
}

// Free dimensions left after dropping those of size 1 and merging neighbours that run through memory as one.
int FreeAxes(const OperandView& o) {
  int axes = 0;
  int64_t inner_stride = 0;
  int64_t inner_size = 0;
  for (size_t d = o.access->shape.size(); d-- > 1;) {
    const int64_t size = o.access->shape[d];
    if (size == 1) continue;
    const int64_t stride = FreeStride(o, d);
    if (axes > 0 && stride == SaturatingMul(inner_stride, inner_size)) {
      inner_size *= size;
    } else {
      ++axes;
      inner_stride = stride;
      inner_size = size;
    }
  }
  return axes;
}

Verdict FreeAxisCount(const InstrView& v) {
  Verdict verdict;
  v.ForEachTile([&](const OperandView& o) {
    if (verdict.has_value() || !o.OnChip()) return;
    const int axes = FreeAxes(o);
    if (axes <= isa::kMaxFreeAxes) return;
    verdict = Finding{absl::StrCat("operand ", o.Describe(), " of '", v.row.name, "' runs over ", axes,
                                   " separate free axes; an access pattern has at most ", isa::kMaxFreeAxes),
                      absl::StrCat(isa::kMaxFreeAxes, " free axes"), absl::StrCat(axes, " free axes")};
  });
  return verdict;
}

Verdict FreeSize(const InstrView& v) {
  Verdict verdict;
  v.ForEachTile([&](const OperandView& o) {
    if (verdict.has_value() || !o.OnChip()) return;
    const int64_t limit = o.InPsum() ? isa::kMaxFreeElementsPsum : isa::kMaxFreeElementsSbuf;
    if (o.FreeElements() <= limit) return;
    verdict = Finding{absl::StrCat("operand ", o.Describe(), " of '", v.row.name, "' has ", o.FreeElements(),
                                   " elements per partition; one instruction reads or writes at most ", limit,
                                   " in ", isa::Name(o.tensor->buffer)),
                      absl::StrCat(limit, " elements per partition"),
                      absl::StrCat(o.FreeElements(), " elements per partition")};
  });
  return verdict;
}

Verdict VectorShape(const InstrView& v) {
  Verdict verdict;
  v.ForEachTile([&](const OperandView& o) {
    const bool vector =
        o.rule->kind == isa::OperandKind::kVector || o.rule->kind == isa::OperandKind::kVectorOrImmediate;
    if (verdict.has_value() || !vector || !o.OnChip() || o.FreeElements() == 1) return;
    verdict = Finding{absl::StrCat("operand ", o.Describe(), " of '", v.row.name,
                                   "' must hold one value per partition, shape [P, 1]"),
                      "[P, 1]", ShapeText(o.access->shape)};
  });
  return verdict;
}

Verdict EqualShapes(const InstrView& v) {
  const OperandView& dst = v.dst[0];
  if (!dst.IsTile()) return std::nullopt;
  for (const OperandView& o : v.src) {
    const bool tile =
        o.rule->kind == isa::OperandKind::kTile || o.rule->kind == isa::OperandKind::kTileOrImmediate;
    if (!tile || !o.IsTile() || o.access->shape == dst.access->shape) continue;
    return Finding{absl::StrCat("operand ", o.Describe(), " of '", v.row.name, "' and ", dst.Describe(),
                                " differ in shape"),
                   ShapeText(dst.access->shape), ShapeText(o.access->shape)};
  }
  return std::nullopt;
}

Verdict CopyShapes(const InstrView& v) {
  const OperandView& dst = v.dst[0];
  const OperandView& src = v.src[0];
  if (!src.IsTile() || src.access->shape == dst.access->shape) return std::nullopt;
  return Finding{absl::StrCat("'", v.row.name, "' copies ", src.Describe(), " into ", dst.Describe(),
                              ", whose shape is different"),
                 ShapeText(dst.access->shape), ShapeText(src.access->shape)};
}

// A compute engine addresses partitions from 0, 32, 64 or 96 on, and more than 32 only from 0 or 64, more
// than 64 only from 0 (aws-neuron-sdk v2.24.0, general/nki/arch/trainium_inferentia2_arch.rst). A tensor
// itself may be placed at any of those, so what counts is the offset inside it. Masks may move the first
// partition in use, so masked tiles are left alone.
Verdict PartitionStart(const InstrView& v) {
  Verdict verdict;
  v.ForEachTile([&](const OperandView& o) {
    if (verdict.has_value() || !o.OnChip() || !o.access->mask.empty() || o.partitions() > isa::kMaxPartitions)
      return;
    const Affine& start = o.access->index[static_cast<size_t>(o.tensor->partition_axis)];
    if (start.DependsOnSymbols()) return;
    const int64_t granule = PartitionStartGranule(o.partitions());
    if (start.constant % granule == 0) return;
    verdict = Finding{
        absl::StrCat("operand ", o.Describe(), " of '", v.row.name, "' starts at partition ", start.constant,
                     "; ", o.partitions(), " partitions may start at multiples of ", granule, " only"),
        absl::StrCat("start partition a multiple of ", granule),
        absl::StrCat("start partition ", start.constant)};
  });
  return verdict;
}

// ---- Run-time indices

Verdict IndirectAxis(const InstrView& v) {
  Verdict verdict;
  v.ForEachTile([&](const OperandView& o) {
    if (verdict.has_value() || o.access->indirect_axis < 0) return;
    for (const Affine& e : o.access->indirect_index) {
      for (size_t d = 1; d < e.dims.size(); ++d) {
        if (e.dims[d] == 0 || o.access->shape[d] == 1) continue;
        verdict = Finding{absl::StrCat("the run-time index of operand ", o.Describe(), " of '", v.row.name,
                                       "' varies along free dimension ", d,
                                       "; it may vary along the partition dimension only"),
                          "one index per partition", absl::StrCat("index varies along dimension ", d)};
        return;
      }
    }
  });
  return verdict;
}

// ---- Operators

std::array<AluOp, 2> Ops(const InstrView& v) { return {v.instr.attrs.op0, v.instr.attrs.op1}; }

Verdict OperatorOnEngine(const InstrView& v) {
  if (v.instr.engine == Engine::kUnknown) return std::nullopt;
  for (const AluOp op : Ops(v)) {
    if (op == AluOp::kNone || (isa::Info(op).engines & isa::EngineBit(v.engine)) != 0) continue;
    return Finding{absl::StrCat("operator '", isa::Info(op).name, "' of '", v.row.name,
                                "' is not available on the ", isa::Name(v.engine), " engine"),
                   "an engine that computes the operator", std::string(isa::Name(v.engine))};
  }
  return std::nullopt;
}

Verdict BitvecMix(const InstrView& v) {
  const auto [op0, op1] = Ops(v);
  if (op0 == AluOp::kNone || op1 == AluOp::kNone) return std::nullopt;
  if (isa::Info(op0).bitvec == isa::Info(op1).bitvec) return std::nullopt;
  return Finding{absl::StrCat("'", v.row.name, "' mixes a bitwise and an arithmetic operator: '",
                              isa::Info(op0).name, "' and '", isa::Info(op1).name, "'"),
                 "both bitwise or both arithmetic",
                 absl::StrCat(isa::Info(op0).name, " and ", isa::Info(op1).name)};
}

bool HoldsBits(isa::DType d) { return isa::IsInteger(d) || d == isa::DType::kBool; }

Verdict BitvecTypes(const InstrView& v) {
  const AluOp op = v.instr.attrs.op0;
  if (op == AluOp::kNone || !isa::Info(op).bitvec) return std::nullopt;
  const auto check = [&](const OperandView& o) -> Verdict {
    if ((!o.IsTile() && o.immediate == nullptr) || HoldsBits(o.dtype())) return std::nullopt;
    return Finding{absl::StrCat("bitwise operator '", isa::Info(op).name, "' of '", v.row.name,
                                "' needs integers, but operand ", o.Describe(), " is ", isa::Name(o.dtype())),
                   "an integer type", std::string(isa::Name(o.dtype()))};
  };
  for (const OperandView& o : v.src) {
    if (Verdict bad = check(o); bad.has_value()) return bad;
  }
  return check(v.dst[0]);
}

constexpr absl::string_view kLoadFirst =
    "move the data first: nl.load brings HBM to SBUF, nl.store takes it back, nl.copy moves between PSUM and "
    "SBUF";
constexpr absl::string_view kTileByPmax =
    "tile the first axis by nl.tile_size.pmax (128) and loop over the tiles";

constexpr Rule kRules[] = {
    {"err_unsupported_memory", kEveryOp, Memory, kLoadFirst},
    {"err_insufficient_rank", kEveryOp, Rank,
     "give the tile a free axis, for example x[i_p, 0:1] or shape (P, 1)"},
    {"err_num_partition_exceed_arch_limit", kEveryOp, PartitionLimit, kTileByPmax},
    {"err_indirect_indices_free_dim", kDmaOps, IndirectAxis,
     "put the run-time index on the partition or block axis, as an SBUF tile [P, 1]"},
    {"err_num_partition_mismatch", kComputeOps & ~kCrossPartitionOps, PartitionMismatch,
     "widen the smaller operand with .broadcast_to((P, F)), or slice the larger one"},
    {"err_operand_scalar_or_vector", kEveryOp & ~OneOf(Opcode::kActivation), VectorShape,
     "pass a Python scalar or a tile of shape (P, 1); use nisa.tensor_tensor for a full tile"},
    {"err_shape_mismatch", kElementwiseOps, EqualShapes,
     "make both tiles the same shape; sizes of 1 broadcast through .broadcast_to or None-indexing"},
    {"err_store_dst_shape_smaller_than_other_shape", kDmaOps, CopyShapes,
     "make the indexed destination and the value the same shape"},
    {"err_exceed_max_supported_dimension", kComputeOps, FreeAxisCount,
     "index down to at most four free axes, or copy to a contiguous tile first"},
    {"err_size_of_dimension_exceed_arch_limit", kComputeOps & ~OneOf(Opcode::kNcMatmul, Opcode::kNcTranspose),
     FreeSize, "split the free axis into smaller pieces"},
    {"err_start_partition_not_supported", kComputeOps, PartitionStart,
     "start tiles at partition 0, 32, 64 or 96, or move the rows with nl.load/nl.store"},
    {"err_unsupported_engine", kEveryOp, OperatorOnEngine,
     "leave out engine= so that the compiler chooses an engine that has the operator"},
    {"err_mixed_bitvec_and_arithmetic_ops", OneOf(Opcode::kTensorScalar, Opcode::kScalarTensorTensor),
     BitvecMix, "split it into two calls"},
    {"err_bitvec_operand_type", kEveryOp & ~OneOf(Opcode::kDmaCopy, Opcode::kDmaTranspose), BitvecTypes,
     "use int32/uint32 tiles for bitwise operators, or an arithmetic or logical operator"},
};

}  // namespace

absl::Span<const Rule> GeneralRules() { return kRules; }

}  // namespace nkiagent::nki::ir::legality
