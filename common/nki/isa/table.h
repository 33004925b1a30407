// The instruction table: one row for each instruction of the IR. The frontend, the legality rules, the cost
// model, the executor and the printed reference are views of these rows; a test in each of them walks the
// table.
//
// To add an instruction: append an Opcode, its row in table.cc, and its semantics in common/nki/exec. What
// the row says (engines, operands, cost formula) needs no other code.
//
// Sources: aws-neuron-sdk v2.24.0, general/nki/api/nki/isa/__init__.py for operands and cost; each row's
// `source` names the page where that differs.
#ifndef NKIAGENT_COMMON_NKI_ISA_TABLE_H_
#define NKIAGENT_COMMON_NKI_ISA_TABLE_H_

#include <array>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/nki/isa/types.h"

namespace nkiagent::nki::isa {

// Values are part of the serialised program: append only.
enum class Opcode : uint8_t {
  kDmaCopy = 0,   // HBM/SBUF -> HBM/SBUF, with cast, optional read-modify-write, optional indirect index
  kDmaTranspose,  // DMA whose access pattern swaps axes (load_transpose2d, dma_transpose)
  kNcMatmul,      // dst[M,N] (+)= stationary[K,M].T @ moving[K,N]
  kNcTranspose,   // dst[F,P] = data[P,F].T
  kActivation,    // dst = f(data * scale + bias), optional accumulation into the reduction registers
  kTensorReduce,  // dst = reduce(op, data) over free axes
  kTensorPartitionReduce,  // dst[1,F] = reduce(op, data[P,F]) over partitions
  kTensorTensor,           // dst = a op b
  kTensorTensorScan,       // r[i] = op1(op0(d0[i], r[i-1]), d1[i])
  kScalarTensorTensor,     // dst = (data op0 operand0) op1 operand1
  kTensorScalar,  // dst = (data op0 operand0) op1 operand1, operands constants or [P,1]; optional reduction
  kTensorCopy,    // dst = src, cast; src or dst may have a run-time index
  kTensorCopyPredicated,  // dst = predicate ? src : dst
  kReciprocal,            // dst = 1 / data on the Vector engine
  kIota,                  // dst = affine expression of its own indices
  kDropout,               // dst = drop(data, probability)
  kAffineSelect,          // dst = affine predicate ? on_true : constant
  kRangeSelect,           // dst = index inside bounds ? on_true : FP32 min; optional max
  kMemset,                // dst = constant
  kBnStats,               // dst[P,6] = counts, means, variances * counts of even and odd elements
  kBnAggr,                // dst[P,2] = mean, variance of bn_stats triples
  kLocalGather,           // gather in each partition by indices shared inside a 16-partition core
  kMax8,                  // eight largest, descending
  kNcFindIndex8,          // first index of each of eight values
  kNcMatchReplace8,       // replace first occurrence of each of eight values
  kNcStreamShuffle,       // permute partitions inside each 32-partition quadrant
  kRng,                   // uniform [0, 1) numbers
  kPartitionBroadcast,    // dst[P,F] = src[1,F] for every partition
};
inline constexpr int kOpcodeCount = 28;

// Where an operand may live, as a set.
enum BufferSet : uint8_t {
  kInHbm = 1,
  kInSbuf = 2,
  kInPsum = 4,
  kOnChip = kInSbuf | kInPsum,
  kInHbmOrSbuf = kInHbm | kInSbuf,
};

enum class OperandKind : uint8_t {
  kTile,               // a tile of any free shape
  kVector,             // one value per partition: [P, 1]
  kVectorOrImmediate,  // [P, 1] tile or a compile-time constant
  kTileOrImmediate,    // a tile or a compile-time constant
};

struct OperandRule {
  absl::string_view name;  // as in the SDK's signature
  OperandKind kind = OperandKind::kTile;
  uint8_t buffers = kOnChip;
  bool optional = false;
};

// Names of the documented cost formulas, in cycles of the engine; N = elements per partition of the
// instruction.
enum class Cost : uint8_t {
  kMinIiN,              // max(64, N)
  kN,                   // N
  kTwoN,                // max(64, 2N)
  kTensorTensor,        // max(64, N) or max(64, 2N) by memories and dtypes
  kTensorReduce,        // N, or N/2 for bf16 add and max
  kScalarTensorTensor,  // 2N, or N for the bf16 subtract-multiply form
  kCopyPredicated,      // max(64, N) or max(64, 2N) by memories
  kReciprocal,          // max(64, 8N)
  kGpSimdN,             // 150 + N
  kMemset,              // max(64, N), half for zero in 16-bit types
  kBnAggr,              // max(64, 13 * N / 3)
  kLocalGather,         // 150 + gather formula
  kMatmul,              // max(min(64, M), N), four times that for fp32
  kTranspose,           // Tensor: max(P, min(64, F)); Vector: max(64, N)
  kActivation,          // max(64, N), + 64 when the reduction registers are read
  kTensorCopy,          // max(64, N), or max(600, N) with a run-time index
  kDma,                 // by size and access pattern, not by engine cycles
};

inline constexpr int kMaxDst = 2;
inline constexpr int kMaxSrc = 3;

struct Row {
  Opcode op;
  absl::string_view name;     // SDK 2.24 name in nki.isa where there is one, else the name used in programs
  absl::string_view summary;  // one line for the printed reference
  bool in_isa;                // callable as nki.isa.<name> in SDK 2.24
  uint8_t engines;            // bit (1 << Engine) for each engine that may run it
  Engine preferred;           // used when the kernel does not name one
  Cost cost;
  absl::Span<const OperandRule> dst;
  absl::Span<const OperandRule> src;
};

const Row& RowOf(Opcode op);
// The formula as text for a reader, such as "max(64, N)"; N = elements per partition.
absl::string_view Formula(Cost cost);
std::optional<Opcode> OpcodeFromName(absl::string_view name);
absl::Span<const Row> Table();

constexpr uint8_t EngineBit(Engine e) { return static_cast<uint8_t>(1u << static_cast<int>(e)); }
constexpr uint8_t BufferBit(Buffer b) {
  return b == Buffer::kSbuf ? kInSbuf : b == Buffer::kPsum ? kInPsum : kInHbm;
}

}  // namespace nkiagent::nki::isa

#endif  // NKIAGENT_COMMON_NKI_ISA_TABLE_H_
