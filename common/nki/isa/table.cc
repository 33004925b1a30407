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

constexpr absl::Span<const OperandRule> kNoOperands = {};

constexpr std::array<Row, kOpcodeCount> kTable = {{
#define NKI_INSTRUCTION(op, ...) {Opcode::k##op, __VA_ARGS__},
#include "common/nki/isa/instructions.inc"
}};

}  // namespace

const Row& RowOf(Opcode op) { return kTable[static_cast<size_t>(op)]; }

std::optional<Opcode> OpcodeFromName(absl::string_view name) {
  for (const Row& row : kTable) {
    if (row.name == name) return row.op;
  }
  return std::nullopt;
}

uint8_t SdkBit(absl::string_view sdk) { return sdk == "2.24" ? kSdk224 : sdk == "2.32" ? kSdk232 : 0; }

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
