// Loops over rows of elements, compiled for several instruction sets; the best one for this processor is
// chosen at run time. Rows are what the tile loops (tile_loop.h) break tiles into.
//
// All results equal those of scalar_math.h and dtype_convert.h bit for bit, except sums, whose order is free,
// and elementary functions, which are accurate to about 1e-6 relative (glibc's vector library, 4 ulp).
#ifndef NKIAGENT_COMMON_NKI_EXEC_KERNELS_H_
#define NKIAGENT_COMMON_NKI_EXEC_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "common/nki/isa/types.h"

namespace nkiagent::nki::exec {

// Operand of a row operation: n floats, or one float for all.
struct RowIn {
  const float* p;
  bool scalar;
};

struct Kernels {
  const char* name;

  // out[i] = fp32 value of element i; elements are `stride` elements apart.
  void (*load)(isa::DType dtype, const std::byte* src, int64_t stride, float* out, int64_t n);
  // Element i = in[i], rounded.
  void (*store)(isa::DType dtype, const float* in, std::byte* dst, int64_t stride, int64_t n);
  // Elements of 1, 2 or 4 bytes, bit for bit. A source stride of 0 fills.
  void (*copy)(int64_t element_bytes, const std::byte* src, int64_t src_stride, std::byte* dst,
               int64_t dst_stride, int64_t n);
  // Where predicate[i] != 0 (or == 0 if inverted), element i of dst = element i of src.
  void (*copy_where)(int64_t element_bytes, const float* predicate, bool inverted, const std::byte* src,
                     int64_t src_stride, std::byte* dst, int64_t dst_stride, int64_t n);

  // out = a op b; at most one of a and b is a scalar. `out` may be a.p or b.p.
  void (*binary)(isa::AluOp op, RowIn a, RowIn b, float* out, int64_t n);
  // out = x * scale + bias, rounded twice.
  void (*scale_bias)(const float* x, RowIn scale, RowIn bias, float* out, int64_t n);
  void (*activate)(isa::ActFn fn, const float* x, float* out, int64_t n);
  // out = predicate ? a : b for a predicate of 0 and other values.
  void (*select)(const float* predicate, RowIn a, float b, float* out, int64_t n);
  // out[i] = float(first + i * step), for values inside +-2^24.
  void (*ramp)(int64_t first, int64_t step, float* out, int64_t n);

  // init op x[0] op x[1]...; op is add, multiply, maximum or minimum.
  float (*fold)(isa::AluOp op, const float* x, int64_t n, float init);
  // acc[i] = acc[i] op x[i] for the same operators.
  void (*fold_rows)(isa::AluOp op, float* acc, const float* x, int64_t n);
  // The smallest and largest of x, NaN left out; n >= 1.
  void (*extremes)(const float* x, int64_t n, float* low, float* high);

  // For each of `rows` rows (`stride` floats apart): state = d0[i] * state + d1[i]; out[i] = state.
  void (*scan_multiply_add)(const float* d0, int64_t stride0, const float* d1, int64_t stride1,
                            const float* initial, float* out, int64_t stride_out, int64_t rows, int64_t n);
  // Transposed copy of 4-byte elements: dst[j * dst_stride + i] = src[i * src_stride + j], i < rows, j <
  // columns.
  void (*transpose4)(const std::byte* src, int64_t src_stride, std::byte* dst, int64_t dst_stride,
                     int64_t rows, int64_t columns);
  // Count, mean and sum of squared distances from the mean of x[0], x[stride]...
  void (*moments)(const float* x, int64_t stride, int64_t n, float* count_mean_squares);
};

// The kernels for this processor.
const Kernels& BestKernels();
// Every set that this processor can run, for tests; the last one is BestKernels().
const Kernels* const* AllKernels(int* count);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_KERNELS_H_
