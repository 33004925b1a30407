// Whether a program's output equals the reference's, and how far off it is. A plain function of two tensors:
// no processes, no protos, no state.
//
// The measure is that of torch.allclose with equal_nan=False: an element passes if |actual - expected| <=
// atol + rtol * |expected|; NaN on either side fails, but for inputs that hold NaN or infinities, where NaN
// must stand exactly where it is expected; infinities pass only if both sides have the same.
// Elements are decoded exactly and compared in double precision, so that the comparison itself adds no
// rounding (torch rounds to the tensor's own type).
#ifndef SERVICES_VERIFY_COMPARE_H_
#define SERVICES_VERIFY_COMPARE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "common/nki/isa/types.h"

namespace nkiagent::verify {

// At most this many mismatches beside the first and the worst are sampled.
inline constexpr size_t kMaxSamples = 16;

struct Mismatch {
  int64_t index = 0;  // Row-major.
  double expected = 0;
  double actual = 0;
  double abs_error = 0;  // Infinity where either side is not finite.
};

// Whether NaN passes where NaN is expected.
enum class NanRule { kFails, kPassesWhereExpected };

struct Comparison {
  bool within_tolerance = false;
  int64_t total = 0;
  int64_t mismatched = 0;
  // Over elements that are finite on both sides; the relative one over those with expected != 0.
  double max_abs_error = 0;
  double max_rel_error = 0;
  std::optional<Mismatch> first;
  std::optional<Mismatch> worst;  // The first with the largest absolute error.
  // In row-major order: evenly spread over the mismatches, the first and the worst left out where others
  // exist.
  std::vector<Mismatch> samples;
  int64_t actual_nan = 0;
  int64_t expected_nan = 0;
  int64_t actual_inf = 0;
  int64_t expected_inf = 0;
};

// Both spans hold the same whole number of elements of `type`; CHECK-fails otherwise, since sizes are ours to
// check before.
Comparison Compare(nki::isa::DType type, absl::Span<const uint8_t> expected, absl::Span<const uint8_t> actual,
                   double atol, double rtol, NanRule nan = NanRule::kFails);

// Row-major position to one index for each dimension.
std::vector<int64_t> Unravel(int64_t index, absl::Span<const int64_t> dims);

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_COMPARE_H_
