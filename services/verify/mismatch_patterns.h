// What the mismatches of a tensor have in common: where they are, and how wrong values relate to right ones.
// A kernel's writer is told "rows 128 to 139 only, and each equals the row 128 before it", not 1536 pairs of
// numbers. A plain function of two tensors: no processes, no protos, no state.
//
// Values are judged on a sample of at most kPatternSamples mismatches, evenly spread; places are judged on
// all of them. A relation is reported only if nearly all of the sample agree with it, so no report is a guess
// on a few elements.
#ifndef SERVICES_VERIFY_MISMATCH_PATTERNS_H_
#define SERVICES_VERIFY_MISMATCH_PATTERNS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/nki/isa/types.h"
#include "services/verify/compare.h"

namespace nkiagent::verify {

// Most mismatches whose values are looked at.
inline constexpr int64_t kPatternSamples = 4096;
// Fewer mismatches than this say nothing about a relation of values.
inline constexpr int64_t kMinPatternSamples = 8;

enum class PatternKind {
  kRegion,     // mismatches lie in a part of an axis only
  kConstant,   // every wrong element has one value
  kScale,      // actual = factor * expected
  kSign,       // actual = -expected
  kOffset,     // actual = expected + constant
  kShift,      // actual[i] = expected[i + shift] along one axis
  kTranspose,  // elements are stored in the order of two swapped axes
  kRowScale,   // actual = factor(row) * expected, rows along the last axis
  kRowOffset,  // actual = expected + offset(row)
  kPrecision,  // errors of the size that 16-bit arithmetic makes
};

struct MismatchPattern {
  PatternKind kind;
  // One sentence: what was seen, and what that suggests.
  std::string text;
  int axis = -1;       // of kRegion, kShift
  double factor = 0;   // of kScale
  double offset = 0;   // of kOffset, and the value of kConstant
  int64_t shift = 0;   // of kShift: elements along `axis`
  int64_t first = -1;  // of kRegion: first and last index along `axis` with a mismatch
  int64_t last = -1;
};

struct MismatchedTensor {
  nki::isa::DType type;
  absl::Span<const int64_t> dims;  // row-major; no extent below 1
  absl::Span<const uint8_t> expected;
  absl::Span<const uint8_t> actual;
  double atol;
  double rtol;
  NanRule nan = NanRule::kFails;
  int64_t mismatched;  // as Compare counted them
};

// Places first, then at most one relation of values: the simplest that explains the sample. Empty without
// mismatches.
std::vector<MismatchPattern> FindMismatchPatterns(const MismatchedTensor& tensor);

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_MISMATCH_PATTERNS_H_
