#include "common/nki/isa/table.h"

#include <cstddef>

namespace nkiagent::nki::isa {
namespace {

constexpr uint8_t kT = EngineBit(Engine::kTensor);
constexpr uint8_t kV = EngineBit(Engine::kVector);
constexpr uint8_t kS = EngineBit(Engine::kScalar);
constexpr uint8_t kG = EngineBit(Engine::kGpSimd);
constexpr uint8_t kD = EngineBit(Engine::kDma);

using K = OperandKind;

constexpr OperandRule kDst[] = {{"dst"}};
constexpr OperandRule kDstSbuf[] = {{"dst", K::kTile, kInSbuf}};
constexpr OperandRule kDstPsum[] = {{"dst", K::kTile, kInPsum}};
constexpr OperandRule kDstAnyMemory[] = {{"dst", K::kTile, kInHbm | kInSbuf | kInPsum}};
constexpr OperandRule kDstAndReduce[] = {{"dst"}, {"reduce_res", K::kVector, kOnChip, true}};

constexpr OperandRule kData[] = {{"data"}};
constexpr OperandRule kDataSbuf[] = {{"data", K::kTile, kInSbuf}};
constexpr OperandRule kSrc[] = {{"src"}};
constexpr OperandRule kSrcAnyMemory[] = {{"src", K::kTileOrImmediate, kInHbm | kInSbuf | kInPsum}};
constexpr OperandRule kMatmulSrc[] = {{"stationary", K::kTile, kInSbuf}, {"moving", K::kTile, kInSbuf}};
constexpr OperandRule kActivationSrc[] = {
    {"data"}, {"bias", K::kVector, kOnChip, true}, {"scale", K::kVectorOrImmediate}};
constexpr OperandRule kTwoTiles[] = {{"data1"}, {"data2"}};
constexpr OperandRule kScanSrc[] = {{"data0"}, {"data1"}, {"initial", K::kVectorOrImmediate}};
constexpr OperandRule kScalarTensorTensorSrc[] = {
    {"data"}, {"operand0", K::kVectorOrImmediate}, {"operand1", K::kTile}};
constexpr OperandRule kTensorScalarSrc[] = {
    {"data"}, {"operand0", K::kVectorOrImmediate}, {"operand1", K::kVectorOrImmediate, kOnChip, true}};
constexpr OperandRule kPredicatedSrc[] = {{"src", K::kTileOrImmediate}, {"predicate"}};
constexpr OperandRule kDropoutSrc[] = {{"data"}, {"prob", K::kVectorOrImmediate}};
constexpr OperandRule kRangeSelectSrc[] = {{"on_true_tile"}, {"bound0", K::kVector}, {"bound1", K::kVector}};
constexpr OperandRule kAffineSelectSrc[] = {{"on_true_tile", K::kTile, kInSbuf}};
constexpr OperandRule kLocalGatherSrc[] = {{"src_buffer", K::kTile, kInSbuf}, {"index", K::kTile, kInSbuf}};
constexpr OperandRule kDataVals[] = {{"data"}, {"vals"}};

constexpr std::array<Row, kOpcodeCount> kTable = {{
    {Opcode::kDmaCopy, "dma_copy", "Copy between HBM and SBUF with cast, by the DMA engines.", true, kD,
     Engine::kDma, Cost::kDma, kDstAnyMemory, kSrcAnyMemory},
    {Opcode::kDmaTranspose, "dma_transpose", "Copy by the DMA engines with axes swapped.", true, kD,
     Engine::kDma, Cost::kDma, kDstAnyMemory, kSrcAnyMemory},
    {Opcode::kNcMatmul, "nc_matmul",
     "Matrix product of a stationary [K,M] and a moving [K,N] tile into PSUM [M,N].", true, kT,
     Engine::kTensor, Cost::kMatmul, kDstPsum, kMatmulSrc},
    {Opcode::kNcTranspose, "nc_transpose", "Transpose of a [P,F] tile into [F,P].", true, kT | kV,
     Engine::kTensor, Cost::kTranspose, kDst, kData},
    {Opcode::kActivation, "activation", "f(data * scale + bias) on the Scalar engine.", true, kS,
     Engine::kScalar, Cost::kActivation, kDstAndReduce, kActivationSrc},
    {Opcode::kTensorReduce, "tensor_reduce", "Reduction over free axes.", true, kV, Engine::kVector,
     Cost::kTensorReduce, kDst, kData},
    {Opcode::kTensorPartitionReduce, "tensor_partition_reduce", "Reduction over the partition axis.", true,
     kG, Engine::kGpSimd, Cost::kGpSimdN, kDstSbuf, kDataSbuf},
    {Opcode::kTensorTensor, "tensor_tensor", "Element-wise operation on two tiles.", true, kV | kG,
     Engine::kVector, Cost::kTensorTensor, kDst, kTwoTiles},
    {Opcode::kTensorTensorScan, "tensor_tensor_scan", "Scan along the free axis with two operators.", true,
     kV, Engine::kVector, Cost::kTwoN, kDst, kScanSrc},
    {Opcode::kScalarTensorTensor, "scalar_tensor_tensor",
     "(data op0 operand0) op1 operand1 with operand1 a tile.", true, kV, Engine::kVector,
     Cost::kScalarTensorTensor, kDst, kScalarTensorTensorSrc},
    {Opcode::kTensorScalar, "tensor_scalar",
     "(data op0 operand0) op1 operand1 with constants or [P,1] operands.", true, kV | kS | kG,
     Engine::kVector, Cost::kMinIiN, kDstAndReduce, kTensorScalarSrc},
    {Opcode::kTensorCopy, "tensor_copy", "Copy of a tile with cast.", true, kV | kS | kG, Engine::kVector,
     Cost::kTensorCopy, kDst, kSrc},
    {Opcode::kTensorCopyPredicated, "tensor_copy_predicated", "Copy where the predicate is non-zero.", true,
     kV, Engine::kVector, Cost::kCopyPredicated, kDst, kPredicatedSrc},
    {Opcode::kReciprocal, "reciprocal", "1 / data on the Vector engine.", true, kV, Engine::kVector,
     Cost::kReciprocal, kDst, kData},
    {Opcode::kIota,
     "iota",
     "An affine expression of its own indices.",
     true,
     kG,
     Engine::kGpSimd,
     Cost::kGpSimdN,
     kDstSbuf,
     {}},
    {Opcode::kDropout, "dropout", "Random zeroing of elements.", true, kV, Engine::kVector, Cost::kMinIiN,
     kDst, kDropoutSrc},
    {Opcode::kAffineSelect, "affine_select", "Affine predicate chooses the element or a constant.", true, kG,
     Engine::kGpSimd, Cost::kGpSimdN, kDstSbuf, kAffineSelectSrc},
    {Opcode::kRangeSelect, "range_select", "Index range chooses the element or FP32 min.", true, kV,
     Engine::kVector, Cost::kMinIiN, kDstAndReduce, kRangeSelectSrc},
    {Opcode::kMemset,
     "memset",
     "Fill with a constant.",
     true,
     kV | kG,
     Engine::kVector,
     Cost::kMemset,
     kDst,
     {}},
    {Opcode::kBnStats, "bn_stats", "Counts, means and variances of even and odd elements.", true, kV,
     Engine::kVector, Cost::kMinIiN, kDst, kData},
    {Opcode::kBnAggr, "bn_aggr", "Mean and variance from bn_stats triples.", true, kV, Engine::kVector,
     Cost::kBnAggr, kDst, kData},
    {Opcode::kLocalGather, "local_gather", "Gather inside each partition by per-core indices.", true, kG,
     Engine::kGpSimd, Cost::kLocalGather, kDstSbuf, kLocalGatherSrc},
    {Opcode::kMax8, "max8", "The eight largest values, descending.", true, kV, Engine::kVector, Cost::kN,
     kDst, kSrc},
    {Opcode::kNcFindIndex8, "nc_find_index8", "First index of each of eight values.", true, kV,
     Engine::kVector, Cost::kN, kDst, kDataVals},
    {Opcode::kNcMatchReplace8, "nc_match_replace8", "Replace the first occurrence of each of eight values.",
     true, kV, Engine::kVector, Cost::kN, kDst, kDataVals},
    {Opcode::kNcStreamShuffle, "nc_stream_shuffle", "Permute partitions inside each quadrant of 32.", true,
     kV, Engine::kVector, Cost::kMinIiN, kDst, kSrc},
    {Opcode::kRng,
     "rng",
     "Uniform random numbers in [0, 1).",
     false,
     kV | kG,
     Engine::kGpSimd,
     Cost::kGpSimdN,
     kDstSbuf,
     {}},
    {Opcode::kPartitionBroadcast, "partition_broadcast", "One partition copied to all (a matmul with ones).",
     false, kT | kV | kG, Engine::kTensor, Cost::kMatmul, kDst, kSrc},
}};

}  // namespace

const Row& RowOf(Opcode op) { return kTable[static_cast<size_t>(op)]; }

std::optional<Opcode> OpcodeFromName(absl::string_view name) {
  for (const Row& row : kTable) {
    if (row.name == name) return row.op;
  }
  return std::nullopt;
}

absl::Span<const Row> Table() { return kTable; }

absl::string_view Formula(Cost cost) {
  switch (cost) {
    case Cost::kMinIiN:
      return "max(64, N)";
    case Cost::kN:
      return "N";
    case Cost::kTwoN:
      return "max(64, 2N)";
    case Cost::kTensorTensor:
      return "max(64, 2N); max(64, N) with one operand in PSUM and one in SBUF, or for 16-bit add, subtract "
             "and multiply";
    case Cost::kTensorReduce:
      return "N; N/2 for 16-bit add and max";
    case Cost::kScalarTensorTensor:
      return "2N; N for the bfloat16 subtract-multiply form";
    case Cost::kCopyPredicated:
      return "max(64, N) or max(64, 2N), by memories";
    case Cost::kReciprocal:
      return "max(64, 8N)";
    case Cost::kGpSimdN:
      return "150 + N";
    case Cost::kMemset:
      return "max(64, N); half of that for zeros of 16-bit types";
    case Cost::kBnAggr:
      return "max(64, 13N / 3)";
    case Cost::kLocalGather:
      return "150 + a term by indices and element size";
    case Cost::kMatmul:
      return "max(min(64, M), N) for M stationary and N moving columns; four times that for float32";
    case Cost::kTranspose:
      return "max(P, min(64, F)) on the Tensor engine, max(64, N) on the Vector engine";
    case Cost::kActivation:
      return "max(64, N); 64 more when the reduction registers are read";
    case Cost::kTensorCopy:
      return "max(64, N); max(600, N) with a run-time index";
    case Cost::kDma:
      return "by bytes and access pattern; long contiguous runs are fastest";
  }
  return "";
}

}  // namespace nkiagent::nki::isa
