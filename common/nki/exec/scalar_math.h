// What the operators and activation functions compute on one value: the definition that the vector kernels
// are tested against.
#ifndef NKIAGENT_COMMON_NKI_EXEC_SCALAR_MATH_H_
#define NKIAGENT_COMMON_NKI_EXEC_SCALAR_MATH_H_

#include <cstdint>

#include "common/nki/isa/types.h"

namespace nkiagent::nki::exec {

// a op b in fp32; unary operators ignore b. maximum and minimum propagate NaN; comparisons and logical
// operators give 0 or 1; mod has the divisor's sign (as Python), fmod the dividend's (as C). Bitwise
// operators are not computed here.
float ApplyAlu(isa::AluOp op, float a, float b);

// a op b for bitwise operators on integers. Shifts work on the `bits` low bits of `a` (8, 16 or 32): left
// shift drops what leaves them, right shift fills with zeros; a count outside 0..bits-1 gives 0.
int64_t ApplyBitvec(isa::AluOp op, int64_t a, int64_t b, int bits);

// f(x) in fp32, computed through double and rounded once.
float ApplyAct(isa::ActFn fn, float x);

// The value that leaves others unchanged under `op` (0 for those that have none).
float FoldIdentity(isa::AluOp op);
int64_t FoldIdentityBits(isa::AluOp op);

// The k-th number of a stream: uniform in [0, 1), a multiple of 2^-24. A pure function of its arguments, so
// that loops may run in any order.
uint64_t MixSeed(uint64_t a, uint64_t b);
float UniformAt(uint64_t stream, uint64_t k);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_SCALAR_MATH_H_
