// The closed sets of the instruction set: element types, memories, engines, operators, activation functions.
//
// Sources (aws-neuron-sdk v2.24.0): dtypes and promotion from general/nki/api/nki.api.shared.rst, memories
// and engines from general/nki/arch/trainium_inferentia2_arch.rst, operators and activation functions from
// nki.api.shared.rst.
#ifndef NKIAGENT_COMMON_NKI_ISA_TYPES_H_
#define NKIAGENT_COMMON_NKI_ISA_TYPES_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace nkiagent::nki::isa {

// ---- Element types
// --------------------------------------------------------------------------------------------

// Values are part of the serialised program: append only.
enum class DType : uint8_t {
  kFloat32 = 0,
  kTFloat32,  // fp32 storage, 10-bit mantissa; 4 bytes
  kBFloat16,
  kFloat16,
  kFloat8E4M3,
  kFloat8E5M2,
  kInt32,
  kInt16,
  kInt8,
  kUInt32,
  kUInt16,
  kUInt8,
  kBool,  // stored as one byte, 0 or 1
};
inline constexpr int kDTypeCount = 13;

int SizeOf(DType dtype);  // bytes per element
bool IsFloat(DType dtype);
bool IsInteger(DType dtype);  // signed or unsigned, bool excluded
absl::string_view Name(
    DType dtype);  // as in nki.language: "float32", "bfloat16", "float8_e4m3", "bool_", ...
std::optional<DType> DTypeFromName(absl::string_view name);  // also accepts NumPy's "bool"

// Result type of an operation on two operands, by the promotion table of nki.api.shared.rst.
DType Promote(DType a, DType b);

// ---- Memories and engines
// -------------------------------------------------------------------------------------

enum class Buffer : uint8_t { kHbm = 0, kSharedHbm, kPrivateHbm, kSbuf, kPsum };
inline constexpr int kBufferCount = 5;
bool IsHbm(Buffer buffer);
absl::string_view Name(Buffer buffer);  // "hbm", "shared_hbm", "private_hbm", "sbuf", "psum"

enum class Engine : uint8_t { kUnknown = 0, kTensor, kVector, kScalar, kGpSimd, kSync, kDma };
inline constexpr int kEngineCount = 7;
absl::string_view Name(Engine engine);  // "tensor", "vector", ...

// ---- Operators
// ------------------------------------------------------------------------------------------------

enum class AluOp : uint8_t {
  kNone = 0,
  kInvert,
  kBitwiseAnd,
  kBitwiseOr,
  kBitwiseXor,
  kLeftShift,
  kRightShift,
  kAdd,
  kMultiply,
  kSubtract,
  kMaximum,
  kMinimum,
  kEqual,
  kNotEqual,
  kGreaterEqual,
  kGreater,
  kLessEqual,
  kLess,
  kLogicalNot,
  kLogicalAnd,
  kLogicalOr,
  kLogicalXor,
  kRsqrt,
  kReciprocal,
  kAbs,
  kPower,
  // Reached through nki.language only; not accepted as `op` of an nki.isa call in SDK 2.24.
  kDivide,
  kMod,
  kFmod,
};
inline constexpr int kAluOpCount = 29;

struct AluOpInfo {
  AluOp op;
  absl::string_view name;  // name in nki.language
  int arity;               // 1 or 2
  bool bitvec;             // integers in and out, bits untouched; otherwise computed in fp32
  bool comparison;         // result is 0 or 1
  bool reducible;          // may be a reduction operator
  bool isa;                // accepted as `op` by nki.isa calls
  uint8_t engines;         // bit (1 << Engine) for each engine that computes it
};
const AluOpInfo& Info(AluOp op);
std::optional<AluOp> AluOpFromName(absl::string_view name);

// ---- Activation functions (Scalar engine)
// ---------------------------------------------------------------------

enum class ActFn : uint8_t {
  kCopy = 0,
  kSquare,
  kSigmoid,
  kRelu,
  kGelu,
  kGeluDx,
  kGeluApprxTanh,
  kSilu,
  kSiluDx,
  kTanh,
  kSoftplus,
  kMish,
  kErf,
  kErfDx,
  kExp,
  kSign,
  kAbs,
  kLog,
  kSin,
  kArctan,
  kSqrt,
  kRsqrt,
  kReciprocal,
  // Reached through nki.language only.
  kCos,
  kTan,
  kFloor,
  kCeil,
  kTrunc,
};
inline constexpr int kActFnCount = 28;

struct ActFnInfo {
  ActFn fn;
  absl::string_view name;  // name in nki.language
  bool isa;                // accepted as `op` by nki.isa.activation
  // Inputs outside [valid_min, valid_max] give invalid results on the hardware (no clamping).
  double valid_min;
  double valid_max;
};
const ActFnInfo& Info(ActFn fn);
std::optional<ActFn> ActFnFromName(absl::string_view name);

// ---- Small attributes
// -----------------------------------------------------------------------------------------

// Control of the Scalar engine's reduction registers (nki.isa.reduce_cmd).
enum class ReduceCmd : uint8_t { kIdle = 0, kReset, kReduce, kResetReduce };
inline constexpr int kReduceCmdCount = 4;

// What a DMA does with a run-time index that is out of range (nki.isa.oob_mode).
enum class OobMode : uint8_t { kError = 0, kSkip };
inline constexpr int kOobModeCount = 2;

// ---- Architecture limits, NeuronCore-v2
// -----------------------------------------------------------------------

inline constexpr int kMaxPartitions = 128;            // tile_size.pmax
inline constexpr int kMatmulStationaryFreeMax = 128;  // tile_size.gemm_stationary_fmax
inline constexpr int kMatmulMovingFreeMax = 512;      // tile_size.gemm_moving_fmax
inline constexpr int kBnStatsFreeMax = 512;           // tile_size.bn_stats_fmax
inline constexpr int kPsumBanks = 8;
inline constexpr int kPsumBankBytes = 2048;                // per partition; 512 fp32
inline constexpr int kSbufBytesPerPartition = 192 * 1024;  // hardware
inline constexpr int kSbufUsableBytesPerPartition =
    176 * 1024;                                         // 16 KiB stay with the compiler (compiler/sbuf.py)
inline constexpr int kMaxFreeElementsSbuf = 64 * 1024;  // per Vector/Scalar instruction
inline constexpr int kMaxFreeElementsPsum = 4 * 1024;
inline constexpr int kMaxFreeAxes = 4;

}  // namespace nkiagent::nki::isa

#endif  // NKIAGENT_COMMON_NKI_ISA_TYPES_H_
