// The instruction table: one row for each instruction of the IR. The frontend, the legality rules, the cost
// model, the executor and the printed reference are views of these rows; a test in each of them walks the
// table.
//
// To add an instruction: its entry in instructions.inc and its semantics in common/nki/exec (README.md of
// common/nki walks through one). What the entry says (engines, operands, cost, FLOPs) needs no other code.
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

// In the order of instructions.inc. Values are part of the serialised program.
enum class Opcode : uint8_t {
#define NKI_INSTRUCTION(op, ...) k##op,
#include "common/nki/isa/instructions.inc"
};
inline constexpr int kOpcodeCount = 0
#define NKI_INSTRUCTION(...) +1  // NOLINT(bugprone-macro-parentheses): a term of a sum
#include "common/nki/isa/instructions.inc"
    ;

// Dialects of NKI, as a set: those that have an instruction as nki.isa.<name>.
enum Dialect : uint8_t {
  kSdk224 = 1,  // neuronxcc.nki of SDK 2.24, which the frontend speaks
  kSdk232 = 2,  // nki of SDK 2.32
};
// The bit of "2.24" or "2.32"; 0 for others.
uint8_t SdkBit(absl::string_view sdk);

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

// The floating-point operations of one execution.
enum class Flops : uint8_t {
  kNone,         // moves data
  kDestination,  // one for each element of the destination, two with a second operator
  kSource,       // one for each element of the source
  kMatmul,       // two for each product
};

// What becomes of undefined elements of a source.
enum class Undefined : uint8_t {
  kStops,     // not followed
  kElements,  // undefined at the same place of the destination
  kRows,      // elements of one partition mix, partitions do not
  kMixes,     // partitions mix
};

inline constexpr int kMaxDst = 2;
inline constexpr int kMaxSrc = 3;

struct Row {
  Opcode op;
  absl::string_view name;     // SDK 2.24 name in nki.isa where there is one, else the name used in programs
  absl::string_view summary;  // one line for the printed reference
  uint8_t dialects;           // those that have it in nki.isa under this name
  uint8_t engines;            // bit (1 << Engine) for each engine that may run it
  Engine preferred;           // used when the kernel does not name one
  Cost cost;
  absl::Span<const OperandRule> dst;
  absl::Span<const OperandRule> src;
  Flops flops;
  Undefined undefined;

  bool In(absl::string_view sdk) const { return (dialects & SdkBit(sdk)) != 0; }
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
